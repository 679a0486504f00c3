"""What a store has not seen though it has read all: compaction takes the last summaries of a run
once its tombstone is there.

A store that follows its topic reads each summary long before that. One that was away, or lags,
may meet a tombstone whose run is still open here, or never was here. The tombstone's headers say
whether the run was open when it went. One that had closed is counted in nothing, as nobody knows
in which minute that was: windows from before its tombstone may lack it, and are whole again once
others' are taken over.
"""

from __future__ import annotations

from dataclasses import dataclass

from odradek.visibility.store.rows import Change
from odradek.wire.outcomes import RUNNING

GAP_MS = 15_000  # who follows and lags by less misses nothing: compaction is not as quick


@dataclass(frozen=True, slots=True)
class Seen:
    """How far a store has come when a batch is applied.

    all_ms: when it last had all that its topic held (`complete`), or when it began.  follows:
    whether that was since it was opened. since_ms: since when its windows are whole.
    """

    now_ms: int
    all_ms: int
    complete: bool
    follows: bool
    runs_kept_ms: int
    since_ms: int

    @property
    def away(self) -> bool:
        """Whether records may be gone that came since."""
        return (self.complete and not self.follows) or self.now_ms - self.all_ms > GAP_MS

    def deleted_open(self, tombstone: Change) -> bool:
        """Whether a run that is open here was so when it was deleted."""
        return tombstone.status == RUNNING if tombstone.status else not self.away

    def whole_from_ms(self, tombstone: Change, *, here: bool) -> int:
        """Since when windows are whole, as far as it goes by a tombstone whose run's last
        summaries were not read. 0: it says nothing.

        here: the run is here, open.
        """
        if self.complete and not self.away:
            return 0  # a tombstone that came twice, or of a run whose summaries nobody could read
        time_ms = min(self.now_ms, tombstone.time_ms or self.now_ms)
        had_closed = tombstone.status != RUNNING if tombstone.status else not here
        if had_closed and (not self.complete or self.all_ms < time_ms - self.runs_kept_ms):
            # its retention has ended: it closed before the time that is whole then, see
            # `VisibilityStore.caught_up`
            return 0
        return time_ms + 1
