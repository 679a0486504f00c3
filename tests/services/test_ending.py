"""How the services' processes end: SIGTERM drains, a second one ends at once, and a broker that is away holds none of them up."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from odradek.broker import QUICK_START, LocalBroker
from odradek.broker.ports import free_ports
from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin
from services.demo.fleet import Fleet
from tests.kafka.server_commands import get, until
from tests.services.payments_wire import Wire

AT_ONCE_SECONDS = 3.0
BOUND_SECONDS = 25.0


@pytest.fixture
def inventory(bootstrap: str, namespace: str, tmp_path: Path) -> Iterator[tuple[Wire, Fleet]]:
    """The inventory service, at work on a product that takes a minute."""
    wire = Wire(bootstrap, namespace, tmp_path, queue="inventory-task-queue")
    fleet = Fleet(tmp_path, bootstrap, namespace)
    try:
        fleet.start_service("inventory", stock={"tea": 5}, slow_products={"tea": 60.0})
        wire.process = fleet.process("inventory")
        wire.command(1, activity_type="ReserveInventory", items=[{"product": "tea", "quantity": 1}])
        wire.until(lambda seen: any(name == "ActivityTaskStarted" for name, _ in seen))
        yield wire, fleet
    finally:
        wire.consumer.close()
        fleet.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_a_worker_at_once(inventory: tuple[Wire, Fleet], number: signal.Signals) -> None:
    process = inventory[1].process("inventory")
    process.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.0)  # it drains
    process.send_signal(number)
    assert process.wait(AT_ONCE_SECONDS) == -number


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[LocalBroker]:
    """One of this test's own, to be killed."""
    with LocalBroker(data_dir=tmp_path / "broker", jvm_options=QUICK_START) as started:
        yield started


@pytest.fixture
def without_a_broker(broker: LocalBroker, tmp_path: Path) -> Iterator[Fleet]:
    """Payments and notifications, which were serving when their broker went away."""
    admin = ClusterAdmin(Settings(address=broker.bootstrap, partitions=2))
    admin.ensure([admin.topics.results])
    fleet = Fleet(tmp_path, broker.bootstrap)
    ports = dict(zip(("payments", "notifications"), free_ports(2), strict=True))
    try:
        for service, port in ports.items():
            fleet.start_service(service, telemetry=f"127.0.0.1:{port}")
        for port in ports.values():
            until(lambda port=port: get(f"http://127.0.0.1:{port}/health/ready")[0] == 200)
        broker.kill()
        yield fleet
    finally:
        fleet.stop()


@pytest.mark.timeout(180)
def test_sigterm_ends_a_foreign_service_while_the_broker_is_away(without_a_broker: Fleet) -> None:
    processes = [without_a_broker.process(service) for service in ("payments", "notifications")]
    began = time.monotonic()
    for process in processes:
        process.terminate()
    statuses = [process.wait(BOUND_SECONDS) for process in processes]
    assert set(statuses) <= {0, 1} and time.monotonic() - began < BOUND_SECONDS


@pytest.mark.timeout(180)
@pytest.mark.parametrize("service", ["payments", "notifications"])
def test_a_second_sigterm_ends_a_foreign_service_at_once(without_a_broker: Fleet, service: str) -> None:
    process = without_a_broker.process(service)
    process.terminate()
    time.sleep(0.5)
    process.terminate()
    assert process.wait(AT_ONCE_SECONDS) in (-signal.SIGTERM, 0)
