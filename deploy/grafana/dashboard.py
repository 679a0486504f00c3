"""Writes dashboards/odradek.json: `python deploy/grafana/dashboard.py`. The JSON is what Grafana loads; this is what people change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WHERE = 'namespace=~"$namespace", task_queue=~"$task_queue"'
HALF = 12

Target = tuple[str, str]  # expression, legend


def rate(metric: str, by: str, where: str = WHERE) -> str:
    """A counter as events a second."""
    return f"sum by ({by}) (rate({metric}{{{where}}}[$__rate_interval]))"


def quantile(metric: str, share: float, by: str = "", where: str = WHERE) -> str:
    """A quantile of a histogram."""
    labels = f"le, {by}" if by else "le"
    return (
        f"histogram_quantile({share}, sum by ({labels})"
        f" (rate({metric}_bucket{{{where}}}[$__rate_interval])))"
    )


def quantiles(metric: str, where: str = WHERE) -> list[Target]:
    """Median, 95 and 99 of 100."""
    return [
        (quantile(metric, share, where=where), f"p{share * 100:.0f}") for share in (0.5, 0.95, 0.99)
    ]


def total(metric: str, by: str, where: str = WHERE) -> str:
    """Gauges, added."""
    return f"sum by ({by}) ({metric}{{{where}}})"


def panel(
    title: str,
    targets: list[Target],
    unit: str = "short",
    text: str = "",
    kind: str = "timeseries",
    width: int = HALF,
) -> dict[str, Any]:
    """One panel; its place is given later."""
    return {
        "title": title,
        "description": text,
        "type": kind,
        "datasource": {"type": "prometheus", "uid": "prometheus"},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": (
            {
                "legend": {"displayMode": "list", "placement": "bottom"},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
            if kind == "timeseries"
            else {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value"}
        ),
        "targets": [
            {
                "refId": chr(65 + number),
                "expr": expression,
                "legendFormat": legend,
                "datasource": {"type": "prometheus", "uid": "prometheus"},
            }
            for number, (expression, legend) in enumerate(targets)
        ],
        "gridPos": {"w": width, "h": 4 if kind == "stat" else 8},
    }


def stat(title: str, expression: str, unit: str = "short", text: str = "") -> dict[str, Any]:
    """One number."""
    return panel(title, [(expression, "")], unit, text, "stat", 4)


ROWS: list[tuple[str, list[dict[str, Any]]]] = [
    (
        "At a glance",
        [
            stat(
                "Starts / s",
                f"sum(rate(odradek_workflow_starts_total{{{WHERE}}}[$__rate_interval]))",
                "ops",
            ),
            stat(
                "Closes / s",
                f"sum(rate(odradek_workflow_closes_total{{{WHERE}}}[$__rate_interval]))",
                "ops",
            ),
            stat(
                "Lag",
                f"sum(odradek_lane_lag{{{WHERE}}})",
                text="Records of events not applied yet.",
            ),
            stat("Lanes not running", f"count(odradek_lane_running{{{WHERE}}} == 0) or vector(0)"),
            stat("Runs that fail or are parked", f"sum(odradek_lane_failing_runs{{{WHERE}}})"),
            stat("Dead letters", f"sum(odradek_queue_dead_letters{{{WHERE}}})"),
        ],
    ),
    (
        "Workflows",
        [
            panel(
                "Starts by type",
                [(rate("odradek_workflow_starts_total", "workflow_type"), "{{workflow_type}}")],
                "ops",
            ),
            panel(
                "Closes by type and status",
                [
                    (
                        rate("odradek_workflow_closes_total", "workflow_type, status"),
                        "{{workflow_type}} {{status}}",
                    )
                ],
                "ops",
            ),
            panel(
                "Start to close, p95",
                [
                    (
                        quantile("odradek_workflow_run_seconds", 0.95, "workflow_type"),
                        "{{workflow_type}}",
                    )
                ],
                "s",
            ),
            panel(
                "Workflow code in one task, p95",
                [
                    (
                        quantile("odradek_workflow_task_seconds", 0.95, "workflow_type"),
                        "{{workflow_type}}",
                    )
                ],
                "s",
            ),
            panel(
                "History events",
                [(rate("odradek_history_events_total", "event_type"), "{{event_type}}")],
                "ops",
            ),
            panel(
                "Failing, parked, dead letters",
                [
                    (
                        total("odradek_lane_failing_runs", "task_queue"),
                        "failing runs {{task_queue}}",
                    ),
                    (rate("odradek_lane_parked_total", "task_queue"), "parked / s {{task_queue}}"),
                    (
                        rate("odradek_dead_letters_total", "kind, reason"),
                        "dead letters / s {{kind}} {{reason}}",
                    ),
                ],
            ),
        ],
    ),
    (
        "Lanes",
        [
            panel(
                "Lag by partition",
                [
                    (
                        total("odradek_lane_lag", "task_queue, partition"),
                        "{{task_queue}}/{{partition}}",
                    )
                ],
            ),
            panel(
                "Age of inputs",
                quantiles("odradek_lane_input_age_seconds"),
                "s",
                "Of the oldest input of a transaction: the lag in time.",
            ),
            panel(
                "Inputs",
                [(rate("odradek_lane_inputs_total", "task_queue"), "{{task_queue}}")],
                "ops",
            ),
            panel(
                "Transactions and what they hold",
                [
                    (
                        rate("odradek_lane_transactions_total", "task_queue"),
                        "transactions / s {{task_queue}}",
                    ),
                    (quantile("odradek_lane_batch_inputs", 0.5), "inputs in one, p50"),
                    (
                        rate("odradek_lane_records_written_total", "task_queue"),
                        "records written / s {{task_queue}}",
                    ),
                ],
            ),
            panel(
                "Commit",
                quantiles("odradek_lane_commit_seconds"),
                "s",
                "Begin of a transaction until it is applied.",
            ),
            panel("Engine step", quantiles("odradek_lane_step_seconds"), "s"),
            panel(
                "Queue in memory, timers, long polls",
                [
                    (total("odradek_lane_queue_depth", "task_queue"), "queued {{task_queue}}"),
                    (total("odradek_lane_timers", "task_queue"), "timers {{task_queue}}"),
                    (total("odradek_lane_long_polls", "task_queue"), "long polls {{task_queue}}"),
                ],
            ),
            panel(
                "Timers late",
                [
                    (
                        (
                            "max by (task_queue, partition)"
                            f" (odradek_lane_timers_late_seconds{{{WHERE}}})"
                        ),
                        "{{task_queue}}/{{partition}}",
                    )
                ],
                "s",
            ),
            panel(
                "Restore",
                [
                    (
                        total("odradek_lane_restore_remaining", "task_queue, partition"),
                        "left {{task_queue}}/{{partition}}",
                    ),
                    (
                        rate("odradek_lane_restored_rows_total", "task_queue"),
                        "rows / s {{task_queue}}",
                    ),
                ],
            ),
            panel(
                "Dropped, refused, forwarded",
                [
                    (rate("odradek_lane_dropped_total", "task_queue"), "dropped {{task_queue}}"),
                    (rate("odradek_lane_refused_total", "task_queue"), "refused {{task_queue}}"),
                    (
                        rate("odradek_lane_forwarded_total", "task_queue"),
                        "forwarded {{task_queue}}",
                    ),
                ],
                "ops",
            ),
        ],
    ),
    (
        "Cache and replay",
        [
            panel(
                "Found in memory",
                [
                    (
                        (
                            f"sum(rate(odradek_cache_hits_total{{{WHERE}}}[$__rate_interval])) /"
                            f" (sum(rate(odradek_cache_hits_total{{{WHERE}}}[$__rate_interval])) +"
                            f" sum(rate(odradek_cache_misses_total{{{WHERE}}}[$__rate_interval])))"
                        ),
                        "share of look-ups",
                    )
                ],
                "percentunit",
                "New runs are never in memory: a share below one is usual.",
            ),
            panel(
                "Runs in memory, let go",
                [
                    (total("odradek_cache_runs", "task_queue"), "in memory {{task_queue}}"),
                    (
                        rate("odradek_cache_evictions_total", "task_queue"),
                        "let go / s {{task_queue}}",
                    ),
                ],
            ),
            panel("Replay of one run", quantiles("odradek_replay_seconds"), "s"),
        ],
    ),
    (
        "Activities",
        [
            panel(
                "Outcomes",
                [
                    (
                        rate("odradek_activity_outcomes_total", "activity_type, outcome"),
                        "{{activity_type}} {{outcome}}",
                    )
                ],
                "ops",
            ),
            panel(
                "An attempt, p95",
                [
                    (
                        quantile("odradek_activity_run_seconds", 0.95, "activity_type"),
                        "{{activity_type}}",
                    )
                ],
                "s",
            ),
            panel(
                "Scheduled to started, p95",
                [
                    (
                        quantile(
                            "odradek_activity_schedule_to_start_seconds", 0.95, "activity_type"
                        ),
                        "{{activity_type}}",
                    )
                ],
                "s",
            ),
            panel(
                "Slots",
                [
                    (total("odradek_activity_slots_used", "task_queue"), "used {{task_queue}}"),
                    (total("odradek_activity_slots", "task_queue"), "all {{task_queue}}"),
                    (total("odradek_activity_waiting", "task_queue"), "waiting {{task_queue}}"),
                    (total("odradek_activity_lag", "task_queue"), "unread {{task_queue}}"),
                ],
            ),
            panel(
                "Heartbeats, cancellations, handed on",
                [
                    (
                        rate("odradek_activity_heartbeats_total", "task_queue"),
                        "heartbeats {{task_queue}}",
                    ),
                    (
                        rate("odradek_activity_cancellations_total", "task_queue"),
                        "cancellations {{task_queue}}",
                    ),
                    (
                        rate("odradek_activity_handed_on_total", "task_queue"),
                        "handed on {{task_queue}}",
                    ),
                ],
                "ops",
            ),
            panel(
                "Contact with a broker",
                [
                    (
                        f"max by (task_queue, kind) (odradek_kafka_contact_seconds{{{WHERE}}})",
                        "{{task_queue}} {{kind}}",
                    )
                ],
                "s",
            ),
        ],
    ),
    (
        "Server and processes",
        [
            panel(
                "Requests by route",
                [
                    (
                        rate("odradek_http_requests_total", "route, status", ""),
                        "{{route}} {{status}}",
                    )
                ],
                "ops",
            ),
            panel(
                "Until the response began, p95",
                [(quantile("odradek_http_request_seconds", 0.95, "route", ""), "{{route}}")],
                "s",
            ),
            panel(
                "Read side",
                [
                    (
                        'sum by (namespace) (odradek_visibility_lag{namespace=~"$namespace"})',
                        "behind {{namespace}}",
                    ),
                    (
                        (
                            "sum by (namespace)"
                            ' (rate(odradek_visibility_records_total{namespace=~"$namespace"}[$__rate_interval]))'
                        ),
                        "records / s {{namespace}}",
                    ),
                ],
            ),
            panel(
                "Partitions that nobody owns",
                [(total("odradek_queue_partitions_unowned", "task_queue"), "{{task_queue}}")],
            ),
            panel(
                "Disk free",
                [("min by (instance) (odradek_state_dir_free_bytes)", "{{instance}}")],
                "bytes",
            ),
            panel(
                "Memory",
                [
                    (
                        (
                            "max by (instance)"
                            ' (process_resident_memory_bytes{job=~"processors|services|server"})'
                        ),
                        "{{instance}}",
                    )
                ],
                "bytes",
            ),
            panel(
                "CPU",
                [
                    (
                        (
                            "sum by (instance)"
                            ' (rate(process_cpu_seconds_total{job=~"processors|services|server"}[$__rate_interval]))'
                        ),
                        "{{instance}}",
                    )
                ],
                "percentunit",
            ),
            panel(
                "Replies",
                [
                    (rate("odradek_replies_total", "task_queue"), "{{task_queue}}"),
                    (rate("odradek_replies_failed_total", "task_queue"), "failed {{task_queue}}"),
                ],
                "ops",
            ),
        ],
    ),
]


def variable(name: str, query: str) -> dict[str, Any]:
    """A choice at the top, all by default."""
    return {
        "name": name,
        "label": name.replace("_", " "),
        "type": "query",
        "datasource": {"type": "prometheus", "uid": "prometheus"},
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana's JSON model."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, members in ROWS:
        panels.append(
            {
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
            }
        )
        x, y, height = 0, y + 1, 0
        for member in members:
            place = member["gridPos"]
            if x + place["w"] > 24:
                x, y = 0, y + height
            place |= {"x": x, "y": y}
            x, height = x + place["w"], place["h"]
            panels.append(member)
        y += height
    for number, one in enumerate(panels, 1):
        one["id"] = number
    return {
        "uid": "odradek",
        "title": "Odradek",
        "tags": ["odradek"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                variable("namespace", "label_values(odradek_lane_running, namespace)"),
                variable(
                    "task_queue",
                    'label_values({__name__=~"odradek_lane_running|odradek_activity_slots",'
                    ' namespace=~"$namespace"}, task_queue)',
                ),
            ]
        },
        "panels": panels,
    }


def text() -> str:
    """What the file holds."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "dashboards" / "odradek.json").write_text(text(), encoding="utf-8")
