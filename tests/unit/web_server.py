"""A server of the HTTP API for tests: a real store of the read side, the real client channel
over an in-memory transport with a scripted owner, no Kafka. Requests go through the whole
application, gate and all.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import weakref
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import httpx
import uvicorn
from starlette.applications import Starlette

from odradek.client.connection import Connection
from odradek.config import Settings
from odradek.exceptions import TopicMissingError
from odradek.visibility.store.rows import Change
from odradek.visibility.store.store import VisibilityStore
from odradek.web.app import create_app
from odradek.web.context import ServerContext
from odradek.web.kafka.cluster import QueueReader
from odradek.web.kafka.dead_letters import DeadLetterReader, RedriveRefusedError
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
from odradek.web.kafka.trail import RecordReader
from odradek.web.options import ServerOptions
from odradek.web.owner import ChannelOwners
from odradek.wire.events import (
    ActivityReport,
    DescribeWorkflow,
    FetchHistory,
    QueryWorkflow,
    StartWorkflow,
)
from odradek.wire.history import (
    ActivityTaskCompletedEvent,
    ActivityTaskScheduled,
    ActivityTaskStartedEvent,
    HistoryEvent,
    WorkflowExecutionCompleted,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowTask,
)
from odradek.wire.outcomes import (
    COMPLETED,
    NOT_FOUND,
    RUNNING,
    ExecutionSummary,
    PendingActivity,
    PendingTimer,
    WorkflowDescription,
)
from odradek.wire.payload import Failure, Payload
from odradek.wire.topics import Topics
from tests.support.transport import FakeTransport, reply_to

START_MS = 1_790_000_000_000


def plain(value: Any) -> Payload:
    """A payload as the default converter makes it."""
    return Payload({"encoding": b"json/plain"}, json.dumps(value).encode())


def summary(workflow_id: str, run_id: str = "", **fields: Any) -> ExecutionSummary:
    """A run."""
    given = {
        "namespace": "default",
        "task_queue": "orders",
        "workflow_type": "OrderSaga",
        "status": RUNNING,
        "start_time_ms": START_MS,
    }
    run_id = run_id or f"run-of-{workflow_id}"
    return ExecutionSummary(
        **{
            **given,
            "workflow_id": workflow_id,
            "run_id": run_id,
            "first_execution_run_id": run_id,
            **fields,
        }
    )


class Owner:
    """The owner of a queue: keeps runs with their events, answers as the engine does."""

    def __init__(
        self, transport: FakeTransport, queue: str = "orders", page_max: int = 10_000
    ) -> None:
        self.queue = queue
        self.runs: dict[str, ExecutionSummary] = {}
        self.events: dict[str, list[HistoryEvent]] = {}
        self.descriptions: dict[str, WorkflowDescription] = {}
        self.seen: list[Any] = []
        self.muted = False
        self.page_max = page_max
        transport.serve(queue, self.answer)

    def add(self, run: ExecutionSummary, events: list[HistoryEvent] | None = None) -> None:
        self.events[run.workflow_id] = events if events is not None else completed_history(run)
        last = self.events[run.workflow_id][-1]
        run.history_length = last.event_id + (2 if isinstance(last.attributes, WorkflowTask) else 0)
        self.runs[run.workflow_id] = run

    def answer(self, queue: str, record: Any) -> Any:
        if self.muted:
            return None
        self.seen.append(record)
        if isinstance(record, ActivityReport):
            return None  # nobody waits for an answer
        run = self.runs.get(record.workflow_id)
        if isinstance(record, StartWorkflow):
            if run is not None and run.status == RUNNING and record.id_conflict_policy == "FAIL":
                return reply_to(record, "ALREADY_EXISTS", run_id=run.run_id)
            new = summary(
                record.workflow_id,
                record.run_id,
                task_queue=queue,
                workflow_type=record.workflow_type,
            )
            self.add(new, completed_history(new)[:2])
            return reply_to(
                record,
                run_id=record.run_id,
                first_execution_run_id=record.run_id,
                started=True,
                workflow_status=RUNNING,
            )
        if run is None or (record.run_id and record.run_id != run.run_id):
            return reply_to(
                record, NOT_FOUND, message=f"workflow not found for ID: {record.workflow_id}"
            )
        if isinstance(record, DescribeWorkflow):
            found = self.descriptions.get(record.workflow_id) or WorkflowDescription(run)
            return reply_to(record, run_id=run.run_id, task_queue=queue, description=found)
        if isinstance(record, FetchHistory):
            return self._page(queue, record, run)
        if isinstance(record, QueryWorkflow):
            return self._query(record, run)
        return reply_to(record, run_id=run.run_id)

    def _page(self, queue: str, record: FetchHistory, run: ExecutionSummary) -> Any:
        events = self.events[record.workflow_id]
        open_run = run.status == RUNNING
        found = [event for event in events if event.event_id >= record.from_event_id]
        if record.wait_new_event and open_run and not found:
            return reply_to(
                record, "DEADLINE_EXCEEDED", run_id=run.run_id, next_event_id=record.from_event_id
            )
        page = found[: min(record.max_events, self.page_max)]
        after = found[len(page) :]
        last = page[-1] if page else None
        following = (
            (last.event_id + (3 if isinstance(last.attributes, WorkflowTask) else 1))
            if last
            else record.from_event_id
        )
        return reply_to(
            record,
            run_id=run.run_id,
            task_queue=queue,
            history=page,
            next_event_id=after[0].event_id if after else following if open_run else 0,
            workflow_status=run.status,
        )

    def _query(self, record: QueryWorkflow, run: ExecutionSummary) -> Any:
        if record.reject_condition == "NOT_OPEN" and run.status != RUNNING:
            return reply_to(record, "QUERY_REJECTED", workflow_status=run.status)
        if record.query_type == "early":
            return reply_to(
                record,
                "FAILED_PRECONDITION",
                message="not yet",
                failure=Failure("bug", type="ValueError"),
            )
        if record.query_type == "broken":
            return reply_to(
                record, "QUERY_FAILED", failure=Failure("handler raised", type="ValueError")
            )
        return reply_to(
            record, payloads=[plain({"type": record.query_type, "args": len(record.input)})]
        )


def completed_history(run: ExecutionSummary) -> list[HistoryEvent]:
    """A short history: a task, an activity, a signal, completion. Ids 1 to 13."""
    at = run.start_time_ms
    started = WorkflowExecutionStarted(
        run.workflow_id, run.run_id, run.workflow_type, run.task_queue, input=[plain({"order": 1})]
    )
    events = [
        HistoryEvent(1, at, started, 7),
        HistoryEvent(2, at + 1, WorkflowTask(at + 2, "worker")),
        HistoryEvent(
            5,
            at + 3,
            ActivityTaskScheduled(
                "5", "charge", run.task_queue, [plain("card")], start_to_close_timeout_ms=10_000
            ),
        ),
        HistoryEvent(6, at + 4, ActivityTaskStartedEvent(5, 2, "service")),
        HistoryEvent(
            7,
            at + 5,
            ActivityTaskCompletedEvent(
                5, 6, [Payload({"encoding": b"binary/encrypted"}, b"\x01\x02")]
            ),
            9,
        ),
        HistoryEvent(
            8, at + 6, WorkflowExecutionSignaled("approve", [plain(True)], identity="me"), 10
        ),
        HistoryEvent(9, at + 7, WorkflowTask(at + 8, "worker")),
    ]
    if run.status == COMPLETED:
        events.append(HistoryEvent(12, at + 9, WorkflowExecutionCompleted([plain("done")], 11)))
    return events


def busy_description(run: ExecutionSummary) -> WorkflowDescription:
    """A run with something of everything pending."""
    failure = Failure("declined", type="CardError", cause=Failure("insufficient funds"))
    activity = PendingActivity(
        "5",
        "charge",
        "payments",
        "SCHEDULED",
        3,
        START_MS,
        START_MS + 1,
        START_MS + 2,
        START_MS + 3,
        5,
        [plain(1)],
        failure,
        "service",
    )
    return WorkflowDescription(
        run,
        execution_timeout_ms=60_000,
        run_timeout_ms=30_500,
        static_summary=plain("an order"),
        pending_activities=[activity],
        pending_timers=[PendingTimer("1", 8, START_MS + 60_000)],
        pending_task_attempt=4,
        pending_task_failure=Failure("bug"),
    )


class FakeKafka:
    """What the Kafka beneath says: one queue, one record, one dead letter."""

    def __init__(self) -> None:
        self.topics = Topics("default")
        self.redriven: list[int] = []
        #: First offsets that are still there; 0 elsewhere.
        self.starts: dict[tuple[str, int], int] = {}

    @property
    def record_view(self) -> RecordView:
        return RecordView(
            self.topics.events("orders"),
            "events",
            1,
            7,
            START_MS,
            "order-1",
            "StartWorkflow",
            {"a": "b"},
            {"x": [1]},
            12,
        )

    @property
    def letter(self) -> DeadLetterView:
        place, origin = (
            Place(self.topics.dead_letters("orders"), 0, 3),
            Place(self.topics.events("orders"), 1, 7),
        )
        return DeadLetterView(
            place,
            "NOT_APPLIED",
            "a defect",
            origin,
            START_MS,
            "ValueError",
            "trace",
            "order-1",
            self.record_view,
        )

    # --- QueueReader

    def kinds(self) -> dict[str, set[str]]:
        return {"orders": {"events", "commands"}}

    def partition_count(self, name: str) -> int:
        return 4

    def queues(self) -> list[QueueView]:
        return [self.queue("orders")]

    def queue(self, name: str) -> QueueDetail:
        if name != "orders":
            raise TopicMissingError(
                self.topics.events(name), text=f"task queue {name!r} was never used"
            )
        partition = PartitionView(0, 0, 10, 8, 2, "member-1", "worker", "RUNNING")
        activities = [ActivityPartitionView(0, 0, 5, 2, 3)]
        return QueueDetail(
            "orders",
            True,
            True,
            True,
            1,
            1,
            1,
            2,
            3,
            100,
            1,
            0,
            0,
            5,
            1,
            "classic",
            0,
            [partition],
            activities,
            [],
        )

    # --- RecordReader

    def bounds(self, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], tuple[int, int]]:
        return {place: (self.starts.get(place, 0), 100) for place in places}

    def record(
        self, topic: str, partition: int, offset: int, *, timeout_s: float
    ) -> RecordView | None:
        if topic != self.topics.events("orders"):
            raise TopicMissingError(topic, text="other topics are not shown")
        return self.record_view if (partition, offset) == (1, 7) else None

    def trail(self, workflow_id: str, **options: Any) -> Trail:
        self.trail_options = options
        return Trail(workflow_id, [self.record_view], True, [])

    # --- DeadLetterReader

    def list(
        self, task_queue: str, *, before: int | None, limit: int, timeout_s: float
    ) -> DeadLetters:
        return DeadLetters(
            [self.letter] if task_queue == "orders" and (before is None or before > 3) else [],
            None,
            True,
        )

    def get(self, task_queue: str, offset: int, *, timeout_s: float) -> DeadLetterView | None:
        return self.letter if (task_queue, offset) == ("orders", 3) else None

    def redrive(self, task_queue: str, offset: int, *, timeout_s: float) -> Place | None:
        if offset == 4:
            raise RedriveRefusedError("it came from nowhere")
        if (task_queue, offset) != ("orders", 3):
            return None
        self.redriven.append(offset)
        return Place(self.topics.events("orders"), 1, -1)


@contextlib.contextmanager
def listening(web: WebServer) -> Iterator[str]:
    """The application on a free port, in a thread with its own loop."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        server = uvicorn.Server(uvicorn.Config(web.app, log_level="error", lifespan="on"))
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True
        )
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


class WebServer:
    """The application, its parts, and a client of it."""

    def __init__(
        self, folder: Path, options: ServerOptions | None = None, *, rpc_timeout: float = 0.6
    ) -> None:
        self.settings = Settings(rpc_timeout=rpc_timeout, identity="server", state_dir=folder)
        self.transport = FakeTransport()
        self.store = VisibilityStore.open(folder / "runs.sqlite")
        weakref.finalize(
            self, self.store.close
        )  # else its lock file warns, in whichever test the collector runs
        self.context = ServerContext(
            self.settings, options or ServerOptions(request_timeout_s=0.6, long_poll_s=0.3)
        )
        self.context.read_side = lambda: self.store
        connection = Connection(self.settings, make_transport=lambda _: self.transport)
        self.context.owners = ChannelOwners(
            connection, "default", self._hint, self.context.board.living_queues
        )
        self.kafka = kafka = FakeKafka()
        self.context.queues, self.context.records = (
            cast(QueueReader, kafka),
            cast(RecordReader, kafka),
        )
        self.context.dead_letters = cast(DeadLetterReader, kafka)
        self.app: Starlette = create_app(self.context)
        self.owner = Owner(self.transport)
        self._offset = 0

    async def _hint(self, workflow_id: str, run_id: str) -> Sequence[str]:
        return self.store.queues_of(workflow_id, run_id)

    def add(
        self, run: ExecutionSummary, events: list[HistoryEvent] | None = None, *, owner: bool = True
    ) -> ExecutionSummary:
        """A run in the read side, and with its owner."""
        if owner:
            self.owner.add(run, events)
        self.store.apply([Change(0, self._offset, f"{run.workflow_id}/{run.run_id}".encode(), run)])
        self._offset += 1
        return run

    @contextlib.asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
        """An HTTP client of the application, within its life."""
        transport = httpx.ASGITransport(self.app)
        async with (
            self.app.router.lifespan_context(self.app),
            httpx.AsyncClient(
                transport=transport, base_url="http://localhost:8088", **options
            ) as client,
        ):
            yield client


def ok(response: httpx.Response) -> Any:
    """The JSON of a successful answer."""
    assert response.status_code == 200, response.text
    return response.json()
