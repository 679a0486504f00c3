"""The local broker: what a person or a test relies on when no Docker is there."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from odradek.broker import (
    QUICK_START,
    BrokerStartError,
    DataDirInUseError,
    LocalBroker,
    PortInUseError,
)
from odradek.broker.archive import archive_options, can_have_archive, find_archive, make_archive
from odradek.broker.jars import KafkaJars, kafka_jars
from odradek.broker.java import find_java
from odradek.broker.progress import StderrProgress

DEV = [sys.executable, "-m", "odradek.broker.dev"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """One for all that look at a broker and leave it as it is: with a data directory, and a
    setting of its own.
    """
    folder = tmp_path_factory.mktemp("running")
    with LocalBroker(
        data_dir=folder, config={"message.max.bytes": 4096}, jvm_options=QUICK_START
    ) as broker:
        yield broker


@pytest.fixture
def dev() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen(
            [*DEV, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def bootstrap_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("bootstrap: "), (
        line,
        process.stderr.read() if process.stderr and process.poll() is not None else "",
    )
    return line.removeprefix("bootstrap: ").strip()


def broker_processes(process: subprocess.Popen[str]) -> list[psutil.Process]:
    found = psutil.Process(process.pid).children(recursive=True)
    assert any("kafka.Kafka" in " ".join(child.cmdline()) for child in found)
    return found


def assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert not alive


def cluster_id(address: str) -> str:
    return str(AdminClient({"bootstrap.servers": address}).list_topics(timeout=30).cluster_id)


def produce_one(address: str, topic: str, value: bytes) -> None:
    # Kept in a variable: an AdminClient that is collected takes its pending requests with it.
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(timeout=30)
    producer = Producer({"bootstrap.servers": address, "acks": "all"})
    producer.produce(topic, value)
    assert producer.flush(30) == 0


def read_one(address: str, topic: str) -> bytes | None:
    consumer = Consumer(
        {"bootstrap.servers": address, "group.id": topic, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    try:
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                return message.value()
        return None
    finally:
        consumer.close()


def test_dev_prints_an_address_at_which_a_client_can_work_at_once(
    dev: Callable[..., subprocess.Popen[str]],
) -> None:
    process = dev()
    address = bootstrap_line(process)
    produce_one(address, "hello", b"world")
    assert read_one(address, "hello") == b"world"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_dev_and_its_broker(
    dev: Callable[..., subprocess.Popen[str]], number: signal.Signals
) -> None:
    process = dev()
    bootstrap_line(process)
    children = broker_processes(process)
    process.send_signal(number)
    assert process.wait(60) == 0
    assert_gone(children)


def test_kill_9_of_dev_ends_the_broker_and_removes_its_temporary_directory(
    dev: Callable[..., subprocess.Popen[str]],
) -> None:
    process = dev()
    bootstrap_line(process)
    children = broker_processes(process)
    guard = next(child for child in children if "guard.py" in " ".join(child.cmdline()))
    directory = Path(guard.cmdline()[guard.cmdline().index("--remove") + 1])
    assert directory.is_dir()
    process.kill()
    assert_gone(children)
    assert not directory.exists()


def test_kill_9_of_the_guard_ends_the_broker() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("PR_SET_PDEATHSIG is Linux's")
    with LocalBroker(jvm_options=QUICK_START) as broker:
        assert broker.pid is not None
        jvm = psutil.Process(broker.pid)
        guard = jvm.parent()
        assert guard is not None
        guard.kill()
        assert_gone([jvm])
        assert broker.pid is None


def test_a_data_directory_keeps_data_cluster_and_port_over_restarts(
    dev: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    first = dev("--data-dir", str(tmp_path / "data"))
    address = bootstrap_line(first)
    identity = cluster_id(address)
    produce_one(address, "kept", b"still here")
    first.terminate()
    assert first.wait(60) == 0

    second = dev("--data-dir", str(tmp_path / "data"))
    assert bootstrap_line(second) == address
    assert cluster_id(address) == identity
    assert read_one(address, "kept") == b"still here"


def test_a_killed_broker_recovers_at_the_same_address_with_its_data() -> None:
    """Or says that another program has taken its port meanwhile, and keeps its data until that
    has ended.
    """
    with LocalBroker(jvm_options=QUICK_START) as broker:
        address, cluster, port = (
            broker.bootstrap,
            broker.cluster_id,
            int(broker.bootstrap.rpartition(":")[2]),
        )
        produce_one(address, "survives", b"a crash")
        jvm = psutil.Process(broker.pid)
        broker.kill()
        assert_gone([jvm])
        assert broker.pid is None
        with socket.socket() as stranger:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            stranger.bind(("127.0.0.1", port))
            stranger.listen()
            with pytest.raises(PortInUseError, match=f"{address}.* taken .*data is kept"):
                broker.start()
        broker.start()
        assert (broker.bootstrap, broker.cluster_id) == (address, cluster)
        assert read_one(address, "survives") == b"a crash"


def test_an_archive_of_classes_is_used_if_it_is_whole(running: LocalBroker, tmp_path: Path) -> None:
    """The JVM crashes over a part of one."""
    java, kept = find_java(), kafka_jars(find_java(), StderrProgress())
    if find_archive(java, kept) is None and not (
        can_have_archive(java) and make_archive(java, kept)
    ):
        pytest.skip("this Java has no class data sharing")
    whole = find_archive(java, kept)
    assert whole is not None and archive_options(java, kept)[0] == f"-XX:SharedArchiveFile={whole}"
    jars = KafkaJars(kept.version, tmp_path / kept.directory.name)
    assert find_archive(java, jars) is None and archive_options(java, jars) == ()
    (tmp_path / whole.name).write_bytes(whole.read_bytes()[:1_000_000])
    assert find_archive(java, jars) is None and archive_options(java, jars) == ()
    if sys.platform.startswith("linux"):
        assert str(whole) in Path(f"/proc/{running.pid}/maps").read_text()


def test_brokers_are_strangers_to_each_other(running: LocalBroker) -> None:
    with LocalBroker(jvm_options=QUICK_START) as other:
        assert running.bootstrap != other.bootstrap
        assert running.cluster_id != other.cluster_id


def test_a_port_in_use_is_an_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"port {port} .* in use .*--port"):
            LocalBroker(port).start()


def test_a_data_directory_in_use_is_an_error_that_names_it(running: LocalBroker) -> None:
    with pytest.raises(DataDirInUseError, match=str(running.root)):
        LocalBroker(data_dir=running.root).start()


def test_a_broker_that_cannot_start_names_its_log_and_keeps_it() -> None:
    with pytest.raises(BrokerStartError) as failure:
        LocalBroker(config={"num.io.threads": "many"}, jvm_options=QUICK_START).start()
    assert failure.value.log_file.is_file()
    assert str(failure.value.log_file) in str(failure.value)
    assert "num.io.threads" in str(failure.value)
    shutil.rmtree(failure.value.log_file.parent)


def test_overrides_win_over_our_settings(running: LocalBroker) -> None:
    resource = ConfigResource(ResourceType.BROKER, "1")
    admin = AdminClient({"bootstrap.servers": running.bootstrap})
    config = admin.describe_configs([resource])[resource].result(timeout=30)
    assert config["message.max.bytes"].value == "4096"
