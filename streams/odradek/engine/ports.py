"""What a host gives the engine and takes from it: `Tables` to read, `Batch` in, `StepResult` out.

The engine emits plain records. The host encodes them after the step; what it cannot write it
names in the next try of the same batch (`Batch.rejected`, `Batch.missing_queues`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import msgspec

from odradek.wire.events import Event
from odradek.wire.outcomes import Reply
from odradek.wire.state import Row, TimerRow

# Table names.
POSITION = "position"
WORKFLOW = "workflow"
RUN = "run"
HISTORY = "history"
ACTIVITY = "activity"
USER_TIMER = "user_timer"
TIMER = "timer"
REQUEST = "request"

# Output kinds: which topic of which queue.
COMMANDS = "commands"
CONTROL = "control"
EVENTS = "events"
RESULTS = "results"
EXECUTIONS = "executions"
DEAD_LETTERS = "dead-letters"


class TablesError(Exception):
    """The tables cannot be read, for `reason`. No input or timer is to blame: the engine lets it
    through, nothing of the step counts, and the host forgets the engine.
    """

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Tables(Protocol):
    """Read side of a lane's tables as of the last commit. Keys as documented in `odradek.wire.state`.

    Raises `TablesError` alone.
    """

    def get(self, table: str, key: str) -> Row | None: ...

    def scan(
        self, table: str, prefix: str, *, start: str = "", limit: int = 0, reverse: bool = False
    ) -> Iterator[tuple[str, Row]]:
        """Rows whose key begins with `prefix`, from key `start` on, in key order (or reverse);
        limit 0 = all.
        """
        ...


class Input(msgspec.Struct, gc=False):
    """One decoded record of `events`. `origin_id` = `{topic id}/{partition}/{offset}`: ids that
    nobody gave derive from it (UUIDv5).

    `redriven`: it was a dead letter and was put back. Its host gave it the ids that it had not,
    the same ones each time.
    """

    event: Event
    offset: int
    origin_id: str
    time_ms: int = 0  # record timestamp
    redriven: bool = False


class Batch(msgspec.Struct, gc=False):
    """What a partition hands over at once: inputs in offset order, and timers that are due and
    released (inputs go first).

    `rejected`: workflow id -> why a record or row of its cannot be written, as an earlier try of
    this batch showed. Its workflow tasks fail for that reason; its inputs append.

    `missing_queues`: task queue -> why its `commands` cannot be had. Activities for it wait.
    """

    now_ms: int
    inputs: list[Input]
    timers: list[TimerRow] = []
    rejected: dict[str, str] = {}
    missing_queues: dict[str, str] = {}
    crashed: list[str] = []
    quarantined: dict[str, str] = {}


class RowChange(msgspec.Struct, gc=False):
    """Put (`row`) or delete (None) under `table`/`key`. The last change of a key in a batch
    counts. `workflow_id`: whose it is.
    """

    table: str
    key: str
    row: Row | None
    workflow_id: str = ""


class Output(msgspec.Struct, gc=False):
    """A record to produce in the transaction. `key` is text, UTF-8 on the wire.

    `tombstone`: its key has no record any more; `record` is the last one that it had, for
    partition and headers.
    """

    kind: str
    task_queue: str  # "" for namespace-wide topics
    key: str
    record: Any  # it has a workflow_id
    tombstone: bool = False


class DeadLetter(msgspec.Struct, gc=False):
    """An input that was not applied, with the reason: a defect met while it was, or (`rejected`)
    a refusal that nobody waits for.
    """

    offset: int
    reason: str
    trace: str = ""
    rejected: bool = False


class FailedTask(msgspec.Struct, frozen=True, gc=False):
    """A workflow task that failed without a word in the log so far."""

    workflow_id: str
    run_id: str
    workflow_type: str
    cause: str
    message: str


class CommandWithoutDetails(msgspec.Struct, frozen=True, gc=False):
    """A command of a later attempt that left without the heartbeat details: with them it was
    rejected (`reason`).
    """

    workflow_id: str
    run_id: str
    activity_type: str
    activity_id: str
    attempt: int
    reason: str


class StepResult(msgspec.Struct, gc=False):
    """What one step wants done: rows and outputs in one transaction, replies after its commit."""

    rows: list[RowChange] = []
    outputs: list[Output] = []
    replies: list[Reply] = []
    dead_letters: list[DeadLetter] = []
    # run ids whose live instances must go if the transaction does not commit
    touched: list[str] = []
    steps: int = 0  # workflow tasks executed, for statistics
    opened: int = 0  # runs that began, less those that closed
    quarantined: list[str] = []  # run ids
    failed_tasks: list[FailedTask] = []  # for the log, once committed
    without_details: list[CommandWithoutDetails] = []  # for the log too
    # (workflow type, seconds) of each activation of new work, and the seconds of each replay
    task_seconds: list[tuple[str, float]] = []
    replay_seconds: list[float] = []


class EngineLimits(msgspec.Struct, gc=False):
    """Limits of a run; defaults stand in `odradek.config` for a deployment."""

    history_max_events: int = 51_200
    history_suggest_continue_as_new_events: int = 10_240
    history_max_bytes: int = 50 * 1024 * 1024
    history_suggest_continue_as_new_bytes: int = 4 * 1024 * 1024
    request_window: int = 1_000
    request_window_ms: int = 3_600_000
    retention_ms: int = 3 * 24 * 3_600_000
    max_cached_workflows: int = 1_000
    # a page of history; one event or result may be larger: the host checks what `replies` takes
    page_max_bytes: int = 900_000
    # memo and search attributes in an ExecutionSummary; lists do without larger ones
    summary_max_bytes: int = 900_000
    # activations of one run inside one step (cancelled activities resolve at once), then the rest
    # next batch
    max_tasks_per_step: int = 10
    task_retry_initial_ms: int = 1_000
    task_retry_maximum_ms: int = 60_000
    crashes_before_quarantine: int = 3  # in a row
    crash_wait_ms: int = 1_000  # of the run's next task, doubled with each crash more
    # failures of a task in a row; Temporal:
    # numConsecutiveWorkflowTaskProblemsToTriggerSearchAttribute
    problems_reported_from: int = 2
    pending_activities_max: int = 2_000


class Engine(Protocol):
    """One a lane (never shared between threads). Implemented by
    `odradek.engine.engine.WorkflowEngine`:

    `WorkflowEngine(activator, *, namespace, task_queue, limits, monotonic)`.
    """

    def step(self, tables: Tables, batch: Batch) -> StepResult:
        """Apply a batch. Never raises for what inputs or workflow code hold: such a run is
        quarantined, such an input dead-lettered. Live instances already stand at the new state; call
        `evict(result.touched)` if the transaction did not commit, or before another try.
        """
        ...

    def evict(self, run_ids: list[str]) -> None: ...

    def evict_all(self) -> None: ...

    def expired_waiters(self, now_ms: int) -> list[Reply]:
        """Answers (DEADLINE_EXCEEDED) for long polls whose deadline has passed; also forgets them."""
        ...

    def statistics(self) -> dict[str, int]:
        """Cache size, hits, misses, replays, waiters, ..."""
        ...
