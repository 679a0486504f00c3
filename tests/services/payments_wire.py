"""The payments service as a process, and a processor's side of the wire beside it: no import of
odradek on either side.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from services.demo.fleet import REPOSITORY
from services.wire import Schemas, topic

OUTCOMES = ("ActivityTaskCompleted", "ActivityTaskFailed", "ActivityTaskCanceled")
QUEUE = "payments-task-queue"
SCHEMAS = Schemas()


@dataclass
class Wire:
    """A processor's side of the wire, played by the test."""

    address: str
    namespace: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    schemas: Schemas = SCHEMAS  # what commands are written with and answers are read with

    def __post_init__(self) -> None:
        self.events = self.events_of("orders")
        self.commands = topic("commands", self.namespace, QUEUE)
        self.dead_letters = topic("dead-letters", self.namespace, QUEUE)
        self.admin = AdminClient({"bootstrap.servers": self.address})
        topics = [self.commands, self.dead_letters, self.events]
        new = [NewTopic(name, 2 if name == self.commands else 1, 1) for name in topics]
        for future in self.admin.create_topics(new).values():
            future.result(20)
        self.consumer = Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": self.namespace,
                "isolation.level": "read_committed",
            }
        )
        self.consumer.assign(
            [TopicPartition(self.events, 0, 0), TopicPartition(self.dead_letters, 0, 0)]
        )
        self.seen: list[tuple[str, dict[str, Any]]] = []
        self.raw: list[bytes] = []

    def start(self, *, schema_registry_url: str | None = None, **settings: Any) -> None:
        section = {"address": self.address, "namespace": self.namespace, "task_queue": QUEUE}
        config = {
            "odradek": section
            | ({"schema_registry_url": schema_registry_url} if schema_registry_url else {}),
            "database": str(self.folder / "payments.sqlite"),
            **settings,
        }
        (self.folder / "payments.yaml").write_text(yaml.safe_dump(config))
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "services.payments",
                "--config",
                str(self.folder / "payments.yaml"),
            ],
            cwd=REPOSITORY,
            stdout=(self.folder / "payments.log").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )

    def events_of(self, queue: str) -> str:
        return topic("events", self.namespace, queue)

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self) -> int:
        """SIGTERM, and the exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def committed(self) -> list[int]:
        """What the group has committed of each partition of the commands; below 0: nothing."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": topic("activities", self.namespace, QUEUE),
                "enable.auto.commit": False,
            }
        )
        try:
            found = consumer.committed(
                [TopicPartition(self.commands, partition) for partition in range(2)],
                timeout=20,
            )
        finally:
            consumer.close()
        return [place.offset for place in found]

    def all_acknowledged(self, commands: int) -> bool:
        """Whether the group has committed all of so many commands, each with a transaction's
        marker behind it.
        """
        offsets = [offset for offset in self.committed() if offset >= 0]
        return sum(offsets) == 2 * commands - len(
            offsets
        )  # the last marker of a partition is not committed

    def command(
        self, number: int, *, commit: bool = True, schemas: Schemas | None = None, **fields: Any
    ) -> None:
        """One ActivityTask in a transaction of its own. The order number is `number`, and so is
        the workflow's.
        """
        order = {"order_no": str(number), "user_id": "user", "items": [], "amount": 100}
        order |= {name: fields.pop(name) for name in order.keys() & fields.keys()}
        task = {
            "namespace": self.namespace,
            "workflow_task_queue": "orders",
            "workflow_id": f"order-{number}",
            "run_id": f"run-{number}",
            "workflow_type": "OrderSaga",
            "task_queue": QUEUE,
            "activity_id": "3",
            "activity_type": "FreezePayment",
            "scheduled_event_id": 17,
            "attempt": 1,
            "input": [
                {"metadata": {"encoding": b"json/plain"}, "data": json.dumps(order).encode()}
            ],
            "start_to_close_timeout_ms": 60_000,
            **fields,
        }
        producer = Producer(
            {
                "bootstrap.servers": self.address,
                "transactional.id": f"{self.namespace}-{number}",
                "linger.ms": 0,
            }
        )
        producer.init_transactions(20)
        producer.begin_transaction()
        headers = {f"odradek-{field.replace('_', '-')}": str(task[field]) for field in ROUTED}
        value = task.get("raw") or (schemas or self.schemas).encode("ActivityTask", task)
        producer.produce(self.commands, key=task["workflow_id"], value=value, headers=headers)
        if commit:
            producer.commit_transaction(20)
        else:
            producer.flush(20)
            producer.abort_transaction(20)

    def until(
        self, met: Callable[[list[tuple[str, dict[str, Any]]]], bool]
    ) -> list[tuple[str, dict[str, Any]]]:
        """Read answers until the condition holds."""
        deadline = time.monotonic() + 40
        while not met(self.seen):
            assert time.monotonic() < deadline, (
                self.seen,
                (self.folder / "payments.log").read_text()[-3000:],
            )
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "payments.log").read_text()[-3000:]
            message = self.consumer.poll(0.2)
            if message is None or message.error() is not None:
                continue
            if message.topic() == self.dead_letters:
                self.seen.append(
                    (
                        "dead letter",
                        {name: value.decode() for name, value in message.headers() or []},
                    )
                )
            else:
                self.raw.append(message.value() or b"")
                self.seen.append(self.schemas.decode(self.raw[-1]))
        return self.seen


ROUTED = (
    "namespace",
    "workflow_task_queue",
    "workflow_id",
    "run_id",
    "activity_id",
    "scheduled_event_id",
    "attempt",
)


@contextmanager
def wire_on(address: str, namespace: str, folder: Path) -> Iterator[Wire]:
    """A wire whose service ends with the block."""
    wire = Wire(address, namespace, folder)
    try:
        yield wire
    finally:
        wire.consumer.close()
        if wire.process is not None and wire.process.poll() is None:
            wire.kill()


def outcomes(seen: list[tuple[str, dict[str, Any]]]) -> dict[str, tuple[str, dict[str, Any]]]:
    """The answer to each workflow's command."""
    return {fields["workflow_id"]: (name, fields) for name, fields in seen if name in OUTCOMES}
