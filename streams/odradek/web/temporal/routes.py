"""The routes of Temporal's HTTP API: served, or published but unserved (501). Other paths (404)
and methods (501): `odradek.web.app`.

Its description has each call twice: below `/api/v1`, and by an older path, which programs
generated from it take.
"""

from __future__ import annotations

from typing import Any

from starlette.routing import BaseRoute

from odradek.web.errors import unimplemented
from odradek.web.temporal import (
    activities,
    batches,
    changes,
    cluster,
    lists,
    reads,
    task_queues,
    web_ui,
    workers,
)
from odradek.web.temporal.endpoint import NAMESPACE, Call, Handler, route
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
        for path in (
            f"{WORKFLOW}/{ACTIVITY}/{name}",
            f"{NAMESPACE}/{ACTIVITY}/{name}",
            f"{NAMESPACE}/activity-{name}",
        )
    ),
)


# Calls whose older paths stand below `/cluster`.
_OF_THE_CLUSTER = frozenset(
    {"/api/v1/namespaces", NAMESPACE, NAMESPACE + "/search-attributes", NAMESPACE + "/update"}
)


def temporal_routes() -> list[BaseRoute]:
    """All of them, those below `/api/v1` first."""
    calls = [
        *SERVED,
        *((method, f"/api/v1{path}", _unserved(name)) for method, path, name in unserved()),
    ]
    both = [
        route(method, place(path), handler)
        for place in (str, older_path)
        for method, path, handler in calls
    ]
    return [*both, route("GET", "/api/v1/settings", web_ui.settings)]


def older_path(path: str) -> str:
    """The other path of a call, by its path below `/api/v1`."""
    bare = path.removeprefix("/api/v1")
    if bare == "/cluster-info":
        return "/cluster"
    in_cluster = path in _OF_THE_CLUSTER or bare.startswith("/nexus/")
    return f"/cluster{bare}" if in_cluster else bare


def _unserved(name: str) -> Handler:
    async def answer(call: Call) -> dict[str, Any]:
        raise unimplemented(name)

    return answer
