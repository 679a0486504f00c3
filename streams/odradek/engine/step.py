"""What one workflow id does in one batch: its reads through its own changes, and the rows,
outputs and replies that it wants.

All inputs and timers of a workflow id in a batch share one WorkflowStep and nothing else: no
step sees another's changes, so a run never depends on its neighbours in a batch, and a step that
breaks is thrown away alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

from odradek.engine.keys import event_key, timer_key
from odradek.engine.ports import (
    ACTIVITY,
    HISTORY,
    RUN,
    TIMER,
    USER_TIMER,
    WORKFLOW,
    EngineLimits,
    Output,
    Tables,
)
from odradek.engine.run import LiveRun
from odradek.engine.sizes import event_bytes
from odradek.wire.history import HistoryEvent, WorkflowTask
from odradek.wire.state import (
    ActivityRow,
    HistoryRow,
    Row,
    RunRow,
    TimerRow,
    UserTimerRow,
    WorkflowRow,
)

if TYPE_CHECKING:
    from odradek.engine.activation import Activator
    from odradek.engine.cache import RunCache
    from odradek.engine.ports import Batch, CommandWithoutDetails, FailedTask, Input
    from odradek.engine.waiters import Waiter, Waiters
    from odradek.wire.events import AwaitResult, DescribeWorkflow, FetchHistory, QueryWorkflow
    from odradek.wire.outcomes import Reply

# Events of one step are split over rows of about this size, so that no row of `state` outgrows what
# a topic takes.
HISTORY_ROW_BYTES = 256 * 1024


class Context:
    """What all steps of an engine share."""

    __slots__ = (
        "activator",
        "cache",
        "crashed_before_start",
        "limits",
        "monotonic",
        "namespace",
        "replays",
        "task_queue",
        "tasks",
        "waiters",
    )

    def __init__(
        self,
        activator: Activator,
        namespace: str,
        task_queue: str,
        limits: EngineLimits,
        cache: RunCache,
        waiters: Waiters,
        monotonic: Callable[[], float],
    ) -> None:
        self.activator = activator
        self.namespace = namespace
        self.task_queue = task_queue
        self.limits = limits
        self.cache = cache
        self.waiters = waiters
        #: seconds, to measure activations with; nothing depends on it
        self.monotonic = monotonic
        #: run ids over whose first task a process died, before the run was committed
        self.crashed_before_start: set[str] = set()
        self.replays = 0
        self.tasks = 0

    def begin(self) -> None:
        """A new engine step: what was changed before stays."""
        self.waiters.begin()

    def revert(self, run_id: str) -> None:
        """Drop a run, and what the present engine step changed in memory for it."""
        self.cache.evict(run_id)
        self.waiters.revert(run_id)


class WorkflowStep:
    """One workflow id in one batch."""

    def __init__(self, context: Context, tables: Tables, batch: Batch, workflow_id: str) -> None:
        self.context = context
        self.limits = context.limits
        self.tables = tables
        self.now_ms = batch.now_ms
        self.workflow_id = workflow_id
        self.changes: dict[tuple[str, str], Row | None] = {}
        self.outputs: list[Output] = []
        self.replies: list[Reply] = []
        #: runs touched, in order
        self.runs: dict[str, LiveRun] = {}
        #: queries to run after the tasks, each with its run
        self.queries: list[tuple[QueryWorkflow, LiveRun]] = []
        #: runs that leave the tables at the end of the step, see `odradek.engine.retention`
        self.retired: list[str] = []
        #: read-only requests, answered last
        self.reads: list[DescribeWorkflow | FetchHistory | AwaitResult] = []
        self.new_waiters: list[Waiter] = []
        #: offsets of requests that were rejected while nobody waits for the answer, with it
        self.unheard: list[tuple[int, str]] = []
        self.input: Input | None = None
        self.tasks = 0
        #: runs that began in this step, less those that closed
        self.opened = 0
        self.quarantined: list[str] = []
        self.failed_tasks: list[FailedTask] = []
        self.without_details: list[CommandWithoutDetails] = []
        #: why what an earlier try of this step made cannot be written; ""
        self.rejected = batch.rejected.get(workflow_id, "")
        self.missing_queues = batch.missing_queues
        self.task_seconds: list[tuple[str, float]] = []
        self.replay_seconds: list[float] = []
        self._current: WorkflowRow | None = None
        self._current_known = False

    # ---------------------------------------------------------------- rows

    def get(self, table: str, key: str) -> Row | None:
        """A row as this step sees it."""
        changes = self.changes
        if changes and (table, key) in changes:
            return changes[table, key]
        return self.tables.get(table, key)

    def scan(
        self, table: str, prefix: str, *, start: str = "", limit: int = 0, reverse: bool = False
    ) -> Iterator[tuple[str, Row]]:
        """Rows as this step sees them, in key order."""
        changed = {
            key: row
            for (name, key), row in self.changes.items()
            if name == table and key.startswith(prefix)
        }
        if not changed:
            return self.tables.scan(table, prefix, start=start, limit=limit, reverse=reverse)
        rows = dict(
            self.tables.scan(
                table,
                prefix,
                start=start,
                limit=limit + len(changed) if limit else 0,
                reverse=reverse,
            )
        )
        rows.update((key, row) for key, row in changed.items() if row is not None)
        kept = [
            (key, row)
            for key, row in sorted(rows.items(), reverse=reverse)
            if not (start and (key > start if reverse else key < start))
            and not (key in changed and changed[key] is None)
        ]
        return iter(kept[:limit] if limit else kept)

    def put(self, table: str, key: str, row: Row) -> None:
        """Write a row."""
        self.changes[table, key] = row

    def delete(self, table: str, key: str) -> None:
        """Delete a row."""
        self.changes[table, key] = None

    def put_timer(self, run: LiveRun, kind: str, due_ms: int, id: int = 0) -> None:
        """Write a timer row."""
        run_id = run.row.run_id
        self.changes[TIMER, timer_key(due_ms, run_id, kind, id)] = TimerRow(
            due_ms, self.workflow_id, run_id, kind, id
        )

    def delete_timer(self, run: LiveRun, kind: str, due_ms: int, id: int = 0) -> None:
        """Delete a timer row, if there is one (`due_ms` not 0)."""
        if due_ms:
            self.changes[TIMER, timer_key(due_ms, run.row.run_id, kind, id)] = None

    def set_task_timer(self, run: LiveRun, due_ms: int) -> None:
        """When the workflow task of the run is tried next; 0 for no timer."""
        row = run.row
        if row.task_retry_due_ms != due_ms:
            self.delete_timer(run, "WORKFLOW_TASK", row.task_retry_due_ms)
            row.task_retry_due_ms = due_ms
            run.dirty = True
        if due_ms:
            self.put_timer(run, "WORKFLOW_TASK", due_ms)

    # ---------------------------------------------------------------- runs

    def current(self) -> WorkflowRow | None:
        """Which run has the workflow id now."""
        if not self._current_known:
            self._current = cast("WorkflowRow | None", self.tables.get(WORKFLOW, self.workflow_id))
            self._current_known = True
        return self._current

    def set_current(self, row: WorkflowRow | None) -> None:
        """Another run has the workflow id (None: no run any more)."""
        self._current, self._current_known = row, True
        self.changes[WORKFLOW, self.workflow_id] = row

    def current_run(self) -> LiveRun | None:
        """The run that has the workflow id now."""
        row = self.current()
        return None if row is None else self.run(row.run_id)

    def run(self, run_id: str) -> LiveRun | None:
        """A run of this workflow id, ready to be changed; None when unknown."""
        if run_id in self.retired:
            return None
        run = self.runs.get(run_id)
        if run is not None:
            return run
        run = self.context.cache.get(run_id)
        if run is None:
            row = cast("RunRow | None", self.get(RUN, run_id))
            if row is None or row.workflow_id != self.workflow_id:
                return None
            run = self._load(row)
            self.context.cache.add(run)
        elif run.row.workflow_id != self.workflow_id:
            return None
        run.begin(self.now_ms)
        self.runs[run_id] = run
        return run

    def add_run(self, run: LiveRun) -> None:
        """A run that this step made."""
        self.context.cache.add(run)
        self.runs[run.row.run_id] = run
        self.opened += 1

    def _load(self, row: RunRow) -> LiveRun:
        run = LiveRun(row)
        if run.is_open:
            prefix = row.run_id + "/"
            for _, activity in self.tables.scan(ACTIVITY, prefix):
                run.activities[cast(ActivityRow, activity).scheduled_event_id] = cast(
                    ActivityRow, activity
                )
            for _, timer in self.tables.scan(USER_TIMER, prefix):
                run.timers[cast(UserTimerRow, timer).started_event_id] = cast(UserTimerRow, timer)
        return run

    def history(self, run: LiveRun, *, from_event_id: int = 1) -> Iterator[HistoryEvent]:
        """Events from an id on, with those of this step. An event that spans ids (a
        WorkflowTask) is given if any of them is asked for.
        """
        run_id = run.row.run_id
        if (
            run.new_events and run.new_events[0].event_id == 1
        ):  # made in this step: nothing is stored yet, and a look costs
            yield from (event for event in run.new_events if last_event_id(event) >= from_event_id)
            return
        start = ""
        if from_event_id > 1:
            found = list(
                self.scan(
                    HISTORY,
                    run_id + "/",
                    start=event_key(run_id, from_event_id),
                    reverse=True,
                    limit=1,
                )
            )
            start = found[0][0] if found else ""
        for _, row in self.scan(HISTORY, run_id + "/", start=start):
            for event in cast(HistoryRow, row).events:
                if last_event_id(event) >= from_event_id:
                    yield event
        for event in run.new_events:
            if last_event_id(event) >= from_event_id:
                yield event

    # ---------------------------------------------------------------- outputs

    def emit(
        self, kind: str, task_queue: str, key: str, record: Any, *, tombstone: bool = False
    ) -> None:
        """Produce a record, or a tombstone for a key whose last record it was."""
        self.outputs.append(Output(kind, task_queue, key, record, tombstone))

    def flush_history(self, run: LiveRun) -> None:
        """Put the events that this step appended into rows."""
        run_id = run.row.run_id
        events, run.new_events = run.new_events, []
        total, run.new_bytes = run.new_bytes, 0
        if total <= HISTORY_ROW_BYTES:
            self.put(HISTORY, event_key(run_id, events[0].event_id), HistoryRow(events))
            return
        row: list[HistoryEvent] = []
        size = 0
        for event in events:
            event_size = event_bytes(event)
            if row and size + event_size > HISTORY_ROW_BYTES:
                self.put(HISTORY, event_key(run_id, row[0].event_id), HistoryRow(row))
                row, size = [], 0
            row.append(event)
            size += event_size
        if row:
            self.put(HISTORY, event_key(run_id, row[0].event_id), HistoryRow(row))


def last_event_id(event: HistoryEvent) -> int:
    """The last id that an event takes: a WorkflowTask takes three."""
    return event.event_id + 2 if type(event.attributes) is WorkflowTask else event.event_id
