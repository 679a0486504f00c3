"""`odradek dev`: broker and server together, and their end together."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Producer

from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import producer_config
from odradek.wire.codec import encode
from odradek.wire.outcomes import ExecutionSummary
from tests.support.server import Command, get, running
from tests.support.until import until

pytestmark = pytest.mark.timeout(180)


def list_run(address: str, name: str) -> None:
    settings = Settings(address=address, partitions=2)
    admin = ClusterAdmin(settings)
    admin.ensure([admin.topics.executions])
    producer = Producer(producer_config(settings))
    summary = ExecutionSummary(
        "default", "queue", name, name, "Order", "RUNNING", 1_790_000_100_000
    )
    producer.produce(admin.topics.executions, key=f"{name}/{name}".encode(), value=encode(summary))
    assert producer.flush(60) == 0


def listed(url: str) -> list[str]:
    status, found = get(f"{url}/api/v1/namespaces/default/workflows")
    return (
        [one["execution"]["workflowId"] for one in found.get("executions", [])]
        if status == 200
        else []
    )


def family(command: Command) -> list[psutil.Process]:
    found = psutil.Process(command.process.pid).children(recursive=True)
    assert any("kafka.Kafka" in " ".join(child.cmdline()) for child in found)
    return found


def test_broker_and_server_start_and_end_together_and_keep_their_data(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    with running(tmp_path / "1", "dev", "--data-dir", data, "--ui-port", "0") as first:
        address, url = first.line("bootstrap"), first.line("ui")
        assert [line.partition(":")[0] for line in first.out.read_text().splitlines()] == [
            "bootstrap",
            "ui",
        ]
        until(lambda: get(f"{url}/health/ready")[0] == 200)
        list_run(address, "kept")
        until(lambda: listed(url) == ["kept"])
        processes = family(first)
        assert first.end(signal.SIGTERM) < 30.0 and first.process.returncode == 0, first.said()
        assert not psutil.wait_procs(processes, timeout=60)[1]
    assert list((tmp_path / "data").rglob("*.sqlite")), "the lists lie with the broker's data"
    with running(tmp_path / "2", "dev", "--data-dir", data, "--ui-port", "0") as second:
        assert second.line("bootstrap") == address
        assert listed(second.line("ui")) == ["kept"]  # at once, from the copy that was kept
        processes = family(second)
        second.end(signal.SIGINT)
        assert second.process.returncode == 0, second.said()
        assert not psutil.wait_procs(processes, timeout=60)[1]


def test_a_taken_port_is_said_and_the_broker_s_end_is_the_end(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with running(tmp_path / "1", "dev", "--ui-port", port) as refused:
            assert refused.process.wait(60) == 1
            assert (
                f"port {port} is in use" in refused.errors.read_text()
                and "bootstrap" not in refused.out.read_text()
            )
    with running(tmp_path / "2", "dev", "--ui-port", "0") as dev:
        dev.line("ui")
        processes = family(dev)
        next(
            process for process in processes if "kafka.Kafka" in " ".join(process.cmdline())
        ).kill()
        assert dev.process.wait(60) == 1
        assert (
            "Kafka ended by itself" in dev.errors.read_text()
            and "Traceback" not in dev.errors.read_text()
        ), dev.said()
        assert not psutil.wait_procs(processes, timeout=60)[1]


@pytest.mark.parametrize("brokers", ["1", "2"])
@pytest.mark.parametrize("below", ["", "deeper"])
def test_data_dir_that_cannot_be_made_is_one_line(tmp_path: Path, brokers: str, below: str) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    with running(
        tmp_path / "1", "dev", "--no-server", "--brokers", brokers, "--data-dir", str(file / below)
    ) as refused:
        assert refused.process.wait(60) == 2
        said = refused.errors.read_text()
        assert f"{file} is a file. Give another --data-dir" in said and "Traceback" not in said, (
            said
        )
        assert "bootstrap" not in refused.out.read_text()


def test_kill_9_of_dev_leaves_nothing(tmp_path: Path) -> None:
    with running(tmp_path / "1", "dev", "--ui-port", "0") as dev:
        url = dev.line("ui")
        processes = family(dev)
        dev.process.kill()
        assert not psutil.wait_procs(processes, timeout=60)[1]
        assert get(f"{url}/health/live")[0] == 0
