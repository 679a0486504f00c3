"""`odradek batch …`: the batches that `odradek server` runs, as `temporal batch` shows and ends them.

They are those of its UI and of its HTTP API. A command with --query is a batch of its own: it
runs in the command, ends with it, and is in no list.
"""

from __future__ import annotations

import argparse
from itertools import islice
from typing import Any

from odradek.cli.app import Commands, add_command, add_group
from odradek.cli.common import POSITIVE, cluster_options, server_options
from odradek.cli.output import (
    is_json,
    output_options,
    print_fields,
    print_heading,
    print_many,
    print_table,
    print_value,
    text_of,
    visible,
)
from odradek.cli.server_calls import Server
from odradek.cli.status import ONE_WORKFLOW
from odradek.cli.style import RED, Painted, status_text
from odradek.cli.times import since_text
from odradek.cli.workflow.options import add_timeout
from odradek.web.segments import segment

EXAMPLES = (
    "odradek batch list",
    "odradek batch describe --job-id JOB",
    "odradek batch terminate --job-id JOB --reason 'wrong query'",
)
NOTES = """Batches of the web UI and of the HTTP API run in `odradek server` and are known to that server alone, until it is started anew. A
command with --query (`workflow signal|cancel|terminate|delete|unpark`) runs its own batch: it is in no list, Ctrl-C ends it."""
_JOBS, _OURS = "batch-operations", "/api/odradek/v1/batches"
# What Temporal's answer has no room for.
_COUNTS = {
    "GoneOrClosed": "gone",
    "NotAppliedYet": "pending",
    "SentAgain": "retried",
    "Unanswered": "unanswered",
    "NotAsked": "not_asked",
}
_REFUSED = ("workflow_id", "run_id", "message")


def register(commands: Commands) -> None:
    """Add the group and its commands."""
    actions = add_group(
        commands, "batch", help="batches that the server runs", examples=EXAMPLES, notes=NOTES
    )
    shared: dict[str, Any] = {
        "parents": [cluster_options(), server_options(), output_options()],
        "statuses": ONE_WORKFLOW,
        "notes": NOTES,
    }
    parser = add_command(
        actions,
        "list",
        list_jobs,
        help="the server's batches, latest first",
        examples=("odradek batch list", "odradek batch list --limit 5 -o json"),
        **shared,
    )
    parser.add_argument(
        "--limit", type=POSITIVE, metavar="N", help="how many at most (default: all)"
    )
    add_timeout(parser)
    parser = add_command(
        actions,
        "describe",
        describe,
        help="how far a batch is, and which runs were refused",
        examples=(
            "odradek batch describe --job-id JOB",
            "odradek batch describe --job-id JOB -o json",
        ),
        **{
            **shared,
            "notes": (
                f"{NOTES}\n-o json is Temporal's answer; what only Odradek has stands under"
                " `odradek`."
            ),
        },
    )
    parser.add_argument("--job-id", required=True, metavar="JOB", help="id of the batch")
    add_timeout(parser)
    parser = add_command(
        actions,
        "terminate",
        terminate,
        help="end a batch: what it has done is done, no more runs are asked",
        examples=("odradek batch terminate --job-id JOB --reason 'wrong query'",),
        **shared,
    )
    parser.add_argument("--job-id", required=True, metavar="JOB", help="id of the batch")
    parser.add_argument("--reason", required=True, help="why; the server keeps it with the batch")
    add_timeout(parser)


def list_jobs(options: argparse.Namespace) -> int:
    """A line a batch."""
    server = Server(options)
    jobs = list(
        islice(server.pages(server.path(_JOBS), "batch list", "operationInfo"), options.limit)
    )
    rows = [
        [job["jobId"], _state(job), _type(job), _time(job, "startTime"), _time(job, "closeTime")]
        for job in jobs
    ]
    print_many(options, ["JOB ID", "STATE", "TYPE", "START TIME", "CLOSE TIME"], rows, jobs)
    return 0


def describe(options: argparse.Namespace) -> int:
    """One batch."""
    server = Server(options)
    job = server.ask(server.path(_JOBS, options.job_id), "batch describe")
    ours = server.ask(f"{_OURS}/{segment(options.job_id)}", "batch describe")
    if is_json(options):
        print_value(options, {**job, "odradek": ours})
        return 0
    done, failed, total = (
        int(job.get(f"{name}OperationCount", 0)) for name in ("complete", "failure", "total")
    )
    print_fields(
        {
            "JobId": job["jobId"],
            "State": _state(job),
            "Type": _type(job),
            "StartTime": _time(job, "startTime"),
            "CloseTime": _time(job, "closeTime"),
            "CompletedCount": f"{done}/{total}",
            "FailureCount": f"{failed}/{total}",
            "Query": job.get("query"),
            "Executions": len(job.get("executions") or ()) or None,
            "Reason": job.get("reason"),
            "Identity": job.get("identity"),
            "Problem": Painted(ours["problem"], RED) if ours.get("problem") else None,
            **{name: ours.get(member) or None for name, member in _COUNTS.items()},
        }
    )
    if refused := ours.get("failures"):
        print_heading(f"Failures: {failed}")
        print_table(
            ["WORKFLOW ID", "RUN ID", "MESSAGE"],
            [[text_of(one[name] or None) for name in _REFUSED] for one in refused],
        )
    return 0


def terminate(options: argparse.Namespace) -> int:
    """Stop it."""
    server = Server(options)
    body = {"reason": options.reason, "identity": server.settings.identity}
    server.tell(server.path(_JOBS, options.job_id, "stop"), "batch terminate", body)
    if is_json(options):
        print_value(options, {"jobId": options.job_id, "done": "terminated"})
    else:
        print(visible(f"{options.job_id}: terminated"))
    return 0


def _state(job: dict[str, Any]) -> Painted:
    name = str(job.get("state", "")).removeprefix("BATCH_OPERATION_STATE_")
    return status_text(name, name.title())


def _type(job: dict[str, Any]) -> str:
    return (
        str(job.get("operationType", ""))
        .removeprefix("BATCH_OPERATION_TYPE_")
        .removesuffix("_WORKFLOW")
        .title()
    )


def _time(job: dict[str, Any], name: str) -> str:
    from odradek.engine.json_fields import read_time

    return since_text(read_time(job[name])) if job.get(name) else "-"
