"""`WorkflowEngine`: applies a batch to the runs of one lane.

A batch is split by workflow id, and each workflow id is one WorkflowStep, in this order: inputs
by offset, due timers, workflow tasks, rows, queries, read-only requests, long polls, runs that
go. Nothing of a step counts before all of it is done. What breaks in the engine itself (a
defect, not workflow code) is confined here: the step is thrown away and done again without the
part that broke; the run is quarantined, the input dead-lettered with its trace, the timer kept for
when the run is tried again, and no other workflow id notices. Where nothing helps, inputs are
dead-lettered, and with timers at hand the step raises: whoever owns them keeps them.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from odradek.engine.cache import RunCache
from odradek.engine.inputs import apply_input
from odradek.engine.ports import (
    RUN,
    Batch,
    DeadLetter,
    EngineLimits,
    Input,
    RowChange,
    StepResult,
    Tables,
    TablesError,
)
from odradek.engine.queries import run_queries
from odradek.engine.reads import answer_reads, expired_reply, settle_waiters
from odradek.engine.requests import verdict
from odradek.engine.retention import remove_retired
from odradek.engine.step import Context, WorkflowStep
from odradek.engine.summaries import emit_summary
from odradek.engine.tasks import count_crash, enforce_limits, quarantine, run_tasks
from odradek.engine.timers import apply_timer, set_aside
from odradek.engine.waiters import Waiters
from odradek.wire import outcomes
from odradek.wire.clean import clean_text
from odradek.wire.events import ActivityReport
from odradek.wire.state import RunRow, TimerRow

if TYPE_CHECKING:
    from odradek.engine.activation import Activator
    from odradek.engine.waiters import Waiter
    from odradek.wire.outcomes import Reply


class _Work:
    """What a batch holds for one workflow id, and what an earlier try of it taught."""

    __slots__ = (
        "broken_inputs",
        "broken_timers",
        "crashed",
        "inputs",
        "no_reads",
        "no_tasks",
        "quarantined",
        "timers",
        "trace",
    )

    def __init__(self) -> None:
        self.inputs: list[Input] = []
        self.timers: list[TimerRow] = []
        self.crashed: list[str] = []
        self.quarantined = ""
        self.broken_inputs: dict[int, str] = {}
        self.broken_timers: set[int] = set()
        self.no_tasks = False
        self.no_reads = False
        self.trace = ""


class WorkflowEngine:
    """One a lane. See `odradek.engine.ports.Engine`."""

    def __init__(
        self,
        activator: Activator,
        *,
        namespace: str,
        task_queue: str,
        limits: EngineLimits | None = None,
        monotonic: Callable[[], float] = float,
    ) -> None:
        self._limits = limits if limits is not None else EngineLimits()
        self._cache = RunCache(self._limits.max_cached_workflows)
        self._waiters = Waiters()
        self._context = Context(
            activator, namespace, task_queue, self._limits, self._cache, self._waiters, monotonic
        )

    def step(self, tables: Tables, batch: Batch) -> StepResult:
        """Apply a batch."""
        self._context.begin()
        works: dict[str, _Work] = {}
        for input in batch.inputs:
            workflow_id = input.event.workflow_id
            work = works.get(workflow_id)
            if work is None:
                work = works[workflow_id] = _Work()
            work.inputs.append(input)
        for timer in batch.timers:
            work = works.get(timer.workflow_id)
            if work is None:
                work = works[timer.workflow_id] = _Work()
            work.timers.append(timer)
        for workflow_id, reason in batch.quarantined.items():
            works.setdefault(workflow_id, _Work()).quarantined = reason
        for run_id in batch.crashed:
            row = tables.get(RUN, run_id)
            if row is None:
                self._context.crashed_before_start.add(run_id)
            else:
                works.setdefault(cast("RunRow", row).workflow_id, _Work()).crashed.append(run_id)
        result = StepResult()
        for workflow_id, work in works.items():
            self._apply(tables, batch, workflow_id, work, result)
        self._cache.trim()
        return result

    def evict(self, run_ids: list[str]) -> None:
        """The transaction of the last step did not commit: forget what these runs became in it."""
        for run_id in run_ids:
            self._context.revert(run_id)

    def evict_all(self) -> None:
        """Forget everything that is not in the tables."""
        self._cache.evict_all()
        self._waiters.clear()
        self._context.begin()

    def expired_waiters(self, now_ms: int) -> list[Reply]:
        """Answers for long polls whose deadline has passed."""
        return [
            expired_reply(waiter, self._context.task_queue)
            for waiter in self._waiters.expired(now_ms)
        ]

    def statistics(self) -> dict[str, int]:
        """Counters since the engine was made, and present sizes."""
        cache = self._cache
        return {
            "cached_runs": len(cache),
            "cache_hits": cache.hits,
            "cache_misses": cache.misses,
            "evictions": cache.evictions,
            "replays": self._context.replays,
            "workflow_tasks": self._context.tasks,
            "waiters": len(self._waiters),
        }

    # ---------------------------------------------------------------- one workflow id

    def _apply(
        self, tables: Tables, batch: Batch, workflow_id: str, work: _Work, result: StepResult
    ) -> None:
        for _ in range(
            len(work.inputs) + len(work.timers) + 4
        ):  # each try leaves out at least one part more
            step = WorkflowStep(self._context, tables, batch, workflow_id)
            try:
                done = _try(step, work)
            except _Broken as broken:
                broken.note(work)
            else:
                self._accept(step, work, done, result)
                return
            for run_id in step.runs:
                self._context.revert(run_id)
        # they would be consumed: their lane takes them apart from others, and keeps what still
        # fails
        if work.timers:
            raise RuntimeError(
                f"the engine cannot apply the timers of workflow {workflow_id}:"
                f" {_last_line(work.trace)}\n{work.trace}"
            )
        step = WorkflowStep(self._context, tables, batch, workflow_id)
        for input in work.inputs:
            reason = (
                f"the engine cannot apply any input of workflow {workflow_id}:"
                f" {_last_line(work.trace)}"
            )
            result.dead_letters.append(DeadLetter(input.offset, reason, work.trace))
            _answer_broken(step, input, work.trace)
        result.replies.extend(step.replies)

    def _accept(
        self, step: WorkflowStep, work: _Work, done: list[Waiter], result: StepResult
    ) -> None:
        for waiter in done:
            self._waiters.remove(waiter)
        for waiter in step.new_waiters:
            self._waiters.add(waiter)
        result.rows.extend(
            [
                RowChange(table, key, row, step.workflow_id)
                for (table, key), row in step.changes.items()
            ]
        )
        result.outputs.extend(step.outputs)
        result.replies.extend(step.replies)
        result.touched.extend(step.runs)
        for run_id, run in step.runs.items():
            if not run.is_open:
                self._cache.release(run_id)
        result.quarantined.extend(step.quarantined)
        result.failed_tasks.extend(step.failed_tasks)
        result.without_details.extend(step.without_details)
        result.task_seconds.extend(step.task_seconds)
        result.replay_seconds.extend(step.replay_seconds)
        result.steps += step.tasks
        result.opened += step.opened
        result.dead_letters.extend(
            [DeadLetter(offset, reason, rejected=True) for offset, reason in step.unheard]
        )
        for position, trace in work.broken_inputs.items():
            result.dead_letters.append(
                DeadLetter(
                    work.inputs[position].offset,
                    f"defect of the engine: {_last_line(trace)}",
                    trace,
                )
            )


class _Broken(Exception):
    """Something in the engine raised; `part` and `position` say where."""

    def __init__(self, part: str, position: int = -1) -> None:
        super().__init__(part)
        self.part = part
        self.position = position
        self.trace = clean_text(traceback.format_exc())  # it becomes part of rows and replies

    def note(self, work: _Work) -> None:
        work.trace = self.trace
        if self.part == "input":
            work.broken_inputs[self.position] = self.trace
        elif self.part == "timer":
            work.broken_timers.add(self.position)
        elif self.part == "reads":
            work.no_reads = True
        else:
            work.no_tasks = True


def _last_line(trace: str) -> str:
    return trace.strip().rsplit("\n", 1)[-1]


def _try(step: WorkflowStep, work: _Work) -> list[Waiter]:
    """Do everything for one workflow id. Returns the long polls that are answered."""
    part, position = "crash", -1
    try:
        for run_id in work.crashed:
            crashed = step.run(run_id)
            if crashed is not None:
                count_crash(step, crashed)
        part = "input"
        for position, input in enumerate(work.inputs):
            if position not in work.broken_inputs:
                apply_input(step, input)
            else:
                _answer_broken(step, input, work.broken_inputs[position])
        part = "timer"
        for position, timer in enumerate(work.timers):
            if position in work.broken_timers:
                set_aside(step, timer)
            else:
                apply_timer(step, timer)
        part = "task"
        if work.quarantined:
            _quarantine_all(step, work.quarantined)
        if work.no_tasks or (work.trace and not work.no_reads):
            _quarantine_all(step, f"defect of the engine: {_last_line(work.trace)}")
        run_tasks(step)
        part = "rows"
        _write_runs(step)
        part = "reads"
        done: list[Waiter] = []
        if work.no_reads:
            _answer_internal(step, work)
        else:
            if step.queries:
                run_queries(step)
            if step.reads:
                answer_reads(step)
            done = settle_waiters(step)
        part = "retention"
        if step.retired:
            remove_retired(step)
        return done
    except TablesError:
        raise
    except Exception as error:
        raise _Broken(part, position) from error


def _write_runs(step: WorkflowStep) -> None:
    for run in list(step.runs.values()):
        enforce_limits(step, run)
    for run in step.runs.values():
        row = run.row
        if run.new_events:
            step.flush_history(run)
        if run.summary_dirty or run.dirty:
            row.state_transition_count += 1
            step.put(RUN, row.run_id, row)
            if run.summary_dirty:
                emit_summary(step, run)


def _quarantine_all(step: WorkflowStep, reason: str) -> None:
    """No workflow code of the workflow id's open runs runs until an operator releases them."""
    current = step.current_run()
    for run in {
        id(run): run for run in (*step.runs.values(), *([current] if current is not None else []))
    }.values():
        if run.is_open:
            quarantine(step, run, reason)


def _answer_broken(step: WorkflowStep, input: Input, trace: str) -> None:
    """Whoever waits for an input that broke the engine learns it."""
    if not isinstance(input.event, ActivityReport):
        verdict(step, input.event, outcomes.INTERNAL, f"defect of the engine: {_last_line(trace)}")


def _answer_internal(step: WorkflowStep, work: _Work) -> None:
    message = f"defect of the engine: {_last_line(work.trace)}"
    for event, run in step.queries:
        verdict(step, event, outcomes.INTERNAL, message, row=run.row)
    for read in step.reads:
        verdict(step, read, outcomes.INTERNAL, message)
    step.new_waiters = []
