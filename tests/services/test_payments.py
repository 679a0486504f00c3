"""The payments service as a process, seen through the wire only: no import of odradek in it, nor
in what plays the processor.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
)

from services.wire import SCHEMAS_FOLDER, Schemas, _marked
from tests.services.payments_wire import Wire, outcomes, wire_on

#: A body that is none, behind the prefix of a schema that is known.
BROKEN = _marked(json.loads((SCHEMAS_FOLDER / "ActivityTask.avsc").read_text())) + b"\xff"


@pytest.fixture
def wire(bootstrap: str, namespace: str, tmp_path: Path) -> Iterator[Wire]:
    with wire_on(bootstrap, namespace, tmp_path) as wire:
        yield wire


@pytest.mark.promise("commands")
def test_answers_and_never_runs_an_aborted_command(wire: Wire) -> None:
    wire.start(limits={"poor": 5}, flaky_users={"flaky": 1})
    wire.command(1)
    wire.command(2, commit=False)
    wire.command(3, user_id="poor")
    wire.command(4, user_id="flaky")
    wire.command(5, activity_type="Unknown")
    wire.command(6, raw=BROKEN, workflow_id="order-6")
    seen = wire.until(
        lambda seen: len(outcomes(seen)) >= 5 and any(name == "dead letter" for name, _ in seen)
    )

    by_workflow = outcomes(seen)
    assert "order-2" not in by_workflow
    name, completed = by_workflow["order-1"]
    assert name == "ActivityTaskCompleted"
    assert json.loads(completed["result"][0]["data"]) == {"id": "F-1"}
    assert (
        completed["run_id"],
        completed["scheduled_event_id"],
        completed["activity_id"],
        completed["attempt"],
    ) == ("run-1", 17, "3", 1)
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


def test_a_command_of_a_newer_writer_is_read_with_the_schema_that_it_published(wire: Wire) -> None:
    """An upgrade of the processors must not fail payments."""
    newer_folder = wire.folder / "newer"
    shutil.copytree(SCHEMAS_FOLDER, newer_folder)
    file = newer_folder / "ActivityTask.avsc"
    raw = json.loads(file.read_text())
    raw["fields"].insert(3, {"name": "priority", "type": "long", "default": 0})
    file.write_text(json.dumps(raw))
    newer = Schemas(folder=newer_folder)
    topic = f"odradek.{wire.namespace}.schemas"
    admin = AdminClient({"bootstrap.servers": wire.address})
    admin.create_topics([NewTopic(topic, 1, 1, config={"cleanup.policy": "compact"})])[
        topic
    ].result(20)
    producer = Producer({"bootstrap.servers": wire.address})
    for schema in ("no JSON", json.dumps(raw)):
        producer.produce(
            topic,
            key="x",
            value=newer.encode(
                "PublishedSchema", {"fingerprint": "x", "name": "x", "schema": schema}
            ),
        )
    assert producer.flush(20) == 0
    wire.start()
    wire.command(1, schemas=newer, priority=7)
    seen = wire.until(lambda seen: "order-1" in outcomes(seen))
    assert outcomes(seen)["order-1"][0] == "ActivityTaskCompleted"


def test_killed_service_redelivers_with_started_and_one_effect(wire: Wire) -> None:
    wire.start()
    wire.command(1)
    wire.until(lambda seen: "order-1" in outcomes(seen))
    wire.kill()
    wire.command(2)
    wire.start()
    wire.until(lambda seen: "order-2" in outcomes(seen))
    names = [name for name, fields in wire.seen if fields.get("workflow_id") == "order-2"]
    assert names[0] == "ActivityTaskStarted", (
        "a command that may be a redelivery reports Started before it runs"
    )
    with sqlite3.connect(wire.folder / "payments.sqlite") as database:
        assert database.execute(
            "SELECT order_no, count(*) FROM effects GROUP BY order_no ORDER BY 1"
        ).fetchall() == [("1", 1), ("2", 1)]


def test_a_command_is_acknowledged_only_once_its_answer_is_durable(wire: Wire) -> None:
    """Also when the service ends in good order in between, and when its neighbours are done:
    else a run would wait for ever.
    """
    wire.start()
    wire.command(1)
    wire.until(lambda seen: "order-1" in outcomes(seen))
    nowhere = wire.events_of("nowhere-yet")
    wire.command(2, workflow_task_queue="nowhere-yet")
    for number in range(3, 9):
        wire.command(number)
    wire.until(lambda seen: len(outcomes(seen)) == 7)
    assert wire.end() == 0
    admin = AdminClient({"bootstrap.servers": wire.address})
    admin.create_topics([NewTopic(nowhere, 1, 1)])[nowhere].result(20)
    wire.start()
    wire.consumer.assign([TopicPartition(nowhere, 0, 0)])
    wire.until(lambda seen: "order-2" in outcomes(seen))
    with sqlite3.connect(wire.folder / "payments.sqlite") as database:
        assert database.execute(
            "SELECT count(*), count(DISTINCT order_no) FROM effects"
        ).fetchall() == [(8, 8)]


def test_an_answer_that_cannot_be_given_ends_the_process_and_the_command_comes_again(
    wire: Wire,
) -> None:
    narrow = wire.events_of("narrow")
    admin = AdminClient({"bootstrap.servers": wire.address})
    admin.create_topics([NewTopic(narrow, 1, 1, config={"max.message.bytes": "90"})])[
        narrow
    ].result(20)
    wire.start()
    assert wire.process is not None
    wire.command(1, workflow_task_queue="narrow")
    assert wire.process.wait(30) != 0
    assert "MessageSizeTooLarge" in (wire.folder / "payments.log").read_text()
    setting = ConfigEntry(
        "max.message.bytes", "1048576", incremental_operation=AlterConfigOpType.SET
    )
    resource = ConfigResource(ConfigResource.Type.TOPIC, narrow, incremental_configs=[setting])
    admin.incremental_alter_configs([resource])[resource].result(20)
    wire.start()
    wire.consumer.assign([TopicPartition(narrow, 0, 0)])
    wire.until(lambda seen: "order-1" in outcomes(seen))
