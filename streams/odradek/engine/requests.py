"""Responses to requests, and the deduplication window that remembers them, so that a repeated
request changes nothing and gets the same answer.

A workflow id has one window, whichever runs it has had meanwhile: its last `request_window`
requests of the last `request_window_ms`. It goes with its last run. A request that found no run
is not remembered; a start that made one is known by its run.

A request is a repeated one if it has the kind (`request_kind`) and the id of one in the window,
and one of these holds:

- It is a start: it makes a chain of runs (start, continue-as-new, retries, cron) and is of none.
- It is for the same chain. So one that comes again after a continue-as-new counts once, and
  `tick` is a new request to the next chain.
- It is certainly the same, though its chain is over and another has begun: plain producers are
  not idempotent, and clients ask again. Either nobody makes its id twice (`is_made_once`), or
  its deadline is the same, or, without one, its record's timestamp.

A rejection counts for no record that was a dead letter and was put back: it changed nothing, and
its cause may be gone.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Protocol, cast

from odradek.engine.keys import request_key, request_prefix
from odradek.engine.ports import REQUEST, RUN
from odradek.wire import outcomes
from odradek.wire.events import READ_REQUESTS
from odradek.wire.history import WorkflowExecutionSignaled
from odradek.wire.outcomes import Reply
from odradek.wire.request_ids import is_made_once, request_kind
from odradek.wire.state import RequestRow, RunRow

if TYPE_CHECKING:
    from odradek.engine.run import LiveRun
    from odradek.engine.step import WorkflowStep
    from odradek.wire.events import Request

_START = "StartWorkflow"

# How many starts of a workflow id back a repeated one is looked for, within the window. Those that
# name their run are found by that.
PREVIOUS_STARTS_MAX = 100


class RequestLike(Protocol):
    """What every request has."""

    workflow_id: str
    request_id: str
    reply_to: str
    deadline_ms: int


def reply(step: WorkflowStep, request: RequestLike, answer: Reply) -> None:
    """Answer a request, if somebody waits."""
    if request.reply_to:
        step.replies.append(answer)


def verdict(
    step: WorkflowStep,
    request: RequestLike,
    status: str,
    message: str = "",
    *,
    row: RunRow | None = None,
    run_id: str = "",
    started: bool = False,
    kind: str = "",
    again: bool = False,
) -> None:
    """Answer with a verdict; `row` or `run_id` say which run it is about. `again`: it was given
    before.

    A rejection that nobody waits for, as of a start from a shell, is not lost: its record becomes
    a dead letter.
    """
    if not request.reply_to:
        input = step.input
        if (
            status != outcomes.OK
            and not again
            and input is not None
            and input.event is request
            and not isinstance(request, READ_REQUESTS)
        ):
            step.unheard.append((input.offset, f"{status}: {message}"))
        return
    step.replies.append(
        Reply(
            client_id=request.reply_to,
            request_id=request.request_id,
            kind=kind or type(request).__name__,
            status=status,
            message=message,
            workflow_id=request.workflow_id,
            run_id=row.run_id if row is not None else run_id,
            first_execution_run_id=row.first_execution_run_id if row is not None else "",
            task_queue=step.context.task_queue,
            workflow_type=row.workflow_type if row is not None else "",
            started=started,
            workflow_status=row.status if row is not None else "",
        )
    )


def not_found(step: WorkflowStep, request: RequestLike, message: str = "") -> None:
    """No such run."""
    verdict(
        step,
        request,
        outcomes.NOT_FOUND,
        message or f"workflow not found for ID: {request.workflow_id}",
    )


def target(
    step: WorkflowStep, request: Request, *, must_be_open: bool, closed_is_done: bool = False
) -> LiveRun | None:
    """The run that a request is for: the one named, else the current one. Answers NOT_FOUND
    itself when there is none.

    closed_is_done: a run that is closed is as the request wants it, whichever chain it belongs
    to; answered with OK.
    """
    run_id: str = getattr(request, "run_id", "")
    run = step.run(run_id) if run_id else step.current_run()
    if run is None:
        not_found(step, request)
        return None
    if closed_is_done and not run.is_open:
        if not run_id:  # else it never reaches another
            remember(step, run, request, outcomes.OK, run_id=run.row.run_id)
        verdict(step, request, outcomes.OK, row=run.row)
        return None
    first: str = getattr(request, "first_execution_run_id", "")
    if first and first != run.row.first_execution_run_id:
        not_found(
            step,
            request,
            f"workflow execution with first run {first} not found for ID: {request.workflow_id}",
        )
        return None
    if must_be_open and not run.is_open:
        verdict(
            step, request, outcomes.NOT_FOUND, "workflow execution already completed", row=run.row
        )
        return None
    return run


# ---------------------------------------------------------------- the deduplication window


def remember(
    step: WorkflowStep,
    run: LiveRun,
    request: Request,
    status: str,
    message: str = "",
    *,
    run_id: str = "",
    started: bool = False,
) -> None:
    """Keep a verdict with the workflow; `run` is its newest run."""
    if not request.request_id:
        return
    known = window(step, run)
    row, size = run.row, step.limits.request_window
    seq = row.request_seq
    row.request_seq = seq + 1
    run.dirty = True
    entry = request_row(step, run, request, status, message)
    entry.seq, entry.time_ms, entry.run_id, entry.started = seq, run.time_ms, run_id, started
    known.setdefault(request.request_id, []).append(entry)
    step.put(REQUEST, request_key(row.workflow_id, seq % size), entry)
    if row.request_seq % size == 0:  # memory has twice the window at most
        oldest = row.request_seq - size
        run.requests = {
            id: kept
            for id, rows in known.items()
            if (kept := [one for one in rows if one.seq >= oldest])
        }


def request_row(
    step: WorkflowStep, run: LiveRun, request: Request, status: str, message: str = ""
) -> RequestRow:
    """A verdict on a request to the chain of `run`, as it is kept."""
    return RequestRow(
        request.request_id,
        request_kind(request),
        status,
        message,
        first_execution_run_id=run.row.first_execution_run_id,
        made_ms=_made_ms(step, request),
    )


def _made_ms(step: WorkflowStep, request: Request) -> int:
    return request.deadline_ms or (step.input.time_ms if step.input is not None else 0)


def window(step: WorkflowStep, run: LiveRun) -> dict[str, list[RequestRow]]:
    """The workflow's window by request id, as a run of it sees it."""
    if run.requests is None:
        rows = [
            cast(RequestRow, row)
            for _, row in step.scan(REQUEST, request_prefix(run.row.workflow_id))
        ]
        run.requests = {}
        for row in rows:
            run.requests.setdefault(row.request_id, []).append(row)
    return run.requests


def remembered(step: WorkflowStep, request: Request) -> RequestRow | None:
    """The verdict that this request got before, whichever run of the workflow it was for. Which
    ones are the same: see above.
    """
    if not request.request_id:
        return None
    oldest_ms = step.now_ms - step.limits.request_window_ms
    starts = type(request).__name__ == _START
    run_id: str = request.run_id if not starts else ""
    run = step.run(run_id) if run_id else step.current_run()
    if run is None:
        return None
    oldest, chain = run.row.request_seq - step.limits.request_window, _chain(request, run)
    put_back = step.input is not None and step.input.redriven
    known = [
        entry
        for entry in window(step, run).get(request.request_id, ())
        if (entry.status == outcomes.OK or not put_back)
        and entry.seq >= oldest
        and entry.time_ms >= oldest_ms
        and entry.kind == request_kind(request)
        and is_same(step, request, entry, chain)
    ]
    if known:
        made_ms = _made_ms(step, request)
        return max(known, key=lambda entry: (entry.made_ms == made_ms, entry.seq))
    return _started_by(step, run.row, request, oldest_ms) if starts else None


def _chain(request: Request, run: LiveRun) -> str:
    """The chain that a request is for: the one it names, else that of the run it reaches."""
    named: str = getattr(request, "first_execution_run_id", "")
    return named or run.row.first_execution_run_id


def is_same(step: WorkflowStep, request: Request, entry: RequestRow, chain: str) -> bool:
    """Whether a request for that chain is the one of this row, whose id and kind it has."""
    return (
        request_kind(request) == _START
        or entry.first_execution_run_id == chain
        or is_made_once(request.request_id)
        or entry.made_ms == _made_ms(step, request) != 0
    )


def _started_by(
    step: WorkflowStep, row: RunRow, request: Request, oldest_ms: int
) -> RequestRow | None:
    """The verdict of the start with this request id, if it made one of the last chains of runs."""
    found: RunRow | None = row
    for _ in range(PREVIOUS_STARTS_MAX):
        first = _row(step, found.first_execution_run_id) if found is not None else None
        if first is None:
            return None
        if first.start_request_id == request.request_id and made_by(step, first, request):
            return RequestRow(
                request.request_id,
                request_kind(request),
                outcomes.OK,
                run_id=first.run_id,
                started=True,
            )
        if not first.previous_run_id or first.start_time_ms < oldest_ms:
            return None
        found = _row(step, first.previous_run_id)
    return None


def made_by(step: WorkflowStep, first: RunRow, request: Request) -> bool:
    """Whether a start of this kind made the run. One with a signal did if the signal came by the
    record that the start came by: one under the id of a plain start is still to be delivered. A
    plain start finds its run made, whatever else came with it.
    """
    if request_kind(request) == _START:
        return True
    run = step.run(first.run_id)
    events = list(islice(step.history(run), 2)) if run is not None else []
    return (
        len(events) == 2
        and isinstance(events[1].attributes, WorkflowExecutionSignaled)
        and events[0].offset == events[1].offset
    )


def _row(step: WorkflowStep, run_id: str) -> RunRow | None:
    live = step.runs.get(run_id)
    return live.row if live is not None else cast("RunRow | None", step.get(RUN, run_id))


def answer_again(step: WorkflowStep, request: RequestLike, entry: RequestRow) -> None:
    """Give a repeated request its verdict again."""
    row = _row(step, entry.run_id) if entry.run_id else None
    verdict(
        step,
        request,
        entry.status,
        entry.message,
        row=row,
        run_id=entry.run_id,
        started=entry.started,
        again=True,
    )
