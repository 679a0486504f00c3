"""The life of a lane: its states and the legal ways between them. A move that is not in the
table is a defect and raises.
"""

from __future__ import annotations

from enum import Enum


class LaneState(Enum):
    """Where a lane stands. `wire` is what `members` says of it."""

    ASSIGNED = "ASSIGNED"  # the group gave the partition to this process
    # init_transactions runs: whoever had the id is fenced, its open transaction decided
    FENCING = "FENCING"
    RESTORING = "RESTORING"  # the local store catches up with `state`
    SEEKING = "SEEKING"  # position known, the consumer is being set there
    RUNNING = "RUNNING"
    RETRYING = "RETRYING"  # a record was refused: aborted, the batch goes again in halves
    # fenced, outcome unknown, ...: nothing of the last transaction is believed; owned anew if still
    # assigned
    DROPPED = "DROPPED"
    FAILED = "FAILED"  # cannot go on without a person: a tripwire, a full disk
    CLOSED = "CLOSED"

    @property
    def wire(self) -> str:
        if self in (LaneState.RUNNING, LaneState.RETRYING):
            return "RUNNING"
        return "STOPPED" if self in (LaneState.FAILED, LaneState.CLOSED) else "RESTORING"


_S = LaneState
TRANSITIONS: dict[LaneState, frozenset[LaneState]] = {
    _S.ASSIGNED: frozenset({_S.FENCING, _S.CLOSED}),
    _S.FENCING: frozenset({_S.RESTORING, _S.DROPPED, _S.FAILED, _S.CLOSED}),
    _S.RESTORING: frozenset({_S.SEEKING, _S.DROPPED, _S.FAILED, _S.CLOSED}),
    _S.SEEKING: frozenset({_S.RUNNING, _S.DROPPED, _S.FAILED, _S.CLOSED}),
    _S.RUNNING: frozenset({_S.RETRYING, _S.DROPPED, _S.FAILED, _S.CLOSED}),
    _S.RETRYING: frozenset({_S.RUNNING, _S.DROPPED, _S.FAILED, _S.CLOSED}),
    _S.DROPPED: frozenset({_S.FENCING, _S.FAILED, _S.CLOSED}),
    _S.FAILED: frozenset({_S.CLOSED}),
    _S.CLOSED: frozenset(),
}


def check_transition(old: LaneState, new: LaneState) -> None:
    """Raise for a move that the table does not allow."""
    if new not in TRANSITIONS[old]:
        raise AssertionError(f"lane: {old.name} -> {new.name} is no legal transition")
