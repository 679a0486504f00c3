"""What lane tests share: records in, records out, on a real broker."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from odradek.config import Settings
from odradek.exceptions import OdradekError
from odradek.kafka.client_config import (
    transactional_producer_config,
)
from odradek.wire.events import SignalWorkflow
from tests.kafka.lane_host import host_arguments, make_processor
from tests.support.records import QUEUE, Records
from tests.support.until import until

STREAMS = Path(__file__).parents[2] / "streams"


class Wire(Records):
    """Counted signals and what the counting engine made of them."""

    def signals(self, count: int, workflows: int, name: str = "count") -> None:
        """`count` signals in turn over workflows w0, w1, ..."""
        for number in range(count):
            self.send(SignalWorkflow(f"w{number % workflows}", name, request_id=str(number)))
        self.flush()

    def counts(self) -> dict[str, list[int]]:
        """What the counting engine commanded: workflow id -> activity ids in the order of the
        topic.
        """
        found: dict[str, list[int]] = {}
        for task in self.records(self.commands):
            found.setdefault(task.workflow_id, []).append(int(task.activity_id))
        return found

    def assert_exactly_once(self, count: int, workflows: int, *, timeout: float = 60.0) -> None:
        """Each of `signals(count, workflows)` was applied once, in order, and the rows agree."""
        until(lambda: sum(map(len, self.counts().values())) >= count, timeout, f"{count} commands")
        counts = self.counts()
        expected = {
            f"w{w}": list(range(1, len(range(w, count, workflows)) + 1)) for w in range(workflows)
        }
        assert counts == expected
        rows = self.rows()
        assert {k: r.state_transition_count for (t, k), r in rows.items() if t == "run"} == {
            w: len(c) for w, c in expected.items()
        }  # type: ignore[union-attr]
        history = sorted(k for t, k in rows if t == "history")
        assert history == sorted(f"{w}/{n:010d}" for w, ns in expected.items() for n in ns)


@pytest.fixture
def wire(bootstrap: str, namespace: str, tmp_path: Path) -> Wire:
    """The wire of this test's namespace."""
    return Wire(bootstrap, namespace, tmp_path)


def commit(consumer: Consumer, *places: TopicPartition) -> None:
    """Offsets of a group. A broker that has just begun serves none yet, and librdkafka passes
    that on at once.
    """
    not_yet = {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }

    def committed() -> bool:
        try:
            consumer.commit(offsets=list(places), asynchronous=False)
        except KafkaException as error:
            assert error.args[0].code() in not_yet, error
            return False
        return True

    until(committed)


def open_transaction_of(settings: Settings, transactional_id: str) -> Producer:
    """A producer of somebody else whose transactions may be open for longer than ours."""
    producer = Producer(
        transactional_producer_config(settings, transactional_id)
        | {"transaction.timeout.ms": 300_000}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    return producer


def key_for(wire: Wire, partition: int, salt: str = "") -> str:
    """A workflow id of a partition."""
    from odradek.wire.partitioner import partition_for

    return next(
        k
        for k in (f"k{salt}{n}" for n in range(10_000))
        if partition_for(k.encode(), wire.settings.partitions) == partition
    )


class Host:
    """A processor in a process of its own (`lane_host.py`). `with` ends it, however it stands by
    then.
    """

    def __init__(
        self, wire: Wire, *, fault: str = "", log: Path | None = None, **more: Any
    ) -> None:
        environment = os.environ | {
            "ODRADEK_FAULT": fault,
            "PYTHONPATH": os.pathsep.join([str(STREAMS), str(STREAMS.parent)]),
        }
        self._log = open(log or os.devnull, "w")  # noqa: SIM115  # closed with the process
        command = host_arguments(wire.settings, QUEUE, **more)
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=self._log, text=True
        )

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()  # works on a stopped process too
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()

    @property
    def pid(self) -> int:
        return self.process.pid

    def line(self, wanted: str) -> str:
        """The next line of its output that begins with `wanted`; the test's own timeout bounds
        the wait.
        """
        seen = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            seen.append(line.rstrip())
            if line.startswith(wanted):
                return line.rstrip()
        raise AssertionError(
            f"ended with {self.process.wait()} without a line {wanted!r}; said {seen}"
        )

    def wait_stopped(self, timeout: float = 60.0) -> None:
        """Until SIGSTOP has stopped it."""
        until(
            lambda: psutil.Process(self.pid).status() == psutil.STATUS_STOPPED,
            timeout,
            "a stopped process",
        )

    def wait_killed(self, timeout: float = 60.0) -> None:
        """Until SIGKILL has ended it."""
        assert self.process.wait(timeout) == -signal.SIGKILL

    def drain(self) -> int:
        """SIGTERM, and its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


def start_error(wire: Wire) -> OdradekError:
    """The error that a start ends with."""
    processor = make_processor(wire.settings, QUEUE)
    try:
        with pytest.raises(OdradekError) as caught:
            processor.start()
            processor.wait_ready(60)
        return caught.value
    finally:
        processor.stop()
