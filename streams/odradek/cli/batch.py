"""The same request to every workflow of a query: how many it hits is said first, then it is
asked, then done, a few at a time.

The runs are listed by the read side and asked of their owners, each by its run id and task
queue. What closed between list and request is skipped, not a failure. What fails in a way that
may pass is asked again as the server's batches do it, under its request id. Ctrl-C ends it: what
was done is done, and the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from odradek.cli.confirm import add_yes, check_may_ask, confirm
from odradek.cli.output import is_json, print_value, visible
from odradek.cli.status import CommandFailedError, UsageError
from odradek.cli.style import run_status_text
from odradek.client import Client, RPCError, RPCStatusCode, WorkflowExecution, WorkflowHandle
from odradek.client.channel import same_request
from odradek.client.responses import noting_pending
from odradek.web.retries import PASSING, Retries

OPEN = "ExecutionStatus = 'Running'"
#: Requests at once: enough to fill an owner's batches, few enough to leave room for others.
AT_ONCE = 16
_RETRIES = Retries()
_FAILURES_SHOWN = 10
_FAILURES_KEPT = 1_000
_PROGRESS_S = 0.2

#: There is nothing left to do: it closed or was deleted between list and request; an unparking
#: found it unparked.
_NOTHING_LEFT = frozenset({RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION})

Act = Callable[[WorkflowHandle[Any, Any]], Awaitable[None]]


@dataclass
class Outcome:
    """How far a batch came. `matched`: what it was counted to hit; runs come and go meanwhile.
    `pending`: accepted without a verdict. `retried`: requests that were sent again.
    """

    matched: int
    done: int = 0
    pending: int = 0
    skipped: int = 0
    retried: int = 0
    failed: int = 0
    failures: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def handled(self) -> int:
        """Runs that were asked."""
        return self.done + self.pending + self.skipped + self.failed


def add_batch_options(parser: argparse.ArgumentParser) -> None:
    """`--query`, `--yes`, `--rps`."""
    group = parser.add_argument_group("many workflows")
    group.add_argument("--query", "-q", help="instead of --workflow-id: all workflows of a query")
    add_yes(group)  # type: ignore[arg-type]  # argparse's groups take arguments as parsers do
    group.add_argument(
        "--rps", type=_positive, metavar="N", help="at most so many requests a second"
    )


def check_target(options: argparse.Namespace) -> None:
    """One workflow or a query, and what belongs to each. Raises `UsageError`."""
    if (options.workflow_id is None) == (options.query is None):
        raise UsageError("give --workflow-id for one workflow, or --query for many")
    if options.query is None:
        if options.rps:
            raise UsageError("--rps belongs to --query")
        return
    if not options.query.strip():
        raise UsageError(f'--query is empty: for all open workflows write "{OPEN}"')
    if options.run_id or options.task_queue:
        raise UsageError(
            "--run-id and --task-queue belong to --workflow-id; a query has RunId and TaskQueue as"
            " columns"
        )
    check_may_ask(options)


async def run_batch(
    client: Client, options: argparse.Namespace, *, verb: str, past: str, restrict: str, act: Act
) -> int:
    """Do `act` to the runs of the query that `restrict` leaves (a filter, "" for all). An exit
    status: 1 if some failed.

    verb, past: what is done, for the question and for the summary: `terminate`, `terminated`.
    Raises `UsageError` for a query without a condition, which is every run there is and hardly
    ever meant: the server's batches refuse it too.
    """
    await client.list_workflows(
        options.query, limit=1
    ).fetch_next_page()  # as it was written: a wrong one says where
    if not narrowed(options.query, "")[1]:
        raise UsageError(f'--query has no condition: for all open workflows write "{OPEN}"')
    query, unordered = narrowed(options.query, restrict)
    matched = (await client.count_workflows(unordered)).count
    if matched:
        open_runs = (
            matched
            if restrict
            else (await client.count_workflows(narrowed(unordered, OPEN)[1])).count
        )
        what = f"{matched} workflow run{'s' if matched != 1 else ''}"
        if open_runs and not restrict:
            what += f", {open_runs} of them open (they are terminated first)"
        if not options.yes:
            await _preview(client, query)
        confirm(options, f"{verb} {what}?")
    outcome = Outcome(matched)
    try:
        await _run(client, query, options.rps, act, outcome)
    finally:
        _report(options, query, past, outcome)
    if outcome.failed:
        raise CommandFailedError(
            f"{outcome.failed} of {outcome.handled} failed: correct what they say, then run the"
            " same command again"
        )
    return 0


def narrowed(query: str, restrict: str) -> tuple[str, str]:
    """A query's filter with one more: with its ORDER BY, for a list, and without, for a count."""
    from odradek.web.ui.run_filter import split_order

    own, order = split_order(query)
    if own and restrict:
        own = f"({own})"
    both = " AND ".join(part for part in (own, restrict) if part)
    return f"{both} {order}".strip(), both


async def _preview(client: Client, query: str, size: int = 5) -> None:
    async for execution in client.list_workflows(query, limit=size):
        print(
            visible(
                f"  {execution.id}  {execution.workflow_type} "
                f" {run_status_text(execution.raw_info.status)}"
            ),
            file=sys.stderr,
        )


async def _run(
    client: Client,
    query: str,
    rps: float | None,
    act: Act,
    outcome: Outcome,
    retries: Retries = _RETRIES,
) -> None:
    limit, turns = asyncio.Semaphore(AT_ONCE), _Turns(rps)
    asking: set[asyncio.Task[None]] = set()
    shown = _Progress(outcome)

    def asked(task: asyncio.Task[None]) -> None:
        asking.discard(task)
        limit.release()

    try:
        async for execution in _listed(client, query, retries):
            await limit.acquire()
            await turns.next()
            task = asyncio.ensure_future(_ask(client, execution, act, outcome, retries, turns))
            asking.add(task)
            task.add_done_callback(asked)
            shown.tick()
        while asking:
            await asyncio.wait(asking, timeout=_PROGRESS_S)
            shown.tick()
    finally:
        for task in asking:
            task.cancel()
        shown.end()


async def _listed(client: Client, query: str, retries: Retries) -> AsyncIterator[WorkflowExecution]:
    """Runs of the query. A page that the server did not give is asked for again, from where the
    one before it ended.
    """
    runs, attempt = client.list_workflows(query, page_size=500), 1
    while True:
        try:
            execution = await anext(runs)
        except StopAsyncIteration:
            return
        except RPCError as error:
            if not retries.again(error.status, attempt):
                raise
            await asyncio.sleep(retries.pause_s(attempt))
            attempt += 1
        else:
            attempt = 1
            yield execution


async def _ask(
    client: Client,
    execution: WorkflowExecution,
    act: Act,
    outcome: Outcome,
    retries: Retries = _RETRIES,
    turns: _Turns | None = None,
) -> None:
    handle = client.get_workflow_handle(
        execution.id, run_id=execution.run_id, task_queue=execution.task_queue or None
    )
    request_id, attempt = uuid.uuid4().hex, 1
    while True:
        try:
            with noting_pending() as pending, same_request(request_id):
                await act(handle)
        except RPCError as error:
            if retries.again(error.status, attempt):
                await asyncio.sleep(retries.pause_s(attempt))
                if turns is not None:
                    await turns.next()
                attempt += 1
                outcome.retried += 1
                continue
            if error.status in _NOTHING_LEFT:
                outcome.skipped += 1
                return
            tried = f", {attempt} attempts" if error.status in PASSING else ""
            _failed(outcome, execution, f"{error.message} ({error.status.name}{tried})")
        except Exception as error:  # whatever it is, it is this run's alone, and is said
            _failed(outcome, execution, f"{type(error).__name__}: {error}")
        else:
            outcome.done += not pending
            outcome.pending += bool(pending)
        return


def _failed(outcome: Outcome, execution: WorkflowExecution, message: str) -> None:
    outcome.failed += 1
    if len(outcome.failures) < _FAILURES_KEPT:
        outcome.failures.append((execution.id, execution.run_id, " ".join(message.split())))


def _report(options: argparse.Namespace, query: str, past: str, outcome: Outcome) -> None:
    if is_json(options):
        failures = [
            {"workflowId": id, "runId": run_id, "message": message}
            for id, run_id, message in outcome.failures
        ]
        counts = {
            name: getattr(outcome, name)
            for name in ("matched", "done", "pending", "skipped", "retried", "failed")
        }
        print_value(options, {"query": query, "action": past, **counts, "failures": failures})
        return
    pending = (
        f"  accepted, not applied before a processor is up: {outcome.pending}"
        if outcome.pending
        else ""
    )
    retried = f"  sent again: {outcome.retried}" if outcome.retried else ""
    print(
        f"{past}: {outcome.done}{pending}  skipped (gone or closed meanwhile):"
        f" {outcome.skipped}{retried}  failed: {outcome.failed}"
    )
    for id, run_id, message in outcome.failures[:_FAILURES_SHOWN]:
        print(visible(f"  {id}  {run_id}  {message}"), file=sys.stderr)
    if outcome.failed > _FAILURES_SHOWN:
        print(f"  … {outcome.failed - _FAILURES_SHOWN} more; -o json has them", file=sys.stderr)


class _Turns:
    """When the next request may go: at most so many a second, or at once."""

    def __init__(self, per_second: float | None) -> None:
        self._per_second = per_second
        self._next_s = time.monotonic()

    async def next(self) -> None:
        """Wait for a turn of one's own."""
        if self._per_second:
            turn_s = max(self._next_s, time.monotonic())
            self._next_s = turn_s + 1 / self._per_second
            await asyncio.sleep(turn_s - time.monotonic())


class _Progress:
    """A line on a terminal, written over."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome
        self._on = sys.stderr.isatty()
        self._last_s = 0.0

    def tick(self) -> None:
        """Show it, a few times a second."""
        if self._on and time.monotonic() - self._last_s >= _PROGRESS_S:
            self._last_s = time.monotonic()
            print(
                f"\r{self._outcome.handled}/{self._outcome.matched}",
                end="",
                file=sys.stderr,
                flush=True,
            )

    def end(self) -> None:
        """Take the line away."""
        if self._on and self._last_s:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError("must be more than 0")
    return value
