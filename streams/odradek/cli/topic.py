"""`odradek topic`: the decoded records of one workflow over all topics, in order of time, and as
they come.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from odradek.cli.app import Commands, add_command
from odradek.cli.common import POSITIVE, cluster_options, duration, filled
from odradek.cli.kafka import Cluster, cluster
from odradek.cli.output import (
    json_text,
    output_options,
    print_json,
    print_line,
    print_table,
    text_of,
    visible,
)
from odradek.cli.status import ONE_WORKFLOW, CommandFailedError, Status
from odradek.cli.times import time_text
from odradek.wire.topics import (
    COMMANDS,
    DEAD_LETTERS,
    EVENTS,
    EXECUTIONS,
    QUEUE_KINDS,
    RESULTS,
    unescape,
)

if TYPE_CHECKING:
    from odradek.web.kafka.facts import RecordView

KINDS = (EVENTS, COMMANDS, RESULTS, EXECUTIONS, DEAD_LETTERS)
_HEADER = ["TIME", "TOPIC", "PLACE", "RECORD", "WHAT"]
# Fields of a record that say in a word what it is about, in the order in which they are shown.
_TELLING = (
    "workflow_type",
    "signal_name",
    "query_type",
    "activity_type",
    "activity_id",
    "attempt",
    "status",
    "reason",
    "message",
)


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "topic",
        run,
        help="the decoded records of a workflow over all topics",
        examples=(
            "odradek topic -w order-1",
            "odradek topic -w order-1 --follow",
            "odradek topic -w order-1 --kind events --kind commands -o jsonl",
            "odradek topic -w order-1 --since 1h --detailed",
        ),
        notes="""Searched are `events` of the task queue (of all queues without -t), `commands` and dead letters of every queue,
`results` and `executions`: from the oldest record there. Applied events stay for the setting `audit_window`; commands are deleted
seconds after their service has acknowledged them, and what they said stands in the history alone. Requests that only looked never
take the place of others in --limit. A search that --limit ends is a success: a note on stderr says that there are more; one that
--timeout ends is status 3. No worker needs to live.""",
        statuses=ONE_WORKFLOW,
        parents=[cluster_options(), output_options()],
    )
    parser.add_argument("--workflow-id", "-w", type=filled, required=True, help="workflow id")
    parser.add_argument(
        "--run-id",
        "-r",
        default="",
        help="one run of it; records that name none are shown with any",
    )
    parser.add_argument(
        "--task-queue", "-t", help="task queue that it was started on (default: all are searched)"
    )
    parser.add_argument(
        "--kind",
        action="append",
        choices=KINDS,
        help="topics of this kind only; may be given again",
    )
    parser.add_argument(
        "--since",
        type=duration,
        metavar="DURATION",
        help="records of this last stretch of time only",
    )
    parser.add_argument(
        "--limit",
        type=POSITIVE,
        default=10_000,
        metavar="N",
        help="how many at most (default: 10000)",
    )
    parser.add_argument(
        "--timeout",
        type=duration,
        default="30s",
        metavar="DURATION",
        help="longest search (default: 30s)",
    )
    parser.add_argument(
        "--follow", "-f", action="store_true", help="go on as records come, until Ctrl-C"
    )
    parser.add_argument("--detailed", action="store_true", help="what each record holds as well")


def run(options: argparse.Namespace) -> int:
    """Search, print, and follow."""
    from odradek.web.kafka.trail import RecordReader

    with cluster(options) as kafka:
        reader = RecordReader(kafka.settings, kafka.admin, kafka.codec)
        since_ms = int((time.time() - options.since.total_seconds()) * 1000) if options.since else 0
        if options.follow:
            _follow(options, kafka, reader, since_ms)
            return 0
        own, others = _queues(options, kafka)
        found = reader.trail(
            options.workflow_id,
            task_queue=own,
            run_id=options.run_id,
            activity_queues=others,
            kinds=options.kind or (),
            since_ms=since_ms,
            limit=options.limit,
            timeout_s=options.timeout.total_seconds(),
        )
    records = [record for record in found.records if _wanted(options, record, since_ms)]
    _print(options, records)
    if found.reads_left_out:
        print(
            f"{found.reads_left_out} requests that only looked are left out (--limit)",
            file=sys.stderr,
        )
    if found.limited:
        print(
            f"there are more records than --limit {options.limit}: these were met first",
            file=sys.stderr,
        )
    elif not found.complete:
        raise CommandFailedError(
            f"not all was searched: {'; '.join(found.missing)}. Narrow it (-t, --since), or give"
            " more --timeout",
            Status.UNAVAILABLE,
        )
    if not records and not found.limited:
        raise CommandFailedError(
            f"no record of workflow {options.workflow_id!r}: it is not there, or its records were"
            " deleted after their retention",
            Status.NOT_FOUND,
        )
    return 0


def _follow(options: argparse.Namespace, kafka: Cluster, reader: Any, since_ms: int) -> None:
    records: Iterable[RecordView] = reader.follow(
        options.workflow_id,
        queues=lambda: _queues(options, kafka),
        stopped=lambda: False,
        run_id=options.run_id,
        since_ms=since_ms,
        timeout_s=options.timeout.total_seconds(),
        on_lost=lambda what: print(visible(f"not shown: {what}"), file=sys.stderr, flush=True),
    )
    # a generator: its consumer goes with it
    with contextlib.closing(records):  # type: ignore[type-var]
        for record in records:
            if not _wanted(options, record, since_ms):
                continue
            if options.output in ("json", "jsonl"):
                print_line(msgspec.to_builtins(record))
            else:
                print(visible("  ".join(_row(record))), flush=True)
                if options.detailed:
                    _print_value(record)


def _queues(options: argparse.Namespace, kafka: Cluster) -> tuple[set[str], set[str]]:
    """Task queues that may have the workflow, and those that may have its activities."""
    own, others = {options.task_queue} if options.task_queue else set(), set()
    for name in kafka.admin.topic_names():
        parsed = kafka.admin.topics.parse(name)
        if parsed is None or parsed.namespace != kafka.settings.namespace or not parsed.task_queue:
            continue
        if parsed.kind == EVENTS and not options.task_queue:
            own.add(parsed.task_queue)
        elif parsed.kind in (COMMANDS, DEAD_LETTERS):
            others.add(parsed.task_queue)
    return own, others


def _wanted(options: argparse.Namespace, record: RecordView, since_ms: int) -> bool:
    return record.time_ms >= since_ms and (not options.kind or record.topic_kind in options.kind)


def _print(options: argparse.Namespace, records: list[RecordView]) -> None:
    if options.output == "json":
        print_json([msgspec.to_builtins(record) for record in records])
    elif options.output == "jsonl":
        for record in records:
            print_line(msgspec.to_builtins(record))
    elif options.detailed:
        for record in records:
            print(visible("  ".join(_row(record))))
            _print_value(record)
    elif records:
        print_table(_HEADER, [_row(record) for record in records])


def _row(record: RecordView) -> list[str]:
    return [
        time_text(record.time_ms),
        topic_text(record),
        f"{record.partition}/{record.offset}",
        record.kind or "?",
        what(record),
    ]


def topic_text(record: RecordView) -> str:
    """A topic without the prefix and namespace that all of them share: `orders.events`, `results`."""
    queue = record.topic.removesuffix(f".{record.topic_kind}").rpartition(".")[2]
    return (
        f"{unescape(queue)}.{record.topic_kind}"
        if record.topic_kind in QUEUE_KINDS
        else record.topic_kind
    )


def what(record: RecordView) -> str:
    """A record in a few words."""
    if record.error:
        return f"cannot be decoded: {text_of(record.error)}"
    value = record.value if isinstance(record.value, dict) else {}
    told = [
        f"{name}={text_of(value[name])}"
        for name in _TELLING
        if value.get(name) not in (None, "", 0)
    ]
    failure = value.get("failure")
    if isinstance(failure, dict):
        told.append(f"failure={text_of(failure.get('message', ''))}")
    return " ".join(told)


def _print_value(record: RecordView) -> None:
    text = json_text({"headers": record.headers, "value": record.value}, indent=2)
    print("    " + text.replace("\n", "\n    "), flush=True)
