"""Requests and their replies: what the client asks of the owner of a workflow id, over any transport.

Duties: give each request its id, match replies, ask again under the same id when none comes
(replies are at most once, owners die), end a request at its deadline, and follow a long poll
over restarts of its owner. Two kinds: `Call` (one request, one reply) and `ResultWait` (the
outcome of a run, by `StartWorkflow.await_result` or `AwaitResult`).

Must never: decide what an unanswered request means to the user (`impl.py` does), block the loop,
or keep a thread or task a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import uuid
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from odradek.client.abandoned import watch
from odradek.client.call import Call, Gone, Unanswered
from odradek.client.errors import ClientMisuseError
from odradek.client.pacing import ResponseTimes
from odradek.client.result_wait import ResultWait
from odradek.client.transport import Transport
from odradek.client.wheel import TimerWheel
from odradek.exceptions import TopicMissingError
from odradek.telemetry import metrics
from odradek.weak_method import weak_method
from odradek.wire.events import AwaitResult, Event, Request, StartWorkflow
from odradek.wire.outcomes import Reply

logger = logging.getLogger(__name__)

# How many workflow ids a client remembers the queue of.
REMEMBERED_QUEUES = 10_000
# Between two attempts at a queue that was deleted.
GONE_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class RequestStatistics:
    """Requests waiting, begun so far, asked again, replies nobody waited for, smoothed response
    time in ms.
    """

    waiting: int
    requests: int
    asked_again: int
    unmatched_replies: int
    response_ms: float


@dataclass(slots=True)
class _Terms:
    """On which a request is asked again where its queue was deleted: within which time in all,
    and whether that makes the queue.
    """

    timeout_s: float | None
    create: bool


class RequestChannel:
    """The requests of one client connection in one namespace. Belongs to one event loop and one
    process.

    Its transport's threads do not hold it: once no client, handle or call does, the transport is
    closed.
    """

    def __init__(self, transport: Transport, *, identity: str) -> None:
        self.transport = transport
        self.identity = identity
        self.response_times = ResponseTimes()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = os.getpid()
        self._wheel: TimerWheel | None = None
        self._waiting: dict[
            str, list[Call | ResultWait]
        ] = {}  # by request id; a caller may give one id to several requests
        self._opening: asyncio.Task[None] | None = None
        self._watched: weakref.finalize[Any, Any] | None = None
        self._open = False
        self._closed = False
        self._prefix = uuid.uuid4().hex[:20]
        self._count = 0
        self._random = random.Random(int.from_bytes(os.urandom(32), "big"))
        self._queues: OrderedDict[str, str] = OrderedDict()
        self.asked_again = 0
        self.unmatched = 0

    # --- life

    async def ready(self) -> None:
        """Open the transport with the first use; afterwards only check that this is the right
        loop and process.
        """
        loop = asyncio.get_running_loop()
        if self._open and loop is self._loop and os.getpid() == self._pid and not self._closed:
            return
        self._check_use(loop)
        if self._opening is None:
            self._loop = loop
            self._wheel = TimerWheel(loop)
            self._watched = self._watched or watch(self, self.transport)
            self._opening = loop.create_task(
                self.transport.open(
                    loop, weak_method(self._on_replies), weak_method(self._on_owners)
                )
            )
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

    def close(self) -> None:
        """Stop; idempotent. Whoever still waits gets `ClientMisuseError`."""
        if self._closed:
            return
        self._closed = True
        if os.getpid() != self._pid:
            return  # the parent's to close
        if self._watched is not None:
            self._watched.detach()
        if self._wheel is not None:
            self._wheel.close()
        waiting, self._waiting = self._calls(), {}
        for call in waiting:
            call.fail(
                ClientMisuseError("this client was closed while a call waited for its answer")
            )
        self.transport.close()

    def statistics(self) -> RequestStatistics:
        """Where the requests of this channel stand."""
        return RequestStatistics(
            waiting=sum(map(len, self._waiting.values())),
            requests=self._count,
            asked_again=self.asked_again,
            unmatched_replies=self.unmatched,
            response_ms=self.response_times.smoothed * 1000,
        )

    def count_retry(self) -> None:
        """A request was sent once more."""
        self.asked_again += 1
        metrics.CLIENT_RETRIES.inc()

    # --- asking

    def new_request_id(self) -> str:
        """Unique for ever: a random part a client, then a number."""
        self._count += 1
        metrics.CLIENT_REQUESTS.inc()
        return f"{self._prefix}-{self._count:x}"

    def new_run_id(self) -> str:
        """A random UUID. From a generator seeded once: the system's is a call into the kernel
        for each.
        """
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    async def prepare(self, task_queue: str, *, create: bool) -> None:
        """See that requests to this queue can be sent."""
        if not (
            self._open
            and asyncio.get_running_loop() is self._loop
            and os.getpid() == self._pid
            and not self._closed
        ):
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
        """Send a request and wait for its reply. `prepare` comes first, and again where the
        queue was deleted since then, with `create`.

        fail_early: the request is worth nothing without an owner (a query). Raises `Unanswered`
        at the deadline, and what `prepare` and `send` raise.
        """

        async def once(left_s: float | None) -> Reply:
            assert left_s is not None
            return await self._ask(task_queue, record, left_s, fail_early)

        return await self._again(task_queue, once, _Terms(timeout_s, create))

    async def _again(
        self, task_queue: str, once: Callable[[float | None], Awaitable[Reply]], terms: _Terms
    ) -> Reply:
        """The reply to what `once` asks, which is told how much time is left; again where the
        queue was deleted since it was prepared.
        """
        began, left_s = self.now(), terms.timeout_s
        while True:
            try:
                return await once(left_s)
            except TopicMissingError:
                left_s = (
                    None
                    if terms.timeout_s is None
                    else terms.timeout_s - (self.now() - began) - GONE_PAUSE_S
                )
                if left_s is not None and left_s <= 0:
                    raise
            await asyncio.sleep(GONE_PAUSE_S)  # a topic that was just made shows a moment later
            await self.prepare(task_queue, create=terms.create)

    async def _ask(
        self, task_queue: str, record: Request, timeout_s: float, fail_early: bool
    ) -> Reply:
        if record.request_id in self._waiting:
            timeout_s = await self._turn(task_queue, record, timeout_s)
        call = Call(self, task_queue, record, timeout_s, fail_early)
        try:
            call.send()
            return await call.future
        finally:
            call.future.cancel()  # no more than a mark: it is done, or nobody waits for it
            self.unregister(record.request_id, call)
            del call  # its error has this frame in its traceback: a ring, and the channel is in it

    async def _turn(self, task_queue: str, record: Request, timeout_s: float) -> float:
        """Wait while a request waits for a reply that could be this one's: to that workflow, of
        that record, under that id, and yet another (for another run, say). What is left of the
        time; raises `Unanswered` when nothing is.
        """
        until = self.now() + timeout_s
        while True:
            calls = self._waiting.get(record.request_id, ())
            others = [
                call.future
                for call in calls
                if isinstance(call, Call) and call.is_like(task_queue, record)
            ]
            left = until - self.now()
            if not others:
                return left
            if left <= 0:
                raise Unanswered(
                    False, self.transport.owner(task_queue, record.workflow_id), None, timeout_s
                )
            await asyncio.wait(others, timeout=left)

    async def ask_result(
        self,
        task_queue: str,
        record: StartWorkflow | AwaitResult,
        timeout_s: float | None = None,
        *,
        create: bool = False,
    ) -> Reply:
        """Send a start that also awaits its outcome, or a long poll, and wait until the run has
        closed. `prepare` comes first, and again where the queue was deleted since then, with
        `create` if the start has not been answered. Raises `Gone` if it has, and the queue is
        not there again.

        Gives the AwaitResult reply, or the start's if that is a refusal. timeout_s: for the
        start's verdict, or for the whole of a long poll; `Unanswered` when it passes. None: no
        end to it, over all restarts of owners.
        """
        terms, asked = _Terms(timeout_s, create), record

        async def once(left_s: float | None) -> Reply:
            nonlocal asked
            wait = ResultWait(self, task_queue, asked, left_s)
            try:
                wait.send()
                return await wait.outcome
            finally:
                if wait.record is not asked:
                    # The start was answered. A long poll is left, which makes no queue, and the
                    # deadline was for the verdict alone.
                    asked, terms.timeout_s, terms.create = wait.record, None, False
                wait.outcome.cancel()  # no more than a mark: it is done, or nobody waits for it
                wait.unregister()
                del wait  # as above

        try:
            return await self._again(task_queue, once, terms)
        except TopicMissingError as error:
            if asked is record:
                raise
            raise Gone from error

    async def deliver(self, task_queue: str, record: Event) -> None:
        """Send what has no reply of its own, and wait until Kafka has it; once more if the queue
        was made anew since it was looked at.

        Raises what `prepare` and `send` raise, and BrokerUnreachableError.
        """
        for again in (True, False):
            await self.prepare(task_queue, create=False)
            durable: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            try:
                self.transport.send(task_queue, record, partial(_settle, durable))
                return await durable
            except TopicMissingError:
                if not again:
                    raise
            finally:
                del durable  # it may have an error, as above
            await asyncio.sleep(GONE_PAUSE_S)

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
            matching = [call for call in waiting.get(reply.request_id, ()) if call.awaits(reply)]
            if not matching:
                self.unmatched += 1
                metrics.CLIENT_UNMATCHED.inc()
            for call in matching:
                call.replied(reply)

    def _on_owners(self, queues: set[str] | None) -> None:
        """Owners changed: what waits for a reply that its owner may have taken with it is asked
        again soon. None: all of it.
        """
        now = self.now()
        for call in self._calls():
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
        assert self._wheel is not None
        self._waiting.setdefault(request_id, []).append(call)
        self._wheel.keeps = self

    def unregister(self, request_id: str, call: Call | ResultWait) -> None:
        """It wants no more replies."""
        calls = self._waiting.get(request_id)
        if calls is not None and call in calls:
            calls.remove(call)
            if not calls:
                del self._waiting[request_id]
        if not self._waiting and self._wheel is not None:
            self._wheel.keeps = None

    def _calls(self) -> set[Call | ResultWait]:
        return {call for calls in self._waiting.values() for call in calls}

    def address_record(self, record: Request) -> None:
        """Fill in who asks."""
        record.request_id = record.request_id or self.new_request_id()
        record.reply_to = self.transport.client_id
        record.identity = record.identity or self.identity


def _settle(durable: asyncio.Future[None], error: BaseException | None) -> None:
    """On any thread."""

    def settle() -> None:
        if not durable.done():
            durable.set_result(None) if error is None else durable.set_exception(error)

    with contextlib.suppress(RuntimeError):  # the loop has just been closed
        durable.get_loop().call_soon_threadsafe(settle)
