"""Facts about Faust: which records an agent sees."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.facts.conftest import Kafka

READER = Path(__file__).with_name("faust_reader.py")


@pytest.fixture
def values_read(kafka: Kafka, tmp_path: Path) -> Iterator[Callable[[str, str], list[str]]]:
    """`values_read(topic, scheme)`: what a Faust agent got, up to and with the value "last"."""
    workers: list[subprocess.Popen[str]] = []

    def read(topic: str, scheme: str) -> list[str]:
        command = [
            sys.executable,
            str(READER),
            kafka.bootstrap,
            topic,
            scheme,
            kafka.name("app"),
            str(tmp_path / "faust"),
        ]
        with (tmp_path / "errors").open("w") as errors:
            worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        workers.append(worker)
        assert worker.stdout is not None
        values: list[str] = []
        while "last" not in values:
            line = worker.stdout.readline()
            assert line, f"the Faust worker ended: {(tmp_path / 'errors').read_text()[-3000:]}"
            if line.startswith("read "):
                values.append(line.split()[1])
        return values

    yield read
    for worker in workers:
        worker.kill()
        worker.communicate()


@pytest.fixture
def topic_with_an_aborted_record(kafka: Kafka) -> str:
    topic = kafka.topic()
    producer = kafka.producer(kafka.name("lane"))
    producer.begin_transaction()
    producer.produce(topic, b"aborted")
    assert producer.flush(10) == 0
    producer.abort_transaction(10)
    producer.begin_transaction()
    producer.produce(topic, b"last")
    producer.commit_transaction(10)
    return topic


def test_an_agent_processes_a_record_of_an_aborted_transaction(
    values_read: Callable[[str, str], list[str]], topic_with_an_aborted_record: str
) -> None:
    assert values_read(topic_with_an_aborted_record, "kafka") == ["aborted", "last"]


def test_over_a_transport_that_reads_committed_it_does_not(
    values_read: Callable[[str, str], list[str]], topic_with_an_aborted_record: str
) -> None:
    assert values_read(topic_with_an_aborted_record, "kafka-committed") == ["last"]
