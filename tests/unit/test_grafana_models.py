"""The dashboard as Grafana's own models read it, which are generated from its schemas: what they
do not know would be lost.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards" / "odradek.json"


@pytest.fixture(scope="module", autouse=True)
def plugins() -> None:
    """Options of panels and targets of Prometheus have models of their own."""
    register_default_plugins()


def lost(ours: Any, theirs: Any, path: str = "$") -> list[str]:
    """What of ours does not stand in theirs."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [
            line
            for key, value in ours.items()
            for line in lost(value, theirs.get(key, "missing"), f"{path}.{key}")
        ]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [
            line
            for number, pair in enumerate(zip(ours, theirs, strict=True))
            for line in lost(*pair, f"{path}[{number}]")
        ]
    return [] if ours == theirs else [f"{path}: {ours!r}, as Grafana reads it {theirs!r}"]


def read(dashboard: dict[str, Any]) -> dict[str, Any]:
    """As it comes back from Grafana's models."""
    back: dict[str, Any] = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))
    return back


def test_grafana_knows_every_field_of_the_dashboard() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert lost(dashboard, read(dashboard)) == []


@pytest.mark.parametrize(
    ("where", "field"),
    [
        ("fieldConfig", "units"),
        ("options", "legends"),
        ("targets", "expression"),
        ("gridPos", "width"),
    ],
)
def test_a_field_that_it_does_not_know_is_found(where: str, field: str) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panel = next(panel for panel in dashboard["panels"] if panel["type"] == "timeseries")
    place = (
        panel[where][0]
        if where == "targets"
        else panel[where]["defaults"]
        if where == "fieldConfig"
        else panel[where]
    )
    place[field] = "?"
    assert [
        line.partition(":")[0].rpartition(".")[2] for line in lost(dashboard, read(dashboard))
    ] == [field]
