"""start, execute, signal-with-start, result."""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

from odradek.cli.app import Commands, add_command
from odradek.cli.common import cluster_options, duration, filled, key_values, with_client
from odradek.cli.inputs import add_inputs, input_options, inputs_of
from odradek.cli.output import (
    is_json,
    is_quiet,
    output_options,
    print_for_people,
    print_one,
    print_value,
    visible,
)
from odradek.cli.status import COMMON, ONE_WORKFLOW, Status, UsageError
from odradek.cli.workflow.options import add_one, add_timeout, handle_of, member, names
from odradek.cli.workflow.outcome import (
    close_event,
    friendly,
    history_json,
    result_with_progress,
    status_word,
)
from odradek.cli.workflow.pending import NOTE, pending_fields, pending_text
from odradek.client import Client, WorkflowFailureError
from odradek.client.responses import noting_outcomes, noting_pending
from odradek.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from odradek.wire.outcomes import WorkflowResult

STATUSES = (*COMMON[:4], Status.ALREADY_STARTED, Status.INTERRUPTED)
_KINDS = {bool: "Bool", int: "Int", float: "Double", str: "Keyword", list: "KeywordList"}
_OUTCOME = """stdout has the result alone, as JSON; what `execute` started stands on stderr. -o json is what `temporal` writes, with
`status`, `closeEvent` (null once the history is deleted) and `result`; a `failure` in words, and the status TERMINATED, are ours."""


def register(actions: Commands) -> None:
    """Add the commands."""
    parents = [cluster_options(), output_options(), input_options()]
    parser = add_command(
        actions,
        "start",
        start,
        help="start a workflow",
        examples=(
            """odradek workflow start -w order-1 --type OrderWorkflow -t orders -i '{"product": "spool"}'""",
            """odradek workflow start -w order-2 --type Order -t orders --memo 'note="fragile"' --search-attribute 'Customer="c-17"'""",
            """odradek workflow start -w nightly --type Report -t reports --cron '0 3 * * *' --id-reuse-policy RejectDuplicate -o json""",
        ),
        notes=NOTE,
        statuses=STATUSES,
        parents=parents,
    )
    _start_options(parser)
    _start_signal_options(parser)
    parser = add_command(
        actions,
        "execute",
        execute,
        help="start a workflow and wait for its result",
        examples=(
            """odradek workflow execute -w order-1 --type OrderWorkflow -t orders -i '{"product": "spool"}'""",
            (
                "odradek workflow execute -w order-2 --type OrderWorkflow -t orders --input-file"
                " order.json -o json"
            ),
            (
                "odradek workflow execute --type OrderWorkflow -t orders --input-file order.json"
                " --detailed"
            ),
        ),
        notes=_OUTCOME,
        statuses=STATUSES,
        parents=parents,
    )
    _start_options(parser)
    _start_signal_options(parser)
    parser.add_argument(
        "--detailed",
        action="store_true",
        help="what each event holds as well; with -o json its `history`",
    )
    parser = add_command(
        actions,
        "signal-with-start",
        signal_with_start,
        help="signal the open run of a workflow id, or start one with the signal",
        examples=(
            """odradek workflow signal-with-start -w cart-1 --type Cart -t carts --signal-name add --signal-input '{"product": "spool"}'""",
        ),
        notes=NOTE,
        statuses=STATUSES,
        parents=parents,
    )
    _start_options(parser, required=True)
    parser.add_argument(
        "--signal-name",
        "--signal-type",
        required=True,
        dest="start_signal",
        metavar="NAME",
        help="signal name",
    )
    add_inputs(parser, "signal-input", of=" of the signal")
    add_one(
        add_command(
            actions,
            "result",
            result,
            help="wait for a workflow's result",
            examples=(
                "odradek workflow result -w order-1",
                "odradek workflow result -w order-1 -o json --rpc-timeout 30s",
            ),
            notes=_OUTCOME,
            statuses=ONE_WORKFLOW,
            parents=[cluster_options(), output_options()],
        )
    )


def _start_options(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """required: whether the workflow id has to be given."""
    help = "workflow id" if required else "workflow id (default: a new one)"
    parser.add_argument("--workflow-id", "-w", type=filled, required=required, help=help)
    parser.add_argument("--type", "--name", required=True, help="workflow type")
    parser.add_argument("--task-queue", "-t", required=True, help="task queue")
    parser.add_argument(
        "--id-reuse-policy",
        type=member(WorkflowIDReusePolicy),
        metavar="POLICY",
        help=names(WorkflowIDReusePolicy),
    )
    parser.add_argument(
        "--id-conflict-policy",
        type=member(WorkflowIDConflictPolicy),
        metavar="POLICY",
        help=names(WorkflowIDConflictPolicy),
    )
    parser.add_argument(
        "--fail-existing",
        action="store_true",
        help="fail when the workflow id was ever used: --id-reuse-policy RejectDuplicate",
    )
    for name in ("execution-timeout", "run-timeout", "task-timeout", "start-delay"):
        parser.add_argument(
            f"--{name}", type=duration, metavar="DURATION", help="such as 30s, 5min, 1h"
        )
    parser.add_argument("--cron", default="", metavar="SPEC", help="cron schedule")
    parser.add_argument(
        "--memo", action="append", metavar="KEY=JSON", help="a memo value; may be given again"
    )
    parser.add_argument(
        "--search-attribute",
        action="append",
        metavar="KEY[:TYPE]=JSON",
        help=(
            "a search attribute; TYPE (Keyword, Text, Int, Double, Bool, Datetime, KeywordList) is"
            " told by the value if left out"
        ),
    )
    parser.add_argument("--static-summary", help="a line that `describe` shows")
    parser.add_argument("--static-details", help="a text that `describe` shows")
    add_timeout(parser, "the verdict")


def _start_signal_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--start-signal",
        metavar="NAME",
        help="signal-with-start: signal the open run, or start one with the signal",
    )
    add_inputs(parser, "start-signal-input", of=" of that signal")


# --- commands


def start(options: argparse.Namespace) -> int:
    """Start, and print ids."""
    keywords = start_keywords(options)

    async def use(client: Client) -> None:
        with noting_pending() as pending:
            handle = await client.start_workflow(options.type, **keywords)
        told = {"workflowId": handle.id, "runId": handle.result_run_id, **_started(options, client)}
        if not pending:
            print_one(options, told)
        else:
            print_one(
                options,
                {**told, "Verdict": pending_text(pending)},
                {**told, **pending_fields(pending)},
            )

    with_client(options, use, creates=True)
    return 0


def signal_with_start(options: argparse.Namespace) -> int:
    """As `start` with a signal."""
    return start(options)


def execute(options: argparse.Namespace) -> int:
    """Start, wait, and print the result; until then its events on stderr, as they happen."""
    keywords = start_keywords(options)

    async def use(client: Client) -> None:
        began_s = time.monotonic()
        handle = await client.start_workflow(options.type, **keywords)
        told = {
            "workflowId": handle.id,
            "runId": handle.result_run_id or "",
            **_started(options, client),
        }
        silent = is_json(options) or is_quiet(options)
        if not silent:
            _print_running(told)

        async def more() -> dict[str, Any]:
            return await history_json(client, handle.id, told["runId"], options.task_queue)

        await _print_outcome(
            options,
            client,
            (
                handle.result()
                if silent
                else result_with_progress(client, handle, detailed=options.detailed)
            ),
            lambda outcome: {**told, "durationMillis": round((time.monotonic() - began_s) * 1000)},
            more if options.detailed else None,
        )

    with_client(options, use, creates=True)
    return 0


def result(options: argparse.Namespace) -> int:
    """Wait, and print the result."""

    async def use(client: Client) -> None:
        await _print_outcome(
            options,
            client,
            handle_of(client, options).result(rpc_timeout=options.rpc_timeout),
            lambda outcome: {
                "workflowId": options.workflow_id, "runId": options.run_id or outcome.run_id, "namespace": client.namespace
            },
        )  # fmt: skip

    with_client(options, use)
    return 0


# --- parts


async def _print_outcome(
    options: argparse.Namespace,
    client: Client,
    awaited: Coroutine[Any, Any, Any],
    told: Callable[[WorkflowResult], dict[str, Any]],
    history: Callable[[], Coroutine[Any, Any, dict[str, Any]]] | None = None,
) -> None:
    """For people the value alone, which goes on into `jq`, or a file, as it is; of a failure the
    line on stderr that comes by itself.

    For programs what `temporal` writes: `told` of the run that was the last, its status, close
    event and result, and the history. Of a failure also its words, which are ours.
    """
    failed: WorkflowFailureError | None = None
    with noting_outcomes() as outcomes:
        try:
            value = await awaited
        except WorkflowFailureError as error:
            failed = error
    if not is_json(options):
        if failed is not None:
            raise failed
        print_for_people(value)
        return
    last = outcomes[-1]
    written = {
        **told(last),
        "status": status_word(last.status),
        "closeEvent": await close_event(client, last, options.rpc_timeout),
    }
    written |= (
        {"result": friendly(last.result)} if failed is None else {"failure": _failure_json(failed)}
    )
    if history is not None:
        written["history"] = await history()
    print_value(options, written)
    if failed is not None:
        raise failed


def _failure_json(error: WorkflowFailureError) -> dict[str, Any]:
    kind = getattr(error.cause, "type", None)
    return {"message": str(error.cause), **({"type": kind} if isinstance(kind, str) else {})}


def _print_running(told: dict[str, Any]) -> None:
    """On stderr: what is printed on stdout is the result."""
    print("Running execution:", file=sys.stderr)
    for name, value in told.items():
        print(f"  {name[:1].upper()}{name[1:]:<11}{visible(value)}", file=sys.stderr, flush=True)


def start_keywords(options: argparse.Namespace) -> dict[str, Any]:
    """Keywords of `Client.start_workflow`. Gives the options a workflow id if they have none."""
    options.workflow_id = options.workflow_id or str(uuid.uuid4())
    if options.fail_existing and options.id_reuse_policy is not None:
        raise UsageError("give --fail-existing or --id-reuse-policy, not both")
    given = {
        "id_reuse_policy": (
            WorkflowIDReusePolicy.REJECT_DUPLICATE
            if options.fail_existing
            else options.id_reuse_policy
        ),
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
        "search_attributes": search_attributes(options.search_attribute),
    }
    return {
        "args": inputs_of(options),
        "id": options.workflow_id,
        "task_queue": options.task_queue,
        "cron_schedule": options.cron,
        "start_signal_args": inputs_of(
            options, "signal-input" if hasattr(options, "signal_input") else "start-signal-input"
        ),
        **{name: value for name, value in given.items() if value is not None},
    }


def search_attributes(texts: list[str] | None) -> TypedSearchAttributes | None:
    """`KEY[:TYPE]=JSON` options as typed search attributes; None for none. Raises `UsageError`."""
    pairs: list[SearchAttributePair[Any]] = []
    for name, value in key_values(texts, "--search-attribute").items():
        key_name, colon, kind = name.rpartition(":")
        if not colon:
            key_name, kind = name, _KINDS.get(type(value), "")
        makers = {
            "Bool": SearchAttributeKey.for_bool,
            "Int": SearchAttributeKey.for_int,
            "Double": SearchAttributeKey.for_float,
            "Keyword": SearchAttributeKey.for_keyword,
            "Text": SearchAttributeKey.for_text,
            "KeywordList": SearchAttributeKey.for_keyword_list,
            "Datetime": SearchAttributeKey.for_datetime,
        }
        make: Any = makers.get(kind)
        if make is None or not key_name:
            raise UsageError(
                f"--search-attribute {name}: write KEY=JSON or KEY:TYPE=JSON, with a TYPE of"
                f" {', '.join(makers)}"
            )
        pairs.append(SearchAttributePair(make(key_name), _typed(name, kind, value)))
    return TypedSearchAttributes(pairs) if pairs else None


def _typed(name: str, kind: str, value: Any) -> Any:
    from datetime import datetime

    if kind == "Datetime" and isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError as error:
            raise UsageError(
                f"--search-attribute {name}: {value!r} is no time; write RFC 3339, as"
                " 2026-11-24T18:30:00Z"
            ) from error
    if kind == "Double" and type(value) is int:
        return float(value)
    wanted = {
        "Bool": bool,
        "Int": int,
        "Double": float,
        "Keyword": str,
        "Text": str,
        "KeywordList": list,
        "Datetime": datetime,
    }[kind]
    if type(value) is not wanted:
        raise UsageError(f"--search-attribute {name}: {value!r} is no {kind}")
    return value


def _started(options: argparse.Namespace, client: Client) -> dict[str, Any]:
    return {"type": options.type, "namespace": client.namespace, "taskQueue": options.task_queue}
