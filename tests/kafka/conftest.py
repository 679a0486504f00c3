"""Fixtures of the tests of activity services: an engine played by the test, and services that
can be killed, in a classic group unless a test is marked with `both_groups` or asks for the
other with `@pytest.mark.parametrize("group", [SHARE])`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from odradek.activities import timers
from odradek.kafka.admin import ClusterAdmin
from tests.kafka.activity_harness import Engine
from tests.kafka.activity_services import CLASSIC, Service, gates, ran
from tests.kafka.lane_records import wire as wire


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds for a request to the cluster, where nobody says otherwise: for brokers that
    are not there.
    """
    defaults = ClusterAdmin.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "request_timeout_s", 2.0)


@pytest.fixture
def no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """No attempt says Started for its length: it would for 200 ms in which the machine stands
    still, and not for what is tested.
    """
    monkeypatch.setattr(timers, "STARTED_AFTER_MAX", 60.0)


@pytest.fixture
def group() -> str:
    """`activity_group` of the engine's settings."""
    return CLASSIC


@pytest.fixture
def new_engine(
    bootstrap: str, namespace: str, tmp_path: Path, group: str
) -> Iterator[Callable[..., Engine]]:
    ran.clear()
    gates.clear()
    engines: list[Engine] = []

    def make(**options: Any) -> Engine:
        engines.append(Engine(bootstrap, namespace, tmp_path, activity_group=group, **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


@pytest.fixture
def engine(new_engine: Callable[..., Engine]) -> Engine:
    return new_engine()


@pytest.fixture
def service(engine: Engine, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """`service("first")`: a process that serves the queue; it is `ready` when the log says so."""
    started: list[Service] = []

    def start(name: str, **options: Any) -> Service:
        started.append(Service(engine, tmp_path, name, **options))
        return started[-1]

    yield start
    for one in started:
        one.end()
