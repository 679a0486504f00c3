"""StartWorkflow and signal-with-start: validation, id policies, deduplication, the first event
of a run.

Reuse policy governs closed runs of the id, conflict policy an open one. Arbitrated here, by the
owner of the workflow id, alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import msgspec

from odradek.engine import cron, retry
from odradek.engine.chain import create_run
from odradek.engine.closing import terminate
from odradek.engine.keys import derived_run_id
from odradek.engine.ports import RUN
from odradek.engine.requests import answer_again, made_by, remember, remembered, verdict
from odradek.engine.signals import add_signal
from odradek.engine.waiters import WAIT_DEFAULT_MS, Waiter
from odradek.wire import outcomes
from odradek.wire.history import WorkflowExecutionStarted
from odradek.wire.limits import DURATION_MAX_MS
from odradek.wire.payload import Payload
from odradek.wire.search_attributes import reserved_problem, values_problem
from odradek.wire.state import RunRow

if TYPE_CHECKING:
    from odradek.engine.run import LiveRun
    from odradek.engine.step import WorkflowStep
    from odradek.wire.events import StartWorkflow

REUSE_POLICIES = frozenset(
    {
        "",
        "UNSPECIFIED",
        "ALLOW_DUPLICATE",
        "ALLOW_DUPLICATE_FAILED_ONLY",
        "REJECT_DUPLICATE",
        "TERMINATE_IF_RUNNING",
    }
)
CONFLICT_POLICIES = frozenset({"", "UNSPECIFIED", "FAIL", "USE_EXISTING", "TERMINATE_EXISTING"})


def problem_of(event: StartWorkflow) -> str:
    """Why a start is not valid, else ""."""
    if not event.workflow_id:
        return "workflow_id is not set"
    if not event.workflow_type:
        return "workflow_type is not set"
    if "/" in event.run_id:
        return "run_id must not contain '/'; a UUID is meant"
    if event.id_reuse_policy not in REUSE_POLICIES:
        return (
            f"id_reuse_policy '{event.id_reuse_policy}' is none of"
            f" {', '.join(sorted(REUSE_POLICIES - {''}))}"
        )
    if event.id_conflict_policy not in CONFLICT_POLICIES:
        return (
            f"id_conflict_policy '{event.id_conflict_policy}' is none of"
            f" {', '.join(sorted(CONFLICT_POLICIES - {''}))}"
        )
    if (
        event.id_conflict_policy == "TERMINATE_EXISTING"
        and event.id_reuse_policy == "REJECT_DUPLICATE"
    ):
        return (
            "id_reuse_policy REJECT_DUPLICATE cannot go together with id_conflict_policy"
            " TERMINATE_EXISTING"
        )
    if event.id_reuse_policy == "TERMINATE_IF_RUNNING" and event.id_conflict_policy in (
        "USE_EXISTING",
        "TERMINATE_EXISTING",
    ):
        return (
            "id_reuse_policy TERMINATE_IF_RUNNING cannot go together with id_conflict_policy"
            f" {event.id_conflict_policy}"
        )
    for name in ("execution_timeout_ms", "run_timeout_ms", "task_timeout_ms", "start_delay_ms"):
        if getattr(event, name) < 0:
            return f"{name} must not be negative"
        if getattr(event, name) > DURATION_MAX_MS:
            return f"{name} is longer than {DURATION_MAX_MS} ms (5,000 years)"
    if event.cron_schedule and event.start_delay_ms:
        return "start_delay cannot go together with cron_schedule"
    if problem := reserved_problem(event.search_attributes) or values_problem(
        event.search_attributes
    ):
        return problem
    return cron.problem_of(event.cron_schedule) or retry.problem_of(event.retry_policy)


def apply_start(step: WorkflowStep, event: StartWorkflow) -> None:
    """Start a run, or say why not."""
    assert step.input is not None
    problem = problem_of(event)
    if problem:
        verdict(step, event, outcomes.INVALID_ARGUMENT, problem)
        return
    taken = cast("RunRow | None", step.get(RUN, event.run_id)) if event.run_id else None
    if taken is not None and taken.workflow_id != event.workflow_id:
        verdict(
            step,
            event,
            outcomes.INVALID_ARGUMENT,
            f"run_id {event.run_id} belongs to another workflow; choose a new UUID for each start",
        )
        return
    # What has the id of the run, and does not answer, was made by a start without this one's
    # signal, and keeps its id.
    run_id = (
        derived_run_id(step.input.origin_id)
        if taken is not None or not event.run_id
        else event.run_id
    )
    exists = step.current() is not None or taken is not None
    if exists and _answered_by_existing(step, event, run_id):
        return
    run = _create(step, event, run_id)
    if event.signal_name:
        _add_signal(step, event, run, ends_delay=False)
    verdict(step, event, outcomes.OK, row=run.row, started=True)
    _await_result(step, event, run)


def _answered_by_existing(step: WorkflowStep, event: StartWorkflow, new_run_id: str) -> bool:
    """Whether a run that exists answers the request: a repeated one, a policy, or a signal to
    it. Terminates it if a policy says so.
    """
    entry = remembered(step, event)
    if entry is not None:
        answer_again(step, event, entry)
        known = step.run(entry.run_id)
        if entry.status == outcomes.OK and known is not None:
            _await_result(step, event, known)
        return True
    if event.run_id:
        same = step.run(event.run_id)
        if same is not None and made_by(step, same.row, event):
            verdict(step, event, outcomes.OK, row=same.row, started=True)
            _await_result(step, event, same)
            return True
    run = step.current_run()
    if run is None:
        return False
    if run.is_open:
        return _answered_by_open(step, event, run, new_run_id)
    message = _reuse_problem(event, run.row)
    if message:
        verdict(step, event, outcomes.ALREADY_EXISTS, message, row=run.row)
        remember(step, run, event, outcomes.ALREADY_EXISTS, message, run_id=run.row.run_id)
    return bool(message)


def _answered_by_open(
    step: WorkflowStep, event: StartWorkflow, run: LiveRun, new_run_id: str
) -> bool:
    policy = event.id_conflict_policy
    if event.id_reuse_policy == "TERMINATE_IF_RUNNING" or policy == "TERMINATE_EXISTING":
        details = [
            Payload(
                {"encoding": b"json/plain"},
                msgspec.json.encode(f"terminated by new runID: {new_run_id}"),
            )
        ]
        terminate(step, run, "TerminateIfRunning WorkflowIdReusePolicy", details, "odradek")
        return False
    if policy == "USE_EXISTING" or (event.signal_name and policy in ("", "UNSPECIFIED")):
        if event.signal_name:
            _add_signal(step, event, run, ends_delay=True)
        remember(step, run, event, outcomes.OK, run_id=run.row.run_id)
        verdict(step, event, outcomes.OK, row=run.row)
        _await_result(step, event, run)
        return True
    message = (
        f"Workflow execution is already running. WorkflowId: {event.workflow_id}, RunId:"
        f" {run.row.run_id}."
    )
    remember(step, run, event, outcomes.ALREADY_EXISTS, message, run_id=run.row.run_id)
    verdict(step, event, outcomes.ALREADY_EXISTS, message, row=run.row)
    return True


def _reuse_problem(event: StartWorkflow, row: RunRow) -> str:
    if event.id_reuse_policy == "REJECT_DUPLICATE":
        policy = "reject duplicate workflow Id"
    elif (
        event.id_reuse_policy == "ALLOW_DUPLICATE_FAILED_ONLY" and row.status == outcomes.COMPLETED
    ):
        policy = "allow duplicate workflow Id if last run failed"
    else:
        return ""
    return (
        "Workflow execution already"
        f" finished{' successfully' if row.status == outcomes.COMPLETED else ''}. WorkflowId:"
        f" {row.workflow_id}, RunId: {row.run_id}. Workflow Id reuse policy: {policy}."
    )


def _add_signal(
    step: WorkflowStep, event: StartWorkflow, run: LiveRun, *, ends_delay: bool
) -> None:
    assert step.input is not None
    add_signal(
        run,
        event.signal_name,
        event.signal_input,
        event.signal_headers,
        event.identity,
        event.request_id,
        step.input.offset,
        step if ends_delay else None,
    )


def _create(step: WorkflowStep, event: StartWorkflow, run_id: str) -> LiveRun:
    assert step.input is not None
    backoff = (
        cron.wait_ms(event.cron_schedule, step.now_ms)
        if event.cron_schedule
        else event.start_delay_ms
    )
    started = WorkflowExecutionStarted(
        workflow_id=event.workflow_id,
        run_id=run_id,
        workflow_type=event.workflow_type,
        task_queue=step.context.task_queue,
        input=event.input,
        headers=event.headers,
        memo=event.memo,
        search_attributes=event.search_attributes,
        execution_timeout_ms=event.execution_timeout_ms,
        run_timeout_ms=event.run_timeout_ms,
        task_timeout_ms=event.task_timeout_ms,
        first_workflow_task_backoff_ms=backoff,
        cron_schedule=event.cron_schedule,
        retry_policy=event.retry_policy,
        identity=event.identity,
        first_execution_run_id=run_id,
        parent=event.parent,
        root_workflow_id=event.root_workflow_id,
        root_run_id=event.root_run_id,
        execution_expiration_time_ms=(
            step.now_ms + backoff + event.execution_timeout_ms if event.execution_timeout_ms else 0
        ),
    )
    row = RunRow(event.workflow_id, run_id, event.workflow_type, run_id)
    row.start_request_id = event.request_id
    row.static_summary, row.static_details = event.static_summary, event.static_details
    return create_run(step, started, row, offset=step.input.offset)


def _await_result(step: WorkflowStep, event: StartWorkflow, run: LiveRun) -> None:
    if event.await_result and event.reply_to:
        deadline = event.deadline_ms or step.now_ms + WAIT_DEFAULT_MS
        step.new_waiters.append(
            Waiter(run.row.run_id, event.workflow_id, event.reply_to, event.request_id, deadline)
        )
