"""A run: what its owner says of it, its history in four views, the chain of runs it belongs to,
call stack and queries.

With no owner answering, the page shows what the read side knows and says who is silent; nothing
on it hangs.
"""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from odradek.engine.history_json import to_json
from odradek.service import RPCStatusCode
from odradek.web.api.history import EventView, place_of
from odradek.web.api.lists import RunView, run_view
from odradek.web.api.runs import RunDetail, describe_run
from odradek.web.api.trail import trail
from odradek.web.context import identity_of
from odradek.web.errors import ApiError, api_error, not_found
from odradek.web.kafka.facts import Place, PurgedRecord, RecordView
from odradek.web.kafka.views import record_value
from odradek.web.runs import RunReader, check_reply
from odradek.web.segments import segment
from odradek.web.threads import in_thread
from odradek.web.ui.arguments import payloads_of
from odradek.web.ui.event_groups import summaries_of
from odradek.web.ui.event_text import related
from odradek.web.ui.histories import History
from odradek.web.ui.history_view import Choice, HistoryView
from odradek.web.ui.run_chain import Chain, chain_around
from odradek.web.ui.stacks import stacks_of
from odradek.web.ui.text import shown
from odradek.web.ui.visit import Visit
from odradek.wire.events import QueryWorkflow
from odradek.wire.history import HistoryEvent
from odradek.wire.outcomes import (
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    QUERY_FAILED,
    QUERY_REJECTED,
)

#: A history up to this long comes with its page; a longer one is loaded behind it.
INLINE_MAX = 2_000
STACK_TRACE, METADATA = "__stack_trace", "__temporal_workflow_metadata"


@dataclass
class RunFacts:
    """What is known of a run. `detail` None: its owner does not answer, `problem` says why;
    `run` is then the read side's.
    """

    run: RunView
    detail: RunDetail | None
    problem: ApiError | None = None

    @property
    def base(self) -> str:
        """Address of the run's pages."""
        return f"/workflows/{segment(self.run.workflow_id)}/{segment(self.run.run_id)}"


@dataclass(frozen=True, slots=True)
class TrailRow:
    """A row of the trail: a record, or what the history knows of one that is deleted."""

    time_ms: int
    place: Place
    topic_kind: str
    record: RecordView | None = None
    purged: PurgedRecord | None = None


async def latest(visit: Visit) -> Response:
    """The latest run of a workflow."""
    facts = await facts_for(visit, visit.path("workflow_id"), "")
    return visit.go(facts.base)


async def show(visit: Visit) -> Response:
    """The page of a run."""
    facts = await facts_of(visit)
    view: HistoryView | None = None
    if facts.detail is not None and not visit.wants_part and facts.run.history_length <= INLINE_MAX:
        view = await _history_view(visit, facts)
    chain, ends = await asyncio.gather(_chain(visit, facts.run), _ends(visit, facts))
    busy = _busy(facts)
    known = visit.state.histories.present(facts.run.workflow_id, facts.run.run_id)
    shown = {
        "tab": "history",
        "facts": facts,
        "chain": chain,
        "view": view,
        "busy": busy,
        "summaries": (
            summaries_of(known.events) if known is not None else {}
        ),  # of what is pending; the owner tells none
    }
    return visit.render("run.html", part="parts/run_live.html", **shown, **ends)


def _busy(facts: RunFacts) -> str:
    """What may change without an event of the history (attempts, heartbeats), as a text that
    changes with it; "" when nothing may.
    """
    detail = facts.detail
    if (
        detail is None
        or facts.run.status != "RUNNING"
        or not (detail.pending_activities or detail.pending_task_failure)
    ):
        return ""
    told = [
        (
            one.activity_id,
            one.state,
            one.attempt,
            one.last_started_time_ms,
            one.last_heartbeat_time_ms,
            one.waiting_reason,
        )
        for one in detail.pending_activities
    ]
    task = (
        detail.pending_task_attempt,
        detail.pending_task_next_attempt_time_ms,
        facts.run.parked_reason,
    )
    return f"{zlib.crc32(repr((told, *task)).encode()):08x}"


async def history(visit: Visit) -> Response:
    """The history panel alone, as chosen."""
    facts = await facts_of(visit)
    view = await _history_view(visit, facts)
    return visit.render(
        "run_history.html", part="parts/history.html", tab="history", facts=facts, view=view
    )


async def rows(visit: Visit) -> Response:
    """A stretch of the history's rows: of what the panel was made of, if that is still there."""
    known = visit.state.histories.present(visit.path("workflow_id"), visit.path("run_id"))
    if known is not None:
        base = f"/workflows/{segment(visit.path('workflow_id'))}/{segment(visit.path('run_id'))}/history"
        view = HistoryView(known, Choice.of(visit), visit.now_ms, base, known.pending)
    else:
        view = await _history_view(visit, await facts_of(visit))
    return visit.render("parts/rows.html", view=view, chunk=view.chunk(visit.number("from", 0)))


async def event(visit: Visit) -> Response:
    """One event with all it holds."""
    known = visit.state.histories.present(visit.path("workflow_id"), visit.path("run_id"))
    if (
        visit.wants_part
        and known is not None
        and (found := find_event(known, visit.path("event_id"))) is not None
    ):
        return visit.render("parts/event.html", **event_values(known, found, _events_base(known)))
    facts = await facts_of(visit)
    history = await history_of(visit, facts)
    history.pending = facts.detail.pending_activities if facts.detail is not None else []
    values = event_values(history, event_of(history, visit.path("event_id")), _events_base(history))
    return visit.render("event.html", part="parts/event.html", tab="history", facts=facts, **values)


def _events_base(history: History) -> str:
    return f"/workflows/{segment(history.workflow_id)}/{segment(history.run_id)}/events"


def event_values(history: History, found: EventView, base: str) -> dict[str, Any]:
    """What the template of an event shows. base: the address of the history's events."""
    return {
        "event": found,
        "command": _command(history, found),
        "ids": (history.workflow_id, history.run_id),
        "raw": shown(found.attributes, empties=True),
        "related": related(history.events, found),
        "events_base": base,
    }


def _command(history: History, event: EventView) -> Place | None:
    """Where an activity's command stands: as its history says, of one that runs yet as its owner
    says.
    """
    running = (one.command for one in history.pending if one.scheduled_event_id == event.event_id)
    return event.command or next(running, None)


async def download(visit: Visit) -> Response:
    """The history as Temporal's JSON, a file."""
    facts = await facts_of(visit)
    reader = _reader(visit, facts)
    events: list[HistoryEvent] = []
    first = 1
    while True:
        page = await reader.page(first, 1_000)
        events += page.events
        if (
            page.next_event_id == 0
            or not page.events
            or (page.open and not await reader.has_more(page, 1_000))
        ):
            break
        first = page.next_event_id
    text = await in_thread(to_json, events, indent=2)
    return attachment(text, f"{facts.run.workflow_id}_{facts.run.run_id}_events.json")


def attachment(text: str, name: str) -> Response:
    """A file to keep."""
    safe = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter in "-_.") else "_"
        for letter in name
    )
    return Response(
        text,
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="{safe}"'},
    )


async def call_stack(visit: Visit) -> Response:
    """Where its coroutines wait."""
    facts = await facts_of(visit)
    answer = await _ask(visit, facts, STACK_TRACE, "")
    text = (answer.get("payloads") or [{}])[0].get("value")
    stacks = stacks_of(text) if isinstance(text, str) and text else None
    return visit.render(
        "run_stack.html",
        part="parts/stack.html",
        tab="stack",
        facts=facts,
        answer=answer,
        stacks=stacks,
    )


async def queries(visit: Visit) -> Response:
    """Queries with arguments. A query changes nothing, so it is asked by an address that can be
    kept.
    """
    facts = await facts_of(visit)
    name = visit.text("type").strip()
    answer = await _ask(visit, facts, name, visit.text("args")) if name else None
    known = await _ask(visit, facts, METADATA, "") if facts.detail is not None else {}
    return visit.render(
        "run_queries.html",
        part="parts/query_answer.html",
        tab="queries",
        facts=facts,
        answer=answer,
        name=name,
        args=visit.text("args"),
        known=_definitions(known),
        current_details=_current_details(known),
    )


async def records(visit: Visit) -> Response:
    """The trail of its records over all topics, those that are deleted among them."""
    facts = await facts_of(visit)
    run = facts.run
    found = await trail(
        visit.server, run.workflow_id, run.run_id, run.task_queue, reads=bool(visit.text("all"))
    )
    rows = [
        TrailRow(
            one.time_ms, Place(one.topic, one.partition, one.offset), one.topic_kind, record=one
        )
        for one in found.records
    ]
    rows += [
        TrailRow(one.event_time_ms, one.place, _kind_of(visit, one.place.topic), purged=one)
        for one in found.purged
    ]
    rows.sort(key=lambda row: (row.time_ms, row.place.topic, row.place.offset))
    return visit.render("run_trail.html", tab="trail", facts=facts, trail=found, rows=rows)


def _kind_of(visit: Visit, topic: str) -> str:
    parsed = visit.server.topics.parse(topic)
    return parsed.kind if parsed is not None else ""


# ---------------------------------------------------------------- what pages share


async def facts_of(visit: Visit) -> RunFacts:
    """The run of an address."""
    return await facts_for(visit, visit.path("workflow_id"), visit.path("run_id"))


async def facts_for(visit: Visit, workflow_id: str, run_id: str) -> RunFacts:
    """A run by its ids, the latest with an empty run id."""
    server = visit.server
    summary = None
    if server.read_side is not None:
        try:
            summary = await in_thread(
                server.need_visibility().get, workflow_id, run_id, timeout_s=2.0
            )
        except Exception as error:
            if api_error(error).status is not RPCStatusCode.UNAVAILABLE:
                raise
    try:
        queue = summary.task_queue if summary is not None else ""
        detail = await describe_run(server, workflow_id, run_id, queue)
        return RunFacts(detail.run, detail)
    except Exception as error:
        problem = api_error(error)
        if summary is None:
            raise
        return RunFacts(run_view(summary), None, problem)


def _reader(visit: Visit, facts: RunFacts) -> RunReader:
    return visit.server.reader_of(facts.run.workflow_id, facts.run.run_id, facts.run.task_queue)


async def history_of(visit: Visit, facts: RunFacts) -> History:
    """The history of a run as it is now, grown from what is known of it. Raises what its owner
    says.
    """
    if facts.problem is not None:
        raise facts.problem
    run = facts.run
    place = (
        facts.detail.place
        if facts.detail is not None
        else await place_of(visit.server, run.task_queue, run.workflow_id)
    )
    return await visit.state.histories.read(
        _reader(visit, facts),
        place,
        visit.server.topics,
        run.workflow_id,
        run.run_id,
        least=visit.number("least", 0),
    )


async def _history_view(visit: Visit, facts: RunFacts) -> HistoryView:
    history = await history_of(visit, facts)
    history.pending = facts.detail.pending_activities if facts.detail is not None else []
    return HistoryView(
        history, Choice.of(visit), visit.now_ms, f"{facts.base}/history", history.pending
    )


def find_event(history: History, event_id: str) -> EventView | None:
    """An event of a history, None when it has none of that id."""
    return next((event for event in history.events if str(event.event_id) == event_id), None)


def event_of(history: History, event_id: str) -> EventView:
    """An event of a history. NOT_FOUND when it has none of that id."""
    found = find_event(history, event_id)
    if found is None:
        raise not_found(f"the history has no event {event_id}")
    return found


async def _ends(visit: Visit, facts: RunFacts) -> dict[str, Any]:
    """Input and outcome: first and last event, of the history if it is known already. Nothing of
    it when the owner is silent.
    """
    if facts.detail is None:
        return {"input": None, "outcome": None, "started": None}
    known = visit.state.histories.present(facts.run.workflow_id, facts.run.run_id)
    reader = _reader(visit, facts)
    if known is not None:
        first = known.events[0].attributes
    else:
        page = await reader.page(1, 1)
        first = record_value(page.events[0].attributes) if page.events else {}
    outcome = None
    if facts.run.status != "RUNNING":
        if known is not None and not known.open and not known.cut:
            outcome = known.events[-1].attributes
        else:
            last = await reader.last_event()
            outcome = record_value(last.events[-1].attributes) if last.events else None
    started = first if "workflow_type" in first else None
    return {
        "input": started["input"] if started is not None else None,
        "outcome": outcome,
        "started": started,
    }


async def _chain(visit: Visit, run: RunView) -> Chain | None:
    """The runs around this one; None where no list can tell in time."""
    if visit.server.read_side is None:
        return None
    try:
        return await in_thread(chain_around, visit.server.need_visibility(), run, timeout_s=2.0)
    except Exception as error:
        if api_error(error).status not in (
            RPCStatusCode.UNAVAILABLE,
            RPCStatusCode.DEADLINE_EXCEEDED,
        ):
            raise
        return None


async def _ask(visit: Visit, facts: RunFacts, name: str, arguments: str) -> dict[str, Any]:
    """The answer of a query: `value`, `payloads`, or `error` with its failure. What goes wrong
    here is part of the page.
    """
    record_input = payloads_of(arguments)
    record = QueryWorkflow(
        facts.run.workflow_id,
        name,
        run_id=facts.run.run_id,
        identity=identity_of(visit.request),
        input=record_input,
    )
    try:
        reply = await visit.server.need_owners().read(
            record,
            task_queue=facts.run.task_queue,
            timeout_s=visit.server.options.request_timeout_s,
        )
        if reply.status in (QUERY_FAILED, INVALID_ARGUMENT, QUERY_REJECTED, FAILED_PRECONDITION):
            return {
                "error": (
                    reply.message
                    or (reply.failure.message if reply.failure is not None else reply.status)
                ),
                "failure": record_value(reply.failure),
                "unready": reply.status == FAILED_PRECONDITION,
            }
        check_reply(reply)
    except Exception as error:
        return {"error": api_error(error).message, "failure": None}
    return {"payloads": record_value(reply.payloads)}


def _current_details(answer: dict[str, Any]) -> str:
    """What the workflow's code says of itself now (`workflow.set_current_details`), of the
    answer to its metadata query.
    """
    value = (answer.get("payloads") or [{}])[0].get("value")
    details = value.get("currentDetails") if isinstance(value, dict) else None
    return details if isinstance(details, str) else ""


def _definitions(answer: dict[str, Any]) -> dict[str, list[dict[str, str]]]:
    """Names of queries and signals that the workflow's code offers, as its metadata query tells
    them.
    """
    payloads = answer.get("payloads") or [{}]
    value = payloads[0].get("value")
    definition = value.get("definition") if isinstance(value, dict) else None
    found: dict[str, list[dict[str, str]]] = {}
    for kind in ("query", "signal"):
        listed = definition.get(f"{kind}Definitions") if isinstance(definition, dict) else None
        found[kind] = [
            {"name": str(one["name"]), "description": str(one.get("description", ""))}
            for one in (listed if isinstance(listed, list) else [])
            if isinstance(one, dict) and one.get("name") and not str(one["name"]).startswith("__")
        ]
    return found


async def signal_names(visit: Visit, facts: RunFacts) -> list[dict[str, str]]:
    """Signals that the workflow's code offers; none when it cannot be asked."""
    if facts.detail is None or facts.run.status != "RUNNING":
        return []
    return _definitions(await _ask(visit, facts, METADATA, ""))["signal"]
