"""Readiness of the foreign services over an outage of the broker: they say so, stay live, and
are ready again by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from odradek.broker import QUICK_START, LocalBroker
from odradek.broker.ports import free_ports
from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin
from services.demo.fleet import Fleet
from tests.support.server import get
from tests.support.until import until

pytestmark = pytest.mark.timeout(180)
SERVICES = ("payments", "notifications")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LocalBroker]:
    """One of this test's own, to be killed."""
    with LocalBroker(data_dir=tmp_path / "broker", jvm_options=QUICK_START) as started:
        yield started


@pytest.mark.slow
def test_ready_while_a_broker_answers_and_live_all_the_while(
    broker: LocalBroker, tmp_path: Path
) -> None:
    admin = ClusterAdmin(Settings(address=broker.bootstrap, partitions=2))
    admin.ensure([admin.topics.results])
    ports = dict(zip(SERVICES, free_ports(2), strict=True))
    fleet = Fleet(tmp_path, broker.bootstrap)

    def probe(service: str, what: str = "ready") -> tuple[int, Any]:
        return get(f"http://127.0.0.1:{ports[service]}/health/{what}")

    try:
        for service in SERVICES:
            fleet.start_service(service, telemetry=f"127.0.0.1:{ports[service]}")
        for service in SERVICES:
            until(lambda service=service: probe(service)[0] == 200)
        broker.kill()
        for service in SERVICES:
            status, said = until(
                lambda service=service: probe(service)[0] == 503 and probe(service)
            )
            assert status == 503 and any(
                "no broker has answered for" in reason for reason in said["reasons"]
            ), said
            assert probe(service, "live")[0] == 200
        broker.start()
        for service in SERVICES:
            until(lambda service=service: probe(service)[0] == 200)
        fleet.check()
        assert [fleet.stop_one(service) for service in SERVICES] == [0, 0]
    finally:
        fleet.stop()
