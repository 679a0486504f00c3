"""Requests and their replies: what the client asks of the owner of a workflow id, over any transport.

A request gets an id, is matched with its reply, and is sent again under that id when no reply comes
(replies are at most once, owners die), until its deadline. A start that awaits its result turns into a
long poll once it is answered, and follows the run over restarts of its owner. What an unanswered
request means to the user is decided in `responses.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial

from odradek.client.errors import ClientMisuseError, Unanswered, never_used
from odradek.client.transport import QUIET_S, Owner, Transport
from odradek.exceptions import TopicMissingError
from odradek.wire.events import AwaitResult, Event, Request, StartWorkflow
from odradek.wire.outcomes import DEADLINE_EXCEEDED, OK, UNAVAILABLE, Reply

# A request is sent again after four response times, within these bounds, then after twice as long.
FIRST_MIN_S = 1.5
FIRST_MAX_S = 8.0
INTERVAL_MAX_S = 10.0
# A long poll is answered when something happens: silence says little.
POLL_FIRST_S = 3.0
# While no owner lives, the log is not filled with what lies there already. A new owner is asked at
# once.
NO_OWNER_INTERVAL_S = 30.0
# A query to a queue without a living owner fails after this, not after its whole deadline.
NO_OWNER_GRACE_S = 3.0
FULL_PAUSE_S = 0.1  # the producer's queue is full
MISSING_PAUSE_S = 0.1  # a topic that was just made shows a moment later
# How many workflow ids a client remembers the queue of.
REMEMBERED_QUEUES = 10_000

_request_id: ContextVar[str] = ContextVar("odradek_request_id", default="")


@contextlib.contextmanager
def same_request(request_id: str) -> Iterator[None]:
    """Calls in this `with` that change a run carry this request id: its owner applies what has one
    id once, however often it is asked. One kind of request to one run; not empty.
    """
    token = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(token)


def request_id_of_caller() -> str:
    """The id that a surrounding `same_request` names, or ""."""
    return _request_id.get()


@dataclass(frozen=True, slots=True)
class RequestStatistics:
    """Requests waiting, begun so far, retried, replies nobody waited for, response time in ms."""

    waiting: int
    requests: int
    retried: int
    unmatched_replies: int
    response_ms: float


class PendingRequest:
    """One request that waits for its reply.

    A long poll (`AwaitResult`) has no deadline of its own. A start with `await_result` becomes one
    as soon as its owner has started the run.
    """

    __slots__ = (
        "_channel",
        "_fail_early",
        "_ids",
        "_interval",
        "_last",
        "_next_at",
        "_sent",
        "_sent_at",
        "_timeout_s",
        "_timer",
        "deadline",
        "delivered",
        "future",
        "queue",
        "record",
    )

    def __init__(
        self,
        channel: RequestChannel,
        queue: str,
        record: Request,
        timeout_s: float | None,
        *,
        fail_early: bool = False,
    ) -> None:
        self.queue = queue
        self.record = record
        self.future: asyncio.Future[Reply] = channel.loop.create_future()
        self.delivered = False
        self._channel = channel
        self._fail_early = fail_early
        self._sent = 0
        self._sent_at = channel.loop.time()
        self._timeout_s = timeout_s
        self.deadline = None if timeout_s is None else self._sent_at + timeout_s
        self._interval = POLL_FIRST_S if _is_poll(record) else channel.first_interval_s()
        self._last: Reply | None = None
        self._next_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._ids: list[str] = []
        self._register()

    def _register(self) -> None:
        self._channel.register(self.record, self)
        self._ids.append(self.record.request_id)

    def send(self) -> None:
        """Send, now or when the producer's queue has room, and set the time of the next attempt."""
        try:
            self._channel.transport.send(self.queue, self.record, self._on_delivery)
        except BufferError:
            self._wake(FULL_PAUSE_S)
            return
        self._sent += 1
        most = NO_OWNER_GRACE_S if self._fail_early else INTERVAL_MAX_S
        self._wake(min(self._interval, most))
        self._interval = min(2 * self._interval, INTERVAL_MAX_S)

    def _wake(self, after_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next_at = self._channel.loop.time() + after_s
        at = self._next_at if self.deadline is None else min(self._next_at, self.deadline)
        self._timer = self._channel.loop.call_at(at, self._due)

    def _on_delivery(self, error: BaseException | None) -> None:
        if error is None:
            self.delivered = True
        elif not self.delivered:
            self.fail(error)

    def _due(self) -> None:
        """Retry, or give up."""
        loop, transport = self._channel.loop, self._channel.transport
        now = loop.time() + 0.001  # timers fire up to the clock's resolution early
        if self.deadline is not None and now >= self.deadline:
            # An owner that has neither answered nor published for so long is dead, though
            # `members` may not count it so yet.
            return self._unanswered(
                transport.owner(self.queue, self.record.workflow_id, silence_s=QUIET_S)
            )
        owner = transport.owner(self.queue, self.record.workflow_id)
        if owner is Owner.NONE and self._fail_early and now - self._sent_at >= NO_OWNER_GRACE_S:
            return self._unanswered(owner)
        if owner is Owner.NONE and self.delivered and not self._fail_early:
            return self._wake(NO_OWNER_INTERVAL_S)  # `owner_changed` comes back to it
        self._channel.retried += self._sent > 0
        try:
            self.send()
        except Exception as error:  # news, as it could be sent before: the caller's
            self.fail(error)
        return None

    def owner_changed(self) -> None:
        """Retry soon, if the request was sent to an owner that may be gone."""
        now = self._channel.loop.time()
        if now - self._sent_at > 0.5 and self._next_at > now + 0.1:
            self._wake(0.1)

    def awaits(self, reply: Reply) -> bool:
        """Whether a reply under this request's id is to it: a caller may give one id to several.
        Replies to what could not be read do not say where they come from.
        """
        kind = type(self.record).__name__
        return (
            reply.workflow_id in (self.record.workflow_id, "")
            and reply.task_queue in (self.queue, "")
            and (reply.kind == kind or (reply.kind == "AwaitResult" and kind == "StartWorkflow"))
        )

    def replied(self, reply: Reply) -> None:
        """A reply to this request."""
        if self.future.done():
            return
        if reply.kind == "AwaitResult":
            if reply.status in (DEADLINE_EXCEEDED, UNAVAILABLE):  # of this poll alone
                self._wake(0.0 if reply.status == DEADLINE_EXCEEDED else 0.5)
                return
            if isinstance(self.record, AwaitResult):
                reply.run_id = reply.run_id or self.record.run_id
        elif reply.status == UNAVAILABLE:
            self._last = reply  # its retry comes by itself
            return
        elif self._sent == 1:
            self._channel.note_response(self._channel.loop.time() - self._sent_at)
        record = self.record
        if reply.kind == "StartWorkflow" and reply.status == OK and self.follows:
            # The run exists: what is retried from here on is a long poll of it, under its own id.
            self.record = AwaitResult(workflow_id=record.workflow_id, run_id=reply.run_id)
            self._register()
            self.deadline, self._interval = None, POLL_FIRST_S
            self._wake(POLL_FIRST_S)
            return
        self.close()
        self.future.set_result(reply)

    @property
    def follows(self) -> bool:
        """Whether this is a start that awaits its result."""
        return isinstance(self.record, StartWorkflow) and self.record.await_result

    def _unanswered(self, owner: Owner) -> None:
        waited_s = self._channel.loop.time() - self._sent_at
        if self._timeout_s is not None:
            waited_s = min(waited_s, self._timeout_s)
        trouble = self._channel.transport.trouble
        self.fail(Unanswered(self.delivered, owner, self._last, waited_s, trouble))

    def fail(self, error: BaseException) -> None:
        """End with an error."""
        self.close()
        if not self.future.done():
            self.future.set_exception(error)

    def close(self) -> None:
        """No more replies are wanted, nothing is sent again."""
        if self._timer is not None:
            self._timer.cancel()
        for request_id in self._ids:
            self._channel.unregister(request_id, self)
        self._ids = []


def _is_poll(record: Request) -> bool:
    return isinstance(record, AwaitResult) or getattr(record, "wait_new_event", False)


class RequestChannel:
    """The requests of one client connection in one namespace. Belongs to one event loop and one
    process.
    """

    def __init__(self, transport: Transport, *, identity: str) -> None:
        self.transport = transport
        self.identity = identity
        self.retried = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self._waiting: dict[str, list[PendingRequest]] = {}
        self._opening: asyncio.Task[None] | None = None
        self._closed = False
        self._prefix = uuid.uuid4().hex[:20]
        self._count = 0
        self._unmatched = 0
        self._response_s = 0.0
        self._random = random.Random(int.from_bytes(os.urandom(32), "big"))
        self._queues: OrderedDict[str, str] = OrderedDict()

    # --- life

    async def ready(self) -> None:
        """Open the transport with the first use; afterwards only check loop and process. After a
        failure the next use tries again.
        """
        loop = asyncio.get_running_loop()
        self._check_use(loop)
        if self._opening is None:
            self._loop = loop
            self._opening = loop.create_task(
                self.transport.open(loop, self._on_replies, self._on_owners)
            )
        elif self._opening.done() and not self._opening.cancelled():
            return
        try:
            await asyncio.shield(self._opening)
        except asyncio.CancelledError:
            raise
        except BaseException:
            self._opening = None
            raise

    def _check_use(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._closed:
            raise ClientMisuseError("this client was closed; connect a new one")
        if os.getpid() != self._pid:
            raise ClientMisuseError(
                f"this client was connected in process {self._pid} and is used in its fork"
                f" {os.getpid()}: neither its threads nor its connections live here. Connect a"
                " client in the new process, after the fork"
            )
        if self._loop is not None and loop is not self._loop:
            state = "which is closed" if self._loop.is_closed() else "and is used on another"
            raise ClientMisuseError(
                f"this client was connected on one event loop, {state}. A client belongs to the"
                " loop that it was connected on: connect one a loop (with asyncio.run, inside the"
                " coroutine that runs)"
            )

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that this channel belongs to, once it is ready."""
        assert self._loop is not None
        return self._loop

    def close(self) -> None:
        """Stop; idempotent. Whoever still waits gets `ClientMisuseError`."""
        if self._closed:
            return
        self._closed = True
        if os.getpid() != self._pid:
            return  # the parent's to close
        for request in self._pending():
            request.fail(
                ClientMisuseError("this client was closed while a call waited for its answer")
            )
        self.transport.close()

    def statistics(self) -> RequestStatistics:
        """Where the requests of this channel stand."""
        return RequestStatistics(
            waiting=sum(map(len, self._waiting.values())),
            requests=self._count,
            retried=self.retried,
            unmatched_replies=self._unmatched,
            response_ms=self._response_s * 1000,
        )

    # --- requests

    def new_request_id(self) -> str:
        """Unique for ever: a random part a client, then a number."""
        self._count += 1
        return f"{self._prefix}-{self._count:x}"

    def new_run_id(self) -> str:
        """A UUIDv7 (RFC 9562): run ids sort by the time of their start. Random bits come from a
        generator seeded once: the system's is a call into the kernel for each.
        """
        bits = (int(time.time() * 1000) << 80) | self._random.getrandbits(80)
        bits = bits & ~(0xF000 << 64) | (0x7000 << 64)
        return str(uuid.UUID(int=bits & ~(0b11 << 62) | (0b10 << 62)))

    async def prepare(self, task_queue: str, *, create: bool) -> None:
        """See that requests to `task_queue` can be sent; with `create` its topics are made. Raises
        `TopicMissingError`, `BrokerUnreachableError`.
        """
        await self.ready()
        if not self.transport.prepared(task_queue):
            await self.transport.prepare(task_queue, create=create)

    async def ask(
        self,
        task_queue: str,
        record: Request,
        timeout_s: float,
        *,
        fail_early: bool = False,
        create: bool = False,
    ) -> Reply:
        """Send a request and wait for its reply; again where the queue was deleted since it was
        prepared.

        fail_early: the request is worth nothing without an owner (a query). Raises `Unanswered`
        at the deadline, and what `prepare` and the transport's `send` raise.
        """
        record.deadline_ms = int((time.time() + timeout_s) * 1000)
        deadline_s = time.monotonic() + timeout_s
        while True:
            await self.prepare(task_queue, create=create)
            left_s = deadline_s - time.monotonic()
            try:
                request = PendingRequest(self, task_queue, record, left_s, fail_early=fail_early)
                return await self._reply_to(request)
            except TopicMissingError:
                if left_s <= MISSING_PAUSE_S:
                    raise
            await asyncio.sleep(MISSING_PAUSE_S)

    async def ask_result(
        self,
        task_queue: str,
        record: StartWorkflow | AwaitResult,
        timeout_s: float | None = None,
        *,
        create: bool = False,
    ) -> Reply:
        """Send a start that also awaits its outcome, or a long poll, and wait until the run has
        closed. Gives the AwaitResult reply, or the start's if that is a rejection.

        Neither has a deadline on the wire: an owner whose clock is far off would not read it.
        timeout_s: for the start's verdict, or for the whole of a long poll; `Unanswered` when it
        passes. None: no end, over all restarts of owners. Raises NOT_FOUND if the queue is deleted
        after the start was answered.
        """
        asked: Request = record
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            try:
                await self.prepare(task_queue, create=create)
            except TopicMissingError as error:
                if asked is record:
                    raise
                raise never_used(record.workflow_id, task_queue) from error
            left_s = None if deadline_s is None else deadline_s - time.monotonic()
            request = PendingRequest(self, task_queue, asked, left_s)
            try:
                return await self._reply_to(request)
            except TopicMissingError:
                if request.record is not asked:  # the start was answered: a long poll is left
                    asked, deadline_s, create = request.record, None, False
                elif left_s is not None and left_s <= MISSING_PAUSE_S:
                    raise
            await asyncio.sleep(MISSING_PAUSE_S)

    async def _reply_to(self, request: PendingRequest) -> Reply:
        try:
            request.send()
            return await request.future
        finally:
            request.close()
            request.future.cancel()  # no more than a mark: it is done, or nobody waits for it

    async def deliver(self, task_queue: str, record: Event) -> None:
        """Send what has no reply of its own, and wait until Kafka has it. Raises what `prepare` and
        `send` raise, and `BrokerUnreachableError`.
        """
        await self.prepare(task_queue, create=False)
        durable: asyncio.Future[None] = self.loop.create_future()
        self.transport.send(task_queue, record, partial(_settle, durable))
        await durable

    # --- which queue an id belongs to

    def remember_queue(self, workflow_id: str, task_queue: str) -> None:
        """This client used that queue for that id."""
        self._queues[workflow_id] = task_queue
        if len(self._queues) > REMEMBERED_QUEUES:
            self._queues.popitem(last=False)

    def remembered_queue(self, workflow_id: str) -> str | None:
        """The queue that this client used for that id, if it still knows."""
        return self._queues.get(workflow_id)

    def forget_queue(self, workflow_id: str) -> None:
        """That id was not found in the queue remembered for it."""
        self._queues.pop(workflow_id, None)

    # --- replies (on the loop)

    def _on_replies(self, replies: Sequence[Reply]) -> None:
        for reply in replies:
            matching = [
                request
                for request in self._waiting.get(reply.request_id, ())
                if request.awaits(reply)
            ]
            self._unmatched += not matching
            for request in matching:
                request.replied(reply)

    def _on_owners(self, queues: set[str] | None) -> None:
        """Owners changed: what waits for them is retried soon. None: replies may have been lost."""
        for request in self._pending():
            if queues is None or request.queue in queues:
                request.owner_changed()

    def _pending(self) -> set[PendingRequest]:
        return {request for requests in self._waiting.values() for request in requests}

    # --- for PendingRequest

    def register(self, record: Request, request: PendingRequest) -> None:
        """Fill in who asks; replies to the record go to `request`."""
        record.request_id = record.request_id or self.new_request_id()
        record.reply_to = self.transport.client_id
        record.identity = record.identity or self.identity
        self._waiting.setdefault(record.request_id, []).append(request)

    def unregister(self, request_id: str, request: PendingRequest) -> None:
        """It wants no more replies."""
        requests = self._waiting.get(request_id, [])
        if request in requests:
            requests.remove(request)
        if not requests:
            self._waiting.pop(request_id, None)

    def first_interval_s(self) -> float:
        """Seconds to wait for a reply before the request is sent again."""
        return min(max(4 * self._response_s, FIRST_MIN_S), FIRST_MAX_S)

    def note_response(self, seconds: float) -> None:
        """A request that was sent once was answered after `seconds` (RFC 6298's smoothing)."""
        self._response_s += (seconds - self._response_s) / 8 if self._response_s else seconds


def _settle(durable: asyncio.Future[None], error: BaseException | None) -> None:
    """On any thread."""

    def settle() -> None:
        if not durable.done():
            durable.set_result(None) if error is None else durable.set_exception(error)

    with contextlib.suppress(RuntimeError):  # the loop has just been closed
        durable.get_loop().call_soon_threadsafe(settle)
