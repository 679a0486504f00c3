"""The foreign services where records carry a schema registry's ids: they read and write them,
wait for it, and end without it.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from services.wire import SCHEMAS_FOLDER, Registry, RegistryAway, Schemas, escape
from tests.kafka.fake_registry import FakeRegistry, fake_registry
from tests.services.payments_wire import SCHEMAS, Wire, outcomes, wire_on
from tests.services.shop import shop_on
from tests.support.until import until


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
    shutil.copytree(SCHEMAS_FOLDER, folder / "newer")
    file = folder / "newer" / "ActivityTask.avsc"
    raw = json.loads(file.read_text())
    raw["fields"].insert(3, {"name": "priority", "type": "long", "default": 0})
    file.write_text(json.dumps(raw))
    schemas = Schemas(registry_url=registry.url, folder=folder / "newer")
    return schemas


# ---------------------------------------------------------------- payments


@pytest.mark.promise("registry")
def test_payments_reads_and_writes_a_registrys_framing_and_reads_the_other(
    wire: Wire, registry: FakeRegistry
) -> None:
    wire.start(schema_registry_url=registry.url)
    wire.command(1, priority=7)
    wire.command(2, schemas=SCHEMAS)  # a writer without the setting
    wire.command(4, activity_type="Nothing")
    seen = wire.until(lambda seen: {"order-1", "order-2", "order-4"} <= outcomes(seen).keys())
    kinds = {workflow_id: name for workflow_id, (name, _) in outcomes(seen).items()}
    assert kinds == {
        "order-1": "ActivityTaskCompleted",
        "order-2": "ActivityTaskCompleted",
        "order-4": "ActivityTaskFailed",
    }
    assert wire.raw and all(value[0] == 0 for value in wire.raw)
    assert "/subjects/odradek.ActivityTaskCompleted/versions" in {
        path.partition("?")[0] for path in registry.asked
    }
    until(lambda: wire.all_acknowledged(3))
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


# ---------------------------------------------------------------- notifications


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


def test_user_and_password_of_the_url_are_sent_and_stand_in_no_error() -> None:
    with fake_registry() as server:
        registry = Registry(server.url.replace("://", "://shop:s%20cret@") + "/")
        assert registry.schema_of(registry.id_of("odradek.X", {"type": "long"})) == {"type": "long"}
        assert server.users == {"shop:s cret"} and registry.schema_of(99) is None
        server.always = (500, b"{}")
        with pytest.raises(RegistryAway, match=f"{server.url} does not answer") as away:
            registry.schema_of(1)
        assert "cret" not in str(away.value)
