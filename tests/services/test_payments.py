"""The payments service as a process, seen through the wire only: no import of odradek on either side."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from services.avro_wire import Schemas, schemas_folder
from services.payments.wire_names import QueueNames

REPOSITORY = Path(__file__).resolve().parents[2]
QUEUE = "payments-task-queue"
SCHEMAS = Schemas(schemas_folder())


@dataclass
class Wire:
    """A processor's side of the wire, played by the test."""

    address: str
    namespace: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.names = QueueNames(self.namespace, QUEUE)
        self.events = self.names.events_of(self.namespace, "orders")
        admin = AdminClient({"bootstrap.servers": self.address})
        topics = [self.names.commands, self.names.control, self.names.dead_letters, self.events]
        for future in admin.create_topics([NewTopic(topic, 2 if topic == self.names.commands else 1, 1) for topic in topics]).values():
            future.result(20)
        self.consumer = Consumer({"bootstrap.servers": self.address, "group.id": self.namespace, "isolation.level": "read_committed"})
        self.consumer.assign([TopicPartition(self.events, 0, 0), TopicPartition(self.names.dead_letters, 0, 0)])
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def start(self, **settings: Any) -> None:
        config = {
            "odradek": {"address": self.address, "namespace": self.namespace, "task_queue": QUEUE},
            "database": str(self.folder / "payments.sqlite"),
            **settings,
        }
        (self.folder / "payments.yaml").write_text(yaml.safe_dump(config))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services.payments", "--config", str(self.folder / "payments.yaml")],
            cwd=REPOSITORY,
            stdout=(self.folder / "payments.log").open("ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def command(self, number: int, *, commit: bool = True, **fields: Any) -> None:
        """One ActivityTask in a transaction of its own."""
        order = {"order_no": str(number), "user_id": fields.pop("user_id", "user"), "items": [], "amount": fields.pop("amount", 100)}
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
            "input": [{"metadata": {"encoding": b"json/plain"}, "data": json.dumps(order).encode()}],
            "start_to_close_timeout_ms": 60_000,
            **fields,
        }
        producer = Producer({"bootstrap.servers": self.address, "transactional.id": f"{self.namespace}-{number}", "linger.ms": 0})
        producer.init_transactions(20)
        producer.begin_transaction()
        headers = {f"odradek-{field.replace('_', '-')}": str(task[field]) for field in ROUTED}
        value = task.get("raw") or SCHEMAS.encode("ActivityTask", task)
        producer.produce(self.names.commands, key=task["workflow_id"], value=value, headers=headers)
        if commit:
            producer.commit_transaction(20)
        else:
            producer.flush(20)
            producer.abort_transaction(20)

    def until(self, met: Callable[[list[tuple[str, dict[str, Any]]]], bool]) -> list[tuple[str, dict[str, Any]]]:
        """Read answers until the condition holds."""
        deadline = time.monotonic() + 40
        while not met(self.seen):
            assert time.monotonic() < deadline, (self.seen, (self.folder / "payments.log").read_text()[-3000:])
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "payments.log").read_text()[-3000:]
            message = self.consumer.poll(0.2)
            if message is None or message.error() is not None:
                continue
            if message.topic() == self.names.dead_letters:
                self.seen.append(("dead letter", {name: value.decode() for name, value in message.headers() or []}))
            else:
                self.seen.append(SCHEMAS.decode(message.value() or b""))
        return self.seen


ROUTED = ("namespace", "workflow_task_queue", "workflow_id", "run_id", "activity_id", "scheduled_event_id", "attempt")


@pytest.fixture
def wire(bootstrap: str, namespace: str, tmp_path: Path) -> Iterator[Wire]:
    wire = Wire(bootstrap, namespace, tmp_path)
    yield wire
    wire.consumer.close()
    if wire.process is not None and wire.process.poll() is None:
        wire.kill()


def outcomes(seen: list[tuple[str, dict[str, Any]]]) -> dict[str, tuple[str, dict[str, Any]]]:
    return {fields["workflow_id"]: (name, fields) for name, fields in seen if name in ("ActivityTaskCompleted", "ActivityTaskFailed")}


def test_answers_and_never_runs_an_aborted_command(wire: Wire) -> None:
    wire.start(limits={"poor": 5}, flaky_users={"flaky": 1})
    wire.command(1)
    wire.command(2, commit=False)
    wire.command(3, user_id="poor")
    wire.command(4, user_id="flaky")
    wire.command(5, activity_type="Unknown")
    wire.command(6, raw=b"\xc3\x01garbage!", workflow_id="order-6")
    seen = wire.until(lambda seen: len(outcomes(seen)) >= 5 and any(name == "dead letter" for name, _ in seen))

    by_workflow = outcomes(seen)
    assert "order-2" not in by_workflow
    name, completed = by_workflow["order-1"]
    assert name == "ActivityTaskCompleted"
    assert json.loads(completed["result"][0]["data"]) == {"id": "F-1"}
    assert (completed["run_id"], completed["scheduled_event_id"], completed["activity_id"], completed["attempt"]) == ("run-1", 17, "3", 1)
    declined = by_workflow["order-3"][1]["failure"]
    assert (declined["type"], declined["non_retryable"]) == ("CardDeclined", True)
    lost = by_workflow["order-4"][1]["failure"]
    assert (lost["type"], lost["non_retryable"]) == ("BankUnreachable", False)
    unknown = by_workflow["order-5"][1]["failure"]
    assert unknown["type"] == "NotFoundError"
    assert "FreezePayment" in unknown["message"]
    assert not unknown["non_retryable"]
    assert by_workflow["order-6"][1]["failure"]["type"] == "UndecodableCommand"
    (letter,) = [fields for name, fields in seen if name == "dead letter"]
    assert letter["odradek-dead-letter-reason"] == "UNDECODABLE"


def test_it_shows_metrics_and_probes_of_its_own(wire: Wire) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    wire.start(telemetry=f"127.0.0.1:{port}")
    wire.command(1)
    wire.command(2, activity_type="Unknown")
    wire.until(lambda seen: len(outcomes(seen)) == 2)

    def get(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    assert json.loads(get("/health/live")) == {"status": "live"} and json.loads(get("/health/ready")) == {"status": "ready"}
    metrics = get("/metrics")
    assert 'foreign_records_total{service="payments"} 2.0' in metrics
    assert 'foreign_outcomes_total{kind="FreezePayment",outcome="ActivityTaskCompleted",service="payments"} 1.0' in metrics
    assert 'foreign_outcomes_total{kind="(unknown)",outcome="ActivityTaskFailed",service="payments"} 1.0' in metrics


def test_killed_service_redelivers_with_started_and_one_effect(wire: Wire) -> None:
    wire.start()
    wire.command(1)
    wire.until(lambda seen: "order-1" in outcomes(seen))
    wire.kill()
    wire.command(2)
    wire.start()
    wire.until(lambda seen: "order-2" in outcomes(seen))
    names = [name for name, fields in wire.seen if fields.get("workflow_id") == "order-2"]
    assert names[0] == "ActivityTaskStarted", "a command that may be a redelivery reports Started before it runs"
    with sqlite3.connect(wire.folder / "payments.sqlite") as database:
        assert database.execute("SELECT order_no, count(*) FROM effects GROUP BY order_no ORDER BY 1").fetchall() == [("1", 1), ("2", 1)]
