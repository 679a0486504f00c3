"""`odradek activity …`: an activity that is completed from outside its function
(`activity.raise_complete_async`), or that nobody can do.

The report goes to the run's owner like one of a service, for the attempt that the run waits for
now.
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable

from odradek.cli.app import Commands, add_command, add_group
from odradek.cli.common import cluster_options, filled, json_value, with_client
from odradek.cli.output import is_json, output_options, print_value, visible
from odradek.cli.status import ONE_WORKFLOW
from odradek.cli.workflow.options import add_timeout
from odradek.client import AsyncActivityHandle, Client
from odradek.exceptions import ApplicationError

EXAMPLES = (
    """odradek activity complete -w order-1 -a approval --result '{"by": "Milena"}'""",
    "odradek activity fail -w order-1 -a approval --reason 'nobody may approve this'",
)
NOTES = """For the attempt that the run waits for: status 4 when it waits for no such activity. Reported means that Kafka has it; the run's
owner takes it, and drops it if the activity has ended meanwhile. `workflow describe` has the ids of pending activities."""


def register(commands: Commands) -> None:
    """Add the group and its commands."""
    actions = add_group(
        commands,
        "activity",
        help="complete or fail an activity of a workflow",
        examples=EXAMPLES,
        notes=NOTES,
    )
    parser = _command(
        actions, "complete", complete, "complete an activity with a result", EXAMPLES[0]
    )
    parser.add_argument("--result", required=True, metavar="JSON", help="its result")
    parser = _command(
        actions, "fail", fail, "fail an activity for good: it is not tried again", EXAMPLES[1]
    )
    parser.add_argument("--reason", default="", help="message of the failure")
    parser.add_argument("--detail", metavar="JSON", help="details of the failure")


def _command(
    actions: Commands, name: str, run: Callable[[argparse.Namespace], int], help: str, example: str
) -> argparse.ArgumentParser:
    parser = add_command(
        actions,
        name,
        run,
        help=help,
        examples=(example,),
        notes=NOTES,
        statuses=ONE_WORKFLOW,
        parents=[cluster_options(), output_options()],
    )
    parser.add_argument("--activity-id", "-a", required=True, help="activity id")
    parser.add_argument("--workflow-id", "-w", type=filled, required=True, help="workflow id")
    parser.add_argument("--run-id", "-r", help="run id (default: the latest run)")
    add_timeout(parser)
    return parser


def complete(options: argparse.Namespace) -> int:
    """Report its result."""
    result = json_value(options.result, f"--result {options.result!r}")
    return _report(
        options,
        "completed",
        lambda activity: activity.complete(result, rpc_timeout=options.rpc_timeout),
    )


def fail(options: argparse.Namespace) -> int:
    """Report a failure that is not tried again, as `temporal`'s is."""
    details = (
        []
        if options.detail is None
        else [json_value(options.detail, f"--detail {options.detail!r}")]
    )
    error = ApplicationError(options.reason, *details, non_retryable=True)
    return _report(
        options, "failed", lambda activity: activity.fail(error, rpc_timeout=options.rpc_timeout)
    )


def _report(
    options: argparse.Namespace, what: str, report: Callable[[AsyncActivityHandle], Awaitable[None]]
) -> int:
    async def use(client: Client) -> None:
        handle = client.get_async_activity_handle(
            workflow_id=options.workflow_id, run_id=options.run_id, activity_id=options.activity_id
        )
        await report(handle)

    with_client(options, use)
    if is_json(options):
        print_value(
            options,
            {
                "workflowId": options.workflow_id,
                "activityId": options.activity_id,
                "reported": what,
            },
        )
    else:
        print(visible(f"{options.workflow_id}: activity {options.activity_id} reported as {what}"))
    return 0
