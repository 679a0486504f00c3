"""query, stack, metadata, show: what one workflow says of itself, and its history."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Sequence
from typing import Any, TextIO

from odradek.cli.app import Commands, add_command
from odradek.cli.common import cluster_options, with_client
from odradek.cli.inputs import input_options, inputs_of
from odradek.cli.output import (
    is_json,
    json_text,
    output_options,
    painted,
    print_fields,
    print_for_people,
    print_heading,
    print_json,
    print_line,
    print_table,
    print_value,
    text_of,
    visible,
)
from odradek.cli.payloads import in_words
from odradek.cli.status import ONE_WORKFLOW, UsageError
from odradek.cli.style import event_type_text
from odradek.cli.times import time_text
from odradek.cli.workflow.options import add_one, handle_of, member, names
from odradek.client import Client, WorkflowHistory
from odradek.common import QueryRejectCondition, RawValue

_STACK_TRACE, _METADATA = "__stack_trace", "__temporal_workflow_metadata"
_DEFINITIONS = (
    ("Query", "queryDefinitions"),
    ("Signal", "signalDefinitions"),
    ("Update", "updateDefinitions"),
)


def register(actions: Commands) -> None:
    """Add the commands."""
    shared = [cluster_options(), output_options()]
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
        "metadata",
        metadata,
        help="what a workflow says of itself: its queries and signals, its current details",
        examples=(
            "odradek workflow metadata -w order-1",
            "odradek workflow metadata -w order-1 -o json",
        ),
        notes=(
            "Its answer to the query `__temporal_workflow_metadata`. Summary and details of its"
            " start are in `workflow describe`."
        ),
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
            "odradek workflow show -w order-1 --reverse",
            "odradek workflow show -w order-1 -o json",
        ),
        notes=(
            "-o json is Temporal's form of a history, which its tools and `Replayer` read; -o jsonl"
            " has an event a line."
        ),
        statuses=ONE_WORKFLOW,
        parents=shared,
    )
    add_one(parser)
    parser.add_argument(
        "--follow",
        "-f",
        action="store_true",
        help="go on as events come, until the workflow closes",
    )
    parser.add_argument("--detailed", action="store_true", help="what each event holds as well")
    parser.add_argument("--reverse", action="store_true", help="the latest event first")


def _reject_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reject-condition",
        type=member(QueryRejectCondition),
        metavar="CONDITION",
        help=names(QueryRejectCondition),
    )


# --- commands


def query(options: argparse.Namespace) -> int:
    """Query, and print the answer."""
    arguments = inputs_of(options)

    async def use(client: Client) -> None:
        answer = await _asked(client, options, options.name, arguments)
        if not is_json(options):
            print_for_people(answer)

    with_client(options, use)
    return 0


def stack(options: argparse.Namespace) -> int:
    """Print the call stack."""

    async def use(client: Client) -> None:
        answer = await _asked(client, options, _STACK_TRACE)
        if not is_json(options):
            print(visible(str(answer), lines=True))

    with_client(options, use)
    return 0


def metadata(options: argparse.Namespace) -> int:
    """Print what the workflow says of itself."""

    async def use(client: Client) -> None:
        answer = await _asked(client, options, _METADATA)
        if is_json(options):
            return
        if isinstance(answer, dict):
            _print_metadata(answer)
        else:  # a codec wrote it
            print(visible(str(answer)))

    with_client(options, use)
    return 0


def show(options: argparse.Namespace) -> int:
    """Print the history."""
    if options.follow and options.reverse:
        raise UsageError(
            "--reverse and --follow exclude each other: what is to come has no end to begin at"
        )

    async def use(client: Client) -> None:
        handle = handle_of(client, options)
        events: AsyncIterator[Any]
        if options.follow:
            events = handle.fetch_history_events(wait_new_event=True)
        else:
            events = handle.fetch_history_events(rpc_timeout=options.rpc_timeout)
        if options.reverse:
            events = _reversed(events)
        if options.output == "json":
            found = WorkflowHistory(options.workflow_id, [event async for event in events])
            print_json(found.to_json_dict())
        elif options.output == "jsonl":
            async for event in events:
                for written in _json_of(event):
                    print_line(written)
        elif options.follow or options.detailed:
            async for event in events:
                print_event(event, detailed=options.detailed)
        else:
            print_table(["ID", "TIME", "TYPE"], [_row(event) async for event in events])

    with_client(options, use)
    return 0


# --- queries


async def _asked(
    client: Client, options: argparse.Namespace, name: str, arguments: Sequence[Any] = ()
) -> Any:
    """The answer, for people; for programs it is written: Temporal's QueryWorkflowResponse,
    payloads in short form.
    """
    answer = await handle_of(client, options).query(
        name,
        args=arguments,
        result_type=RawValue if is_json(options) else None,
        reject_condition=options.reject_condition,
        rpc_timeout=options.rpc_timeout,
    )
    if is_json(options):
        from odradek.engine.json_fields import PAYLOADS
        from odradek.web.temporal.shorthand import shorten

        print_value(
            options,
            {} if answer is None else {"queryResult": shorten(PAYLOADS.write([answer.payload]))},
        )
    return answer


def _print_metadata(answer: dict[str, Any]) -> None:
    definition = answer.get("definition") or {}
    print_fields({"Type": definition.get("type")})
    for what, name in _DEFINITIONS:
        found = definition.get(name) or []
        if found:
            print_heading(f"{what} definitions: {len(found)}")
            print_table(
                ["NAME", "DESCRIPTION"],
                [
                    [text_of(one.get("name")), text_of(one.get("description") or None)]
                    for one in found
                ],
            )
    if details := answer.get("currentDetails"):
        print_heading("Current details:")
        print(visible(str(details), lines=True))


# --- show


async def _reversed(events: AsyncIterator[Any]) -> AsyncIterator[Any]:
    for event in reversed([event async for event in events]):
        yield event


def _row(event: Any) -> list[str]:
    kind = type(event.attributes).__name__.removesuffix("Event")
    if kind == "Other":
        kind = event.attributes.event_type
    return [str(event.event_id), time_text(event.event_time_ms), event_type_text(kind)]


def _json_of(event: Any) -> list[dict[str, Any]]:
    """The event in Temporal's JSON: one of ours may stand for several of its."""
    from odradek.engine import history_json

    events: list[dict[str, Any]] = history_json.to_json_dict([event])["events"]
    return events


def print_event(event: Any, *, detailed: bool, file: TextIO | None = None) -> None:
    """An event on a line, with what it holds below; at once."""
    number, time, kind = _row(event)
    print(f"{number:>5}  {time}  {painted(kind)}", file=file, flush=True)
    for written in _json_of(event) if detailed else ():
        for name, value in written.items():
            if name.endswith("EventAttributes"):
                for field, one in in_words(value).items():
                    print(
                        f"         {field}:"
                        f" {visible(one) if isinstance(one, str) else json_text(one)}",
                        file=file,
                    )
