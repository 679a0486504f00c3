"""What a lane takes next: the inputs that are here, the timers that are released, and why it
waits for either.

Duties: bounded batches, in the partition's order; a question for the partition's end when a
timer falls due (`timers.py`); and the first record after a seek is the one that was asked for.

Never: applies anything, or knows what a transaction is.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from operator import lt

from odradek.processor.errors import Dropped
from odradek.processor.inbox import Inbox
from odradek.processor.inputs import Sorted, Sorter
from odradek.processor.services import LaneServices
from odradek.processor.timers import Timers
from odradek.processor.tripwires import check_nothing_skipped
from odradek.processor.work import CLUSTER_ERRORS, Work, dropped, now_ms, offset_of
from odradek.wire.state import TimerRow

logger = logging.getLogger(__name__)

# inputs a batch: bounds what is lost when a transaction fails, and how long a timer waits behind
# inputs
INPUTS_MAX = 200
TIMERS_MAX = 100  # released timers a batch, inputs in between


def _check_order(position: int, offsets: list[int]) -> None:
    """No record comes twice, whatever the consumer gave: one of before a seek, say, that was
    handed on behind it.
    """
    if offsets[0] < position or not all(map(lt, offsets, offsets[1:])):
        text = (
            f"the consumer gave records {offsets[0]} to {offsets[-1]} out of order, or again"
            f" (position {position})"
        )
        raise Dropped(text, blameless=True)


class Intake:
    """Of one lane, over all its owns. `check_stop` raises when the lane has to stop."""

    def __init__(
        self, services: LaneServices, partition: int, check_stop: Callable[[], None]
    ) -> None:
        self.inbox = Inbox()
        self.awaited_end = (
            -1
        )  # the group's thread reports the consumer's position once it reaches this
        self.began = False  # the first record after the seek has been looked at
        self._services = services
        self._partition = partition
        self._check_stop = check_stop
        self._timers: Timers | None = None
        self._sorter: Sorter | None = None
        self._end_answers: deque[tuple[int, int]] = deque()  # (question, end)
        self._question = 0
        self._timers_came = False  # where the two come apart: last time

    def __len__(self) -> int:
        """Records that wait to be taken."""
        return len(self.inbox)

    def seeks(self) -> int:
        """A new own: whatever is here or on its way is of the past. The epoch of what comes."""
        self.began = False
        return self.inbox.new_epoch()

    def begin(self, timers: Timers, sorter: Sorter) -> None:
        """The own has its tables and its position."""
        self._question += 1
        self._timers, self._sorter = timers, sorter

    def end(self) -> None:
        """The own is over."""
        self._timers = self._sorter = None
        self.awaited_end = -1

    def next(
        self,
        position: int,
        *,
        one_input: bool = False,
        one_timer: bool = False,
        wait_seconds: float,
        gathering: Callable[[], object],
    ) -> Work | None:
        """Inputs from `position` on and released timers; None when there is neither, after a
        wait of `wait_seconds` at most.

        one_input, one_timer: of these one at a time, and the two apart, in turns, so that
        neither keeps the other waiting. gathering: called before inputs are taken out of the
        inbox, for more of them to come together.
        """
        assert self._timers is not None and self._sorter is not None
        time_ms, apart = now_ms(), one_input or one_timer
        released = self._release(position, time_ms, 1 if one_timer else TIMERS_MAX)
        self._timers_came = apart and bool(released) and not self._timers_came
        if self._timers_came:
            return Work([], Sorted(), released)
        limit = 1 if one_input else INPUTS_MAX
        gathering()
        messages = self.inbox.take(
            limit, 0.0 if released else self._patience(time_ms, wait_seconds)
        )
        if not messages:
            return Work([], Sorted(), released) if released else None
        offsets = [offset_of(message) for message in messages]
        self._check_beginning(position, offsets[0])
        _check_order(position, offsets)
        try:
            found = self._sorter.sort(messages, now_ms())
        except CLUSTER_ERRORS as error:
            raise dropped(error) from error
        return Work(messages, found, [] if apart else released)

    # ---------------------------------------------------------------- timers

    def _release(self, position: int, time_ms: int, limit: int) -> list[TimerRow]:
        assert self._timers is not None
        timers = self._timers
        while self._end_answers:
            question, end = self._end_answers.popleft()
            if (
                question == self._question
            ):  # an answer to a question of an earlier own speaks of an earlier moment
                timers.answered(end)
        if timers.wants_end(time_ms):
            timers.asked(time_ms)
            self._question = question = self._question + 1
            self._services.ends.ask(self._partition, lambda end: self._note_end(question, end))
        settled = self.inbox.settled_position()
        if settled > position:
            self._check_beginning(position, settled)
        timers.passed(max(position, settled))
        self.awaited_end = timers.awaited_end()
        return timers.take(limit, time_ms)

    def _note_end(self, question: int, end: int) -> None:
        self._end_answers.append((question, end))
        self.inbox.wake()

    def _patience(self, time_ms: int, wait_seconds: float) -> float:
        """Until the next timer, `wait_seconds` at most."""
        assert self._timers is not None
        due = (
            self._timers.next_due_ms(time_ms) if wait_seconds and not self._timers.asking else None
        )
        return wait_seconds if due is None else min(wait_seconds, max(0.0, (due - time_ms) / 1000))

    # ---------------------------------------------------------------- inputs

    def _check_beginning(self, position: int, offset: int) -> None:
        """Once after each seek: the consumer began where it was told to."""
        if not self.began:
            if offset < position:
                raise Dropped(f"the consumer began at {offset}, before the position {position}")
            if offset != position:
                check_nothing_skipped(self._services, self._partition, position, offset)
            self.began = True
