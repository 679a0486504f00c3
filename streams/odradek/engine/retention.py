"""How closed runs go: when their retention ends, or when somebody deletes them.

A run that goes leaves `executions` by a tombstone, then its rows leave the tables, a bounded
number a step. All of it happens at the end of the step, after queries and long polls that came
before have their answers. The verdict on a deletion outlives the run for the window of request
ids, so that a repeated request gets it too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from odradek.engine import closing
from odradek.engine.keys import deletion_key, request_prefix, timer_key
from odradek.engine.ports import HISTORY, REQUEST, RUN, TIMER
from odradek.engine.requests import answer_again, is_same, request_row, target, verdict
from odradek.engine.summaries import emit_tombstone
from odradek.wire import outcomes
from odradek.wire.state import RequestRow, TimerRow

if TYPE_CHECKING:
    from odradek.engine.step import WorkflowStep
    from odradek.wire.events import DeleteWorkflow
    from odradek.wire.state import RunRow

# Rows of a run's history deleted in one step.
RETENTION_ROWS_MAX = 500

DELETE_REASON = "terminated by DeleteWorkflow"


def retire(step: WorkflowStep, timer: TimerRow) -> None:
    """A RETENTION timer is due: the run goes; of one that is gone already, more of its rows."""
    row = cast("RunRow | None", step.get(RUN, timer.run_id))
    if row is None:
        _remove_rows(step, timer.run_id, timer.due_ms)
        return
    if row.retention_due_ms != timer.due_ms:
        return
    _release(step, timer.run_id)


def put_off(step: WorkflowStep, timer: TimerRow, wait_ms: int) -> None:
    """A RETENTION or FORGET timer whose row has gone comes again."""
    due_ms = step.now_ms + wait_ms
    run = step.run(timer.run_id) if timer.kind == "RETENTION" else None
    if run is not None:
        run.row.retention_due_ms = due_ms
        run.dirty = True
    step.put(
        TIMER,
        timer_key(due_ms, timer.run_id, timer.kind, timer.id),
        TimerRow(due_ms, step.workflow_id, timer.run_id, timer.kind),
    )


def apply_delete(step: WorkflowStep, event: DeleteWorkflow) -> None:
    """Delete a run. An open one is terminated first: it has a result, and whoever waits for it
    learns it.
    """
    entry = _deleted_before(step, event)
    if entry is not None:
        answer_again(step, event, entry)
        return
    run = target(step, event, must_be_open=False)
    if run is None:
        return
    row = run.row
    if run.is_open:
        closing.terminate(step, run, DELETE_REASON, [], event.identity)
    step.delete_timer(run, "RETENTION", row.retention_due_ms)
    _release(step, row.run_id)
    if event.request_id:
        kept = request_row(step, run, event, outcomes.OK)
        kept.time_ms, kept.run_id = step.now_ms, row.run_id
        step.put(REQUEST, deletion_key(row.workflow_id, row.run_id), kept)
        step.put_timer(run, "FORGET", step.now_ms + step.limits.request_window_ms)
    verdict(step, event, outcomes.OK, row=row)


def forget(step: WorkflowStep, timer: TimerRow) -> None:
    """A FORGET timer is due: nobody asks for that deletion again."""
    step.delete(REQUEST, deletion_key(timer.workflow_id, timer.run_id))


def remove_retired(step: WorkflowStep) -> None:
    """The end of the step: what makes its retired runs visible goes first, then rows. Their
    records come after all others of theirs.
    """
    for run_id in step.retired:
        row = cast("RunRow", step.get(RUN, run_id))
        step.context.cache.evict(run_id)
        step.delete(RUN, run_id)
        emit_tombstone(step, row)
        _remove_rows(step, run_id, step.now_ms)


def _release(step: WorkflowStep, run_id: str) -> None:
    """From here on no input of the batch finds the run, and its workflow id is free."""
    current = step.current()
    if current is not None and current.run_id == run_id:
        step.set_current(None)
        for key, _ in step.scan(REQUEST, request_prefix(step.workflow_id)):
            step.delete(REQUEST, key)
    step.retired.append(run_id)


def _remove_rows(step: WorkflowStep, run_id: str, due_ms: int) -> None:
    rows = list(step.scan(HISTORY, run_id + "/", limit=RETENTION_ROWS_MAX))
    for key, _ in rows:
        step.delete(HISTORY, key)
    if len(rows) == RETENTION_ROWS_MAX:
        rest = TimerRow(due_ms, step.workflow_id, run_id, "RETENTION", 0)
        step.put(TIMER, timer_key(due_ms, run_id, "RETENTION", 0), rest)


def _deleted_before(step: WorkflowStep, event: DeleteWorkflow) -> RequestRow | None:
    """The verdict that this request got before."""
    if not event.request_id:
        return None
    oldest_ms, current = step.now_ms - step.limits.request_window_ms, step.current()
    for key, found in step.scan(REQUEST, deletion_key(step.workflow_id, "")):
        row = cast(RequestRow, found)
        # The key is compared too: the prefix of workflow `a` is also one of workflow `a/b`.
        if (
            row.request_id != event.request_id
            or key != deletion_key(step.workflow_id, row.run_id)
            or row.time_ms < oldest_ms
        ):
            continue
        if event.run_id:
            if event.run_id == row.run_id:
                return row
        elif current is None or is_same(step, event, row, current.first_execution_run_id):
            return row
    return None
