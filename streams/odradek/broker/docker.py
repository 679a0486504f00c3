"""A Kafka broker in Docker, through `testcontainers`: only where a Docker daemon answers."""

from __future__ import annotations

import time
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from odradek.broker.errors import BrokerError
from odradek.broker.jars import kafka_version
from odradek.broker.ports import HOST, free_ports
from odradek.broker.settings import LAPTOP, Setting, replication, setting_text

#: Pulling the image does not count.
START_TIMEOUT = timedelta(seconds=90)

#: A daemon on this machine answers in milliseconds; a dead socket must not hold up every test run.
PING_TIMEOUT_S = 3


def docker_runs() -> bool:
    """Whether a Docker daemon answers and `testcontainers` is installed."""
    try:
        import docker
        import testcontainers.core.container  # noqa: F401
    except ImportError:
        return False
    try:
        client = docker.from_env(timeout=PING_TIMEOUT_S)
        try:
            return bool(client.ping())
        finally:
            client.close()
    except Exception:  # docker raises its own, requests' and socket errors for "not there"
        return False


class DockerBroker:
    """One broker of the official image `apache/kafka`, with the same settings as the local one."""

    def __init__(self, *, start_timeout: timedelta = START_TIMEOUT) -> None:
        self._start_timeout = start_timeout
        self._container: Any = None
        self._bootstrap = ""

    @property
    def bootstrap(self) -> str:
        """`HOST:PORT` for `bootstrap.servers`."""
        return self._bootstrap

    def start(self) -> Self:
        from testcontainers.core.container import DockerContainer

        # The broker tells clients its address, so host and outside port must be known before it
        # starts.
        port = free_ports(1)[0]
        container = DockerContainer(f"apache/kafka:{kafka_version()}").with_bind_ports(port, port)
        host = container.get_container_host_ip()
        self._bootstrap = f"{HOST if host == 'localhost' else host}:{port}"
        for name, value in container_environment(self._bootstrap).items():
            container = container.with_env(name, value)
        self._container = container
        try:
            container.start()
            self._wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            container.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _wait_ready(self) -> None:
        admin = AdminClient(
            {"bootstrap.servers": self.bootstrap, "log_level": 0, "reconnect.backoff.max.ms": 200}
        )
        deadline_s = time.monotonic() + self._start_timeout.total_seconds()
        while time.monotonic() < deadline_s:
            try:
                if admin.list_topics(timeout=2).brokers:
                    return
            except KafkaException:
                continue
        said = b"".join(self._container.get_logs()).decode(errors="replace")[-2000:]
        raise BrokerError(
            f"Kafka in Docker did not answer on {self.bootstrap} in {self._start_timeout}. It said"
            f" last:\n{said}"
        )


def container_environment(bootstrap: str) -> dict[str, str]:
    """Environment of the image: each setting `a.b` is `KAFKA_A_B`. `bootstrap` is the address as
    clients see it.
    """
    port = bootstrap.rpartition(":")[2]
    settings: dict[str, Setting] = {
        "node.id": 1,
        "process.roles": "broker,controller",
        "listeners": f"PLAINTEXT://0.0.0.0:{port},CONTROLLER://{HOST}:9093",
        "advertised.listeners": f"PLAINTEXT://{bootstrap}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.quorum.voters": f"1@{HOST}:9093",
        **LAPTOP,
        **replication(1),
    }
    return {
        f"KAFKA_{name.upper().replace('.', '_')}": setting_text(value)
        for name, value in settings.items()
    }
