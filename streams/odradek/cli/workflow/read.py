"""describe, query, stack, show: what is known of one workflow."""

from __future__ import annotations

import argparse
from typing import Any

from odradek.cli.app import Commands, add_command
from odradek.cli.common import cluster_options, input_options, inputs_of, with_client
from odradek.cli.output import (
    is_json,
    json_text,
    output_options,
    print_fields,
    print_json,
    print_line,
    print_table,
    print_value,
    time_text,
    visible,
)
from odradek.cli.payloads import Unreadable
from odradek.cli.status import ONE_WORKFLOW
from odradek.cli.workflow.options import add_one, handle_of, member, names
from odradek.client import Client, WorkflowExecutionDescription, WorkflowHistory
from odradek.common import QueryRejectCondition

_STACK_TRACE = "__stack_trace"


def register(actions: Commands) -> None:
    """Add the commands."""
    shared = [cluster_options(), output_options()]
    add_one(
        add_command(
            actions,
            "describe",
            describe,
            help="what is known of a workflow: status, pending activities and timers, what keeps failing",
            examples=("odradek workflow describe -w order-1", "odradek workflow describe -w order-1 -r RUN_ID -o json"),
            notes="-o json is Temporal's DescribeWorkflowExecutionResponse; what only Odradek has stands under `odradek`.",
            statuses=ONE_WORKFLOW,
            parents=shared,
        )
    )
    parser = add_command(
        actions,
        "query",
        query,
        help="query a workflow",
        examples=(
            "odradek workflow query -w order-1 --name status",
            """odradek workflow query -w order-1 --name price -i '"EUR"' -o json""",
        ),
        statuses=ONE_WORKFLOW,
        parents=[*shared, input_options()],
    )
    add_one(parser)
    parser.add_argument("--name", "--type", required=True, help="query name")
    _reject_option(parser)
    parser = add_command(
        actions,
        "stack",
        stack,
        help="where a workflow's code waits: its call stack",
        examples=("odradek workflow stack -w order-1",),
        statuses=ONE_WORKFLOW,
        parents=shared,
    )
    add_one(parser)
    _reject_option(parser)
    parser = add_command(
        actions,
        "show",
        show,
        help="the history of a workflow",
        examples=(
            "odradek workflow show -w order-1",
            "odradek workflow show -w order-1 --detailed",
            "odradek workflow show -w order-1 --follow",
            "odradek workflow show -w order-1 -o json",
        ),
        notes="-o json is Temporal's form of a history, which its tools and `Replayer` read; -o jsonl has an event a line.",
        statuses=ONE_WORKFLOW,
        parents=shared,
    )
    add_one(parser)
    parser.add_argument("--follow", "-f", action="store_true", help="go on as events come, until the workflow closes")
    parser.add_argument("--detailed", action="store_true", help="what each event holds as well")


def _reject_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reject-condition", type=member(QueryRejectCondition), metavar="CONDITION", help=names(QueryRejectCondition))


# --- commands


def describe(options: argparse.Namespace) -> int:
    """Print what is known."""

    async def use(client: Client) -> None:
        found = await handle_of(client, options).describe(rpc_timeout=options.rpc_timeout)
        if is_json(options):
            print_value(options, description_json(found))
        else:
            _print_description(await _fields(found), found)

    with_client(options, use)
    return 0


def query(options: argparse.Namespace) -> int:
    """Query, and print the answer."""
    arguments = inputs_of(options)

    async def use(client: Client) -> None:
        answer = await handle_of(client, options).query(
            options.name, args=arguments, reject_condition=options.reject_condition, rpc_timeout=options.rpc_timeout
        )
        if is_json(options):
            print_value(options, {"queryResult": answer})
        else:
            print_json(answer)

    with_client(options, use)
    return 0


def stack(options: argparse.Namespace) -> int:
    """Print the call stack."""

    async def use(client: Client) -> None:
        answer = await handle_of(client, options).query(
            _STACK_TRACE, result_type=str, reject_condition=options.reject_condition, rpc_timeout=options.rpc_timeout
        )
        if is_json(options):
            print_value(options, {"queryResult": answer})
        else:
            print(visible(str(answer), lines=True))

    with_client(options, use)
    return 0


def show(options: argparse.Namespace) -> int:
    """Print the history."""

    async def use(client: Client) -> None:
        handle = handle_of(client, options)
        if options.follow:
            events = handle.fetch_history_events(wait_new_event=True)
        else:
            events = handle.fetch_history_events(rpc_timeout=options.rpc_timeout)
        if options.output == "json":
            found = WorkflowHistory(options.workflow_id, [event async for event in events])
            print_json(found.to_json_dict())
        elif options.output == "jsonl":
            async for event in events:
                for written in _json_of(event):
                    print_line(written)
        elif options.follow or options.detailed:
            async for event in events:
                number, time, kind = _row(event)
                print(visible(f"{number:>5}  {time}  {kind}"), flush=True)
                if options.detailed:
                    _print_attributes(event)
        else:
            print_table(["ID", "TIME", "TYPE"], [_row(event) async for event in events])

    with_client(options, use)
    return 0


# --- describe


def description_json(found: WorkflowExecutionDescription) -> dict[str, Any]:
    """Temporal's message in its short form, with what only we have under `odradek`."""
    from odradek.web.temporal.shapes import description
    from odradek.web.temporal.shorthand import shorten

    raw = found.raw_description
    ours = {
        "parkedReason": found.parked_reason or None,
        "failingTask": {"attempt": raw.pending_task_attempt, "message": raw.pending_task_failure.message}
        if raw.pending_task_failure is not None
        else None,
        "pendingTimers": [
            {"timerId": one.timer_id, "startedEventId": one.started_event_id, "dueTime": time_text(one.due_ms)}
            for one in found.pending_timers
        ],
        "waitingActivities": {one.activity_id: one.waiting_reason for one in found.pending_activities if one.waiting_reason},
    }
    written: dict[str, Any] = shorten(description(raw))
    ours = {name: value for name, value in ours.items() if value}
    return {**written, "odradek": ours} if ours else written


async def _fields(found: WorkflowExecutionDescription) -> dict[str, Any]:
    raw = found.raw_description
    summary = raw.summary
    return {
        "WorkflowId": found.id,
        "RunId": found.run_id,
        "Type": found.workflow_type,
        "Status": found.status.name if found.status is not None else summary.status,
        "Namespace": found.namespace,
        "TaskQueue": found.task_queue,
        "StartTime": time_text(summary.start_time_ms),
        "ExecutionTime": time_text(summary.execution_time_ms) if summary.execution_time_ms != summary.start_time_ms else None,
        "CloseTime": time_text(summary.close_time_ms) if summary.close_time_ms else None,
        "HistoryLength": found.history_length,
        "HistorySize": f"{summary.history_size_bytes} bytes" if summary.history_size_bytes else None,
        "StateTransitionCount": summary.state_transition_count,
        "Attempt": raw.attempt if raw.attempt > 1 else None,
        "CronSchedule": raw.cron_schedule,
        "ParentId": found.parent_id,
        "FirstRunId": summary.first_execution_run_id if summary.first_execution_run_id != found.run_id else None,
        "Summary": await found.static_summary(),
        "Details": await found.static_details(),
        "Memo": {key: str(value) if isinstance(value, Unreadable) else value for key, value in (await found.memo()).items()},
        "SearchAttributes": {name: value[0] if len(value) == 1 else value for name, value in found.search_attributes.items()},
        "CancelRequested": "yes" if raw.cancel_requested else None,
        "Parked": found.parked_reason,
        "FailingTask": f"attempt {raw.pending_task_attempt}: {raw.pending_task_failure.message}"
        if raw.pending_task_failure is not None
        else None,
    }


def _print_description(fields: dict[str, Any], found: WorkflowExecutionDescription) -> None:
    print_fields(fields)
    if found.pending_activities:
        print(f"\nPending activities: {len(found.pending_activities)}")
        rows = [
            [
                one.activity_id,
                one.activity_type,
                one.task_queue,
                one.state + (f" ({one.waiting_reason})" if one.waiting_reason else ""),
                f"{one.attempt}" + (f"/{one.maximum_attempts}" if one.maximum_attempts else ""),
                time_text(one.next_attempt_time_ms or one.last_started_time_ms or one.scheduled_time_ms),
                " ".join(one.last_failure.message.split()) if one.last_failure is not None else "-",
            ]
            for one in found.pending_activities
        ]
        print_table(["ID", "TYPE", "TASK QUEUE", "STATE", "ATTEMPT", "SINCE/NEXT", "LAST FAILURE"], rows)
    if found.pending_timers:
        print(f"\nPending timers: {len(found.pending_timers)}")
        print_table(["ID", "DUE"], [[one.timer_id, time_text(one.due_ms)] for one in found.pending_timers])


# --- show


def _row(event: Any) -> list[str]:
    kind = type(event.attributes).__name__.removesuffix("Event")
    if kind == "Other":
        kind = event.attributes.event_type
    return [str(event.event_id), time_text(event.event_time_ms), kind]


def _json_of(event: Any) -> list[dict[str, Any]]:
    """The event in Temporal's JSON: one of ours may stand for several of its."""
    from odradek.engine import history_json

    events: list[dict[str, Any]] = history_json.to_json_dict([event])["events"]
    return events


def _print_attributes(event: Any) -> None:
    from odradek.web.temporal.shorthand import shorten

    for written in _json_of(event):
        for name, value in written.items():
            if name.endswith("EventAttributes"):
                for field, one in shorten(value).items():
                    print(f"         {field}: {visible(one) if isinstance(one, str) else json_text(one)}")
