"""Requests to the owners of runs, over the client's request channel: the same transport,
deadlines and verdicts that `Client` has, with payloads as they are (the server knows no data
converter).

Which queue a workflow lives in the read side tells, when it knows, and this server for what was
started through it. Both are hints: with one queue alone the request goes there, if no other
queue says that it has the id too (`elsewhere.py`); with more, with none, or where the owner does
not know the id, it is located by asking, and an id that two queues have is refused. A run that
is named by its id is in one.

A request that comes twice under its request id while the first still waits shares its answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from odradek.client.channel import RequestChannel
from odradek.client.connection import Connection
from odradek.client.errors import Unanswered, never_used, rpc_error
from odradek.client.locate import locate
from odradek.client.responses import accept, unavailable
from odradek.exceptions import BrokerUnreachableError, TopicMissingError
from odradek.service import RPCError, RPCStatusCode
from odradek.web.elsewhere import Elsewhere
from odradek.wire.events import ActivityReport, Request
from odradek.wire.outcomes import NOT_FOUND, Reply
from odradek.wire.request_ids import request_kind

R = TypeVar("R", bound=Reply | None)
_Key = tuple[str, ...]

#: Asks the read side: workflow id, run id -> the task queues that have it.
QueueHint = Callable[[str, str], Awaitable[Collection[str]]]


class ChannelOwners:
    """`Owners` over a client connection. Belongs to the loop of its first call.

    living: the task queues with a living processor, as members say.
    """

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        hint: QueueHint,
        living: Callable[[], Collection[str]],
    ) -> None:
        self._channel: RequestChannel = connection.channel(namespace)
        self._hint = hint
        self._elsewhere = Elsewhere(self._channel, living)
        self._waiting: dict[_Key, asyncio.Task[Reply | None]] = {}

    async def read(self, record: Request, *, task_queue: str = "", timeout_s: float) -> Reply:
        """See `Owners.read`."""
        what = _what(record)

        async def attempt(queue: str) -> Reply:
            try:
                await self._channel.prepare(queue, create=False)
                return await self._channel.ask(queue, record, timeout_s, fail_early=True)
            except Unanswered as unanswered:
                raise unavailable(
                    unanswered, what=what, task_queue=queue, address=self._address
                ) from None
            except BrokerUnreachableError as error:
                raise rpc_error(RPCStatusCode.UNAVAILABLE, str(error)) from error

        if task_queue:
            return await _there(record, task_queue, attempt(task_queue))
        known = await self._known(record.workflow_id, record.run_id)
        if len(known) == 1:
            (queue,) = known
            asking = asyncio.ensure_future(attempt(queue))
            try:
                if not await self._also_elsewhere(record.workflow_id, record.run_id, queue):
                    with contextlib.suppress(TopicMissingError):  # it was deleted
                        reply = await asking
                        if reply.status != NOT_FOUND:
                            return reply
                    known = set()
            finally:
                _abandon(asking)
        queue = await self._locate(record.workflow_id, record.run_id, known, timeout_s)
        return await _there(record, queue, attempt(queue))

    async def change(
        self, record: Request, *, task_queue: str = "", create: bool = False, timeout_s: float
    ) -> Reply | None:
        """See `Owners.change`."""
        if create:  # a start, which names its queue; that it cannot be made is an error of its own
            return await self._once(task_queue, record, create, timeout_s)
        if task_queue:
            return await _there(
                record, task_queue, self._once(task_queue, record, create, timeout_s)
            )
        known = await self._known(record.workflow_id, record.run_id)
        if len(known) == 1:
            (queue,) = known
            if not await self._also_elsewhere(record.workflow_id, record.run_id, queue):
                with contextlib.suppress(TopicMissingError):  # it was deleted
                    reply = await self._once(queue, record, create, timeout_s)
                    if reply is None or reply.status != NOT_FOUND:
                        return reply
                known = set()
        queue = await self._locate(record.workflow_id, record.run_id, known, timeout_s)
        return await _there(record, queue, self._once(queue, record, create, timeout_s))

    async def _once(
        self, queue: str, record: Request, create: bool, timeout_s: float
    ) -> Reply | None:
        """Ask one queue; those who bring the same request meanwhile share the answer."""
        key = _key(queue, record)
        if record.request_id and (running := self._waiting.get(key)) is not None:
            return await asyncio.shield(running)
        task = asyncio.ensure_future(self._change(queue, record, create, timeout_s))
        if record.request_id:
            self._waiting[key] = task
        task.add_done_callback(lambda done: self._done(key, done))
        # Shielded: a browser that went away must not take the answer from another that waits for
        # the same.
        return await asyncio.shield(task)

    def _done(self, key: _Key, task: asyncio.Task[Reply | None]) -> None:
        if self._waiting.get(key) is task:
            del self._waiting[key]
        if not task.cancelled():
            task.exception()  # looked at, even when whoever asked has gone away

    async def _change(
        self, queue: str, record: Request, create: bool, timeout_s: float
    ) -> Reply | None:
        what = _what(record)
        try:
            await self._channel.prepare(queue, create=create)
            if create:
                # A start that lies in the log is known to nobody else yet: a signal that follows it
                # must find its queue.
                self._channel.remember_queue(record.workflow_id, queue)
            return await self._channel.ask(queue, record, timeout_s, fail_early=True, create=create)
        except BrokerUnreachableError as error:
            raise rpc_error(RPCStatusCode.UNAVAILABLE, str(error)) from error
        except Unanswered as unanswered:
            accept(
                unanswered,
                what=what,
                workflow_id=record.workflow_id,
                task_queue=queue,
                address=self._address,
                explicit=False,
            )
            return None

    async def report(self, record: ActivityReport, *, task_queue: str, timeout_s: float) -> None:
        """See `Owners.report`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._channel.deliver(task_queue, record)
        except TimeoutError:
            raise rpc_error(
                RPCStatusCode.UNAVAILABLE,
                f"the brokers did not confirm the report on activity {record.activity_id!r} to task"
                f" queue {task_queue!r} within {timeout_s:g} s; it may still arrive",
            ) from None
        except BufferError as error:
            raise rpc_error(
                RPCStatusCode.RESOURCE_EXHAUSTED,
                "too much is on its way to Kafka already: try again",
            ) from error
        except BrokerUnreachableError as error:
            raise rpc_error(RPCStatusCode.UNAVAILABLE, str(error)) from error

    async def queue_of(self, workflow_id: str, run_id: str = "", *, timeout_s: float) -> str:
        """See `Owners.queue_of`."""
        known = await self._known(workflow_id, run_id)
        if len(known) == 1:
            (queue,) = known
            if not await self._also_elsewhere(workflow_id, run_id, queue):
                return queue
        return await self._locate(workflow_id, run_id, known, timeout_s)

    async def _known(self, workflow_id: str, run_id: str) -> set[str]:
        """Queues that have the workflow as far as this server knows. A run that the read side
        has needs no other hint.
        """
        known = set(await self._hint(workflow_id, run_id))
        remembered = self._channel.remembered_queue(workflow_id)
        return known | {remembered} if remembered is not None and not (known and run_id) else known

    async def _also_elsewhere(self, workflow_id: str, run_id: str, queue: str) -> bool:
        return not run_id and await self._elsewhere.has(workflow_id, besides=queue)

    async def _locate(
        self, workflow_id: str, run_id: str, known: Collection[str], timeout_s: float
    ) -> str:
        try:
            return await locate(self._channel, workflow_id, run_id, timeout_s, known=known)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                self._channel.forget_queue(workflow_id)
            raise
        except BrokerUnreachableError as error:
            raise rpc_error(RPCStatusCode.UNAVAILABLE, str(error)) from error

    @property
    def _address(self) -> str:
        return self._channel.transport.address


def _key(queue: str, record: Request) -> _Key:
    """What a request is: callers may give one id to many workflows, and to many calls."""
    chain: str = getattr(record, "first_execution_run_id", "")
    return request_kind(record), queue, record.workflow_id, record.run_id, chain, record.request_id


async def _there(record: Request, queue: str, asking: Awaitable[R]) -> R:
    """The answer of a queue. One that is not there has no workflows."""
    try:
        return await asking
    except TopicMissingError as error:
        raise never_used(record.workflow_id, queue) from error


def _abandon(task: asyncio.Task[Reply]) -> None:
    """Nobody waits for it any more, and nobody need hear of its error."""
    task.cancel()
    task.add_done_callback(lambda done: done.cancelled() or done.exception())


def _what(record: Request) -> str:
    return f"{type(record).__name__} of workflow {record.workflow_id!r}"
