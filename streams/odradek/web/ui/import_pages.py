"""Histories from files: ours or Temporal's, looked at without a run. They are kept in memory for
a while and nowhere else.
"""

from __future__ import annotations

from starlette.responses import JSONResponse, Response

from odradek.engine.history_json import JsonHistory, JsonHistoryError, from_json, to_json
from odradek.web.errors import invalid
from odradek.web.request_body import read_body
from odradek.web.threads import in_thread
from odradek.web.ui.history_view import Choice, HistoryView
from odradek.web.ui.run_pages import attachment, event_of, event_values
from odradek.web.ui.visit import Form, Visit
from odradek.wire.clean import LINKS_MAX
from odradek.wire.payload import Failure

FILE_MAX = 64 * 1024 * 1024


async def ask(visit: Visit) -> Response:
    """Which file."""
    return visit.render("import.html")


async def take(visit: Visit) -> Response:
    """Read a history: a JSON body from a script, or a form's text."""
    body = await read_body(visit.request, FILE_MAX)
    is_json = visit.request.headers.get("content-type", "").startswith("application/json")
    text = body if is_json else _pasted(body)
    try:
        history = await in_thread(from_json, text)
    except JsonHistoryError as error:
        raise invalid(f"no history: {error}") from error
    except (ValueError, RecursionError) as error:
        raise invalid(f"no JSON: {error}") from error
    if not history.events:
        raise invalid("the history has no events")
    if problem := _problem_of(history):
        raise invalid(f"no history: {problem}")
    address = f"/imported/{visit.state.histories.put(history)}"
    return JSONResponse({"location": address}) if is_json else visit.go(address)


def _problem_of(history: JsonHistory) -> str:
    """What no server writes and pages cannot show: ids that do not rise from 1 on, failures of
    more links than the engine keeps.
    """
    last = 0
    for event in history.events:
        if not last < event.event_id < 2**40:
            return f"event id {event.event_id} behind {last}: ids rise, from 1 on"
        last = event.event_id
        for name in ("failure", "last_failure", "continued_failure"):
            link: Failure | None = getattr(event.attributes, name, None)
            for _ in range(LINKS_MAX):
                link = link.cause if link is not None else None
            if link is not None:
                return f"event {last}: a failure with more than {LINKS_MAX - 1} causes"
    return ""


def _pasted(body: bytes) -> bytes:
    from urllib.parse import parse_qsl

    return Form(parse_qsl(body.decode("utf-8", "replace"))).text("history").encode()


async def show(visit: Visit) -> Response:
    """The page of an imported history; the panel alone for a script."""
    history = visit.state.histories.imported(visit.path("name"))
    view = _view(visit)
    first, last = history.events[0], history.events[-1]
    return visit.render(
        "imported.html",
        part="parts/history.html",
        name=visit.path("name"),
        history=history,
        view=view,
        started=first.attributes if first.event_type == "WorkflowExecutionStarted" else None,
        last=last,
    )


async def rows(visit: Visit) -> Response:
    """A stretch of its rows."""
    view = _view(visit)
    return visit.render("parts/rows.html", view=view, chunk=view.chunk(visit.number("from", 0)))


async def event(visit: Visit) -> Response:
    """One of its events."""
    history = visit.state.histories.imported(visit.path("name"))
    values = event_values(
        history, event_of(history, visit.path("event_id")), f"/imported/{visit.path('name')}/events"
    )
    return visit.render(
        "event_imported.html",
        part="parts/event.html",
        **{**values, "command": None, "ids": ("", "")},
    )


async def download(visit: Visit) -> Response:
    """As Temporal's JSON again, without loss."""
    history = visit.state.histories.imported(visit.path("name"))
    assert history.imported is not None
    return attachment(
        await in_thread(to_json, history.imported, indent=2),
        f"{history.workflow_id or 'history'}_events.json",
    )


def _view(visit: Visit) -> HistoryView:
    history = visit.state.histories.imported(visit.path("name"))
    return HistoryView(
        history, Choice.of(visit), history.end_ms, f"/imported/{visit.path('name')}/history"
    )
