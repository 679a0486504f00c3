"""How the services' processes end: SIGTERM drains, a second one ends at once, and a broker that
is away holds none of them up.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from odradek.broker import QUICK_START, LocalBroker
from odradek.broker.ports import free_ports
from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin
from services.demo.fleet import Fleet
from tests.services.payments_wire import Wire
from tests.support.server import get
from tests.support.until import until

ROOT = Path(__file__).parents[2]
AT_ONCE_SECONDS = (
    15.0  # this machine may stand for seconds; whoever drains, or waits for a broker, takes longer
)
NAMES = {"order_api": "order API"}
BOUND_SECONDS = 25.0
CONNECTS_SECONDS = 60.0


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
def test_a_second_signal_ends_a_worker_at_once(
    inventory: tuple[Wire, Fleet], number: signal.Signals
) -> None:
    process = inventory[1].process("inventory")
    process.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(2.0)  # it drains
    process.send_signal(number)
    assert process.wait(AT_ONCE_SECONDS) == -number


#: Its grace is a second, and it does not use it; its stderr is a pipe that is full.
DEAF = """
import os, select, sys, time
from services.ending import on_signals
read, write = os.pipe()
while select.select([], [write], [], 0)[1]:
    os.write(write, b"x" * select.PIPE_BUF)
os.dup2(write, 2)
on_signals(lambda: None, within_seconds=1.0)
print("ready", flush=True)
while True:
    time.sleep(1)
"""


def test_its_grace_ends_it_where_nobody_reads_its_log() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", DEAF], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            process.terminate()
            assert process.wait(40) == 1
        finally:
            process.kill()


@pytest.mark.parametrize("service", ["orders", "inventory", "order_api"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_service_still_connects_ends_it_with_a_line(
    tmp_path: Path, service: str, number: signal.Signals
) -> None:
    """By that signal, as a program that does not handle it: there is nothing to drain."""
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        connecting(tmp_path, service, silent.getsockname()[1]) as process,
    ):
        silent.settimeout(CONNECTS_SECONDS)
        with silent.accept()[0]:  # a broker that says nothing
            process.send_signal(number)
            _, said = process.communicate(timeout=AT_ONCE_SECONDS)
    assert process.returncode == -number
    assert (
        said.splitlines()[-1]
        == f"{NAMES.get(service, service)}: ended by {number.name} before it served"
        and "Traceback" not in said
    )


@pytest.mark.parametrize("service", ["orders", "order_api"])
def test_a_service_that_finds_no_broker_says_so_in_a_line(tmp_path: Path, service: str) -> None:
    with connecting(tmp_path, service, free_ports(1)[0]) as process:
        _, said = process.communicate(timeout=CONNECTS_SECONDS)
    assert process.returncode == 1 and "Traceback" not in said
    line = said.splitlines()[-1]
    assert line.startswith(f"{NAMES.get(service, 'orders-task-queue')}: ") and "127.0.0.1" in line


@contextlib.contextmanager
def connecting(folder: Path, service: str, port: int) -> Iterator[subprocess.Popen[str]]:
    """A service whose broker should be there."""
    config = folder / "config.yaml"
    section = {"address": f"127.0.0.1:{port}", "task_queue": f"{service}-task-queue"}
    keeps = {} if service == "order_api" else {"database": str(folder / "db")}
    config.write_text(json.dumps({"odradek": section, **keeps}))
    command = [sys.executable, "-m", f"services.{service}", "--config", str(config)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.timeout(180)
@pytest.mark.slow
def test_a_broker_that_is_away_holds_no_foreign_service_up(tmp_path: Path) -> None:
    """One SIGTERM ends each in bounded time, a second one at once."""
    names = ("payments", "payments-twice", "notifications")
    with LocalBroker(data_dir=tmp_path / "broker", jvm_options=QUICK_START) as broker:
        admin = ClusterAdmin(Settings(address=broker.bootstrap, partitions=2))
        admin.ensure([admin.topics.results])
        fleets = {name: Fleet(tmp_path / name, broker.bootstrap) for name in names}
        ports = dict(zip(names, free_ports(3), strict=True))
        try:
            for name, fleet in fleets.items():
                fleet.folder.mkdir()
                fleet.start_service(name.partition("-")[0], telemetry=f"127.0.0.1:{ports[name]}")
            for port in ports.values():
                until(lambda port=port: get(f"http://127.0.0.1:{port}/health/ready")[0] == 200)
            broker.kill()
            processes = {
                name: fleet.process(name.partition("-")[0]) for name, fleet in fleets.items()
            }
            began = time.monotonic()
            for process in processes.values():
                process.terminate()
            time.sleep(0.5)
            assert processes["payments-twice"].poll() is None
            processes["payments-twice"].terminate()
            assert processes["payments-twice"].wait(AT_ONCE_SECONDS) == -signal.SIGTERM
            assert processes["notifications"].wait(BOUND_SECONDS) == 0
            assert (
                processes["payments"].wait(BOUND_SECONDS) == 1
            )  # what it had no answer for comes again
            assert time.monotonic() - began < BOUND_SECONDS
        finally:
            for fleet in fleets.values():
                fleet.stop()
