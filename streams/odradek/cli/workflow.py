"""`odradek workflow …`: start, execute, result, signal, query, cancel, terminate, describe, show. Options as `temporal` has them."""

from __future__ import annotations

import argparse
from enum import IntEnum
from typing import Any

from odradek.cli.app import Commands, add_command
from odradek.cli.common import (
    cluster_options,
    duration,
    input_options,
    inputs_of,
    json_value,
    key_values,
    output_options,
    print_fields,
    print_json,
    print_table,
    with_client,
)
from odradek.cli.status import HELP
from odradek.client import Client, WorkflowExecutionDescription, WorkflowHandle
from odradek.client.description import time_of
from odradek.common import QueryRejectCondition, WorkflowIDConflictPolicy, WorkflowIDReusePolicy

EXAMPLES = """examples:
  odradek workflow start -w order-1 --type OrderWorkflow -t orders -i '{"product": "spool"}'
  odradek workflow execute -w order-2 --type OrderWorkflow -t orders --input-file order.json -o json
  odradek workflow signal -w order-1 --name cancel-order -i '"changed my mind"'
  odradek workflow query -w order-1 --name status
  odradek workflow show -w order-1 -o json > history.json

Without --task-queue a workflow is located in all task queues of the namespace.

"""


def register(commands: Commands) -> None:
    """Add the group and its commands."""
    group = commands.add_parser(
        "workflow",
        help="start workflows and talk to them",
        description="Start workflows and talk to them.",
        epilog=EXAMPLES + HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    shared = [cluster_options(), output_options()]
    for name, run, help in (("start", start, "start a workflow"), ("execute", execute, "start a workflow and wait for its result")):
        _start_options(add_command(actions, name, run, help=help, parents=[*shared, input_options()]))
    _one(actions, "result", result, "wait for a workflow's result", shared)
    _signal_options(_one(actions, "signal", signal, "send a signal", [*shared, input_options()]))
    _query_options(_one(actions, "query", query, "query a workflow", [*shared, input_options()]))
    for name, run, help in (
        ("cancel", cancel, "request cancellation"),
        ("terminate", terminate, "close a workflow at once, without its consent"),
    ):
        _one(actions, name, run, help, shared).add_argument("--reason", default="", help="why")
    _one(actions, "describe", describe, "what is known of a workflow", shared)
    show_parser = _one(actions, "show", show, "the history of a workflow; -o json is Temporal's form of it", shared)
    show_parser.add_argument("--follow", "-f", action="store_true", help="go on as events come, until the workflow closes")


def _one(actions: Commands, name: str, run: Any, help: str, parents: list[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """A command on one existing workflow."""
    parser = add_command(actions, name, run, help=help, parents=parents)
    parser.add_argument("--workflow-id", "-w", required=True, help="workflow id")
    parser.add_argument("--run-id", "-r", help="run id (default: the latest run)")
    parser.add_argument("--task-queue", "-t", help="task queue that it was started on (default: it is located)")
    parser.add_argument("--rpc-timeout", type=duration, metavar="DURATION", help="longest wait for an answer (setting `rpc_timeout`)")
    return parser


def _start_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workflow-id", "-w", required=True, help="workflow id")
    parser.add_argument("--type", required=True, help="workflow type")
    parser.add_argument("--task-queue", "-t", required=True, help="task queue")
    parser.add_argument("--id-reuse-policy", type=_member(WorkflowIDReusePolicy), metavar="POLICY", help=_names(WorkflowIDReusePolicy))
    parser.add_argument(
        "--id-conflict-policy", type=_member(WorkflowIDConflictPolicy), metavar="POLICY", help=_names(WorkflowIDConflictPolicy)
    )
    for name in ("execution-timeout", "run-timeout", "task-timeout", "start-delay"):
        parser.add_argument(f"--{name}", type=duration, metavar="DURATION", help="such as 30s, 5min, 1h")
    parser.add_argument("--cron", default="", metavar="SPEC", help="cron schedule")
    parser.add_argument("--memo", action="append", metavar="KEY=JSON", help="a memo value; may be given again")
    parser.add_argument("--static-summary", help="a line that `describe` shows")
    parser.add_argument("--static-details", help="a text that `describe` shows")
    parser.add_argument("--start-signal", metavar="NAME", help="signal-with-start: signal the open run, or start one with the signal")
    parser.add_argument("--start-signal-input", action="append", metavar="JSON", help="an argument of that signal")
    parser.add_argument("--rpc-timeout", type=duration, metavar="DURATION", help="longest wait for the verdict (setting `rpc_timeout`)")


def _signal_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True, help="signal name")


def _query_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", "--type", required=True, help="query name")
    parser.add_argument("--reject-condition", type=_member(QueryRejectCondition), metavar="CONDITION", help=_names(QueryRejectCondition))


# --- commands


def start(options: argparse.Namespace) -> int:
    """Start, and print ids."""
    keywords = _start_keywords(options)

    async def use(client: Client) -> None:
        handle = await client.start_workflow(options.type, **keywords)
        _print(options, {"workflowId": handle.id, "runId": handle.result_run_id, **_started(options, client)})

    with_client(options, use)
    return 0


def execute(options: argparse.Namespace) -> int:
    """Start, wait, and print the result."""
    keywords = _start_keywords(options)

    async def use(client: Client) -> None:
        value = await client.execute_workflow(options.type, **keywords)
        if options.output == "json":
            print_json({"workflowId": options.workflow_id, **_started(options, client), "status": "COMPLETED", "result": value})
        else:
            print_json(value)

    with_client(options, use)
    return 0


def result(options: argparse.Namespace) -> int:
    """Wait, and print the result."""

    async def use(client: Client) -> None:
        print_json(await _handle(client, options).result(rpc_timeout=options.rpc_timeout))

    with_client(options, use)
    return 0


def signal(options: argparse.Namespace) -> int:
    """Signal."""
    arguments = inputs_of(options)

    async def use(client: Client) -> None:
        await _handle(client, options).signal(options.name, args=arguments, rpc_timeout=options.rpc_timeout)
        _done(options, "signalled")

    with_client(options, use)
    return 0


def query(options: argparse.Namespace) -> int:
    """Query, and print the answer."""
    arguments = inputs_of(options)

    async def use(client: Client) -> None:
        answer = await _handle(client, options).query(
            options.name, args=arguments, reject_condition=options.reject_condition, rpc_timeout=options.rpc_timeout
        )
        print_json({"queryResult": answer} if options.output == "json" else answer)

    with_client(options, use)
    return 0


def cancel(options: argparse.Namespace) -> int:
    """Request cancellation."""

    async def use(client: Client) -> None:
        await _handle(client, options).cancel(reason=options.reason, rpc_timeout=options.rpc_timeout)
        _done(options, "cancel requested")

    with_client(options, use)
    return 0


def terminate(options: argparse.Namespace) -> int:
    """Terminate."""

    async def use(client: Client) -> None:
        await _handle(client, options).terminate(reason=options.reason, rpc_timeout=options.rpc_timeout)
        _done(options, "terminated")

    with_client(options, use)
    return 0


def describe(options: argparse.Namespace) -> int:
    """Print what is known."""

    async def use(client: Client) -> None:
        description = await _handle(client, options).describe(rpc_timeout=options.rpc_timeout)
        _print(options, await _described(description))

    with_client(options, use)
    return 0


def show(options: argparse.Namespace) -> int:
    """Print the history."""

    async def use(client: Client) -> None:
        handle = _handle(client, options)
        if options.output == "json":
            print_json((await handle.fetch_history(rpc_timeout=options.rpc_timeout)).to_json_dict())
            return
        if not options.follow:
            events = [event async for event in handle.fetch_history_events(rpc_timeout=options.rpc_timeout)]
            print_table(["ID", "TIME", "TYPE"], [_row(event) for event in events])
            return
        async for event in handle.fetch_history_events(wait_new_event=True):
            number, time, kind = _row(event)
            print(f"{number:>5}  {time}  {kind}", flush=True)

    with_client(options, use)
    return 0


# --- parts


def _start_keywords(options: argparse.Namespace) -> dict[str, Any]:
    given = {
        "id_reuse_policy": options.id_reuse_policy,
        "id_conflict_policy": options.id_conflict_policy,
        "execution_timeout": options.execution_timeout,
        "run_timeout": options.run_timeout,
        "task_timeout": options.task_timeout,
        "start_delay": options.start_delay,
        "static_summary": options.static_summary,
        "static_details": options.static_details,
        "start_signal": options.start_signal,
        "rpc_timeout": options.rpc_timeout,
        "memo": key_values(options.memo, "--memo") or None,
    }
    return {
        "args": inputs_of(options),
        "id": options.workflow_id,
        "task_queue": options.task_queue,
        "cron_schedule": options.cron,
        "start_signal_args": [json_value(text, f"--start-signal-input {text!r}") for text in options.start_signal_input or []],
        **{name: value for name, value in given.items() if value is not None},
    }


def _handle(client: Client, options: argparse.Namespace) -> WorkflowHandle[Any, Any]:
    return client.get_workflow_handle(options.workflow_id, run_id=options.run_id, task_queue=options.task_queue)


def _started(options: argparse.Namespace, client: Client) -> dict[str, Any]:
    return {"type": options.type, "namespace": client.namespace, "taskQueue": options.task_queue}


def _done(options: argparse.Namespace, what: str) -> None:
    if options.output == "json":
        print_json({"workflowId": options.workflow_id, "done": what})
    else:
        print(f"{options.workflow_id}: {what}")


def _print(options: argparse.Namespace, fields: dict[str, Any]) -> None:
    print_json(fields) if options.output == "json" else print_fields(fields)


async def _described(description: WorkflowExecutionDescription) -> dict[str, Any]:
    raw = description.raw_description
    failure = raw.pending_task_failure
    return {
        "workflowId": description.id,
        "runId": description.run_id,
        "type": description.workflow_type,
        "status": description.status.name if description.status is not None else raw.summary.status,
        "namespace": description.namespace,
        "taskQueue": description.task_queue,
        "startTime": description.start_time.isoformat(),
        "closeTime": description.close_time.isoformat() if description.close_time else None,
        "historyLength": description.history_length,
        "parentId": description.parent_id,
        "staticSummary": await description.static_summary(),
        "memo": dict(await description.memo()),
        "cancelRequested": raw.cancel_requested or None,
        "parked": description.parked_reason,
        "failingTask": {"attempt": raw.pending_task_attempt, "message": failure.message} if failure is not None else None,
        "pendingActivities": [
            {
                "id": one.activity_id,
                "type": one.activity_type,
                "taskQueue": one.task_queue,
                "state": one.state,
                "attempt": one.attempt,
                "waitingReason": one.waiting_reason,
                "lastFailure": one.last_failure.message if one.last_failure is not None else None,
            }
            for one in description.pending_activities
        ],
        "pendingTimers": [{"id": one.timer_id, "due": time_of(one.due_ms).isoformat()} for one in description.pending_timers],
    }


def _row(event: Any) -> list[str]:
    kind = type(event.attributes).__name__.removesuffix("Event")
    if kind == "Other":
        kind = event.attributes.event_type
    return [str(event.event_id), time_of(event.event_time_ms).isoformat(timespec="milliseconds"), kind]


def _member(enum: type[IntEnum]) -> Any:
    """argparse type of an enum's member, written in any case, with dashes or as one word."""
    members = {name.replace("_", "").lower(): member for name, member in enum.__members__.items()}

    def parse(text: str) -> IntEnum:
        member = members.get(text.replace("_", "").replace("-", "").lower())
        if member is None:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {_names(enum)}")
        return member

    return parse


def _names(enum: type[IntEnum]) -> str:
    return ", ".join(name.title().replace("_", "") for name in enum.__members__ if name != "UNSPECIFIED")
