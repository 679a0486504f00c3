"""`odradek operator …`: what `temporal operator` shows of a cluster, its namespaces and search
attributes, told by `odradek server`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from odradek.cli.app import Commands, add_command, add_group
from odradek.cli.common import cluster_options, server_options
from odradek.cli.output import (
    is_json,
    output_options,
    painted,
    print_fields,
    print_json,
    print_line,
    print_many,
    print_value,
)
from odradek.cli.server_calls import Server
from odradek.cli.status import ONE_WORKFLOW, CommandFailedError, Status, UsageError
from odradek.cli.style import GREEN, Painted
from odradek.cli.times import age_text
from odradek.cli.workflow.options import add_timeout

NOTES = "Answered by `odradek server`: --server-address, or the setting `server_address`."
EXAMPLES = (
    "odradek operator cluster health",
    "odradek operator namespace describe",
    "odradek operator search-attribute list",
)
Run = Callable[[argparse.Namespace], int]


def register(commands: Commands) -> None:
    """Add the groups and their commands."""
    groups = add_group(
        commands,
        "operator",
        help="the cluster, its namespaces and search attributes",
        examples=EXAMPLES,
        notes=NOTES,
    )
    cluster = add_group(
        groups,
        "cluster",
        help="the cluster and its server",
        examples=tuple(
            f"odradek operator cluster {name}" for name in ("health", "describe", "system")
        ),
        notes=NOTES,
    )
    _command(
        cluster,
        "cluster",
        "health",
        health,
        "whether the server serves: Kafka reached, lists caught up",
        statuses_note=True,
    )
    parser = _command(
        cluster,
        "cluster",
        "describe",
        describe_cluster,
        "name and stores of the cluster",
        "--detail",
    )
    parser.add_argument(
        "--detail",
        action="store_true",
        help="also the version of Odradek; there are no history shards",
    )
    _command(
        cluster,
        "cluster",
        "system",
        system,
        "which version of Temporal's API the server has, and what of it",
    )
    namespace = add_group(
        groups,
        "namespace",
        help="namespaces",
        examples=("odradek operator namespace list", "odradek operator namespace describe"),
        notes=NOTES,
    )
    _command(
        namespace, "namespace", "list", list_namespaces, "the namespace that the server serves"
    )
    parser = _command(
        namespace,
        "namespace",
        "describe",
        describe_namespace,
        "a namespace: id, state, retention",
        "default",
    )
    parser.add_argument(
        "name",
        nargs="?",
        metavar="NAMESPACE",
        help="its name (default: --namespace, or the setting `namespace`)",
    )
    parser.add_argument("--namespace-id", metavar="ID", help="its id, in place of its name")
    attribute = add_group(
        groups,
        "search-attribute",
        help="search attributes",
        examples=("odradek operator search-attribute list",),
        notes=NOTES,
    )
    _command(
        attribute,
        "search-attribute",
        "list",
        list_attributes,
        "columns of lists with their types: the system's, then those of runs",
    )


def _command(
    actions: Commands,
    group: str,
    name: str,
    run: Run,
    help: str,
    *endings: str,
    statuses_note: bool = False,
) -> Any:
    """endings: of examples, beside the bare command."""
    command = f"odradek operator {group} {name}"
    examples = (command, *(f"{command} {ending}" for ending in endings), f"{command} -o json")
    note = (
        f"{NOTES}\nStatus 3 when it does not serve; the line on stderr says what it waits for."
        if statuses_note
        else NOTES
    )
    parser = add_command(
        actions,
        name,
        run,
        help=help,
        examples=examples,
        notes=note,
        statuses=ONE_WORKFLOW,
        parents=[cluster_options(), server_options(), output_options()],
    )
    add_timeout(parser)
    return parser


# --- cluster


def health(options: argparse.Namespace) -> int:
    """SERVING, or an error."""
    Server(options).check_ready()
    if is_json(options):
        print_value(options, {"status": "SERVING"})
    else:
        print(painted(Painted("SERVING", GREEN)))
    return 0


def describe_cluster(options: argparse.Namespace) -> int:
    """GetClusterInfo."""
    found = Server(options).ask("/api/v1/cluster-info", "cluster describe")
    header = ["CLUSTER NAME", "PERSISTENCE STORE", "VISIBILITY STORE"]
    row = [found.get(name) for name in ("clusterName", "persistenceStore", "visibilityStore")]
    if options.detail:
        header += ["CLUSTER ID", "HISTORY SHARD COUNT", "ODRADEK VERSION"]
        version = ((found.get("versionInfo") or {}).get("current") or {}).get("version")
        row += [found.get("clusterId"), found.get("historyShardCount"), version]
    _print_row(options, header, row, found)
    return 0


def system(options: argparse.Namespace) -> int:
    """GetSystemInfo."""
    found = Server(options).ask("/api/v1/system-info", "cluster system")
    has = found.get("capabilities") or {}
    row = [
        found.get("serverVersion"),
        *(
            bool(has.get(name))
            for name in ("supportsSchedules", "upsertMemo", "eagerWorkflowStart")
        ),
    ]
    _print_row(
        options,
        ["SERVER VERSION", "SUPPORTS SCHEDULES", "UPSERT MEMO", "EAGER WORKFLOW START"],
        row,
        found,
    )
    return 0


def _print_row(
    options: argparse.Namespace, header: list[str], row: list[Any], value: dict[str, Any]
) -> None:
    if is_json(options):
        print_value(options, value)
    else:
        print_many(options, header, [row], [value])


# --- namespaces


def list_namespaces(options: argparse.Namespace) -> int:
    """ListNamespaces."""
    found = list(Server(options).pages("/api/v1/namespaces", "namespace list", "namespaces"))
    if options.output == "json":
        print_json(found)
        return 0
    for number, one in enumerate(found):
        if is_json(options):
            print_line(one)
            continue
        if number:
            print()
        print_fields(_fields(one))
    return 0


def describe_namespace(options: argparse.Namespace) -> int:
    """DescribeNamespace, by name or by id."""
    if options.namespace_id and (options.name or options.namespace):
        raise UsageError("give the name of a namespace or --namespace-id, not both")
    server = Server(options)
    if options.namespace_id:
        found = _by_id(server, options.namespace_id)
    else:
        found = server.ask(server.path(namespace=options.name or ""), "namespace describe")
    if is_json(options):
        print_value(options, found)
    else:
        print_fields(_fields(found))
    return 0


def _by_id(server: Server, namespace_id: str) -> dict[str, Any]:
    for one in server.pages("/api/v1/namespaces", "namespace describe", "namespaces"):
        if one["namespaceInfo"].get("id") == namespace_id:
            return dict(one)
    raise CommandFailedError(
        f"no namespace has the id {namespace_id!r}: see `odradek operator namespace list`",
        Status.NOT_FOUND,
    )


def _fields(found: dict[str, Any]) -> dict[str, Any]:
    """As `temporal` names them; what the server does not have is left out."""
    from odradek.engine.json_fields import read_duration

    info, config, replication = (
        found.get(name) or {} for name in ("namespaceInfo", "config", "replicationConfig")
    )
    retention = config.get("workflowExecutionRetentionTtl")
    return {
        "NamespaceInfo.Name": info.get("name"),
        "NamespaceInfo.Id": info.get("id"),
        "NamespaceInfo.State": _member(info.get("state"), "NAMESPACE_STATE_"),
        "Config.WorkflowExecutionRetentionTtl": age_text(read_duration(retention))
        if retention
        else None,
        "ReplicationConfig.ActiveClusterName": replication.get("activeClusterName"),
        "ReplicationConfig.Clusters": [
            one.get("clusterName") for one in replication.get("clusters") or ()
        ],
        "ReplicationConfig.State": _member(replication.get("state"), "REPLICATION_STATE_"),
        "Config.HistoryArchivalState": _member(
            config.get("historyArchivalState"), "ARCHIVAL_STATE_"
        ),
        "Config.VisibilityArchivalState": _member(
            config.get("visibilityArchivalState"), "ARCHIVAL_STATE_"
        ),
    }


# --- search attributes


def list_attributes(options: argparse.Namespace) -> int:
    """ListSearchAttributes."""
    server = Server(options)
    found = server.ask(server.path("search-attributes"), "search-attribute list")
    if is_json(options):
        print_value(options, found)
        return 0
    rows = [
        [name, _member(kind, "INDEXED_VALUE_TYPE_")]
        for member in ("systemAttributes", "customAttributes")
        for name, kind in sorted((found.get(member) or {}).items())
    ]
    print_many(options, ["NAME", "TYPE"], rows, [])
    return 0


def _member(text: Any, prefix: str) -> str:
    """An enum's member as `temporal` writes it: `KeywordList`."""
    return str(text or "").removeprefix(prefix).title().replace("_", "")
