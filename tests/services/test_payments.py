"""The payments service as a process, seen through the wire only: no import of odradek in it, nor
in what plays the processor.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import time
import urllib.request
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

from odradek.broker.ports import free_ports
from services.avro_wire import Schemas, schemas_folder
from tests.services.payments_wire import SCHEMAS, Wire, outcomes, wire_on
from tests.support import server as odradek_server
from tests.support.until import until

#: A body that is none, behind the prefix of a schema that is known.
BROKEN = SCHEMAS.prefix_of("ActivityTask") + b"\xff"


@pytest.fixture
def wire(bootstrap: str, namespace: str, tmp_path: Path) -> Iterator[Wire]:
    with wire_on(bootstrap, namespace, tmp_path) as wire:
        yield wire


@pytest.mark.promise("commands")
def test_answers_and_never_runs_an_aborted_command(wire: Wire) -> None:
    wire.start(limits={"poor": 5}, flaky_users={"flaky": 1})
    wire.say_nothing()
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


def test_it_shows_metrics_and_probes_of_its_own(wire: Wire) -> None:
    (port,) = free_ports(1)  # not of those that the system gives to others meanwhile
    wire.start(telemetry=f"127.0.0.1:{port}")
    wire.command(1)
    wire.command(2, activity_type="Unknown")
    wire.until(lambda seen: len(outcomes(seen)) == 2)
    wire.command(3, raw=BROKEN, workflow_id="order-3")
    wire.until(lambda seen: any(name == "dead letter" for name, _ in seen))

    def get(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return str(answer.read().decode())

    assert json.loads(get("/health/live")) == {"status": "live"}
    until(
        lambda: (
            odradek_server.get(f"http://127.0.0.1:{port}/health/ready")
            == (200, {"status": "ready"})
        )
    )
    until(lambda: 'foreign_records_total{service="payments"} 3.0' in get("/metrics"))
    metrics = get("/metrics")
    assert (
        'foreign_outcomes_total{kind="FreezePayment",outcome="ActivityTaskCompleted",service="payments"} 1.0'
        in metrics
    )
    assert (
        'foreign_outcomes_total{kind="(unknown)",outcome="ActivityTaskFailed",service="payments"} 1.0'
        in metrics
    )

    def dead(reason: str, count: float) -> str:
        """As Odradek's own services say it (`make docs`), each reason from 0: what its alarm
        counts.
        """
        where = f'kind="activities",namespace="{wire.namespace}",reason="{reason}",task_queue="{wire.names.task_queue}"'
        return f"odradek_dead_letters_total{{{where}}} {count}"

    until(lambda: dead("UNDECODABLE", 1.0) in get("/metrics"))
    assert dead("UNEXPECTED_RECORD", 0.0) in metrics and dead("UNKNOWN_SCHEMA", 0.0) in metrics


def test_a_command_of_a_newer_writer_is_read_with_the_schema_that_it_published(wire: Wire) -> None:
    """An upgrade of the processors must not fail payments."""
    newer_folder = wire.folder / "newer"
    shutil.copytree(schemas_folder(), newer_folder)
    file = newer_folder / "ActivityTask.avsc"
    raw = json.loads(file.read_text())
    raw["fields"].insert(3, {"name": "priority", "type": "long", "default": 0})
    file.write_text(json.dumps(raw))
    newer = Schemas(newer_folder)
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


def test_what_nobody_waits_for_any_more_does_not_begin(wire: Wire) -> None:
    """Commands that waited while the service was down: `control` is read from its start before
    the first of them.
    """
    wire.cancel(1, reason="cancel requested")
    wire.cancel(2, reason="no longer awaited")
    wire.cancel(3, reason="no longer awaited", attempt=1)
    wire.cancel(4, reason="timed out")
    wire.command(1)
    wire.command(2)
    wire.command(3, attempt=2)  # the attempt before it was given up
    wire.command(4, schedule_to_start_timeout_ms=1_000)
    now_ms = time.time_ns() // 1_000_000
    # By a clock that is an hour ahead, or so it looks to one: the engine has not said that their
    # time is over.
    wire.command(
        5, schedule_to_start_timeout_ms=60_000, current_attempt_scheduled_time_ms=now_ms - 3_600_000
    )
    wire.command(6, schedule_to_close_timeout_ms=600_000, scheduled_time_ms=now_ms - 3_600_000)
    # Over for so long that `control` may have forgotten it.
    wire.command(7, schedule_to_close_timeout_ms=600_000, scheduled_time_ms=now_ms - 13 * 3_600_000)
    wire.start()
    wire.until(lambda seen: {"order-1", "order-3", "order-5", "order-6"} <= set(outcomes(seen)))
    until(lambda: wire.all_acknowledged(7))
    seen = wire.until(lambda seen: True)
    assert {workflow: name for workflow, (name, _) in outcomes(seen).items()} == {
        "order-1": "ActivityTaskCanceled",
        "order-3": "ActivityTaskCompleted",
        "order-5": "ActivityTaskCompleted",
        "order-6": "ActivityTaskCompleted",
    }
    with sqlite3.connect(wire.folder / "payments.sqlite") as database:
        assert database.execute("SELECT order_no FROM effects ORDER BY 1").fetchall() == [
            ("3",),
            ("5",),
            ("6",),
        ]


def test_an_effect_that_has_happened_is_answered_although_it_was_cancelled_since(
    wire: Wire,
) -> None:
    wire.start()
    wire.command(1)
    wire.until(lambda seen: "order-1" in outcomes(seen))
    wire.kill()
    wire.cancel(1)
    wire.seen.clear()
    wire.command(1)  # as if the answer had been lost
    wire.start()
    seen = wire.until(lambda seen: "order-1" in outcomes(seen))
    assert outcomes(seen)["order-1"][0] == "ActivityTaskCompleted"


def test_each_of_two_instances_hears_of_cancel_requests(wire: Wire, tmp_path: Path) -> None:
    """Members of one Faust app share the partitions of what an agent reads
    (`tests/facts/test_faust_instances.py`): `control` has one.
    """
    wire.start()
    other = Wire(wire.address, wire.namespace, tmp_path / "other", shares_topics=True)
    other.folder.mkdir()
    other.start()
    try:
        who: set[str] = set()
        for number in range(1, 200):
            wire.cancel(number)
            wire.command(number)
            seen = wire.until(lambda seen, number=number: f"order-{number}" in outcomes(seen))  # type: ignore[misc]
            who = {fields["identity"] for name, fields in seen if name == "ActivityTaskCanceled"}
            if len(who) == 2:
                break
        assert len(who) == 2, "the other one never heard of a request"
    finally:
        other.kill()
        other.consumer.close()


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
    nowhere = wire.names.events_of(wire.namespace, "nowhere-yet")
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
    narrow = wire.names.events_of(wire.namespace, "narrow")
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
