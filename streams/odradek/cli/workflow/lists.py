"""list, count: many workflows, by a query. Answered by `odradek server`; Kafka is not asked."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from odradek.cli.app import Commands, add_command
from odradek.cli.common import POSITIVE, cluster_options, server_options, with_client
from odradek.cli.output import (
    is_json,
    output_options,
    plain,
    print_json,
    print_line,
    print_table,
    print_value,
    text_of,
    visible,
)
from odradek.cli.style import run_status_text
from odradek.cli.times import since_text
from odradek.cli.workflow.options import add_timeout
from odradek.client import Client, WorkflowExecution

NOTES = (
    "The language of queries is in docs/query.md: Temporal's list filter, and ORDER BY and GROUP BY"
    " over any column."
)
_HEADER = ["STATUS", "WORKFLOW ID", "TYPE", "START TIME", "CLOSE TIME", "TASK QUEUE"]


def register(actions: Commands) -> None:
    """Add the commands."""
    parents = [cluster_options(), server_options(), output_options()]
    parser = add_command(
        actions,
        "list",
        list_workflows,
        help="list workflows, the latest start first",
        examples=(
            "odradek workflow list --limit 20",
            """odradek workflow list --query "WorkflowType = 'OrderWorkflow' ORDER BY CloseTime DESC" """.strip(),
            """odradek workflow list --query "TemporalReportedProblems IN ('category=WorkflowTaskFailed')" """.strip(),
            """odradek workflow list --query "ParkedReason IS NOT NULL" -o jsonl --server-address ops:8088""",
        ),
        notes=NOTES
        + """
A run whose workflow task keeps failing is open and marked, `Running (task failing)` or `Running (parked)`. -o json and jsonl have
Temporal's WorkflowExecutionInfo, with what is wrong in the search attribute `TemporalReportedProblems`.""",
        parents=parents,
    )
    parser.add_argument("--query", "-q", default="", help="which workflows (default: all)")
    parser.add_argument(
        "--limit", type=POSITIVE, metavar="N", help="how many at most (default: all)"
    )
    parser.add_argument(
        "--page-size",
        type=POSITIVE,
        default=1_000,
        metavar="N",
        help="how many a request (default, and most: 1000)",
    )
    add_timeout(parser, "a page")
    parser = add_command(
        actions,
        "count",
        count_workflows,
        help="count workflows, in groups if the query has GROUP BY",
        examples=(
            "odradek workflow count",
            """odradek workflow count --query "StartTime > '2026-11-24' GROUP BY WorkflowType, ExecutionStatus" """.strip(),
        ),
        notes=NOTES,
        parents=parents,
    )
    parser.add_argument("--query", "-q", default="", help="which workflows (default: all)")
    add_timeout(parser)


def list_workflows(options: argparse.Namespace) -> int:
    """Print a list, page by page."""

    async def use(client: Client) -> None:
        found = client.list_workflows(
            options.query,
            limit=options.limit,
            page_size=options.page_size,
            rpc_timeout=options.rpc_timeout,
        )
        if options.output == "json":
            print_json([info_json(execution) async for execution in found])
        elif options.output == "jsonl":
            async for execution in found:
                print_line(info_json(execution))
        else:
            await _print_pages(found, options.page_size, options.limit)

    with_client(options, use, lazy=True)
    return 0


def count_workflows(options: argparse.Namespace) -> int:
    """Print a count."""

    async def use(client: Client) -> None:
        found = await client.count_workflows(options.query, rpc_timeout=options.rpc_timeout)
        rest = found.count - sum(group.count for group in found.groups)
        if found.groups and rest:
            print(
                f"the {len(found.groups):,} largest groups; {rest:,} workflows are in smaller ones:"
                " narrow the query",
                file=sys.stderr,
            )
        if is_json(options):
            groups = [
                {"groupValues": plain(list(group.group_values)), "count": str(group.count)}
                for group in found.groups
            ]
            print_value(
                options, {"count": str(found.count), **({"groups": groups} if groups else {})}
            )
            return
        print(f"Total: {found.count}")
        for group in found.groups:
            print(
                visible(f"Group total: {group.count}, values: {text_of(list(group.group_values))}")
            )

    with_client(options, use, lazy=True)
    return 0


def info_json(execution: WorkflowExecution) -> dict[str, Any]:
    """A run as Temporal's WorkflowExecutionInfo, payloads in short form."""
    from odradek.web.temporal.shapes import execution_info
    from odradek.web.temporal.shorthand import shorten

    written: dict[str, Any] = shorten(execution_info(execution.raw_info))
    return written


async def _print_pages(found: Any, page_size: int, limit: int | None) -> None:
    """Each page as it comes, in columns as wide as those before it."""
    widths: list[int] = []
    shown = 0
    while limit is None or shown < limit:
        await found.fetch_next_page(
            page_size=page_size if limit is None else min(page_size, limit - shown)
        )
        page = list(found.current_page or [])
        if page or not widths:
            widths = print_table(
                _HEADER, [_row(execution) for execution in page], widths=widths, headed=not widths
            )
        shown += len(page)
        if found.next_page_token is None:
            return


def _row(execution: WorkflowExecution) -> list[str]:
    info = execution.raw_info
    return [
        run_status_text(info.status, info.reported_problems),
        execution.id,
        execution.workflow_type,
        since_text(info.start_time_ms),
        since_text(info.close_time_ms),
        execution.task_queue,
    ]
