"""`odradek task-queue …`: queues with partitions, owners, lag, rates, timers, members; and the
end of one.
"""

from __future__ import annotations

import dataclasses
import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from odradek.cli.app import Commands, add_command, add_group
from odradek.cli.common import cluster_options, duration
from odradek.cli.confirm import add_yes, check_may_ask, confirm
from odradek.cli.kafka import cluster, unknown_queue
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
from odradek.cli.status import ONE_WORKFLOW, CommandFailedError
from odradek.cli.style import GREEN, RED, YELLOW, Painted
from odradek.cli.times import age_text, duration_text, iso_text, since_text

if TYPE_CHECKING:
    from odradek.web.kafka.facts import PartitionView, QueueDetail
    from odradek.web.kafka.rates import QueueRates, Rates
    from odradek.web.kafka.removal import Removal

#: Types of tasks. A task queue of both has topics for each: `events` for workflows, `commands` for
#: activities.
WORKFLOW, ACTIVITY = TYPES = ("workflow", "activity")
_OF_TYPE = {
    WORKFLOW: (
        "has_workflows", "served", "partition_count", "processors", "lag", "restore_remaining", "timer_backlog", "open_runs",
        "stuck_partitions", "partitions",
    ),
    ACTIVITY: ("has_activities", "services", "activity_lag", "slots_total", "slots_used", "activity_group", "activity_partitions"),
}  # fmt: skip
_BUILD_ID = "UNVERSIONED"
_MEMBERS = {WORKFLOW: "PROCESSOR", ACTIVITY: "ACTIVITIES"}
EXAMPLES = (
    "odradek task-queue list",
    "odradek task-queue describe -t orders",
    "odradek task-queue delete -t experiments",
)


def register(commands: Commands) -> None:
    """Add the group and its commands."""
    actions = add_group(
        commands,
        "task-queue",
        help="task queues: who serves them, what waits, how fast",
        examples=EXAMPLES,
    )
    shared = [cluster_options(), output_options()]
    add_command(
        actions,
        "list",
        list_queues,
        help="the task queues of the namespace",
        examples=("odradek task-queue list", "odradek task-queue list -o json"),
        statuses=ONE_WORKFLOW,
        parents=shared,
    )
    parser = add_command(
        actions,
        "describe",
        describe,
        help="a task queue: partitions and their owners, backlog, rates, timers, members",
        examples=(
            "odradek task-queue describe -t orders",
            "odradek task-queue describe -t orders --interval 10s -o json",
            "odradek task-queue describe -t orders --interval 0",
            "odradek task-queue describe -t orders --task-queue-type activity",
        ),
        notes="""Backlog is Kafka's lag: requests that no owner has applied, activity tasks that no service has acknowledged. Rates are
offsets over --interval and approximate: groups commit about once a second, and the marker that ends a transaction takes an offset.
What members say of themselves is some seconds old. DUE SOON counts timers in an owner's memory: those due in the next minutes.
PROGRESS says how long ago a lane last applied something or had nothing to do; one that is stuck (code or a call that does not return)
and one whose process says nothing any more are named under Stuck.
-o json has `pollers` and `stats` as `temporal` writes them (build id UNVERSIONED; no ratePerSecond, which is not known here; null in
`stats` is unknown; with --interval 0 there are none), `reachability` null, and the rest of it is ours.""",
        statuses=ONE_WORKFLOW,
        parents=shared,
    )
    _queue_option(parser)
    parser.add_argument(
        "--interval",
        type=duration,
        default="2s",
        metavar="DURATION",
        help="how long to measure rates (default: 2s; 0: not)",
    )
    parser.add_argument(
        "--task-queue-type",
        action="append",
        choices=TYPES,
        help="what is about this type only; may be given again (default: both types)",
    )
    parser = add_command(
        actions,
        "delete",
        delete,
        help="delete a task queue: its topics, offsets, and its runs from lists",
        examples=(
            "odradek task-queue delete -t experiments",
            "odradek task-queue delete -t experiments --force --yes -o json",
        ),
        notes="""Refused while members live, inputs lie unapplied or runs are open, unless --force. Outcomes stay in `results` until its
retention.""",
        statuses=ONE_WORKFLOW,
        parents=shared,
    )
    _queue_option(parser)
    parser.add_argument(
        "--force",
        action="store_true",
        help="also with living members, unapplied inputs and open runs, which are lost",
    )
    add_yes(parser)


def _queue_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--task-queue", "-t", required=True, help="task queue")


# --- commands


def list_queues(options: argparse.Namespace) -> int:
    """A line a queue."""
    from odradek.web.kafka.cluster import QueueReader

    with cluster(options) as kafka, kafka.board() as board:
        reader = QueueReader(kafka.settings, kafka.admin, board)
        try:
            queues = reader.queues()
        finally:
            reader.close()
    header = [
        "TASK QUEUE",
        "SERVED",
        "PARTITIONS",
        "PROCESSORS",
        "SERVICES",
        "BACKLOG",
        "ACTIVITY BACKLOG",
        "DEAD LETTERS",
        "STUCK",
    ]
    rows = [
        [
            q.name,
            q.served,
            q.partition_count,
            q.processors,
            q.services,
            q.lag,
            q.activity_lag,
            q.dead_letters,
            q.stuck_partitions,
        ]
        for q in queues
    ]
    print_many(options, header, rows, [msgspec.to_builtins(queue) for queue in queues])
    return 0


def describe(options: argparse.Namespace) -> int:
    """One queue."""
    from odradek.web.kafka.cluster import QueueReader
    from odradek.web.kafka.rates import RateReader

    with cluster(options) as kafka, kafka.board() as board:
        reader = QueueReader(kafka.settings, kafka.admin, board)
        try:
            if options.task_queue not in reader.kinds():
                raise unknown_queue(kafka, options.task_queue)
            rates = RateReader(kafka.settings, kafka.admin).measure(
                options.task_queue, options.interval.total_seconds()
            )
            detail = reader.queue(options.task_queue)
        finally:
            reader.close()
    types = options.task_queue_type or TYPES
    detail, rates = _of_types(detail, rates, types)
    if is_json(options):
        print_value(options, _written(detail, rates, types))
    else:
        _print_queue(detail, rates)
    return 0


def delete(options: argparse.Namespace) -> int:
    """Look, ask, delete."""
    from odradek.web.kafka.removal import QueueRemover

    check_may_ask(options)
    with cluster(options) as kafka, kafka.board() as board:
        remover = QueueRemover(kafka.settings, kafka.admin, board)
        removal = remover.look(options.task_queue)
        if removal.empty:
            raise unknown_queue(kafka, options.task_queue)
        if removal.obstacles and not options.force:
            raise CommandFailedError(
                f"task queue {options.task_queue!r} is not deleted: {'; '.join(removal.obstacles)}."
                " --force deletes it all the same"
            )
        for obstacle in removal.obstacles if not is_json(options) else ():
            print(visible(f"with --force: {obstacle}"))
        for caution in removal.cautions:
            print(visible(caution), file=sys.stderr)
        confirm(
            options,
            f"delete task queue {options.task_queue!r}: {len(removal.topics)} topics,"
            f" {len(removal.runs.listed)} runs in lists?",
        )
        remover.remove(removal)
    _print_removal(options, removal)
    return 0


# --- parts


def _of_types(
    detail: QueueDetail, rates: QueueRates, types: Sequence[str]
) -> tuple[QueueDetail, QueueRates]:
    """What is left of a queue when nothing but these types of tasks is asked for."""
    kinds = [_MEMBERS[one] for one in types]
    detail = dataclasses.replace(
        detail, members=[member for member in detail.members if member.kind in kinds]
    )
    if WORKFLOW not in types:
        detail = dataclasses.replace(
            detail, has_workflows=False, partitions=[], timer_backlog=None, restore_remaining=None
        )
        rates = msgspec.structs.replace(rates, workflow=None)
    if ACTIVITY not in types:
        detail = dataclasses.replace(
            detail, has_activities=False, activity_partitions=[], slots_total=0
        )
        rates = msgspec.structs.replace(rates, activity=None)
    return detail, rates


def _written(detail: QueueDetail, rates: QueueRates, types: Sequence[str]) -> dict[str, Any]:
    """For programs: the members of types that are not asked for are not there; null is what
    nobody knows.
    """
    left_out = {member for one in TYPES if one not in types for member in _OF_TYPE[one]}
    written = {
        name: value for name, value in msgspec.to_builtins(detail).items() if name not in left_out
    }
    rates_of = {name: value for name, value in msgspec.to_builtins(rates).items() if name in types}
    return {**_as_temporal(detail, rates, types), **written, "rates": rates_of}


def _as_temporal(detail: QueueDetail, rates: QueueRates, types: Sequence[str]) -> dict[str, Any]:
    """What `temporal task-queue describe -o json` says, as far as it is known here."""
    from odradek.web.kafka.rates import Rates

    kinds = {_MEMBERS[one]: one for one in types}
    pollers = [
        {
            "buildId": _BUILD_ID,
            "taskQueueType": kinds[one.kind],
            "identity": one.identity,
            "lastAccessTime": iso_text(one.seen_ms),
        }
        for one in detail.members
        if one.alive and one.kind in kinds
    ]
    measured = {
        WORKFLOW: (detail.lag, rates.workflow),
        ACTIVITY: (detail.activity_lag, rates.activity),
    }
    was_measured = any(one is not None and one.interval_ms for _, one in measured.values())
    for kind, there in ((WORKFLOW, detail.has_workflows), (ACTIVITY, detail.has_activities)):
        if not there:  # of no tasks none waits
            measured[kind] = 0, Rates()
    stats = [_stats(one, *measured[one]) for one in types]
    return {
        "reachability": None,
        "pollers": pollers or None,
        "stats": stats if was_measured else None,
    }


def _stats(kind: str, backlog: int | None, rates: Rates | None) -> dict[str, Any]:
    return {
        "buildId": _BUILD_ID,
        "taskQueueType": kind,
        "approximateBacklogCount": backlog,
        "approximateBacklogAge": duration_text(rates.backlog_age_ms) if rates is not None else None,
        "backlogIncreaseRate": (
            round(rates.add_rate - rates.dispatch_rate, 2) if rates is not None else None
        ),
        "tasksAddRate": rates.add_rate if rates is not None else None,
        "tasksDispatchRate": rates.dispatch_rate if rates is not None else None,
    }


def _print_removal(options: argparse.Namespace, removal: Removal) -> None:
    done = {
        "taskQueue": removal.task_queue,
        "topics": removal.topics,
        "runs": len(removal.runs.listed),
        "openRuns": len(removal.runs.open_runs),
        "groups": [group for group in removal.groups if group not in removal.groups_left],
        "groupsLeft": removal.groups_left,
    }
    for remainder in removal.remains:
        print(visible(remainder), file=sys.stderr)
    if removal.waiting:
        done["unappliedInputs"] = removal.waiting
    if is_json(options):
        print_value(options, done)
    else:
        print(
            f"{removal.task_queue}: deleted {len(removal.topics)} topics,"
            f" {len(removal.runs.listed)} runs from lists"
        )


def _print_queue(detail: QueueDetail, rates: QueueRates) -> None:
    served = (
        "by every partition's owner"
        if detail.served
        else "no: some partitions have no living owner"
    )
    print_fields(
        {
            "TaskQueue": detail.name,
            "Served": served if detail.has_workflows else None,
            "Stuck": Painted(stuck, RED) if (stuck := _stuck(detail.partitions)) else None,
            "Backlog": _backlog(detail.lag, rates.workflow) if detail.has_workflows else None,
            "Rate": _rate(rates.workflow),
            "ActivityBacklog": _activity_backlog(detail, rates) if detail.has_activities else None,
            "ActivityRate": _rate(rates.activity),
            "TimersDueSoon": _timers(detail),
            "RestoreRemaining": str(detail.restore_remaining) if detail.restore_remaining else None,
            "Slots": (
                f"{detail.slots_used} of {detail.slots_total} used" if detail.slots_total else None
            ),
            "DeadLetters": str(detail.dead_letters),
        }
    )
    if detail.partitions:
        print_heading("Partitions (of workflows)")
        rows: list[list[Any]] = [
            [
                p.partition,
                p.identity or p.owner or None,
                Painted(p.state, GREEN if p.state == "RUNNING" else YELLOW),
                p.position,
                p.end_offset,
                p.lag,
                p.cached_runs,
                p.timer_backlog,
                p.restore_remaining,
                _progress(p),
                Painted(p.error, RED) if p.error else None,
            ]
            for p in detail.partitions
        ]
        _table(
            [
                "PARTITION",
                "OWNER",
                "STATE",
                "POSITION",
                "END",
                "LAG",
                "CACHED",
                "DUE SOON",
                "RESTORE",
                "PROGRESS",
                "ERROR",
            ],
            rows,
        )
    if detail.activity_partitions:
        print_heading("Partitions (of activity tasks)")
        _table(
            ["PARTITION", "COMMITTED", "END", "LAG"],
            [[p.partition, p.committed, p.end_offset, p.lag] for p in detail.activity_partitions],
        )
    if detail.members:
        print_heading("Members")
        rows = [
            [
                m.kind,
                m.identity,
                m.host,
                m.pid,
                m.alive,
                m.partitions,
                f"{m.slots_used}/{m.slots_total}" if m.slots_total else None,
                [*m.workflow_types, *m.activity_types],
                since_text(m.seen_ms),
            ]
            for m in detail.members
        ]
        _table(
            ["KIND", "IDENTITY", "HOST", "PID", "ALIVE", "PARTITIONS", "SLOTS", "TYPES", "SEEN"],
            rows,
        )


def _progress(partition: PartitionView) -> str | None:
    """How long ago its lane last got on; or, of an owner that has stopped to report, for how long."""
    if partition.trouble == "silent" and partition.silent_ms is not None:
        return f"silent for {age_text(partition.silent_ms)}"
    if partition.stalled_ms is None:
        return None
    return (
        f"none for {age_text(partition.stalled_ms)}"
        if partition.trouble
        else f"{age_text(partition.stalled_ms)} ago"
    )


def _stuck(partitions: list[PartitionView]) -> str | None:
    """What looks served and is not."""
    named = {
        what: [str(one.partition) for one in partitions if one.trouble == what]
        for what in ("silent", "stalled")
    }
    says = {"silent": "whoever has it says nothing", "stalled": "no progress"}
    return (
        "; ".join(
            f"partition {', '.join(numbers)}: {says[what]}"
            for what, numbers in named.items()
            if numbers
        )
        or None
    )


def _table(header: list[str], rows: list[list[Any]]) -> None:
    print_table(header, [[text_of(cell) or "-" for cell in row] for row in rows])


def _backlog(lag: int | None, rates: Rates | None) -> str:
    if lag is None:
        return "unknown: no owner says where it stands"
    age = (
        f", the oldest {age_text(rates.backlog_age_ms)} old"
        if lag and rates is not None and rates.backlog_age_ms
        else ""
    )
    return f"{lag}{age}"


def _activity_backlog(detail: QueueDetail, rates: QueueRates) -> str:
    if detail.activity_group == "share":
        return (
            "unknown: its services are in a share group, whose offsets Kafka's client cannot ask"
            " for (docs/operate.md)"
        )
    return _backlog(detail.activity_lag, rates.activity)


def _timers(detail: QueueDetail) -> str | None:
    if detail.timer_backlog is not None:
        return str(detail.timer_backlog)
    return "unknown" if detail.has_workflows else None


def _rate(rates: Rates | None) -> str | None:
    if rates is None or not rates.interval_ms:
        return None
    return (
        f"{rates.add_rate:g}/s in, {rates.dispatch_rate:g}/s out (over"
        f" {rates.interval_ms / 1000:.1f} s)"
    )
