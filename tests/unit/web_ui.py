"""A server with the UI for tests: the application of `web_server`, its pages, and a Kafka of
made-up facts beneath.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from odradek.web.app import create_app
from odradek.web.hub import RUNS
from odradek.web.kafka.dead_letters import RedriveRefusedError
from odradek.web.kafka.facts import (
    ActivityPartitionView,
    DeadLetters,
    DeadLetterView,
    PartitionView,
    Place,
    QueueDetail,
    QueueView,
    RecordView,
    Trail,
)
from odradek.web.kafka.follower import Board
from odradek.web.options import ServerOptions
from odradek.web.ports import Owners
from odradek.web.ui.routes import ui_routes
from odradek.web.ui.visit import UiState
from odradek.wire.history import (
    ActivityTaskCompletedEvent,
    ActivityTaskScheduled,
    ActivityTaskStartedEvent,
    HistoryEvent,
    TimerFired,
    TimerStarted,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowTask,
)
from odradek.wire.outcomes import ExecutionSummary, LaneStatus, MemberStatus
from odradek.wire.payload import Failure
from odradek.wire.topics import Topics
from tests.unit.web_server import START_MS, WebServer, plain

EVENTS = "odradek.default.orders.events"


def record(offset: int = 7, kind: str = "SignalWorkflow", **fields: Any) -> RecordView:
    """A record as it is shown."""
    given = {
        "topic": EVENTS,
        "topic_kind": "events",
        "partition": 3,
        "time_ms": START_MS,
        "key": "order-1",
        "headers": {"kind": kind},
    }
    return RecordView(
        **{
            **given,
            "offset": offset,
            "kind": kind,
            "value": {"signal_name": "approve"},
            "size_bytes": 120,
            **fields,
        }
    )


class Kafka:
    """Queues, records and dead letters, made up."""

    def __init__(self, board: Board, topics: Topics) -> None:
        self.board = board
        self.topics = topics
        self.redriven: list[int] = []
        self.shared: set[str] = set()
        #: Partition -> for how long its owner has been silent, and its lane without progress.
        self.heard: dict[int, tuple[int | None, int | None]] = dict.fromkeys(
            range(4), (1_000, 1_200)
        )
        #: First offsets that are still there; 0 elsewhere.
        self.starts: dict[tuple[str, int], int] = {}

    def close(self) -> None: ...

    def kinds(self) -> dict[str, set[str]]:
        return {"orders": {"events", "commands"}, "payments": {"commands"}}

    def partition_count(self, name: str) -> int:
        return 4

    def share_groups(self, names: list[str]) -> set[str]:
        return self.shared & set(names)

    def queue(self, name: str) -> QueueDetail:
        partitions = [
            PartitionView(
                n,
                0,
                900,
                900 - n,
                n,
                "m-1" if n else "",
                "worker-a" if n else "",
                "RUNNING" if n else "",
                5,
                2,
                12,
                9,
                "",
                *self.heard[n],
            )
            for n in range(4)
        ]
        return QueueDetail(
            name,
            True,
            True,
            False,
            4,
            1,
            1,
            6,
            None if name in self.shared else 3,
            20,
            5,
            5,
            2,
            36,
            1,
            "share" if name in self.shared else "classic",
            sum(bool(one.owner and one.trouble) for one in partitions),
            partitions,
            [
                (
                    ActivityPartitionView(0, 0, 40, -1, None)
                    if name in self.shared
                    else ActivityPartitionView(0, 0, 40, 37, 3)
                )
            ],
            self.board.members(name),
        )

    def queues(self) -> list[QueueView]:
        detail = self.queue("orders")
        return [QueueView(**{name: getattr(detail, name) for name in QueueView.__dataclass_fields__})]

    def record(
        self, topic: str, partition: int, offset: int, *, timeout_s: float
    ) -> RecordView | None:
        start, end = self.bounds([(topic, partition)])[topic, partition]
        return record(offset, topic=topic, partition=partition) if start <= offset < end else None

    def bounds(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, int]]:
        return {place: (self.starts.get(place, 0), 100) for place in places}

    def trail(self, workflow_id: str, **options: Any) -> Trail:
        found = [record(7, "StartWorkflow"), record(9, "", error="unknown schema <x>")]
        left_out = 0 if options["reads_limit"] else 12
        return Trail(
            workflow_id, found, False, ["results/0 from offset 4"], reads_left_out=left_out
        )

    def list(
        self,
        task_queue: str,
        *,
        before: int | None = None,
        limit: int = 50,
        timeout_s: float = 10.0,
    ) -> DeadLetters:
        letter = self.get(task_queue, 5)
        return DeadLetters(
            [letter] if letter is not None and task_queue == "orders" else [], None, True
        )

    def get(
        self, task_queue: str, offset: int, *, timeout_s: float = 10.0
    ) -> DeadLetterView | None:
        if offset == 404:
            return None
        place = Place("odradek.default.orders.dead-letters", 0, offset)
        return DeadLetterView(
            place, "UNDECODABLE", "no schema <b>", Place(EVENTS, 3, 44), START_MS, "WireError", "stack", "order-1", record(44),
            [Place(EVENTS, 3, 57)] if offset in self.redriven else [], Place(EVENTS, 1, -1),
        )  # fmt: skip

    def redrive(self, task_queue: str, offset: int, *, timeout_s: float = 10.0) -> Place | None:
        if offset == 13:
            raise RedriveRefusedError("it came from 'nowhere'")
        self.redriven.append(offset)
        return Place(EVENTS, 3, 57)


class PatientOwners:
    """Owners that wait for a new event as real ones do; the scripted owner answers a long poll
    at once.
    """

    def __init__(self, owners: Owners) -> None:
        self._owners = owners

    async def read(self, record: Any, *, task_queue: str = "", timeout_s: float) -> Any:
        deadline_s = time.monotonic() + timeout_s
        while True:
            reply = await self._owners.read(record, task_queue=task_queue, timeout_s=timeout_s)
            waiting = (
                getattr(record, "wait_new_event", False) and reply.status == "DEADLINE_EXCEEDED"
            )
            if not waiting or time.monotonic() > deadline_s:
                return reply
            await asyncio.sleep(0.05)

    async def change(self, record: Any, **options: Any) -> Any:
        return await self._owners.change(record, **options)

    async def report(self, record: Any, **options: Any) -> None:
        await self._owners.report(record, **options)

    async def queue_of(self, workflow_id: str, run_id: str = "", **options: Any) -> str:
        return await self._owners.queue_of(workflow_id, run_id, **options)


class UiServer(WebServer):
    """A server with pages."""

    def __init__(self, folder: Path, options: ServerOptions | None = None, **more: Any) -> None:
        super().__init__(folder, options, **more)
        self.state = UiState()
        self.kafka: Any = Kafka(
            self.context.board, Topics(self.settings.namespace, self.settings.topic_prefix)
        )
        self.context.queues = self.kafka
        self.context.records = self.kafka
        self.context.dead_letters = self.kafka
        assert self.context.owners is not None
        self.context.owners = PatientOwners(self.context.owners)
        self.store.add_listener(lambda applied: self.context.hub.publish(RUNS))
        self.app = create_app(self.context, pages=ui_routes(self.context, self.state))

    def member(self, *, kind: str = "PROCESSOR", time_ms: int) -> None:
        """Somebody of queue `orders` who has just said how they stand."""
        lanes = [LaneStatus(3, "RUNNING", 899)] if kind == "PROCESSOR" else []
        status = MemberStatus(
            "m-1",
            kind,
            "default",
            "orders",
            "worker-a",
            time_ms,
            "host-7",
            4711,
            lanes,
            ["charge"],
            [],
            20,
            5,
        )
        self.context.board.member(status.member_id, status)


def long_history(run: ExecutionSummary, activities: int) -> list[HistoryEvent]:
    """Activities in a row, one failed attempt in each seventh, a timer and a signal now and then."""
    at = run.start_time_ms
    events = [
        HistoryEvent(
            1,
            at,
            WorkflowExecutionStarted(
                run.workflow_id,
                run.run_id,
                run.workflow_type,
                run.task_queue,
                [plain({"amount": 12})],
            ),
            7,
        ),
        HistoryEvent(2, at + 1, WorkflowTask(at + 2, "worker")),
    ]
    for number in range(activities):
        at += 1_000
        first = events[-1].event_id + 3
        attempt = 2 if number % 7 == 3 else 1
        failure = Failure("card declined", type="CardError") if attempt > 1 else None
        events += [
            HistoryEvent(
                first,
                at,
                ActivityTaskScheduled(str(number), f"step_{number % 3}", "orders", [plain(number)]),
            ),
            HistoryEvent(
                first + 1,
                at + 300 * attempt,
                ActivityTaskStartedEvent(first, attempt, "service", failure),
            ),
            HistoryEvent(
                first + 2,
                at + 300 * attempt + 250,
                ActivityTaskCompletedEvent(first, first + 1, [plain(f"ok-{number}")]),
                number + 8,
            ),
        ]
        if number % 10 == 4:
            events.append(HistoryEvent(first + 3, at + 400, TimerStarted(f"t{number}", 500)))
            events.append(HistoryEvent(first + 4, at + 900, TimerFired(f"t{number}", first + 3)))
            events.append(
                HistoryEvent(
                    first + 5, at + 900, WorkflowExecutionSignaled("approve", [plain(True)])
                )
            )
        events.append(
            HistoryEvent(events[-1].event_id + 1, at + 950, WorkflowTask(at + 951, "worker"))
        )
    return events


def text_of(html: str) -> str:
    """A page's text, roughly."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())
