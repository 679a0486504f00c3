"""One request, one reply: asked again under its id until the reply comes or the deadline passes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from odradek.client.pacing import NO_OWNER_INTERVAL_S, WAIT_INTERVAL_S, next_interval
from odradek.client.transport import QUIET_S, Owner
from odradek.wire.events import Request
from odradek.wire.outcomes import UNAVAILABLE, Reply

if TYPE_CHECKING:
    from odradek.client.requests import RequestChannel

# A query to a queue whose owners are all gone fails after this, not after its whole deadline.
NO_OWNER_GRACE_S = 3.0


class Unanswered(Exception):
    """No reply came in time. Internal: `verdicts.py` turns it into what the caller gets.

    `delivered`: Kafka has the request. `owner`: what is known of its owner. `last`: the last
    reply that asked for patience. `waited_s`: how long it was waited for, which is less than the
    deadline when nobody is there to wait for. `trouble`: why no reply could come, if known.
    """

    def __init__(
        self, delivered: bool, owner: Owner, last: Reply | None, waited_s: float, trouble: str = ""
    ) -> None:
        super().__init__()
        self.trouble = trouble
        self.waited_s = waited_s
        self.delivered = delivered
        self.owner = owner
        self.last = last


class Gone(Exception):
    """The queue was deleted under a run: its start had been answered. Internal, as above."""


def is_of(reply: Reply, workflow_id: str, task_queue: str) -> bool:
    """Whether a reply comes from that workflow of that queue, or does not say where from, as
    where the request could not be read.
    """
    return reply.workflow_id in (workflow_id, "") and reply.task_queue in (task_queue, "")


class Call:
    """One request, one reply: asked again until it comes or the deadline passes."""

    __slots__ = (
        "__weakref__",
        "asked",
        "channel",
        "deadline",
        "delivered",
        "fail_early",
        "future",
        "interval",
        "kind",
        "last",
        "next_at",
        "queue",
        "record",
        "resend_at",
        "sent_at",
    )

    def __init__(
        self,
        channel: RequestChannel,
        task_queue: str,
        record: Request,
        timeout_s: float,
        fail_early: bool,
    ) -> None:
        self.channel = channel
        self.queue = task_queue
        self.record = record
        self.kind = type(record).__name__
        self.fail_early = fail_early
        self.future = channel.new_future()
        self.sent_at = channel.now()
        self.deadline = self.sent_at + timeout_s
        self.interval = channel.response_times.first_interval()
        self.next_at = self.sent_at + self.interval
        # A long poll is answered when something happens: silence is no reason to ask again, but for
        # its owner is looked as ever.
        self.resend_at = (
            self.sent_at + WAIT_INTERVAL_S
            if getattr(record, "wait_new_event", False)
            else self.next_at
        )
        self.asked = 0
        self.delivered = False
        self.last: Reply | None = None
        channel.address_record(record)
        record.deadline_ms = int((time.time() + timeout_s) * 1000)
        channel.register(record.request_id, self)

    def send(self) -> None:
        """Send, or try again shortly when the producer is full."""
        try:
            self.channel.transport.send(self.queue, self.record, self._delivered)
            self.asked += 1
        except BufferError:
            self.next_at = self.channel.now() + 0.1
        self.channel.schedule(self, min(self.next_at, self.deadline))

    def _delivered(self, error: BaseException | None) -> None:
        if error is None:
            self.delivered = True
        elif not self.delivered:
            self.fail(error)

    def is_like(self, task_queue: str, record: Request) -> bool:
        """Whether a reply to that request, which has the same id, could be one to this."""
        same = (self.queue, self.kind, self.record.workflow_id) == (
            task_queue,
            type(record).__name__,
            record.workflow_id,
        )
        return same and not self.future.done()

    def awaits(self, reply: Reply) -> bool:
        """Whether a reply under this request's id is to this one: a caller may give one id to
        several.
        """
        return reply.kind == self.kind and is_of(reply, self.record.workflow_id, self.queue)

    def replied(self, reply: Reply) -> None:
        """A reply to this request."""
        if self.future.done():
            return
        now = self.channel.now()
        if reply.status == UNAVAILABLE and now < self.deadline:
            self.last = reply
            self.resend_at = min(
                self.resend_at, self.next_at
            )  # whoever asked for patience waits for nothing
            return
        if self.asked == 1:
            self.channel.response_times.sample(now - self.sent_at)
        self.channel.unregister(self.record.request_id, self)
        self.future.set_result(reply)

    def owner_changed(self, now: float) -> None:
        """Ask again soon, if it was asked of an owner that may be gone."""
        if now - self.sent_at > 0.5 and max(self.next_at, self.resend_at) > now + 0.1:
            self.next_at = self.resend_at = now + 0.1
            self.channel.schedule(self, self.next_at)

    def due(self, now: float) -> None:
        """The wheel: time to ask again or to give up."""
        if self.future.done():
            return
        if now >= self.deadline:
            # One who has neither answered nor said anything of himself for so long is dead, though
            # `members` may not count him so yet.
            owner = self.channel.transport.owner(
                self.queue, self.record.workflow_id, silence_s=QUIET_S
            )
            self.fail(
                Unanswered(
                    self.delivered,
                    owner,
                    self.last,
                    self.deadline - self.sent_at,
                    self.channel.transport.trouble,
                )
            )
            return
        if now < self.next_at:
            return  # an entry from before `next_at` was moved; whoever moved it made another
        owner = self.channel.transport.owner(self.queue, self.record.workflow_id)
        if owner is Owner.NONE and self.fail_early and now - self.sent_at >= NO_OWNER_GRACE_S:
            self.fail(
                Unanswered(
                    self.delivered,
                    owner,
                    self.last,
                    now - self.sent_at,
                    self.channel.transport.trouble,
                )
            )
            return
        if owner is Owner.NONE and self.delivered and not self.fail_early:
            # It lies in the log and nobody reads there: asking again only makes the log longer.
            # `owner_changed` comes back to it.
            self.next_at = now + NO_OWNER_INTERVAL_S
            self.channel.schedule(self, min(self.next_at, self.deadline))
            return
        self.interval = next_interval(self.interval)
        self.next_at = now + (
            min(self.interval, NO_OWNER_GRACE_S) if self.fail_early else self.interval
        )
        if now < self.resend_at and self.asked:
            self.next_at = min(self.next_at, self.resend_at)
            self.channel.schedule(self, min(self.next_at, self.deadline))
            return
        if getattr(self.record, "wait_new_event", False):
            self.resend_at = now + WAIT_INTERVAL_S
        if self.asked:
            self.channel.count_retry()
        try:
            self.send()
        # the first time it could be sent, so this is news (topic gone, limits lowered): the
        # caller's
        except Exception as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """End with an error."""
        self.channel.unregister(self.record.request_id, self)
        if not self.future.done():
            self.future.set_exception(error)
