"""The foreign services where records carry a schema registry's ids: they read and write them,
wait for it, and end without it.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NoReturn

import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin
from services.avro_wire import NotReadable, Schemas, UnknownSchema, schemas_folder
from services.demo.fleet import Fleet
from services.registry import WITHIN_SECONDS, Registry, RegistryAway, RegistryRefuses
from services.topic_names import escape
from tests.kafka.fake_registry import FakeRegistry, fake_registry
from tests.services.payments_wire import SCHEMAS, Wire, outcomes, wire_on
from tests.services.shop import shop_on
from tests.support.until import until

PROCESSOR_WRITES = ("ActivityTask", "CancelActivityTask", "WorkflowResult")


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with fake_registry() as running:
        yield running


@pytest.fixture
def wire(bootstrap: str, namespace: str, tmp_path: Path, registry: FakeRegistry) -> Iterator[Wire]:
    """A processor's side that writes with ids, of a version whose commands have a field more."""
    with wire_on(bootstrap, namespace, tmp_path) as wire:
        wire.schemas = newer_schemas(tmp_path, registry)
        yield wire


def newer_schemas(folder: Path, registry: FakeRegistry) -> Schemas:
    shutil.copytree(schemas_folder(), folder / "newer")
    file = folder / "newer" / "ActivityTask.avsc"
    raw = json.loads(file.read_text())
    raw["fields"].insert(3, {"name": "priority", "type": "long", "default": 0})
    file.write_text(json.dumps(raw))
    schemas = Schemas(folder / "newer", Registry(registry.url))
    schemas.register(PROCESSOR_WRITES)
    return schemas


# ---------------------------------------------------------------- payments


@pytest.mark.promise("registry")
def test_payments_reads_and_writes_a_registrys_framing_and_reads_the_other(
    wire: Wire, registry: FakeRegistry
) -> None:
    wire.cancel(3, reason="no longer awaited")
    wire.start(schema_registry_url=registry.url)
    wire.command(1, priority=7)
    wire.command(2, schemas=SCHEMAS)  # a writer without the setting
    wire.command(3)  # cancelled before it began, by a record with an id
    wire.command(4, activity_type="Nothing")
    raw: list[bytes] = []
    read = wire.read
    wire.read = lambda value: raw.append(value) or read(value)  # type: ignore[func-returns-value, method-assign, assignment]
    seen = wire.until(lambda seen: {"order-1", "order-2", "order-4"} <= outcomes(seen).keys())
    kinds = {workflow_id: name for workflow_id, (name, _) in outcomes(seen).items()}
    assert kinds == {
        "order-1": "ActivityTaskCompleted",
        "order-2": "ActivityTaskCompleted",
        "order-4": "ActivityTaskFailed",
    }
    assert raw and all(value[0] == 0 for value in raw)
    assert "/subjects/odradek.ActivityTaskCompleted/versions" in {
        path.partition("?")[0] for path in registry.asked
    }
    until(lambda: wire.all_acknowledged(4))
    asked = len(registry.asked)
    wire.command(5)
    wire.until(lambda seen: "order-5" in outcomes(seen))
    assert registry.asked[asked:] == [], "once a schema"
    assert wire.end() == 0


@pytest.mark.promise("registry")
def test_a_command_whose_id_has_to_be_asked_for_waits_while_the_registry_is_away(
    wire: Wire, registry: FakeRegistry
) -> None:
    wire.start(schema_registry_url=registry.url)
    wire.command(1, schemas=SCHEMAS)
    wire.until(lambda seen: "order-1" in outcomes(seen))
    registry.stop()
    wire.command(2)
    log = wire.folder / "payments.log"
    until(lambda: "wait for it" in log.read_text())
    wire.command(3, schemas=SCHEMAS)  # what is known goes on beside it
    seen = wire.until(lambda seen: "order-3" in outcomes(seen))
    assert "order-2" not in outcomes(seen) and "dead letter" not in [name for name, _ in seen]
    registry.start()
    seen = wire.until(lambda seen: "order-2" in outcomes(seen))
    assert outcomes(seen)["order-2"][0] == "ActivityTaskCompleted"


@pytest.mark.promise("commands")
@pytest.mark.parametrize(("end", "before"), [(Wire.end, 0), (Wire.kill, 20)], ids=["term", "kill"])
def test_a_command_that_waits_for_the_registry_comes_again_to_the_next_process(
    wire: Wire, registry: FakeRegistry, end: Callable[[Wire], object], before: int
) -> None:
    """Although those behind it are answered, past which Faust itself commits. What is answered
    is committed at once, not two a time.
    """

    def on(partition: int) -> Iterator[int]:
        return (
            number
            for number in range(1, 1_000)
            if zlib.crc32(f"order-{number}".encode()) % 2 == partition
        )

    def answered(*numbers: int) -> None:
        for number in numbers:
            wire.command(number, schemas=SCHEMAS)
        wire.until(lambda seen: {f"order-{number}" for number in numbers} <= set(outcomes(seen)))

    here, elsewhere = on(0), on(1)
    wire.start(schema_registry_url=registry.url)
    answered(next(elsewhere), *islice(here, before))
    until(lambda: wire.all_acknowledged(1 + before), timeout_s=15)
    registry.stop()
    waits = next(here)
    wire.command(waits)
    until(lambda: "wait for it" in (wire.folder / "payments.log").read_text())
    answered(*islice(here, 3))
    answered(next(elsewhere))
    until(lambda: wire.committed()[1] == 3)
    assert wire.committed()[0] <= 2 * before
    end(wire)
    registry.start()
    wire.start(schema_registry_url=registry.url)
    answered(next(here))
    wire.until(lambda seen: f"order-{waits}" in outcomes(seen))


def test_an_id_that_the_registry_does_not_have_fails_its_activity(
    wire: Wire, registry: FakeRegistry
) -> None:
    wire.start(schema_registry_url=registry.url)
    wire.command(1, raw=b"\0" + (99).to_bytes(4) + b"body")
    seen = wire.until(
        lambda seen: "order-1" in outcomes(seen) and "dead letter" in [name for name, _ in seen]
    )
    assert outcomes(seen)["order-1"][1]["failure"]["type"] == "UndecodableCommand"
    assert (
        next(fields for name, fields in seen if name == "dead letter")["odradek-dead-letter-reason"]
        == "UNKNOWN_SCHEMA"
    )


def test_payments_without_the_setting_cannot_read_ids_and_says_so_at_once(wire: Wire) -> None:
    wire.start()
    wire.command(1)
    seen = wire.until(lambda seen: "order-1" in outcomes(seen))
    assert "schema_registry_url" in outcomes(seen)["order-1"][1]["failure"]["message"]


def test_a_registry_that_is_away_at_the_start_is_one_line(
    wire: Wire, registry: FakeRegistry
) -> None:
    registry.stop()
    wire.start(schema_registry_url=registry.url)
    assert wire.process is not None and wire.process.wait(30) == 1
    (line,) = (wire.folder / "payments.log").read_text().splitlines()
    assert registry.url in line and "does not answer" in line


# ---------------------------------------------------------------- notifications


def test_notifications_reads_ids_waits_for_the_registry_and_ends_without_it(
    bootstrap: str, namespace: str, tmp_path: Path, registry: FakeRegistry
) -> None:
    admin = ClusterAdmin(Settings(address=bootstrap, namespace=namespace, partitions=2))
    admin.ensure([admin.topics.results])
    schemas = newer_schemas(tmp_path, registry)
    producer = Producer({"bootstrap.servers": bootstrap})

    def result(number: int, schemas: Schemas) -> None:
        fields = dict.fromkeys(
            ("namespace", "task_queue", "workflow_id", "run_id", "workflow_type", "status"),
            f"w{number}",
        )
        producer.produce(
            admin.topics.results, schemas.encode("WorkflowResult", fields), partition=0
        )
        assert producer.flush(20) == 0

    def told() -> set[str]:
        with sqlite3.connect(fleet.database("notifications")) as database:
            return {
                workflow_id
                for (workflow_id,) in database.execute("SELECT workflow_id FROM notifications")
            }

    fleet = Fleet(tmp_path, bootstrap, namespace, {"ODRADEK_SCHEMA_REGISTRY_URL": registry.url})
    try:
        fleet.start_service("notifications")
        until(lambda: "reading results" in fleet.log("notifications").read_text())
        registry.stop()
        result(1, SCHEMAS)
        until(lambda: told() == {"w1"})
        result(2, schemas)
        until(lambda: "wait for it" in fleet.log("notifications").read_text())
        result(3, SCHEMAS)
        registry.start()
        until(lambda: told() == {"w1", "w2", "w3"})
        registry.stop()
        newer = json.loads((tmp_path / "newer" / "WorkflowResult.avsc").read_text())
        newer["fields"].append({"name": "mood", "type": "string", "default": ""})
        (tmp_path / "newer" / "WorkflowResult.avsc").write_text(json.dumps(newer))
        registry.add(json.dumps(newer))
        again = Schemas(tmp_path / "newer", Registry(registry.url))
        registry.start()
        again.register(["WorkflowResult"])
        registry.stop()
        result(4, again)
        until(lambda: fleet.log("notifications").read_text().count("wait for it") == 2)
        process = fleet.process("notifications")
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0
        registry.start()
        fleet.restart("notifications")
        until(lambda: told() == {"w1", "w2", "w3", "w4"})
    finally:
        fleet.stop()


# ---------------------------------------------------------------- all of it


def test_an_order_goes_through_all_services_with_one_setting(
    bootstrap: str, tmp_path: Path, registry: FakeRegistry
) -> None:
    """As docker-compose.yml gives it: processor, order API, workers and foreign services have it
    from the environment.
    """
    with shop_on(bootstrap, tmp_path, ODRADEK_SCHEMA_REGISTRY_URL=registry.url) as shop:
        shop.fleet.start_processor("processor")
        shop.start_services("orders", "inventory", "payments", "notifications")
        shop.start_api()
        for number, user, ends in (
            ("1", "user-1", "completed"),
            ("2", "user-declined", "compensated"),
        ):
            answer = shop.http.post(
                "/orders", json=shop.order(number, user_id=user), params={"wait": 45}
            )
            assert answer.json()["status"] == ends, answer.text
        assert shop.effects("1") == {"CreateOrder": 1, "ReserveInventory": 1, "FreezePayment": 1}
        query = "SELECT workflow_id, status FROM notifications ORDER BY workflow_id"
        until(
            lambda: (
                shop.rows("notifications", query)
                == [("order-1", "COMPLETED"), ("order-2", "FAILED")]
            )
        )
        reading = {"isolation.level": "read_committed", "enable.partition.eof": True}
        reader = Consumer({"bootstrap.servers": bootstrap, "group.id": shop.namespace, **reading})
        try:
            topics = reader.list_topics(timeout=20).topics
            places = [
                TopicPartition(name, number, 0)
                for name, topic in topics.items()
                if escape(shop.namespace) in name
                and name.endswith((".events", ".commands", ".results", ".control"))
                for number in topic.partitions
            ]
            reader.assign(places)
            values, read = [], set()  # values, and partitions that are read to their end

            def all_is_read() -> bool:
                message = reader.poll(1.0)
                if message is not None and message.error() is None:
                    values.append(message.value())
                elif message is not None and message.error().code() == KafkaError._PARTITION_EOF:
                    read.add((message.topic(), message.partition()))
                return len(read) == len(places)

            until(all_is_read)
            assert len(values) > 10 and {value[:1] for value in values if value} == {b"\0"}, (
                "nobody writes the other framing"
            )
        finally:
            reader.close()


# ---------------------------------------------------------------- the registry's own ways


def test_what_a_reader_without_a_registry_makes_of_an_id() -> None:
    with pytest.raises(NotReadable, match="schema_registry_url") as caught:
        SCHEMAS.decode(b"\0\0\0\0\7body")
    assert not isinstance(caught.value, UnknownSchema)


def test_a_registry_that_accepts_and_says_nothing_holds_nobody_for_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        registry = Registry(f"http://127.0.0.1:{deaf.getsockname()[1]}", clock=lambda: 0.0)
        for _ in range(20):
            with pytest.raises(RegistryAway, match="does not answer"):
                registry.schema_of(1)
        deaf.setblocking(False)
        deaf.accept()[0].close()
        with pytest.raises(BlockingIOError):  # asked once, and not for each record
            deaf.accept()


def test_a_registry_that_was_away_is_asked_again() -> None:
    now = [0.0]
    with fake_registry() as server:
        registry = Registry(server.url + "/", clock=lambda: now[0])
        server.stop()
        with pytest.raises(RegistryAway):
            registry.number_of("odradek.X", {"type": "long"})
        server.start()
        with pytest.raises(RegistryAway):
            registry.number_of("odradek.X", {"type": "long"})
        now[0] += 1.0
        assert registry.number_of("odradek.X", {"type": "long"}) == 1
        assert registry.schema_of(1) == {"type": "long"} and registry.schema_of(2) is None


def test_a_registry_that_takes_its_time_to_fail_costs_a_small_part_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, asked = [0.0], [0]

    def deaf(*_: object, **__: object) -> NoReturn:
        now[0] += WITHIN_SECONDS
        asked[0] += 1
        raise TimeoutError("timed out")

    monkeypatch.setattr("services.registry.urlopen", deaf)
    registry = Registry("http://registry", clock=lambda: now[0])
    while now[0] < 600.0:
        with pytest.raises(RegistryAway, match="timed out"):
            registry.schema_of(1)
        now[0] += 0.5
    assert 5 < asked[0] < 60.0 / WITHIN_SECONDS


def test_user_and_password_of_the_url_are_used_and_never_told() -> None:
    with fake_registry() as server:
        url = server.url.replace("://", "://shop:s%20cret@") + "/"
        assert Registry(url).schema_of(Registry(url).number_of("odradek.X", {"type": "long"})) == {
            "type": "long"
        }
        assert server.users == {"shop:s cret"}
        server.always = (409, b"{}")
        with pytest.raises(RegistryRefuses, match=f"{server.url} refuses odradek.X") as refused:
            Registry(url).number_of("odradek.X", {"type": "long"})
        assert "shop" not in str(refused.value)
    for unusable in (
        url,
        "http://shop:s%20cret@[::1",
        "shop:s%20cret@registry:8081",
        "http://shop:s%20/cret@registry:x",
        "ftp://shop:s%20cret@h",
    ):
        for ask in (
            lambda registry: registry.schema_of(1),
            lambda registry: registry.number_of("odradek.X", {"type": "long"}),
        ):
            with pytest.raises(RegistryAway, match="does not answer") as away:
                ask(Registry(unusable))
            assert not any(
                part in str(away.value) for part in ("shop", "s%20", "s cret", "cret@")
            ), str(away.value)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (409, b"{}", RegistryRefuses),
        (422, b"{}", RegistryRefuses),
        (429, b"{}", RegistryAway),
        (500, b"{}", RegistryAway),
        (200, b"<html>", RegistryAway),
        (200, b"[]", RegistryAway),
        (200, b'{"id": "1"}', RegistryAway),
        (200, b'{"id": 4294967296}', RegistryAway),
        (200, b"[" * 100_000, RegistryAway),
    ],
)
def test_answers_that_are_none(status: int, body: bytes, error: type[Exception]) -> None:
    with fake_registry() as server:
        server.always = (status, body)
        with pytest.raises(error):
            Registry(server.url).number_of("odradek.X", {"type": "long"})
