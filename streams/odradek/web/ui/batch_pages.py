"""Pages of a batch: what it would hit, then how far it has come."""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.responses import Response

from odradek.web.api.lists import run_view
from odradek.web.batch import CANCEL, OPEN, SIGNAL, TERMINATE, Order, Target, new_job_id, target_of
from odradek.web.context import identity_of
from odradek.web.errors import invalid
from odradek.web.segments import segment
from odradek.web.threads import in_thread
from odradek.web.ui.arguments import payloads_of
from odradek.web.ui.run_filter import NARROWING, RunFilter
from odradek.web.ui.visit import Form, Visit
from odradek.wire.outcomes import RUNNING

_PREVIEW = 20
_PICKED_MAX = 1_000
_JOB_ID = re.compile(r"[0-9a-f]{16}")
_ACTIONS = (SIGNAL, CANCEL, TERMINATE)


async def preview(visit: Visit) -> Response:
    """What a batch would hit: a form's picked runs, or its query's open ones."""
    return await _preview(visit, await visit.form(), "")


async def _preview(visit: Visit, form: Form, problem: str) -> Response:
    action = _action(form)
    picked = _picked(form)
    server = visit.server
    store, timeout_s = server.need_visibility(), server.options.request_timeout_s
    if picked is not None:
        summaries = [
            await in_thread(store.get, one.workflow_id, one.run_id, timeout_s=timeout_s)
            for one in picked
        ]
        known = [summary for summary in summaries if summary is not None]
        hit = [summary for summary in known if summary.status == RUNNING]
        shown, count, query, skipped = hit, len(hit), "", len(picked) - len(hit)
    else:
        query = form.text("frozen") or _open_runs(RunFilter.of(_choice(form), visit.now_ms))
        page = await in_thread(store.list, query, page_size=_PREVIEW, timeout_s=timeout_s)
        count = (await in_thread(store.count, query, timeout_s=timeout_s)).count
        shown, skipped = list(page.executions), 0
    return visit.render(
        "batch_preview.html",
        status=400 if problem else 200,
        action=action,
        form=form,
        problem=problem,
        job_id=_job_id(form),
        confirm=_needs_word(action, picked, count),
        query=query,
        count=count,
        skipped=skipped,
        runs=[run_view(summary) for summary in shown[:_PREVIEW]],
        picked=[
            json.dumps([one.workflow_id, one.run_id, one.task_queue])
            for one in map(target_of, shown)
        ]
        if picked is not None
        else [],
        is_picked=picked is not None,
    )


def _needs_word(action: str, picked: list[Target] | None, count: int) -> bool:
    """What ends runs that nobody has picked one by one is not a matter of a click."""
    return action != SIGNAL and picked is None and count > 1


async def start(visit: Visit) -> Response:
    """Begin, after the preview."""
    form = await visit.form()
    action = _action(form)
    picked = _picked(form)
    query = form.text("frozen")
    if picked is None and OPEN not in query:
        raise invalid("a batch acts on open runs that a preview has shown: begin with the preview")
    if picked is None:
        visit.server.need_visibility()  # refused here rather than in a job that nobody watches
    expected = form.text("expected", "0")
    count = int(expected) if expected.isdecimal() and len(expected) < 16 else 0
    if _needs_word(action, picked, count) and form.text("confirm").strip().lower() not in (
        str(count),
        action,
    ):
        return await _preview(
            visit, form, f"Nothing was done: type {count} or {action} to confirm."
        )
    order = Order(
        action,
        identity_of(visit.request),
        reason=form.text("reason").strip(),
        signal_name=_signal_name(form, action),
        signal_input=tuple(payloads_of(form.text("input"), "the signal's input"))
        if action == SIGNAL
        else (),
    )
    jobs, job_id = visit.server.batches, _job_id(form)
    job = jobs.find(job_id)
    if job is None or (job.order, job.query, job.picked) != (order, query, picked):
        job_id = job_id if job is None else ""
        job = jobs.start(
            visit.server, order, query=query, picked=picked, expected=count, job_id=job_id
        )
    return visit.go(f"/batches/{segment(job.id)}")


async def show(visit: Visit) -> Response:
    """How far it has come."""
    return visit.render(
        "batch.html", part="parts/batch.html", job=visit.server.batches.get(visit.path("job_id"))
    )


async def stop(visit: Visit) -> Response:
    """No more runs."""
    job = visit.server.batches.get(visit.path("job_id"))
    job.stop()
    return visit.go(f"/batches/{segment(job.id)}")


async def index(visit: Visit) -> Response:
    """All that this process has seen."""
    return visit.render("batches.html", jobs=visit.server.batches.latest())


def _action(form: Form) -> str:
    action = form.text("action")
    if action not in _ACTIONS:
        raise invalid(f"action: {action!r} is none of {', '.join(_ACTIONS)}")
    return action


def _job_id(form: Form) -> str:
    """Made with the preview's form: one that is sent twice is one batch."""
    given = form.text("job_id")
    return given if _JOB_ID.fullmatch(given) else new_job_id()


def _signal_name(form: Form, action: str) -> str:
    name = form.text("signal_name").strip()
    if action == SIGNAL and not name:
        raise invalid("a signal has a name")
    return name


def _choice(form: Form) -> list[tuple[str, str]]:
    return [(name, value) for name in NARROWING for value in form.texts(name)]


def _open_runs(choice: RunFilter) -> str:
    """The filter, without its order, narrowed to open runs; what is relative in it is fixed from
    here on.
    """
    own = choice.filter()
    return f"({own}) AND {OPEN}" if own else OPEN


def _picked(form: Form) -> list[Target] | None:
    """Runs that were picked by hand; None when a query is meant."""
    if form.text("scope") != "picked":
        return None
    texts = form.texts("run")
    if not texts or len(texts) > _PICKED_MAX:
        raise invalid(f"pick 1 to {_PICKED_MAX} runs; for more use the query")
    return [_target(text) for text in texts]


def _target(text: str) -> Target:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if (
        not isinstance(value, list)
        or len(value) not in (2, 3)
        or not all(isinstance(part, str) for part in value)
    ):
        raise invalid("run: not a workflow id with a run id")
    return Target(value[0], value[1], value[2] if len(value) == 3 else "")
