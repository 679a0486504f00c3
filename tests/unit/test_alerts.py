"""The alerts, evaluated by Prometheus' own tool over made-up series: what each fires at, and
what it leaves alone.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[2] / "deploy/prometheus"
ALERTS: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0][
    "rules"
]
TESTS: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="no promtool here (Debian: apt-get install prometheus)"
)


def _promtool(*arguments: str) -> None:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_each_fires_at_what_it_is_for() -> None:
    _promtool("test", "rules", "alerts_test.yml")


@needs_promtool
def test_the_configuration_is_one() -> None:
    _promtool("check", "config", "prometheus.yml")


@pytest.mark.parametrize("alert", [rule["alert"] for rule in ALERTS])
def test_each_is_seen_firing_beside_what_it_leaves_alone(alert: str) -> None:
    """Once with what fires; and before its time, where it has one. What must not fire stands
    among the same series: the lists are exact.
    """
    seen = [
        case for test in TESTS for case in test["alert_rule_test"] if case["alertname"] == alert
    ]
    assert any(case["exp_alerts"] for case in seen), f"alerts_test.yml never sees {alert} fire"
    waits = next(rule for rule in ALERTS if rule["alert"] == alert).get("for")
    assert waits is None or any(not case["exp_alerts"] for case in seen), (
        f"alerts_test.yml does not see that {alert} waits {waits}"
    )
