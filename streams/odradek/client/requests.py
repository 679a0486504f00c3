"""Requests and their replies: what the client asks of the owner of a workflow id, over any transport.

Duties: give each request its id, match replies, ask again under the same id when none comes (replies are at most once, owners die), end
a request at its deadline, and follow a long poll over restarts of its owner. Two kinds: `Call` (one request, one reply) and
`ResultWait` (the outcome of a run, by `StartWorkflow.await_result` or `AwaitResult`).

Must never: decide what an unanswered request means to the user (`impl.py` does), block the loop, or keep a thread or task a request.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
import uuid
from collections import OrderedDict
from collections.abc import Sequence

from odradek.client.errors import ClientMisuseError
from odradek.client.pacing import INTERVAL_MAX_S, ResponseTimes, next_interval, poll_interval
from odradek.client.transport import Owner, Transport
from odradek.client.wheel import TimerWheel
from odradek.wire.events import AwaitResult, Request, StartWorkflow
from odradek.wire.outcomes import DEADLINE_EXCEEDED, OK, RESOURCE_EXHAUSTED, UNAVAILABLE, Reply

logger = logging.getLogger(__name__)

# A query to a queue whose owners are all gone fails after this, not after its whole deadline.
NO_OWNER_GRACE_S = 3.0
# Deadline of one long poll; it is renewed with each time it is asked.
POLL_DEADLINE_S = 60.0
# How many workflow ids a client remembers the queue of.
REMEMBERED_QUEUES = 10_000

_TRY_AGAIN = (UNAVAILABLE, RESOURCE_EXHAUSTED)


class Unanswered(Exception):
    """No reply came in time. Internal: `impl.py` turns it into what the caller gets.

    `delivered`: Kafka has the request. `owner`: what is known of its owner. `last`: the last reply that asked for patience.
    """

    def __init__(self, delivered: bool, owner: Owner, last: Reply | None) -> None:
        super().__init__()
        self.delivered = delivered
        self.owner = owner
        self.last = last


class RequestChannel:
    """The requests of one client connection in one namespace. Belongs to one event loop and one process."""

    def __init__(self, transport: Transport, *, identity: str) -> None:
        self.transport = transport
        self.identity = identity
        self.response_times = ResponseTimes()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self._wheel: TimerWheel | None = None
        self._waiting: dict[str, Call | ResultWait] = {}
        self._opening: asyncio.Task[None] | None = None
        self._open = False
        self._closed = False
        self._prefix = uuid.uuid4().hex[:20]
        self._count = 0
        self._queues: OrderedDict[str, str] = OrderedDict()
        self.asked_again = 0
        self.unmatched = 0

    # --- life

    async def ready(self) -> None:
        """Open the transport with the first use; afterwards only check that this is the right loop and process."""
        loop = asyncio.get_running_loop()
        if self._open and loop is self._loop and os.getpid() == self._pid and not self._closed:
            return
        self._check_use(loop)
        if self._opening is None:
            self._loop = loop
            self._wheel = TimerWheel(loop)
            self._opening = loop.create_task(self.transport.open(loop, self._on_replies, self._on_owners))
        try:
            await asyncio.shield(self._opening)
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._opening = None  # the next use tries again
            raise
        self._open = True

    def _check_use(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._closed:
            raise ClientMisuseError("this client was closed; connect a new one")
        if os.getpid() != self._pid:
            raise ClientMisuseError(
                f"this client was connected in process {self._pid} and is used in its fork {os.getpid()}: neither its threads nor its "
                f"connections live here. Connect a client in the new process, after the fork"
            )
        if self._loop is not None and loop is not self._loop:
            state = "which is closed" if self._loop.is_closed() else "and is used on another"
            raise ClientMisuseError(
                f"this client was connected on one event loop, {state}. A client belongs to the loop that it was connected on: "
                f"connect one a loop (with asyncio.run, inside the coroutine that runs)"
            )

    def close(self) -> None:
        """Stop; idempotent. Whoever still waits gets `ClientMisuseError`."""
        if self._closed:
            return
        self._closed = True
        if os.getpid() != self._pid:
            return  # the parent's to close
        if self._wheel is not None:
            self._wheel.close()
        waiting, self._waiting = set(self._waiting.values()), {}
        for call in waiting:
            call.fail(ClientMisuseError("this client was closed while a call waited for its answer"))
        self.transport.close()

    def statistics(self) -> dict[str, float]:
        """Requests waiting, sent so far, asked again, replies nobody waited for, smoothed response time in ms."""
        return {
            "waiting": len(self._waiting),
            "requests": self._count,
            "asked_again": self.asked_again,
            "unmatched_replies": self.unmatched,
            "response_ms": self.response_times.smoothed * 1000,
        }

    # --- asking

    def new_request_id(self) -> str:
        """Unique for ever: a random part a client, then a number."""
        self._count += 1
        return f"{self._prefix}-{self._count:x}"

    async def prepare(self, task_queue: str, *, create: bool) -> None:
        """See that requests to this queue can be sent."""
        if not (self._open and asyncio.get_running_loop() is self._loop and os.getpid() == self._pid and not self._closed):
            await self.ready()
        if not self.transport.prepared(task_queue):
            await self.transport.prepare(task_queue, create=create)

    async def ask(self, task_queue: str, record: Request, timeout_s: float, *, fail_early: bool = False) -> Reply:
        """Send a request and wait for its reply. `prepare` comes first.

        fail_early: the request is worth nothing without an owner (a query). Raises `Unanswered` at the deadline, and what `send` raises.
        """
        call = Call(self, task_queue, record, timeout_s, fail_early)
        try:
            call.send()
            return await call.future
        finally:
            call.future.cancel()  # no more than a mark: it is done, or nobody waits for it
            self._waiting.pop(record.request_id, None)

    async def ask_result(self, task_queue: str, record: StartWorkflow | AwaitResult, timeout_s: float | None = None) -> Reply:
        """Send a start that also awaits its outcome, or a long poll, and wait until the run has closed. `prepare` comes first.

        Gives the AwaitResult reply, or the start's if that is a refusal. timeout_s: for the start's verdict, or for the whole of a long
        poll; `Unanswered` when it passes. None: no end to it, over all restarts of owners.
        """
        wait = ResultWait(self, task_queue, record, timeout_s)
        try:
            wait.send()
            return await wait.outcome
        finally:
            wait.outcome.cancel()  # no more than a mark: it is done, or nobody waits for it
            wait.unregister()

    # --- which queue an id belongs to

    def remember_queue(self, workflow_id: str, task_queue: str) -> None:
        """This client used that queue for that id."""
        queues = self._queues
        queues[workflow_id] = task_queue
        if len(queues) > REMEMBERED_QUEUES:
            queues.popitem(last=False)

    def remembered_queue(self, workflow_id: str) -> str | None:
        """The queue that this client used for that id, if it still knows."""
        return self._queues.get(workflow_id)

    def forget_queue(self, workflow_id: str) -> None:
        """That id was not found in the queue remembered for it."""
        self._queues.pop(workflow_id, None)

    # --- replies (loop thread)

    def _on_replies(self, replies: Sequence[Reply]) -> None:
        waiting = self._waiting
        for reply in replies:
            call = waiting.get(reply.request_id)
            if call is None:
                self.unmatched += 1
            else:
                call.replied(reply)

    def _on_owners(self, queues: set[str] | None) -> None:
        """Owners changed: what waits for a reply that its owner may have taken with it is asked again soon. None: all of it."""
        now = self.now()
        for call in set(self._waiting.values()):
            if queues is None or call.queue in queues:
                call.owner_changed(now)

    # --- for Call and ResultWait

    def now(self) -> float:
        """The loop's clock, seconds."""
        assert self._loop is not None
        return self._loop.time()

    def new_future(self) -> asyncio.Future[Reply]:
        """A future of the loop that this channel belongs to."""
        assert self._loop is not None
        return self._loop.create_future()

    def schedule(self, call: Call | ResultWait, at: float) -> None:
        """Have `call.due` called at `at`."""
        assert self._wheel is not None
        self._wheel.schedule(call, at)

    def register(self, request_id: str, call: Call | ResultWait) -> None:
        """Replies to that request go to `call`."""
        self._waiting[request_id] = call

    def unregister(self, request_id: str) -> None:
        """No more replies wanted."""
        self._waiting.pop(request_id, None)

    def address_record(self, record: Request) -> None:
        """Fill in who asks."""
        record.request_id = record.request_id or self.new_request_id()
        record.reply_to = self.transport.client_id
        record.identity = record.identity or self.identity


class Call:
    """One request, one reply: asked again until it comes or the deadline passes."""

    __slots__ = (
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
        "sent_at",
    )

    def __init__(self, channel: RequestChannel, task_queue: str, record: Request, timeout_s: float, fail_early: bool) -> None:
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

    def replied(self, reply: Reply) -> None:
        """A reply to this request."""
        if reply.kind != self.kind or self.future.done():
            return
        now = self.channel.now()
        if reply.status in _TRY_AGAIN and now < self.deadline:
            self.last = reply
            return
        if self.asked == 1:
            self.channel.response_times.sample(now - self.sent_at)
        self.channel.unregister(self.record.request_id)
        self.future.set_result(reply)

    def owner_changed(self, now: float) -> None:
        """Ask again soon, if it was asked of an owner that may be gone."""
        if now - self.sent_at > 0.5 and self.next_at > now + 0.1:
            self.next_at = now + 0.1
            self.channel.schedule(self, self.next_at)

    def due(self, now: float) -> None:
        """The wheel: time to ask again or to give up."""
        if self.future.done():
            return
        if now >= self.deadline:
            self.fail(Unanswered(self.delivered, self.channel.transport.owner(self.queue, self.record.workflow_id), self.last))
            return
        if now < self.next_at:
            return  # an entry from before `next_at` was moved; whoever moved it made another
        owner = self.channel.transport.owner(self.queue, self.record.workflow_id)
        if owner is Owner.NONE and self.fail_early and now - self.sent_at >= NO_OWNER_GRACE_S:
            self.fail(Unanswered(self.delivered, owner, self.last))
            return
        if owner is Owner.NONE and self.delivered and not self.fail_early:
            # It lies in the log and nobody reads there: asking again only makes the log longer. `owner_changed` comes back to it.
            self.next_at = now + INTERVAL_MAX_S
            self.channel.schedule(self, min(self.next_at, self.deadline))
            return
        self.interval = next_interval(self.interval)
        self.next_at = now + (min(self.interval, NO_OWNER_GRACE_S) if self.fail_early else self.interval)
        if self.asked:
            self.channel.asked_again += 1
        try:
            self.send()
        except Exception as error:  # the first time it could be sent, so this is news (topic gone, limits lowered): the caller's
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """End with an error."""
        self.channel.unregister(self.record.request_id)
        if not self.future.done():
            self.future.set_exception(error)


class ResultWait:
    """The outcome of a run: a start that awaits its result, then long polls, until the run closes.

    While the start's verdict is unknown the start itself is asked again (the same request id gets the same verdict); afterwards a long
    poll is.
    """

    __slots__ = (
        "asked",
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

    def __init__(self, channel: RequestChannel, task_queue: str, record: StartWorkflow | AwaitResult, timeout_s: float | None) -> None:
        self.channel = channel
        self.queue = task_queue
        self.start = record if isinstance(record, StartWorkflow) else None
        self.poll = record if isinstance(record, AwaitResult) else None
        self.outcome = channel.new_future()
        self.delivered = False
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
        record = self.record
        # A long poll is renewed each time; a start has no deadline: it is applied whenever an owner comes.
        record.deadline_ms = int((time.time() + POLL_DEADLINE_S) * 1000) if record is self.poll else 0
        try:
            self.channel.transport.send(self.queue, record, self._delivered)
            self.asked += 1
        except BufferError:
            self.next_at = self.channel.now() + 0.1
        self._schedule()

    def _schedule(self) -> None:
        self.channel.schedule(self, self.next_at if self.deadline is None else min(self.next_at, self.deadline))

    def _delivered(self, error: BaseException | None) -> None:
        if error is None:
            self.delivered = True
        elif not self.delivered:
            self.fail(error)

    def replied(self, reply: Reply) -> None:
        """A reply to the start or to a long poll."""
        if self.outcome.done():
            return
        if reply.kind == "AwaitResult":
            if reply.status == DEADLINE_EXCEEDED:  # of this poll alone: the run is open
                self._soon(0.0)
            elif reply.status in _TRY_AGAIN:
                self._soon(0.5)
            else:
                self._end(reply)
        elif reply.kind == "StartWorkflow" and self.poll is None:
            self._verdict(reply)

    def _verdict(self, reply: Reply) -> None:
        if reply.status in _TRY_AGAIN:
            return
        now = self.channel.now()
        if self.asked == 1:
            self.channel.response_times.sample(now - self.sent_at)
        if reply.status != OK:
            self._end(reply)
            return
        # From here on the run is known to exist: what is asked again is a long poll of it, under an id of its own.
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
            self.fail(Unanswered(self.delivered, self._owner(), None))
            return
        if now < self.next_at:
            return  # an entry from before `next_at` was moved; whoever moved it made another
        if self.poll is not None:
            self.polls += 1
            self._owner()  # begins to watch owners: a new one is asked as soon as it shows
            self.next_at = now + poll_interval(self.polls)
        elif self.delivered and self._owner() is Owner.NONE:
            # It lies in the log and nobody reads there: asking again only makes the log longer. `owner_changed` comes back to it.
            self.next_at = now + INTERVAL_MAX_S
            self._schedule()
            return
        else:
            self.interval = next_interval(self.interval)
            self.next_at = now + self.interval
        if self.asked:
            self.channel.asked_again += 1
        try:
            self.send()
        except Exception as error:  # the first time it could be sent, so this is news (topic gone, limits lowered): the caller's
            self.fail(error)

    def _owner(self) -> Owner:
        return self.channel.transport.owner(self.queue, self.record.workflow_id)

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
            self.channel.unregister(self.start.request_id)
        if self.poll is not None:
            self.channel.unregister(self.poll.request_id)
