"""An in-memory transport with a scripted owner: what the client asks is recorded, what it gets
is the test's decision.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from odradek.client import Client
from odradek.client.connection import Connection
from odradek.client.transport import SILENCE_S, OnDelivery, OnOwners, OnReplies, Owner
from odradek.config import Settings
from odradek.converter import DataConverter
from odradek.exceptions import TopicMissingError
from odradek.wire import outcomes
from odradek.wire.codec import decode, encode
from odradek.wire.events import Event
from odradek.wire.outcomes import Reply, WorkflowResult

Answer = Callable[[str, Any], list[Reply] | Reply | None]


class FakeTransport:
    """Answers by `owner_of[queue](queue, record)`; a queue without one has topics and nobody who
    reads them.
    """

    def __init__(self) -> None:
        self.client_id = uuid.uuid4().hex
        self.address = "fake:9092"
        self.sent: list[tuple[str, Any]] = []
        self.answers: dict[str, Answer] = {}
        self.existing: set[str] = set()
        self.known: set[str] = set()
        self.created: list[str] = []
        self.deleted: set[str] = set()
        self.refuses = False  # to create
        self.living: set[str] = set()
        self.owners: dict[str, Owner] = {}
        self.quiet: set[str] = (
            set()
        )  # queues whose owner counts as living and has said nothing of late
        self.never_served: set[str] = set()
        self.deliver: BaseException | None | bool = (
            True  # True: durable at once; False: never heard of; an error: refused
        )
        self.full = 0  # how many sends raise BufferError first
        self.opened = 0
        self.closed = False

    async def open(
        self, loop: asyncio.AbstractEventLoop, on_replies: OnReplies, on_owners: OnOwners
    ) -> None:
        self.opened += 1
        self.loop, self.on_replies, self.on_owners = loop, on_replies, on_owners

    async def prepare(self, task_queue: str, *, create: bool) -> None:
        if task_queue not in self.existing:
            if self.refuses or not create:
                raise TopicMissingError(f"odradek.default.{task_queue}.events", reason="never used")
            self.created.append(task_queue)
            self.existing.add(task_queue)
        self.known.add(task_queue)
        self.deleted.discard(task_queue)

    def prepared(self, task_queue: str) -> bool:
        return task_queue in self.known

    def send(self, task_queue: str, record: Event, on_delivery: OnDelivery | None) -> None:
        if task_queue in self.deleted:
            raise TopicMissingError(f"odradek.default.{task_queue}.events", reason="it was deleted")
        assert task_queue in self.known, "sent without prepare"
        if self.full:
            self.full -= 1
            raise BufferError("full")
        # Through the codec: what is kept is what the owner would see, not the client's mutable
        # record.
        seen = decode(encode(record))
        self.sent.append((task_queue, seen))
        if on_delivery is not None and self.deliver is not False:
            on_delivery(None if self.deliver is True else self.deliver)
        answer = self.answers.get(task_queue)
        if answer is not None:
            replies = answer(task_queue, seen)
            if replies is not None:
                self.loop.call_soon(
                    self.reply, *(replies if isinstance(replies, list) else [replies])
                )

    def reply(self, *replies: Reply) -> None:
        self.on_replies([decode(encode(reply)) for reply in replies])

    def owner(self, task_queue: str, workflow_id: str, *, silence_s: float = SILENCE_S) -> Owner:
        if silence_s < SILENCE_S and task_queue in self.quiet:
            return Owner.NONE
        if task_queue in self.deleted:
            return Owner.UNKNOWN
        return self.owners.get(task_queue, Owner.ALIVE if task_queue in self.living else Owner.NONE)

    @property
    def trouble(self) -> str:
        return ""

    async def queues(self) -> dict[str, bool]:
        return {queue: queue in self.living for queue in self.existing}

    async def served(self, task_queues: Sequence[str]) -> set[str]:
        return set(task_queues) - self.never_served

    def close(self) -> None:
        self.closed = True

    # --- for tests

    def serve(self, task_queue: str, answer: Answer) -> None:
        """Have a living owner with these answers."""
        self.existing.add(task_queue)
        self.living.add(task_queue)
        self.answers[task_queue] = answer

    def delete(self, task_queue: str) -> None:
        """Delete a queue that was in use."""
        for known in (self.existing, self.known, self.living):
            known.discard(task_queue)
        self.deleted.add(task_queue)
        self.answers.pop(task_queue, None)

    def records(self, kind: type) -> list[Any]:
        return [record for _, record in self.sent if isinstance(record, kind)]


def reply_to(record: Any, status: str = outcomes.OK, kind: str = "", **fields: Any) -> Reply:
    """A reply to a request."""
    fields.setdefault("workflow_id", record.workflow_id)
    return Reply(
        client_id=record.reply_to,
        request_id=record.request_id,
        kind=kind or type(record).__name__,
        status=status,
        **fields,
    )


def started(record: Any, run_id: str = "") -> Reply:
    """The verdict of a start that made a run."""
    run_id = run_id or record.run_id
    return reply_to(record, run_id=run_id, first_execution_run_id=run_id, started=True)


def closed(
    record: Any, status: str = outcomes.COMPLETED, value: Any = None, **fields: Any
) -> Reply:
    """The outcome of a run."""
    payloads = (
        DataConverter.default.payload_converter.to_payloads([value])
        if status == outcomes.COMPLETED
        else []
    )
    result = WorkflowResult(
        "default",
        "q",
        record.workflow_id,
        record.run_id or "run",
        "W",
        status,
        result=payloads,
        **fields,
    )
    return reply_to(record, kind="AwaitResult", run_id=result.run_id, result=result)


def connect(transport: FakeTransport, *, rpc_timeout: float = 0.6, **options: Any) -> Client:
    """A client on that transport."""
    settings = Settings(rpc_timeout=rpc_timeout, identity="me")
    return Client(Connection(settings, make_transport=lambda _: transport), **options)
