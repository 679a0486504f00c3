"""The outcome of a run: a start that awaits it, then long polls, over restarts of owners, until
the run has closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from odradek.client.call import Unanswered, is_of
from odradek.client.pacing import NO_OWNER_INTERVAL_S, next_interval, poll_interval
from odradek.client.transport import QUIET_S, SILENCE_S, Owner
from odradek.wire.events import AwaitResult, StartWorkflow
from odradek.wire.outcomes import DEADLINE_EXCEEDED, OK, UNAVAILABLE, Reply

if TYPE_CHECKING:
    from odradek.client.requests import RequestChannel


class ResultWait:
    """The outcome of a run: a start that awaits its result, then long polls, until the run closes.

    While the start's verdict is unknown the start itself is asked again (the same request id
    gets the same verdict); afterwards a long poll is.
    """

    __slots__ = (
        "__weakref__",
        "asked",
        "asleep",
        "channel",
        "deadline",
        "delivered",
        "interval",
        "next_at",
        "outcome",
        "poll",
        "polls",
        "queue",
        "sent_at",
        "start",
    )

    def __init__(
        self,
        channel: RequestChannel,
        task_queue: str,
        record: StartWorkflow | AwaitResult,
        timeout_s: float | None,
    ) -> None:
        self.channel = channel
        self.queue = task_queue
        self.start = record if isinstance(record, StartWorkflow) else None
        self.poll = record if isinstance(record, AwaitResult) else None
        self.outcome = channel.new_future()
        self.delivered = False
        self.asleep = False  # put off, since nobody seemed to own the queue
        self.asked = 0
        self.polls = 0
        self.sent_at = channel.now()
        self.deadline = None if timeout_s is None else self.sent_at + timeout_s
        self.interval = channel.response_times.first_interval()
        self.next_at = self.sent_at + (self.interval if self.poll is None else poll_interval(0))
        channel.address_record(record)
        channel.register(record.request_id, self)

    @property
    def record(self) -> StartWorkflow | AwaitResult:
        """What is asked now."""
        record = self.poll or self.start
        assert record is not None
        return record

    def send(self) -> None:
        """Send the start, or, once its verdict is known, the long poll."""
        # Without a deadline: a start is applied whenever an owner comes, and a long poll ends after
        # a minute by the owner's clock. By ours it could be over before it was read, if clocks are
        # far apart, and nobody would ever be told.
        try:
            self.channel.transport.send(self.queue, self.record, self._delivered)
            self.asked += 1
        except BufferError:
            self.next_at = self.channel.now() + 0.1
        self._schedule()

    def _schedule(self) -> None:
        self.channel.schedule(
            self, self.next_at if self.deadline is None else min(self.next_at, self.deadline)
        )

    def _delivered(self, error: BaseException | None) -> None:
        if error is None:
            self.delivered = True
        elif not self.delivered:
            self.fail(error)

    def awaits(self, reply: Reply) -> bool:
        """Whether a reply under the id of the start or of a long poll is to it."""
        return is_of(reply, self.record.workflow_id, self.queue)

    def replied(self, reply: Reply) -> None:
        """A reply to the start or to a long poll."""
        if self.outcome.done():
            return
        if reply.kind == "AwaitResult":
            if reply.status == DEADLINE_EXCEEDED:  # of this poll alone: the run is open
                self._soon(0.0)
            elif reply.status == UNAVAILABLE:
                self._soon(0.5)
            else:
                if self.poll is not None:
                    reply.run_id = (
                        reply.run_id or self.poll.run_id
                    )  # one that nobody could apply says no run
                self._end(reply)
        elif reply.kind == "StartWorkflow" and self.poll is None:
            self._verdict(reply)

    def _verdict(self, reply: Reply) -> None:
        if reply.status == UNAVAILABLE:
            return
        now = self.channel.now()
        if self.asked == 1:
            self.channel.response_times.sample(now - self.sent_at)
        if reply.status != OK:
            self._end(reply)
            return
        # From here on the run is known to exist: what is asked again is a long poll of it, under an
        # id of its own.
        self.poll = AwaitResult(workflow_id=self.record.workflow_id, run_id=reply.run_id)
        self.channel.address_record(self.poll)
        self.channel.register(self.poll.request_id, self)
        self.deadline = None
        self._soon(poll_interval(0))

    def _soon(self, seconds: float) -> None:
        self.next_at = self.channel.now() + seconds
        self._schedule()

    def owner_changed(self, now: float) -> None:
        """A new owner knows nothing of who waits: ask again soon."""
        if now - self.sent_at > 0.5 and self.next_at > now + 0.1:
            self._soon(0.1)

    def due(self, now: float) -> None:
        """The wheel: time to ask again, or to give up."""
        if self.outcome.done():
            return
        if self.deadline is not None and now >= self.deadline:
            owner = self._owner(QUIET_S)
            self.fail(
                Unanswered(
                    self.delivered,
                    owner,
                    None,
                    self.deadline - self.sent_at,
                    self.channel.transport.trouble,
                )
            )
            return
        if now < self.next_at:
            return  # an entry from before `next_at` was moved; whoever moved it made another
        # The first look at owners also begins to watch them: a new one is asked as soon as it
        # shows.
        if self._owner() is Owner.NONE and self.delivered and not self.asleep:
            # It lies in the log and nobody reads there: asking again only makes the log longer.
            # `owner_changed` comes back to it.
            self.asleep = True
            self.next_at = now + NO_OWNER_INTERVAL_S
            self._schedule()
            return
        self.asleep = False
        if self.poll is not None:
            self.polls += 1
            self.next_at = now + poll_interval(self.polls)
        else:
            self.interval = next_interval(self.interval)
            self.next_at = now + self.interval
        if self.asked:
            self.channel.count_retry()
        try:
            self.send()
        # the first time it could be sent, so this is news (topic gone, limits lowered): the
        # caller's
        except Exception as error:
            self.fail(error)

    def _owner(self, silence_s: float = SILENCE_S) -> Owner:
        return self.channel.transport.owner(
            self.queue, self.record.workflow_id, silence_s=silence_s
        )

    def _end(self, reply: Reply) -> None:
        self.unregister()
        if not self.outcome.done():
            self.outcome.set_result(reply)

    def fail(self, error: BaseException) -> None:
        """End with an error."""
        self.unregister()
        if not self.outcome.done():
            self.outcome.set_exception(error)

    def unregister(self) -> None:
        """No more replies are wanted, nothing is asked again."""
        if self.start is not None:
            self.channel.unregister(self.start.request_id, self)
        if self.poll is not None:
            self.channel.unregister(self.poll.request_id, self)
