"""signal, cancel, terminate, delete, unpark: one workflow, or those of a query. update: named,
for the day when there are updates.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from odradek.cli.app import Commands, add_command
from odradek.cli.batch import OPEN, Act, add_batch_options, check_target, run_batch
from odradek.cli.common import cluster_options, server_options, with_client
from odradek.cli.inputs import input_options, inputs_of
from odradek.cli.output import is_json, output_options, print_json, print_value, visible
from odradek.cli.status import ONE_WORKFLOW, UsageError
from odradek.cli.workflow.options import add_one, handle_of
from odradek.cli.workflow.pending import NOTE, pending_fields, pending_text
from odradek.client import Client
from odradek.client.responses import noting_pending

_BATCH_NOTE = """With --query: the runs are listed by `odradek server`, how many it hits is said and asked (--yes does not ask), and each is
asked of its owner. What fails in a way that may pass is asked again, five times in all. Status 1 if one of them failed; what closed
meanwhile is skipped. Those without a verdict yet are counted apart."""


def register(actions: Commands) -> None:
    """Add the commands."""
    parser = _command(
        actions,
        "signal",
        signal,
        "send a signal",
        """odradek workflow signal -w order-1 --name cancel-order -i '"changed my mind"'""",
        """odradek workflow signal --name approve --query "WorkflowType = 'OrderWorkflow' AND Customer = 'c-17'" --reason audit --yes""",
        parents=[input_options()],
    )
    parser.add_argument("--name", "--type", required=True, help="signal name")
    parser.add_argument(
        "--reason",
        default="",
        help="why, with --query; as `temporal` has it, a signal itself carries none",
    )
    parser = _command(
        actions,
        "cancel",
        cancel,
        "request cancellation",
        "odradek workflow cancel -w order-1 --reason 'customer called'",
        """odradek workflow cancel --query "StartTime < '2026-11-01'" --reason stale""",
    )
    parser.add_argument("--reason", default="", help="why; stands in the history")
    parser = _command(
        actions,
        "terminate",
        terminate,
        "close a workflow at once, without its consent",
        "odradek workflow terminate -w order-1 --reason broken",
        """odradek workflow terminate --query "WorkflowType = 'Experiment'" --reason cleanup --yes -o json""",
    )
    parser.add_argument("--reason", default="", help="why; whoever waits for the result learns it")
    parser = _command(
        actions,
        "delete",
        delete,
        "delete runs: history, state and entry in lists; an open one is terminated first",
        "odradek workflow delete -w order-1",
        """odradek workflow delete --query "ExecutionStatus = 'Completed' AND CloseTime < '2026-11-01'" --rps 200""",
    )
    parser.add_argument(
        "--reason",
        default="",
        help="why, with --query; as `temporal` has it, nothing is left to carry it",
    )
    _command(
        actions,
        "unpark",
        unpark,
        "try a parked workflow again now (Odradek's own)",
        "odradek workflow unpark -w order-1",
        """odradek workflow unpark --query "WorkflowType = 'OrderWorkflow'" --yes""",
        note=(
            "A run is parked when its code cannot go on: a defect, code that does not yield."
            " --query hits the parked ones. One whose\nworkflow task failed and waits for its next"
            " try is tried now as well; any other is left alone: status 1, and it says so.\nIf"
            " `workflow describe` (Parked) names an input that is a dead letter, put it back"
            " afterwards:\n`odradek dead-letter redrive -t QUEUE -w ID`."
        ),
    )
    parser = add_command(
        actions,
        "update",
        update,
        help="send an update (not supported yet: it says so)",
        examples=("""odradek workflow update -w order-1 --name change-address -i '"Prague"'""",),
        statuses=ONE_WORKFLOW,
        parents=[cluster_options(), output_options(), input_options()],
    )
    add_one(parser)
    parser.add_argument("--name", required=True, help="update name")
    parser.add_argument("--update-id", metavar="ID", help="id of the update, for sending it again")


def _command(
    actions: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    help: str,
    *examples: str,
    note: str = "",
    parents: list[argparse.ArgumentParser] | None = None,
) -> argparse.ArgumentParser:
    """A command on one workflow or on those of a query."""
    parser = add_command(
        actions,
        name,
        run,
        help=help,
        examples=examples,
        notes="\n".join(filter(None, (note, NOTE, _BATCH_NOTE))),
        statuses=ONE_WORKFLOW,
        parents=[cluster_options(), server_options(), output_options(), *(parents or [])],
    )
    add_one(parser, required=False)
    add_batch_options(parser)
    return parser


# --- commands


def signal(options: argparse.Namespace) -> int:
    """Signal."""
    arguments = inputs_of(options)
    if options.reason and options.query is None:
        raise UsageError("--reason belongs to --query: a signal carries none")
    return _change(
        options,
        verb=f"signal {options.name!r} to",
        past="signalled",
        restrict=OPEN,
        act=lambda handle: handle.signal(
            options.name, args=arguments, rpc_timeout=options.rpc_timeout
        ),
    )


def cancel(options: argparse.Namespace) -> int:
    """Request cancellation."""
    return _change(
        options,
        verb="request cancellation of",
        past="cancel requested",
        restrict=OPEN,
        act=lambda handle: handle.cancel(reason=options.reason, rpc_timeout=options.rpc_timeout),
    )


def terminate(options: argparse.Namespace) -> int:
    """Terminate."""
    return _change(
        options,
        verb="terminate",
        past="terminated",
        restrict=OPEN,
        act=lambda handle: handle.terminate(reason=options.reason, rpc_timeout=options.rpc_timeout),
    )


def delete(options: argparse.Namespace) -> int:
    """Delete."""
    return _change(
        options,
        verb="delete",
        past="deleted",
        restrict="",
        act=lambda handle: handle.delete(rpc_timeout=options.rpc_timeout),
    )


def unpark(options: argparse.Namespace) -> int:
    """Try again."""
    return _change(
        options,
        verb="unpark",
        past="unparked",
        restrict=f"{OPEN} AND ParkedReason IS NOT NULL",
        act=lambda handle: handle.unpark(rpc_timeout=options.rpc_timeout),
    )


def update(options: argparse.Namespace) -> int:
    """Update: the client says that it cannot yet."""
    arguments = inputs_of(options)

    async def use(client: Client) -> Any:
        return await handle_of(client, options).execute_update(
            options.name, args=arguments, id=options.update_id, rpc_timeout=options.rpc_timeout
        )

    answer = with_client(options, use, lazy=True)
    print_value(options, {"result": answer}) if is_json(options) else print_json(answer)
    return 0


def _change(options: argparse.Namespace, *, verb: str, past: str, restrict: str, act: Act) -> int:
    check_target(options)

    async def one(client: Client) -> int:
        with noting_pending() as pending:
            await act(handle_of(client, options))
        if is_json(options):
            told = {"action": past, **pending_fields(pending)} if pending else {"done": past}
            print_value(options, {"workflowId": options.workflow_id, **told})
        else:
            print(visible(f"{options.workflow_id}: {pending_text(pending) or past}"))
        return 0

    async def many(client: Client) -> int:
        return await run_batch(client, options, verb=verb, past=past, restrict=restrict, act=act)

    return (
        with_client(options, one)
        if options.query is None
        else with_client(options, many, lazy=True)
    )
