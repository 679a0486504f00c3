"""The routes of Temporal's HTTP API: served, published but unserved (501), anything else below `/api/v1` (404)."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from odradek.web.errors import not_found, unimplemented
from odradek.web.temporal import activities, batches, changes, cluster, lists, reads, task_queues, workers
from odradek.web.temporal.endpoint import NAMESPACE, Call, Handler, error_response, route
from odradek.web.temporal.published import unserved

WORKFLOW = NAMESPACE + "/workflows/{workflow_id:segment}"
BATCH = NAMESPACE + "/batch-operations/{job_id:segment}"
ACTIVITY = "activities/{activity_id:segment}"

SERVED: tuple[tuple[str, str, Handler], ...] = (
    ("GET", "/api/v1/system-info", cluster.system_info),
    ("GET", "/api/v1/cluster-info", cluster.cluster_info),
    ("GET", "/api/v1/namespaces", cluster.list_namespaces),
    ("GET", NAMESPACE, cluster.describe_namespace),
    ("GET", NAMESPACE + "/search-attributes", cluster.search_attributes),
    ("GET", NAMESPACE + "/workflows", lists.list_workflows),
    ("GET", NAMESPACE + "/workflow-count", lists.count_workflows),
    ("GET", NAMESPACE + "/batch-operations", batches.list_operations),
    ("GET", BATCH, batches.describe),
    ("POST", BATCH, batches.start),
    ("POST", BATCH + "/stop", batches.stop),
    ("GET", NAMESPACE + "/task-queues/{task_queue:segment}", task_queues.describe),
    ("GET", NAMESPACE + "/workers", workers.list_workers),
    ("GET", NAMESPACE + "/worker-count", workers.count_workers),
    ("GET", NAMESPACE + "/workers/describe/{worker_instance_key:segment}", workers.describe_worker),
    ("GET", WORKFLOW, reads.describe),
    ("GET", WORKFLOW + "/history", reads.history),
    ("GET", WORKFLOW + "/history-reverse", reads.history_reverse),
    ("POST", WORKFLOW + "/query/{query_type:segment}", reads.query),
    ("POST", WORKFLOW, changes.start),
    ("POST", WORKFLOW + "/signal-with-start/{signal_name:segment}", changes.signal_with_start),
    ("POST", WORKFLOW + "/signal/{signal_name:segment}", changes.signal),
    ("POST", WORKFLOW + "/cancel", changes.cancel),
    ("POST", WORKFLOW + "/terminate", changes.terminate),
    *(
        ("POST", path, handler)
        for name, handler in (
            ("complete", activities.complete),
            ("fail", activities.fail),
            ("heartbeat", activities.heartbeat),
            ("resolve-as-canceled", activities.resolve_as_canceled),
        )
        for path in (f"{WORKFLOW}/{ACTIVITY}/{name}", f"{NAMESPACE}/{ACTIVITY}/{name}", f"{NAMESPACE}/activity-{name}")
    ),
)


def temporal_routes() -> list[BaseRoute]:
    """All of them, the last one catching the rest."""
    routes: list[BaseRoute] = [route(method, path, handler) for method, path, handler in SERVED]
    routes += [route(method, f"/api/v1{path}", _unserved(name)) for method, path, name in unserved()]
    routes.append(Route("/api/v1/{rest:path}", _unknown, methods=["GET", "POST", "PUT", "PATCH", "DELETE"]))
    return routes


def _unserved(name: str) -> Handler:
    async def answer(call: Call) -> dict[str, Any]:
        raise unimplemented(name)

    return answer


async def _unknown(request: Request) -> Response:
    return error_response(not_found("Not Found"))
