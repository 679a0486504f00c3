"""`odradek server` as a process: its errors, the death and return of its broker, its end."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from confluent_kafka import Producer

from odradek.broker import QUICK_START, LocalBroker
from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import producer_config
from odradek.wire.codec import encode
from odradek.wire.outcomes import ExecutionSummary
from tests.support.server import Command, get, running
from tests.support.until import until

pytestmark = pytest.mark.timeout(240)
#: Two seconds, and what a busy machine needs; less than a request to a broker that is away may take
#: (10 s).
SOON_S = 9.0


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalBroker]:
    with LocalBroker(jvm_options=QUICK_START) as started:
        yield started


@pytest.fixture
def broker(shared: LocalBroker) -> LocalBroker:
    """To be killed: the next test gets it running."""
    if shared.pid is None:
        shared.start()
    return shared


def write(settings: Settings, *names: str) -> None:
    """Runs, as a processor lists them."""
    admin = ClusterAdmin(settings)
    admin.ensure([admin.topics.executions])
    producer = Producer(producer_config(settings))
    for name in names:
        summary = ExecutionSummary(
            "default", "queue", name, name, "Order", "RUNNING", 1_790_000_100_000
        )
        producer.produce(
            admin.topics.executions, key=f"{name}/{name}".encode(), value=encode(summary)
        )
    assert producer.flush(60) == 0


def listed(url: str) -> set[str]:
    status, found = get(f"{url}/api/v1/namespaces/default/workflows")
    return (
        {one["execution"]["workflowId"] for one in found.get("executions", [])}
        if status == 200
        else set()
    )


def ready(url: str) -> bool:
    return get(f"{url}/health/ready")[0] == 200


def test_the_server_outlives_its_broker(broker: LocalBroker, tmp_path: Path) -> None:
    """Live all the while; not ready, and says why, while no broker answers; ready and up to date
    once one does. Then SIGTERM.
    """
    settings = Settings(address=broker.bootstrap, partitions=2)
    write(settings, "a", "b")
    with running(
        tmp_path / "1",
        "server",
        "--address",
        broker.bootstrap,
        "--port",
        "0",
        ODRADEK_STATE_DIR=str(tmp_path / "s"),
    ) as one:
        url = one.line("ui")
        until(lambda: ready(url))
        until(lambda: listed(url) == {"a", "b"})

        broker.kill()
        with ThreadPoolExecutor() as beside:
            described = beside.submit(get, f"{url}/api/v1/namespaces/default/workflows/a")
            status, why = until(lambda: (answer := get(f"{url}/health/ready"))[0] == 503 and answer)
        assert (status, why) == (
            503,
            {"status": "not ready", "missing": {"kafka": "no broker answers"}},
        )
        assert get(f"{url}/health/live") == (200, {"status": "live"})
        assert listed(url) == {"a", "b"}  # lists answer from the copy
        assert described.result()[0] == 503  # what needs an owner says so, in time

        broker.start()
        write(settings, "c")
        until(lambda: ready(url))
        until(lambda: listed(url) == {"a", "b", "c"})
        assert get(f"{url}/health/live")[0] == 200
        assert one.end(signal.SIGTERM) < SOON_S and one.process.returncode == 0, one.said()


def test_a_dead_broker_delays_no_end_and_fills_no_log(broker: LocalBroker, tmp_path: Path) -> None:
    with running(
        tmp_path / "1",
        "server",
        "--address",
        broker.bootstrap,
        "--port",
        "0",
        ODRADEK_STATE_DIR=str(tmp_path / "s"),
    ) as one:
        url = one.line("ui")
        until(lambda: ready(url))
        broker.kill()
        until(lambda: get(f"{url}/health/ready")[0] == 503)
        assert one.end(signal.SIGINT) < SOON_S and one.process.returncode == 0, one.said()
    lines = one.errors.read_text().splitlines()
    assert len(lines) < 25, one.said()
    assert not any(
        "Traceback" in line or "never" in line or "destroyed" in line for line in lines
    ), one.said()
    assert sum("no broker answers the read side" in line for line in lines) == 1


def test_errors_of_the_start_are_one_line_each(broker: LocalBroker, tmp_path: Path) -> None:
    state = str(tmp_path / "s")
    with running(
        tmp_path / "1",
        "server",
        "--address",
        broker.bootstrap,
        "--port",
        "0",
        ODRADEK_STATE_DIR=state,
    ) as one:
        taken = one.line("ui").rpartition(":")[2]
        for name, port, wanted in (
            ("port", taken, f"cannot listen on 127.0.0.1:{taken}"),
            ("store", "0", f"process {one.process.pid}"),
        ):
            with running(
                tmp_path / name,
                "server",
                "--address",
                broker.bootstrap,
                "--port",
                port,
                ODRADEK_STATE_DIR=state,
            ) as other:
                assert other.process.wait(60) == 1
                assert_one_line(other, wanted)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # nobody listens on it
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with running(
            tmp_path / "address",
            "server",
            "--address",
            address,
            "--port",
            "0",
            ODRADEK_STATE_DIR=state,
        ) as other:
            assert other.process.wait(90) == 3
            assert_one_line(other, f"no Kafka broker answers at {address}")


def assert_one_line(command: Command, wanted: str) -> None:
    assert command.out.read_text() == ""
    (line,) = command.errors.read_text().splitlines()
    assert line.startswith("odradek: ") and wanted in line
