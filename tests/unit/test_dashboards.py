"""Dashboard, alerts and scrape configuration use metrics that exist."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from odradek.telemetry import metrics
from tests.support.metrics import labels_by_name

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

LABELS = labels_by_name()
#: Of the Python client and of Prometheus itself.
FOREIGN = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}


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


def test_names_follow_prometheus() -> None:
    for name, labels in LABELS.items():
        assert re.fullmatch(r"odradek_[a-z_]+", name)
        assert not {"workflow_id", "run_id", "activity_id"} & labels, "ids have no bound"
    assert all(f"`{name}`" in metrics.page() for name in LABELS)


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


@pytest.mark.parametrize(("where", "expression"), expressions())
def test_an_expression_uses_metrics_and_labels_that_exist(where: str, expression: str) -> None:
    selectors = re.findall(r"\b(odradek_\w+|process_\w+|up)\b(?:\{([^}]*)\})?", expression)
    assert selectors, expression
    has: set[str] = {"instance", "job"}
    for name, labels in selectors:
        if name in FOREIGN:
            continue
        known = LABELS.get(name, LABELS.get(re.sub(r"_(bucket|sum|count)$", "", name)))
        assert known is not None, f"{where}: {name} is no metric"
        has |= {*known, "le"}
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels):
            assert label in known, f"{where}: {name} has no label {label}"
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
