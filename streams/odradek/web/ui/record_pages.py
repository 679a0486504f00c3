"""One record, decoded; and of one that is gone, why, and what the run's history knows of it.

Links to records carry the run and the event that they were found at (`text.record_link`): Kafka
deletes commands within seconds, and then the event is all there is.
"""

from __future__ import annotations

from starlette.responses import Response

from odradek.service import RPCStatusCode
from odradek.web.api import kafka as api
from odradek.web.api.history import EventView
from odradek.web.errors import ApiError, api_error, not_found
from odradek.web.kafka.facts import Place
from odradek.web.segments import segment
from odradek.web.ui.run_pages import facts_for, find_event, history_of
from odradek.web.ui.text import shown
from odradek.web.ui.visit import Visit
from odradek.wire.topics import COMMANDS


async def record(visit: Visit) -> Response:
    """A record, decoded."""
    partition, offset = visit.path("partition"), visit.path("offset")
    if not (partition.isdecimal() and offset.isdecimal()) or len(partition) > 9 or len(offset) > 18:
        raise not_found("a record has a partition and an offset, both numbers")
    place = Place(visit.path("topic"), int(partition), int(offset))
    try:
        found = await api.show_record(visit.server, place.topic, place.partition, place.offset)
    except ApiError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return await _gone(visit, place, error.message)
    return visit.render("record.html", part="parts/record.html", record=found)


async def by_form(visit: Visit) -> Response:
    """The record that a form names; the form when it names none."""
    named = [visit.text(name).strip() for name in ("topic", "partition", "offset")]
    if all(named):
        return visit.go("/records/" + "/".join(segment(part) for part in named))
    return visit.render("records_form.html", topic=named[0], partition=named[1], offset=named[2])


async def _gone(visit: Visit, place: Place, why: str) -> Response:
    event, base, unknown = None, "", ""
    workflow_id, run_id, event_id = (
        visit.text("workflow_id"),
        visit.text("run_id"),
        visit.text("event_id"),
    )
    if workflow_id and run_id and event_id:
        base = f"/workflows/{segment(workflow_id)}/{segment(run_id)}"
        try:
            event = await _event(visit, place, workflow_id, run_id, event_id)
        except Exception as error:
            unknown = api_error(error).message
    return visit.render(
        "record_gone.html",
        part="parts/record_gone.html",
        status=404,
        place=place,
        why=why,
        event=event,
        base=base,
        unknown=unknown,
        raw=shown(event.attributes) if event is not None else None,
    )


async def _event(
    visit: Visit, place: Place, workflow_id: str, run_id: str, event_id: str
) -> EventView | None:
    """The event that tells most of what stood there: of a command the one that scheduled it."""
    history = visit.state.histories.present(workflow_id, run_id)
    found = find_event(history, event_id) if history is not None else None
    if history is None or found is None:
        history = await history_of(visit, await facts_for(visit, workflow_id, run_id))
        found = find_event(history, event_id)
    parsed = visit.server.topics.parse(place.topic)
    if (
        found is not None
        and parsed is not None
        and parsed.kind == COMMANDS
        and "scheduled_event_id" in found.attributes
    ):
        return find_event(history, str(found.attributes["scheduled_event_id"])) or found
    return found
