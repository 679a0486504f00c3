"""The catalog is what is exported, what the page says, and what dashboard, alerts and scrape
configuration use.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from odradek.activities.statistics import ActivityStatistics
from odradek.config import Settings
from odradek.kafka.producer import ProducerStatistics
from odradek.processor.statistics import (
    LaneStatistics,
    ProcessorStatistics,
    Totals,
    partition_totals,
)
from odradek.processor.tally import Tally
from odradek.statistics import NAMES_MAX, Distribution, Histogram
from odradek.telemetry import catalog
from odradek.telemetry.catalog import CATALOG, COUNTER, HISTOGRAM, Metric
from odradek.telemetry.collector import new_registry
from odradek.telemetry.health import Health
from odradek.telemetry.sources import Sample, activity_samples, disk_samples, processor_samples
from odradek.visibility.reader import IngestStatistics
from odradek.web.context import ServerContext
from odradek.web.kafka.facts import ActivityPartitionView, QueueDetail
from odradek.web.metrics import server_samples
from odradek.web.options import ServerOptions
from odradek.web.ui.histories import HistoryBook
from odradek.wire import dead_letters
from odradek.wire.history import (
    ActivityTaskStartedEvent,
    WorkflowTask,
    WorkflowTaskFailed,
    WorkflowTaskScheduled,
)

ROOT = Path(__file__).parents[2]
DASHBOARD: dict[str, Any] = json.loads(
    (ROOT / "deploy/grafana/dashboards/odradek.json").read_text()
)
ALERTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())[
    "groups"
][0]["rules"]
SCRAPES: list[dict[str, Any]] = yaml.safe_load(
    (ROOT / "deploy/prometheus/prometheus.yml").read_text()
)["scrape_configs"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())

BY_NAME = {metric.name: metric for metric in CATALOG}
#: Of the Python client and of Prometheus itself.
FOREIGN = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}


def one() -> Distribution:
    histogram = Histogram()
    histogram.observe(0.2)
    return histogram.snapshot()


def processor() -> ProcessorStatistics:
    tally = Tally([])
    part = dataclasses.replace(
        partition_totals(tally, None),
        starts={"T": 1},
        closes={("T", "COMPLETED"): 1},
        run_seconds={"T": one()},
        task_seconds={"T": one()},
        events={"TimerFired": 1},
        dead_letters={dead_letters.UNDECODABLE: 1},
    )
    lane = LaneStatistics(0, "RUNNING", True, 5, 1, 2, 0, 4, 3, 0.0, 1, 0, 0.1, True, "")
    return ProcessorStatistics(
        "default",
        "q",
        0,
        True,
        {0: lane},
        {0: part},
        Totals(),
        1,
        0,
        0.0,
        True,
        ProducerStatistics(),
        1.0,
        "",
        "",
        False,
    )


def activities() -> ActivityStatistics:
    return ActivityStatistics(
        "default", "q", lag=0, starts={"A": 1}, outcomes={("A", "completed"): 1}, run_seconds={"A": one()},
        schedule_to_start_seconds={"A": one()}, contact_seconds=1.0, dead_letters={dead_letters.UNROUTABLE: 2},
    )  # fmt: skip


def server(folder: Path) -> ServerContext:
    found = ServerContext(Settings(state_dir=folder), ServerOptions())
    intake = IngestStatistics("RUNNING", True, 3, 1, 9, 2, 8, 1, 0, 0, 0)
    found.statistics["read side"] = lambda: dataclasses.asdict(intake)
    found.statistics["requests"] = lambda: {
        "waiting": 1,
        "requests": 7,
        "asked_again": 2,
        "unmatched_replies": 0,
        "response_ms": 5.0,
    }
    found.statistics["histories"] = HistoryBook().statistics
    found.requests.requests.add(("GET", "/", "200"))
    found.requests.seconds.of(("GET", "/")).observe(0.1)
    numbers = dict.fromkeys(QueueDetail.__struct_fields__, 0) | {
        "name": "q",
        "partitions": [],
        "activity_partitions": [],
        "members": [],
    }
    found.requests.queues = [QueueDetail(**numbers)]
    found.requests.open_runs = {"q": 1}
    return found


def everything(folder: Path) -> Iterator[Sample]:
    yield from processor_samples(processor(), Health())
    yield from activity_samples(activities(), Health())
    yield from server_samples(server(folder))
    yield from disk_samples(folder / "not" / "there" / "yet")


def test_what_is_exported_is_the_catalog_with_its_labels(tmp_path: Path) -> None:
    text = generate_latest(new_registry([lambda: everything(tmp_path)])).decode()
    exported: dict[str, set[str]] = {}
    kinds: dict[str, str] = {}
    for family in text_string_to_metric_families(text):
        if not family.name.startswith("odradek_"):
            continue
        name = f"{family.name}_total" if family.type == "counter" else family.name
        kinds[name] = family.type
        exported[name] = {label for sample in family.samples for label in sample.labels} - {"le"}
    assert exported == {metric.name: set(metric.labels) for metric in CATALOG}
    assert kinds == {metric.name: metric.kind for metric in CATALOG}


def series(samples: Iterable[Sample], metric: Metric) -> dict[tuple[str, ...], float]:
    return {
        sample.labels: sample.value
        for sample in samples
        if sample.metric is metric and isinstance(sample.value, (int, float))
    }


def test_series_that_alarms_count_are_there_before_the_first_event() -> None:
    """`increase` and `rate` see nothing of a series that is born at 1."""
    idle = dataclasses.replace(processor(), partitions={}, lanes={})
    reasons = set(dead_letters.INPUT_REASONS)
    found = series(processor_samples(idle, Health()), catalog.DEAD_LETTERS)
    assert (
        found == {("default", "q", "processor", reason): 0 for reason in reasons}
        and len(found) >= 7
    )

    busy = series(processor_samples(processor(), Health()), catalog.DEAD_LETTERS)
    assert busy == found | {("default", "q", "processor", dead_letters.UNDECODABLE): 1}

    idle_service = dataclasses.replace(activities(), dead_letters={})
    found = series(activity_samples(idle_service, Health()), catalog.DEAD_LETTERS)
    assert (
        found
        == {("default", "q", "activities", reason): 0 for reason in dead_letters.SERVICE_REASONS}
        and len(found) >= 4
    )
    busy = series(activity_samples(activities(), Health()), catalog.DEAD_LETTERS)
    assert busy == found | {("default", "q", "activities", dead_letters.UNROUTABLE): 2}


def test_every_status_and_outcome_of_a_registered_type_is_there_before_it_begins() -> None:
    """Start and first end may lie between two scrapes; what is registered is there before both,
    and at most so many names of it.
    """
    statuses = ("COMPLETED", "FAILED", "CANCELED", "TERMINATED", "TIMED_OUT", "CONTINUED_AS_NEW")
    found = dataclasses.replace(processor(), partitions={}, workflow_types=("T", "U"))
    samples = list(processor_samples(found, Health()))
    assert series(samples, catalog.WORKFLOW_STARTS) == {("default", "q", kind): 0 for kind in "TU"}
    assert series(samples, catalog.WORKFLOW_CLOSES) == {
        ("default", "q", kind, status): 0 for kind in "TU" for status in statuses
    }

    service = dataclasses.replace(activities(), starts={}, outcomes={}, activity_types=("A",))
    outcomes = ("completed", "failed", "canceled", "async")
    assert series(activity_samples(service, Health()), catalog.ACTIVITY_STARTS) == {
        ("default", "q", "A"): 0
    }
    assert series(activity_samples(service, Health()), catalog.ACTIVITY_OUTCOMES) == {
        ("default", "q", "A", one): 0 for one in outcomes
    }

    many = dataclasses.replace(
        found, workflow_types=tuple(f"T{number}" for number in range(NAMES_MAX + 50))
    )
    assert len(series(processor_samples(many, Health()), catalog.WORKFLOW_STARTS)) == NAMES_MAX


def test_every_status_and_outcome_of_a_type_is_there_from_its_first_start() -> None:
    part = dataclasses.replace(
        partition_totals(Tally([]), None), starts={"T": 1, "U": 2}, closes={("U", "FAILED"): 2}
    )
    statuses = ("COMPLETED", "FAILED", "CANCELED", "TERMINATED", "TIMED_OUT", "CONTINUED_AS_NEW")
    found = series(
        processor_samples(dataclasses.replace(processor(), partitions={0: part}), Health()),
        catalog.WORKFLOW_CLOSES,
    )
    expected = {("default", "q", kind, status): 0 for kind in "TU" for status in statuses}
    assert found == expected | {("default", "q", "U", "FAILED"): 2}

    begun = dataclasses.replace(activities(), starts={"A": 1}, outcomes={})
    ended = series(activity_samples(begun, Health()), catalog.ACTIVITY_OUTCOMES)
    assert ended == {
        ("default", "q", "A", outcome): 0
        for outcome in ("completed", "failed", "canceled", "async")
    }


def test_alarms_on_the_first_event_hold_for_series_that_are_born_with_it() -> None:
    """A process that is scraped for the first time after the event has no zero before it."""
    found = {
        rule["alert"]: rule["expr"]
        for rule in ALERTS
        if re.search(r"increase\(.*> 0", rule["expr"])
    }
    del found[
        "OdradekNoService"
    ]  # its counter is the broker's: it goes on over processes, and is not born with an event
    assert set(found) == {"OdradekDeadLetters", "OdradekRunsParked"}
    for expression in found.values():
        (name,) = set(re.findall(r"odradek_\w+_total", expression))
        by = re.match(r"sum by \([^)]*\)", expression)
        assert by is not None
        rising, born = expression.split(" or ")
        assert rising == f"{by.group()} (increase({name}[15m])) > 0"
        assert born == f"{by.group()} ({name} unless {name} offset 15m) > 0"


def test_nobody_serves_a_share_group_is_seen_without_its_lag(tmp_path: Path) -> None:
    """Kafka's client cannot ask for a share group's offsets: what is written to `commands` while
    nobody is there tells.
    """
    context = server(tmp_path)
    partitions = [ActivityPartitionView(number, 0, 5 + number, -1, None) for number in range(2)]
    queue = msgspec.structs.replace(
        context.requests.queues[0],
        activity_group="share",
        activity_lag=None,
        activity_partitions=partitions,
    )
    context.requests.queues = [queue]
    samples = list(server_samples(context))
    assert (
        series(samples, catalog.QUEUE_COMMANDS) == {("default", "q"): 11}
        and series(samples, catalog.QUEUE_COMMANDS_LAG) == {}
    )
    (expression,) = [rule["expr"] for rule in ALERTS if rule["alert"] == "OdradekNoService"]
    classic, share = (
        expression.split("\nor ") if "\nor " in expression else expression.split(" or ")
    )
    assert "odradek_queue_commands_lag > 0" in classic and "odradek_queue_services == 0" in classic
    assert (
        "increase(odradek_queue_commands_total[10m]) > 0" in share
        and "max_over_time(odradek_queue_services[10m]) == 0" in share
    )
    assert share.endswith("unless odradek_queue_commands_lag")


def test_a_workflow_task_counts_as_the_events_that_it_stands_for() -> None:
    """One row of a history is three of Temporal's events."""
    tally = Tally([])
    tally.events = {
        WorkflowTask: 2,
        WorkflowTaskScheduled: 1,
        WorkflowTaskFailed: 1,
        ActivityTaskStartedEvent: 3,
    }
    assert partition_totals(tally, None).events == {
        "WorkflowTaskScheduled": 3,
        "WorkflowTaskStarted": 2,
        "WorkflowTaskCompleted": 2,
        "WorkflowTaskFailed": 1,
        "ActivityTaskStarted": 3,
    }


def test_a_broken_source_hides_no_other() -> None:
    def broken() -> Iterator[Sample]:
        raise RuntimeError("closed")

    text = generate_latest(
        new_registry([broken, lambda: activity_samples(activities(), Health())])
    ).decode()
    assert "odradek_activity_slots" in text


def test_two_workers_of_a_queue_in_one_process_are_one_family() -> None:
    two = dataclasses.replace(activities(), slots_total=5, contact_seconds=9.0)
    sources = [
        lambda: activity_samples(activities(), Health()),
        lambda: activity_samples(two, Health(not_ready=("x",))),
    ]
    text = generate_latest(new_registry(sources)).decode()
    values = {
        s.name: s.value
        for f in text_string_to_metric_families(text)
        for s in f.samples
        if s.labels.get("task_queue") == "q"
    }
    assert values["odradek_activity_slots"] == 5 and values["odradek_activity_attempts_total"] == 2
    assert values["odradek_activity_run_seconds_count"] == 2
    assert (
        values["odradek_ready"] == 0
        and values["odradek_live"] == 1
        and values["odradek_kafka_contact_seconds"] == 9
    )


def test_names_follow_prometheus() -> None:
    assert len(BY_NAME) == len(CATALOG)
    for metric in CATALOG:
        assert re.fullmatch(r"odradek_[a-z_]+", metric.name)
        assert (metric.kind == COUNTER) == metric.name.endswith("_total"), metric.name
        assert metric.kind != HISTOGRAM or metric.name.endswith(("_seconds", "_inputs")), (
            metric.name
        )
        assert metric.help.endswith(".") and metric.unit
        assert not {"workflow_id", "run_id", "activity_id"} & set(metric.labels), (
            "ids have no bound"
        )


def test_the_dashboard_is_the_scripts() -> None:
    spec = importlib.util.spec_from_file_location("dashboard", ROOT / "deploy/grafana/dashboard.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "deploy/grafana/dashboards/odradek.json").read_text() == module.text(), (
        "python deploy/grafana/dashboard.py"
    )


def expressions() -> list[tuple[str, str]]:
    shown = [
        (panel["title"], target["expr"])
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", [])
    ]
    return shown + [(rule["alert"], rule["expr"]) for rule in ALERTS]


def metric_of(name: str) -> Metric | None:
    found = BY_NAME.get(name)
    if found is None:
        found = BY_NAME.get(re.sub(r"_(bucket|sum|count)$", "", name))
        return found if found is not None and found.kind == HISTOGRAM else None
    return found if found.kind != HISTOGRAM else None


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_an_expression_uses_metrics_and_labels_that_exist(where: str, expression: str) -> None:
    selectors = re.findall(r"\b(odradek_\w+|process_\w+|up)\b(?:\{([^}]*)\})?", expression)
    assert selectors, expression
    has: set[str] = {"instance", "job"}
    for name, labels in selectors:
        if name in FOREIGN:
            continue
        metric = metric_of(name)
        assert metric is not None, f"{where}: {name} is no metric"
        has |= {*metric.labels, "le"}
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels):
            assert label in metric.labels, f"{where}: {name} has no label {label}"
        if f"rate({name}" in expression or f"increase({name}" in expression:
            assert metric.kind != "gauge", f"{where}: a rate of the gauge {name}"
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        assert {label.strip() for label in group.split(",")} <= has, f"{where}: {group}"
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing), where


def test_alerts_are_complete_and_explained() -> None:
    watch = (ROOT / "docs/operate.md").read_text()
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS)
    for rule in ALERTS:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical") and {
            "summary",
            "description",
        } == set(rule["annotations"])
        assert f"`{rule['alert']}`" in watch, (
            f"docs/operate.md does not say what to do about {rule['alert']}"
        )


def test_everything_that_shows_metrics_in_compose_is_scraped() -> None:
    services = COMPOSE["services"]
    serving = {"order-api:8000"}  # on the port of its API
    for name, service in services.items():
        port = (service.get("environment") or {}).get("ODRADEK_TELEMETRY_PORT")
        if port is not None:
            command = service["command"]
            count = (
                int(command[command.index("--processes") + 1]) if "--processes" in command else 1
            )
            serving |= {f"{name}:{port + number}" for number in range(count)}
        for config in service.get("configs", []):
            file = ROOT / COMPOSE["configs"][config["source"]]["file"]
            if file.name == "compose.yaml" and (
                telemetry := yaml.safe_load(file.read_text()).get("telemetry")
            ):
                serving.add(f"{name}:{telemetry.rpartition(':')[2]}")
    targets = {
        target
        for job in SCRAPES
        for static in job["static_configs"]
        for target in static["targets"]
    }
    assert targets == serving and len(targets) >= 9
    mounted = {config["target"] for config in services["grafana"]["configs"]}
    provider = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/dashboards/odradek.yml").read_text()
    )["providers"][0]
    assert f"{provider['options']['path']}/odradek.json" in mounted
    source = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text()
    )["datasources"][0]
    used = {panel["datasource"]["uid"] for panel in DASHBOARD["panels"] if "datasource" in panel}
    assert used == {source["uid"]} and source["url"] == "http://prometheus:9090"
