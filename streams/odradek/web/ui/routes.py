"""The pages, in one table."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute

from odradek.web.context import ServerContext
from odradek.web.ui import (
    action_pages,
    batch_pages,
    dashboard,
    import_pages,
    kafka_pages,
    record_pages,
    run_pages,
    runs_pages,
)
from odradek.web.ui.static_files import static_routes
from odradek.web.ui.visit import Handler, UiState, page

_RUN = "/workflows/{workflow_id}/{run_id}"
_IMPORTED = "/imported/{name}"
_LETTER = "/dead-letters/{task_queue}/{offset}"

_READ: list[tuple[str, Handler]] = [
    ("/", runs_pages.home),
    ("/runs", runs_pages.runs),
    ("/batches", batch_pages.index),
    ("/batches/{job_id}", batch_pages.show),
    ("/workflows/{workflow_id}", run_pages.latest),
    (_RUN, run_pages.show),
    (f"{_RUN}/history", run_pages.history),
    (f"{_RUN}/history/rows", run_pages.rows),
    (f"{_RUN}/history.json", run_pages.download),
    (f"{_RUN}/events/{{event_id}}", run_pages.event),
    (f"{_RUN}/call-stack", run_pages.call_stack),
    (f"{_RUN}/queries", run_pages.queries),
    (f"{_RUN}/records", run_pages.records),
    (f"{_RUN}/actions/{{action}}", action_pages.ask),
    ("/import", import_pages.ask),
    (_IMPORTED, import_pages.show),
    (f"{_IMPORTED}/history", import_pages.show),
    (f"{_IMPORTED}/history/rows", import_pages.rows),
    (f"{_IMPORTED}/history.json", import_pages.download),
    (f"{_IMPORTED}/events/{{event_id}}", import_pages.event),
    ("/dashboard", dashboard.show),
    ("/dashboard/table", dashboard.table),
    ("/queues", kafka_pages.queues),
    ("/queues/{task_queue}", kafka_pages.queue),
    ("/services", kafka_pages.services),
    ("/records", record_pages.by_form),
    ("/records/{topic}/{partition}/{offset}", record_pages.record),
    ("/dead-letters", kafka_pages.dead_letters),
    (_LETTER, kafka_pages.dead_letter),
    ("/schemas", kafka_pages.schemas),
    ("/schemas/{fingerprint}", kafka_pages.schema),
]
#: POST: refused by the gate in read-only mode, to whoever may only look, and to other sites.
_WRITE: list[tuple[str, Handler]] = [
    ("/batches/preview", batch_pages.preview),
    ("/batches", batch_pages.start),
    ("/batches/{job_id}/stop", batch_pages.stop),
    (f"{_RUN}/actions/{{action}}", action_pages.act),
    ("/import", import_pages.take),
    (f"{_LETTER}/redrive", kafka_pages.redrive),
]


def ui_routes(server: ServerContext, state: UiState | None = None) -> Sequence[BaseRoute]:
    """Routes of the UI. server: learns of its caches. state: what it keeps in memory; tests hand
    in theirs.
    """
    state = state if state is not None else UiState()
    server.statistics["histories"] = state.histories.statistics
    reading = [page(state, path, handler) for path, handler in _READ]
    writing = [page(state, path, handler, methods=("POST",)) for path, handler in _WRITE]
    return [*static_routes(), *writing, *reading]
