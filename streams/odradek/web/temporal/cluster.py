"""system-info, cluster-info, namespaces, search attributes: what the server says of itself."""

from __future__ import annotations

import uuid
from typing import Any

from odradek.engine.json_fields import write_duration
from odradek.web.context import server_version
from odradek.web.temporal.endpoint import CLUSTER, Call, without_defaults
from odradek.web.threads import in_thread

# The types of Temporal's own attributes are fixed; ours that Temporal does not have stand beside
# them.
_TYPES = {"Status": "KEYWORD", "Duration": "INT"}
#: The version of Temporal's server whose API this is. Clients read off it what they may send;
#: Odradek's own stands in `versionInfo`.
API_VERSION = "1.32.0"
_WIRE_TYPES = ("Text", "Keyword", "Int", "Double", "Bool", "Datetime", "KeywordList")


async def system_info(call: Call) -> dict[str, Any]:
    """GetSystemInfo. Capabilities that are not listed are not there."""
    return {
        "serverVersion": API_VERSION,
        "capabilities": {
            "signalAndQueryHeader": True,
            "internalErrorDifferentiation": True,
            "activityFailureIncludeHeartbeat": True,
            "encodedFailureAttributes": True,
            "upsertMemo": True,
            "sdkMetadata": True,
            "countGroupByExecutionStatus": True,
        },
    }


async def cluster_info(call: Call) -> dict[str, Any]:
    """GetClusterInfo. The cluster is Kafka's."""
    return without_defaults(
        serverVersion=API_VERSION,
        clusterId=call.server.cluster_id,
        versionInfo={"current": {"version": server_version()}},
        clusterName=CLUSTER,
        persistenceStore="kafka",
        visibilityStore="sqlite",
    )


async def list_namespaces(call: Call) -> dict[str, Any]:
    """ListNamespaces: the one that this server serves."""
    call.number("pageSize", 100, most=1000)
    return {"namespaces": [_namespace(call)]}


async def describe_namespace(call: Call) -> dict[str, Any]:
    """DescribeNamespace."""
    return _namespace(call)


def _namespace(call: Call) -> dict[str, Any]:
    settings = call.server.settings
    retention_ms = int(settings.retention.total_seconds() * 1000)
    # Kafka knows no namespaces: the id is derived, the same on every server.
    identifier = str(
        uuid.uuid5(uuid.NAMESPACE_URL, f"odradek:{settings.topic_prefix}:{settings.namespace}")
    )
    return {
        "namespaceInfo": {
            "name": settings.namespace,
            "state": "NAMESPACE_STATE_REGISTERED",
            "id": identifier,
            "capabilities": {"workerHeartbeats": True, "reportedProblemsSearchAttribute": True},
        },
        "config": {
            "workflowExecutionRetentionTtl": write_duration(retention_ms),
            "historyArchivalState": "ARCHIVAL_STATE_DISABLED",
            "visibilityArchivalState": "ARCHIVAL_STATE_DISABLED",
        },
        "replicationConfig": {
            "activeClusterName": CLUSTER,
            "clusters": [{"clusterName": CLUSTER}],
            "state": "REPLICATION_STATE_NORMAL",
        },
    }


async def search_attributes(call: Call) -> dict[str, Any]:
    """ListSearchAttributes: columns that every run has, and attributes that some run has had."""
    from odradek.visibility.query import COLUMNS

    visibility = call.server.need_visibility()

    def read() -> dict[str, str]:
        found = {name: visibility.attribute(name) for name in visibility.attribute_names()}
        return {
            name: _type(attribute.keys[0].value_type.value)
            for name, attribute in found.items()
            if attribute is not None
        }

    system = {name: _type(column.value_type.value) for name, column in COLUMNS.items()}
    return without_defaults(customAttributes=await in_thread(read), systemAttributes=system)


def _type(name: str) -> str:
    known = (
        _TYPES.get(name)
        or {"KeywordList": "KEYWORD_LIST"}.get(name)
        or (name.upper() if name in _WIRE_TYPES else "UNSPECIFIED")
    )
    return f"INDEXED_VALUE_TYPE_{known}"
