"""`odradek dead-letter …`: what could not be decoded, routed or applied; and the way back for
it, once its cause is gone.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from odradek.cli.app import Commands, add_command, add_group
from odradek.cli.common import POSITIVE, cluster_options, filled, whole_number
from odradek.cli.confirm import add_yes, check_may_ask, confirm
from odradek.cli.kafka import Cluster, cluster, unknown_queue
from odradek.cli.output import (
    is_json,
    output_options,
    print_fields,
    print_many,
    print_value,
    visible,
)
from odradek.cli.status import ONE_WORKFLOW, CommandFailedError, Status, UsageError
from odradek.cli.times import time_text
from odradek.exceptions import OdradekError
from odradek.wire.topics import DEAD_LETTERS

if TYPE_CHECKING:
    from odradek.web.kafka.dead_letters import DeadLetterReader
    from odradek.web.kafka.facts import DeadLetterView

EXAMPLES = (
    "odradek dead-letter list -t orders",
    "odradek dead-letter show -t orders --offset 3",
    "odradek dead-letter redrive -t orders --offset 3",
)
_PAGE = 200


def register(commands: Commands) -> None:
    """Add the group and its commands."""
    actions = add_group(
        commands,
        "dead-letter",
        help="records that could not be applied: why, and back with them",
        examples=EXAMPLES,
    )
    shared = [cluster_options(), output_options()]
    parser = add_command(
        actions,
        "list",
        list_letters,
        help="dead letters, latest first",
        examples=(
            "odradek dead-letter list",
            "odradek dead-letter list -t orders --reason NOT_APPLIED",
            "odradek dead-letter list -t orders -w order-1 -o json",
        ),
        statuses=ONE_WORKFLOW,
        parents=shared,
    )
    parser.add_argument("--task-queue", "-t", help="task queue (default: all)")
    _filter_options(parser)
    parser.add_argument(
        "--limit",
        type=POSITIVE,
        default=100,
        metavar="N",
        help="how many of each queue at most (default: 100)",
    )
    parser = add_command(
        actions,
        "show",
        show,
        help="one dead letter: reason, trace, where it stood, what it is",
        examples=(
            "odradek dead-letter show -t orders --offset 3",
            "odradek dead-letter show -t orders --offset 3 -o json",
        ),
        statuses=ONE_WORKFLOW,
        parents=shared,
    )
    parser.add_argument("--task-queue", "-t", required=True, help="task queue")
    parser.add_argument(
        "--offset",
        type=whole_number(0),
        required=True,
        metavar="N",
        help="its offset, as `list` shows it",
    )
    parser = add_command(
        actions,
        "redrive",
        redrive,
        help="put dead letters back where they came from",
        examples=(
            "odradek dead-letter redrive -t orders --offset 3",
            "odradek dead-letter redrive -t orders --reason UNKNOWN_SCHEMA --yes",
            "odradek dead-letter redrive -t orders --all",
        ),
        notes="""With key, value and headers as they came. A dead letter stays where it lies until its retention. Put back twice, a start
makes one run as long as that run is kept, and any other request counts once within an hour and 1,000 requests of its
workflow id: the next one would be a second signal. An answer of an activity counts once, whenever; a command may run its
attempt again. What was refused is tried again. --all and filters leave out what was put back before, as far as the topic
still tells (`events`: `audit_window`, an hour); --offset puts it back all the same. Status 1 if one could not be put back.""",
        statuses=ONE_WORKFLOW,
        parents=shared,
    )
    parser.add_argument("--task-queue", "-t", required=True, help="task queue")
    parser.add_argument(
        "--offset",
        type=whole_number(0),
        action="append",
        metavar="N",
        help="its offset; may be given again",
    )
    _filter_options(parser)
    parser.add_argument("--all", action="store_true", help="every dead letter of the queue")
    add_yes(parser)


def _filter_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reason",
        help="only those of this reason, such as UNDECODABLE, UNKNOWN_SCHEMA, NOT_APPLIED, REFUSED",
    )
    parser.add_argument("--workflow-id", "-w", type=filled, help="only those of this workflow")


# --- commands


def list_letters(options: argparse.Namespace) -> int:
    """A line a letter."""
    with _reader(options) as (kafka, reader):
        queues = _queues(kafka)
        if options.task_queue:
            if options.task_queue not in queues and not _is_known(kafka, options.task_queue):
                raise unknown_queue(kafka, options.task_queue)
            queues = [options.task_queue]
        letters = [
            letter
            for queue in queues
            for letter in _matching(options, reader, queue, options.limit)
        ]
    rows = [
        [
            _queue_of(kafka, letter),
            letter.place.offset,
            time_text(letter.time_ms),
            letter.reason,
            letter.workflow_id,
            letter.record.kind or "?",
            letter.message,
        ]
        for letter in letters
    ]
    header = ["TASK QUEUE", "OFFSET", "TIME", "REASON", "WORKFLOW ID", "RECORD", "MESSAGE"]
    print_many(options, header, rows, [msgspec.to_builtins(letter) for letter in letters])
    return 0


def show(options: argparse.Namespace) -> int:
    """One letter, whole."""
    with _reader(options) as (_, reader):
        letter = reader.get(options.task_queue, options.offset)
    if letter is None:
        raise _none(options.task_queue, options.offset)
    if is_json(options):
        print_value(options, msgspec.to_builtins(letter))
        return 0
    origin = letter.origin
    print_fields(
        {
            "Offset": str(letter.place.offset),
            "Time": time_text(letter.time_ms),
            "Reason": letter.reason,
            "Message": letter.message,
            "Origin": (
                f"{origin.topic}/{origin.partition}/{origin.offset}"
                if origin.offset >= 0
                else f"{origin.topic} (stood nowhere)"
            ),
            "WorkflowId": letter.workflow_id,
            "Record": letter.record.kind or "?",
            "Key": letter.record.key,
            "Size": f"{letter.record.size_bytes} bytes",
            "ErrorType": letter.error_type,
            "Headers": letter.record.headers,
            "Value": letter.record.value,
        }
    )
    if letter.stack_trace:
        print(f"\n{visible(letter.stack_trace.rstrip(), lines=True)}")
    return 0


def redrive(options: argparse.Namespace) -> int:
    """Put back."""
    chosen = bool(options.offset) + options.all + bool(options.reason or options.workflow_id)
    if chosen != 1:
        raise UsageError("give --offset, or --reason and --workflow-id, or --all")
    check_may_ask(options)
    queue = options.task_queue
    with _reader(options) as (_, reader):
        offsets, left_out = options.offset, []
        if not offsets:
            letters = sorted(
                _matching(options, reader, queue, None), key=lambda letter: letter.place.offset
            )
            if not letters:
                raise CommandFailedError(
                    f"task queue {queue!r} has no such dead letter", Status.NOT_FOUND
                )
            offsets = [letter.place.offset for letter in letters if not letter.redriven]
            left_out = [letter.place.offset for letter in letters if letter.redriven]
            if left_out:
                print(
                    f"left out, put back before: {len(left_out)} (--offset puts one back again)",
                    file=sys.stderr,
                )
        if len(offsets) > 1 or (offsets and not options.offset):
            confirm(
                options,
                f"put {len(offsets)} dead letter{'s' if len(offsets) != 1 else ''} of task queue"
                f" {queue!r} back?",
            )
        results = [_put_back(reader, queue, offset) for offset in offsets]
    failed = [one for one in results if "message" in one]
    if is_json(options):
        redriven = [one for one in results if "message" not in one]
        print_value(
            options,
            {"taskQueue": queue, "redriven": redriven, "failed": failed, "leftOut": left_out},
        )
    else:
        for one in results:
            print(
                visible(
                    f"{queue} offset {one['offset']}:"
                    f" {one.get('message') or 'put back to ' + _place_text(one['place'])}"
                )
            )
    if failed:
        missing = all(one["missing"] for one in failed)
        raise CommandFailedError(
            f"{len(failed)} of {len(results)} were not put back: {failed[0]['message']}",
            Status.NOT_FOUND if missing else Status.FAILED,
        )
    return 0


# --- parts


@contextlib.contextmanager
def _reader(options: argparse.Namespace) -> Iterator[tuple[Cluster, DeadLetterReader]]:
    from odradek.kafka.producer import PlainProducer
    from odradek.web.kafka.dead_letters import DeadLetterReader

    with cluster(options) as kafka:
        producer = PlainProducer(kafka.settings)
        try:
            yield kafka, DeadLetterReader(kafka.settings, kafka.admin, kafka.codec, producer)
        finally:
            producer.close(2.0)


def _queues(kafka: Cluster) -> list[str]:
    parsed = [kafka.admin.topics.parse(name) for name in kafka.admin.topic_names()]
    return sorted(
        one.task_queue
        for one in parsed
        if one is not None
        and one.kind == DEAD_LETTERS
        and one.namespace == kafka.settings.namespace
    )


def _is_known(kafka: Cluster, queue: str) -> bool:
    """Whether the queue has any topic: most never have a dead letter."""
    parsed = [kafka.admin.topics.parse(name) for name in kafka.admin.topic_names()]
    return any(
        one is not None and one.task_queue == queue and one.namespace == kafka.settings.namespace
        for one in parsed
    )


def _matching(
    options: argparse.Namespace, reader: DeadLetterReader, queue: str, limit: int | None
) -> Iterator[DeadLetterView]:
    """Those that the filter leaves, latest first; `limit` None for all."""
    before: int | None = None
    given = 0
    while True:
        page = reader.list(queue, before=before, limit=_PAGE)
        for letter in page.dead_letters:
            if options.reason and letter.reason != options.reason.upper():
                continue
            if options.workflow_id and letter.workflow_id != options.workflow_id:
                continue
            yield letter
            given += 1
            if given == limit:
                return
        if not page.complete:
            raise CommandFailedError(
                f"the dead letters of task queue {queue!r} could not be read in time: try again",
                Status.UNAVAILABLE,
            )
        before = page.next_offset
        if before is None:
            return


def _put_back(reader: DeadLetterReader, queue: str, offset: int) -> dict[str, Any]:
    from odradek.web.kafka.dead_letters import RedriveRefusedError

    try:
        place = reader.redrive(queue, offset)
    except (RedriveRefusedError, OdradekError) as error:
        return {"offset": offset, "message": str(error), "missing": False}
    if place is None:
        return {"offset": offset, "message": str(_none(queue, offset)), "missing": True}
    return {"offset": offset, "place": msgspec.to_builtins(place)}


def _place_text(place: dict[str, Any]) -> str:
    """Topic, partition and offset, as far as it is known."""
    return f"{place['topic']}/{place['partition']}" + (
        f"/{place['offset']}" if place["offset"] >= 0 else ""
    )


def _queue_of(kafka: Cluster, letter: DeadLetterView) -> str:
    parsed = kafka.admin.topics.parse(letter.place.topic)
    return parsed.task_queue if parsed is not None else ""


def _none(queue: str, offset: int) -> CommandFailedError:
    return CommandFailedError(
        f"task queue {queue!r} has no dead letter at offset {offset}: `odradek dead-letter list`"
        " shows them",
        Status.NOT_FOUND,
    )
