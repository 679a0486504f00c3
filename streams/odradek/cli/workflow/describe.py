"""describe: what is known of one workflow without asking its code."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from odradek.cli.app import Commands, add_command
from odradek.cli.common import cluster_options, with_client
from odradek.cli.output import (
    is_json,
    json_text,
    output_options,
    print_fields,
    print_heading,
    print_table,
    print_value,
)
from odradek.cli.payloads import Unreadable
from odradek.cli.status import ONE_WORKFLOW, chain
from odradek.cli.style import BLUE, RED, YELLOW, Painted, run_status_text, status_text
from odradek.cli.times import age_text, iso_text, since_text
from odradek.cli.workflow.options import add_one, handle_of
from odradek.cli.workflow.outcome import close_event, status_word
from odradek.client import (
    Client,
    RPCError,
    WorkflowContinuedAsNewError,
    WorkflowExecutionDescription,
    WorkflowFailureError,
    WorkflowHandle,
)
from odradek.client.responses import noting_outcomes
from odradek.wire.outcomes import WorkflowResult
from odradek.wire.problems import shown_search_attributes

_OUTCOME_TIMEOUT = timedelta(seconds=10)
_OF_STATE = {"STARTED": BLUE, "CANCEL_REQUESTED": YELLOW}


def register(actions: Commands) -> None:
    """Add the command."""
    parser = add_command(
        actions,
        "describe",
        describe,
        help=(
            "what is known of a workflow: status, pending activities and timers, what keeps failing"
        ),
        examples=(
            "odradek workflow describe -w order-1",
            "odradek workflow describe -w order-1 --time-format iso",
            "odradek workflow describe -w order-1 -r RUN_ID -o json",
        ),
        notes=(
            "-o json is Temporal's DescribeWorkflowExecutionResponse, with the `closeEvent` of a"
            " closed run and the `result` of a\ncompleted one, as `temporal` adds them; what only"
            " Odradek has stands under `odradek`. --raw prints that message as it is:\nenums, times"
            " and payloads (metadata and data in base64) in no other form, in text a property a"
            " line."
        ),
        statuses=ONE_WORKFLOW,
        parents=[cluster_options(), output_options()],
    )
    add_one(parser)
    parser.add_argument(
        "--raw", action="store_true", help="print properties without changing their format"
    )


def describe(options: argparse.Namespace) -> int:
    """Print what is known."""

    async def use(client: Client) -> None:
        found = await handle_of(client, options).describe(rpc_timeout=options.rpc_timeout)
        if options.raw:
            message = description_json(found, raw=True)
            (
                print_value(options, message)
                if is_json(options)
                else print_fields(dict(_properties(message)))
            )
            return
        outcome = await _outcome(
            client, found, options.rpc_timeout or _OUTCOME_TIMEOUT, with_event=is_json(options)
        )
        if is_json(options):
            print_value(options, description_json(found, outcome))
        else:
            _print_description(await _fields(found), found)
            _print_outcome(found, outcome)

    with_client(options, use)
    return 0


async def _outcome(
    client: Client, found: WorkflowExecutionDescription, rpc_timeout: timedelta, *, with_event: bool
) -> dict[str, Any]:
    """What a closed run ended with: its `result` and that one's `encoding`, its `failure` in
    words, or the `newExecutionRunId` that it continued as; with_event: its `closeEvent` too.
    Empty for an open run; what is not to be had any more is not there.
    """
    if found.close_time is None:
        return {}
    known: dict[str, Any] = {}
    if with_event:
        run = WorkflowResult(
            found.namespace,
            found.task_queue,
            found.id,
            found.run_id,
            found.workflow_type,
            "",
            history_length=found.history_length,
        )
        if (event := await close_event(client, run, rpc_timeout)) is not None:
            known["closeEvent"] = event
    return known | await _result(client, found, rpc_timeout)


async def _result(
    client: Client, found: WorkflowExecutionDescription, rpc_timeout: timedelta
) -> dict[str, Any]:
    handle: WorkflowHandle[Any, Any] = client.get_workflow_handle(
        found.id, run_id=found.run_id, task_queue=found.task_queue or None
    )
    try:
        with noting_outcomes() as outcomes:
            value = await handle.result(follow_runs=False, rpc_timeout=rpc_timeout)
        encodings = [
            payload.metadata.get("encoding", b"").decode("utf-8", "replace")
            for payload in outcomes[-1].result
        ]
        return {"result": value, "encoding": encodings[0] if encodings else ""}
    except WorkflowContinuedAsNewError as error:
        return {"newExecutionRunId": error.new_execution_run_id}
    except WorkflowFailureError as error:
        return {"failure": chain(error.cause)}
    except RPCError:
        return {}


def description_json(
    found: WorkflowExecutionDescription,
    outcome: Mapping[str, Any] | None = None,
    *,
    raw: bool = False,
) -> dict[str, Any]:
    """Temporal's message, payloads in short form unless raw, a result as its command line adds
    it; what only we have under `odradek`.
    """
    from odradek.web.temporal.shapes import description
    from odradek.web.temporal.shorthand import shorten

    known = found.raw_description
    ours = {
        "parkedReason": found.parked_reason or None,
        "nextTry": (
            iso_text(known.pending_task_next_attempt_time_ms)
            if known.pending_task_next_attempt_time_ms
            else None
        ),
        "failingTask": (
            {
                "attempt": known.pending_task_attempt,
                "message": known.pending_task_failure.message,
            }
            if known.pending_task_failure is not None
            else None
        ),
        "pendingTimers": [
            {
                "timerId": one.timer_id,
                "startedEventId": one.started_event_id,
                "dueTime": iso_text(one.due_ms),
            }
            for one in found.pending_timers
        ],
        "waitingActivities": {
            one.activity_id: one.waiting_reason
            for one in found.pending_activities
            if one.waiting_reason
        },
        **(outcome or {}),
    }
    message = description(known)
    written: dict[str, Any] = message if raw else shorten(message)
    for name in ("closeEvent", "result"):
        if name in ours:
            written[name] = ours.pop(name)
    ours.pop("encoding", None)
    ours = {name: value for name, value in ours.items() if value}
    return {**written, "odradek": ours} if ours else written


def _properties(value: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Each property of a message by its path: `workflowExecutionInfo.type.name`,
    `pendingActivities.0.attempt`.
    """
    for name, one in value.items():
        if isinstance(one, dict | list):
            parts = (
                one
                if isinstance(one, dict)
                else {str(number): part for number, part in enumerate(one)}
            )
            yield from _properties(parts, f"{before}{name}.")
        else:
            yield f"{before}{name}", one


async def _fields(found: WorkflowExecutionDescription) -> dict[str, Any]:
    raw = found.raw_description
    summary = raw.summary
    return {
        "WorkflowId": found.id,
        "RunId": found.run_id,
        "Type": found.workflow_type,
        "Status": run_status_text(summary.status, summary.reported_problems),
        "Namespace": found.namespace,
        "TaskQueue": found.task_queue,
        "StartTime": since_text(summary.start_time_ms),
        "ExecutionTime": (
            since_text(summary.execution_time_ms)
            if summary.execution_time_ms != summary.start_time_ms
            else None
        ),
        "CloseTime": since_text(summary.close_time_ms) if summary.close_time_ms else None,
        "HistoryLength": found.history_length,
        "HistorySize": (
            f"{summary.history_size_bytes} bytes" if summary.history_size_bytes else None
        ),
        "StateTransitionCount": summary.state_transition_count,
        "Attempt": raw.attempt if raw.attempt > 1 else None,
        "CronSchedule": raw.cron_schedule,
        "ParentId": found.parent_id,
        "FirstRunId": (
            summary.first_execution_run_id
            if summary.first_execution_run_id != found.run_id
            else None
        ),
        "Summary": await found.static_summary(),
        "Details": await found.static_details(),
        "Memo": {
            key: str(value) if isinstance(value, Unreadable) else value
            for key, value in (await found.memo()).items()
        },
        "SearchAttributes": {
            name: value[0] if len(value) == 1 else value
            for name, value in _search_attributes(found).items()
        },
        "CancelRequested": "yes" if raw.cancel_requested else None,
        "Parked": Painted(found.parked_reason, RED) if found.parked_reason else None,
        "FailingTask": (
            Painted(f"attempt {raw.pending_task_attempt}: {raw.pending_task_failure.message}", RED)
            if raw.pending_task_failure is not None
            else None
        ),
        "NextTry": (
            since_text(raw.pending_task_next_attempt_time_ms)
            if raw.pending_task_next_attempt_time_ms
            else None
        ),
    }


def _search_attributes(found: WorkflowExecutionDescription) -> dict[str, list[Any]]:
    """Of each its values. Those that nobody can read, which the client leaves out, are there in
    words.
    """
    read: Mapping[str, list[Any]] = found.search_attributes
    shown = shown_search_attributes(found.raw_info)
    return {
        name: read[name] if name in read else [str(Unreadable(payload))]
        for name, payload in shown.items()
    }


def _print_description(fields: dict[str, Any], found: WorkflowExecutionDescription) -> None:
    print_fields(fields)
    if found.pending_activities:
        print_heading(f"Pending activities: {len(found.pending_activities)}")
        rows = [
            [
                one.activity_id,
                one.activity_type,
                one.task_queue,
                Painted(
                    one.state + (f" ({one.waiting_reason})" if one.waiting_reason else ""),
                    _OF_STATE.get(one.state, 0),
                ),
                f"{one.attempt}" + (f"/{one.maximum_attempts}" if one.maximum_attempts else ""),
                since_text(
                    one.next_attempt_time_ms or one.last_started_time_ms or one.scheduled_time_ms
                ),
                (
                    Painted(" ".join(one.last_failure.message.split()), RED)
                    if one.last_failure is not None
                    else "-"
                ),
            ]
            for one in found.pending_activities
        ]
        print_table(
            ["ID", "TYPE", "TASK QUEUE", "STATE", "ATTEMPT", "SINCE/NEXT", "LAST FAILURE"], rows
        )
    if found.pending_timers:
        print_heading(f"Pending timers: {len(found.pending_timers)}")
        print_table(
            ["ID", "DUE"], [[one.timer_id, since_text(one.due_ms)] for one in found.pending_timers]
        )


def _print_outcome(found: WorkflowExecutionDescription, outcome: Mapping[str, Any]) -> None:
    if not outcome:
        return
    summary, result = found.raw_description.summary, outcome.get("result")
    print_heading("Results:")
    print_fields(
        {
            "RunTime": age_text(
                max(0, summary.close_time_ms - (summary.execution_time_ms or summary.start_time_ms))
            ),
            "Status": status_text(
                summary.status, status_word(summary.status)
            ),  # in capitals, as `temporal` writes it here
            "Result": (
                (str(result) if isinstance(result, Unreadable) else json_text(result))
                if "result" in outcome
                else None
            ),
            "ResultEncoding": outcome.get("encoding"),
            "Failure": Painted(outcome["failure"], RED) if "failure" in outcome else None,
            "ContinuedAs": outcome.get("newExecutionRunId"),
        }
    )
