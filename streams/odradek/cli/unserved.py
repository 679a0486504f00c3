"""What `temporal` has and Odradek does not yet, with what to do instead: an error that says so,
in place of "unknown command".
"""

from __future__ import annotations

from collections.abc import Sequence

_VERSIONS = "no versions of workers: `workflow.patched`, or a task queue for each version"
_CHILDREN = "no child workflows yet: a trace has the workflow's own activities and timers"
_PRIORITIES = "no priorities or fairness yet: a partition is worked off in its order"
_TLS = "TLS and SASL are in the settings `kafka` (`python -m odradek.config` lists them)"
_SETTINGS = "settings come from ODRADEK_… variables and --config FILE"

_STANDALONE = "no activities without a workflow: `workflow describe` has those that a run waits for"
_PAUSED = (
    "activities cannot be paused or changed: `workflow describe` has those that a run waits for"
)

#: Commands and groups, by their words.
_COMMANDS = {
    **{
        f"activity {name}": _STANDALONE
        for name in ("count", "delete", "describe", "execute", "list", "result", "start")
    },
    **{f"activity {name}": _STANDALONE for name in ("cancel", "terminate")},
    **{f"activity {name}": _PAUSED for name in ("pause", "unpause", "reset", "update-options")},
    "config": _SETTINGS,
    "env": _SETTINGS,
    "nexus": "no Nexus: services talk over topics",
    "schedule": "no schedules yet: `workflow start --cron`, or a scheduler of your own",
    "server start-dev": "it is `odradek dev`",
    "operator cluster list": "no replication between clusters: the cluster is Kafka's",
    "operator cluster remove": "no replication between clusters: the cluster is Kafka's",
    "operator cluster upsert": "no replication between clusters: the cluster is Kafka's",
    "operator namespace create": "a namespace is there as soon as a worker uses it",
    "operator namespace delete": (
        "`odradek task-queue delete` deletes a queue with all that belongs to it"
    ),
    "operator namespace update": (
        "retention and the rest are settings of workers (`python -m odradek.config` lists them)"
    ),
    "operator nexus": "no Nexus: services talk over topics",
    "operator search-attribute create": (
        "search attributes are not declared: one is there as soon as a run has it"
    ),
    "operator search-attribute remove": (
        "search attributes are not declared, so there is nothing to remove"
    ),
    "task-queue config": "no rate limits of queues: slots are settings of services",
    "task-queue get-build-id-reachability": _VERSIONS,
    "task-queue get-build-ids": _VERSIONS,
    "task-queue list-partition": "`odradek task-queue describe` has the partitions",
    "task-queue update-build-ids": _VERSIONS,
    "task-queue versioning": _VERSIONS,
    "workflow execute-update-with-start": (
        "no updates yet: `workflow signal-with-start`, and a query for its effect"
    ),
    "workflow fix-history-json": "`workflow show -o json` writes what `Replayer` reads",
    "workflow pause": "runs cannot be paused yet",
    "workflow reset": "runs cannot be reset yet: `workflow terminate`, and start it again",
    "workflow start-update-with-start": (
        "no updates yet: `workflow signal-with-start`, and a query for its effect"
    ),
    "workflow unpause": "runs cannot be paused yet; `workflow unpark` tries a parked one again",
    "workflow update-options": _VERSIONS,
}
#: Options, by their command's words; "" is any command.
_OPTIONS = {
    "": {
        "--priority-key": _PRIORITIES,
        "--fairness-key": _PRIORITIES,
        "--fairness-weight": _PRIORITIES,
        "--versioning-override-behavior": _VERSIONS,
        "--env": _SETTINGS,
        "--env-file": _SETTINGS,
        "--profile": _SETTINGS,
        "--config-file": "it is --config FILE",
        "--no-json-shorthand-payloads": (
            "`workflow describe --raw` and `workflow show -o json` have payloads whole"
        ),
        **dict.fromkeys(
            ("--command-timeout", "--client-connect-timeout"),
            "it is --rpc-timeout, of the commands that have one",
        ),
        **dict.fromkeys(
            ("--tls", "--tls-cert-path", "--tls-key-path", "--tls-ca-path", "--tls-server-name"),
            _TLS,
        ),
        "--identity": "it is the setting `identity` (ODRADEK_IDENTITY)",
        "--grpc-meta": "there is no gRPC: requests are records on Kafka",
        "--headers": "headers are set by a client's interceptors",
        "--codec-endpoint": "no remote codecs: what a codec wrote is shown as unreadable",
    },
    "workflow list": {
        "--archived": (
            "no archive: `results` and `executions` are topics, keep them as long as you like"
        )
    },
    "workflow count": {
        "--archived": (
            "no archive: `results` and `executions` are topics, keep them as long as you like"
        )
    },
    "workflow describe": {"--reset-points": "runs cannot be reset yet"},
    "workflow trace": dict.fromkeys(("--fold", "--no-fold", "--depth", "--concurrency"), _CHILDREN),
    "task-queue describe": {
        **dict.fromkeys(
            (
                "--select-build-id",
                "--select-unversioned",
                "--select-all-active",
                "--report-reachability",
            ),
            _VERSIONS,
        ),
        "--disable-stats": "it is --interval 0",
        "--report-config": "no rate limits of queues: slots are settings of services",
    },
}


def unserved_command(words: Sequence[str]) -> str:
    """Why there is no such command; "" for one that `temporal` does not have either."""
    name = " ".join(words)
    return f"`odradek {name}`: {_COMMANDS[name]}" if name in _COMMANDS else ""


def unserved_option(words: Sequence[str], option: str) -> str:
    """Why a command has no such option; "" for one that `temporal` does not have either."""
    why = {**_OPTIONS[""], **_OPTIONS.get(" ".join(words), {})}.get(option)
    return f"{option}: {why}" if why else ""
