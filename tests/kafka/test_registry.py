"""With a real schema registry: our schemas pass FULL_TRANSITIVE, a broken evolution does not, a
workflow runs over Confluent's framing.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from odradek.client import Client
from odradek.config import Settings
from odradek.kafka.registry import RegistryFraming
from odradek.wire.codec import Codec
from odradek.wire.events import StartWorkflow
from odradek.wire.outcomes import ExecutionSummary
from odradek.wire.schema import RECORD_TYPES, avro_schema, schema_json
from odradek.worker import Worker
from tests.kafka.apicurio import registry
from tests.kafka.client_workflows import ACTIVITIES, WORKFLOWS, Buy, Order
from tests.kafka.lane_records import Wire
from tests.unit.wire_samples import GOLDEN

INCOMPATIBLE = (409, 422)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry") / "registry.log") as url:
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> Any:
    client = SchemaRegistryClient({"url": url})
    client.set_compatibility(level="FULL_TRANSITIVE")
    return client


def _refused(client: Any, subject: str, schema: dict[str, Any]) -> bool:
    try:
        client.register_schema(subject, Schema(json.dumps(schema), "AVRO"))
    except SchemaRegistryError as error:
        assert error.http_status_code in INCOMPATIBLE, error
        return True
    return False


def test_every_version_of_our_schemas_is_compatible_with_every_other(client: Any) -> None:
    """The golden files hold what older code wrote with; each subject gets them in turn, then the
    schema of today.
    """
    for record_type in RECORD_TYPES:
        subject = f"odradek.{record_type.__name__}"
        older = [
            json.loads(path.read_text(encoding="utf-8"))["schema"]
            for path in sorted(GOLDEN.glob(f"{record_type.__name__}-*.json"))
        ]
        assert older
        for schema in [*older, json.loads(schema_json(record_type))]:
            assert not _refused(client, subject, schema), subject


def test_a_broken_evolution_is_refused(client: Any, url: str) -> None:
    good = copy.deepcopy(avro_schema(StartWorkflow))
    assert not _refused(client, "broken", good)
    needed = copy.deepcopy(good)
    needed["fields"].append(
        {"name": "needed", "type": "string"}
    )  # no default: what was written before has nothing for it
    retyped = copy.deepcopy(good)
    next(field for field in retyped["fields"] if field["name"] == "workflow_id")["type"] = "long"
    gone = copy.deepcopy(good)
    gone["fields"] = [
        field for field in gone["fields"] if field["name"] != "workflow_type"
    ]  # an older reader has no default for it
    for schema in (needed, retyped, gone):
        assert _refused(client, "broken", schema)
    added = copy.deepcopy(good)
    added["fields"].append({"name": "may_be_there", "type": "string", "default": ""})
    assert not _refused(client, "broken", added)


def test_framing_over_the_registry(client: Any, url: str) -> None:
    writer, reader = Codec(framing=RegistryFraming(url)), Codec(framing=RegistryFraming(url))
    start = StartWorkflow("order-1", "OrderSaga", request_id="r")
    value = writer.encode(start)
    assert value[0] == 0 and client.get_schema(int.from_bytes(value[1:5], "big"))
    assert reader.decode(value) == start


async def test_workflow_end_to_end(
    url: str, bootstrap: str, namespace: str, tmp_path: Path
) -> None:
    patience = timedelta(seconds=30)
    settings = Settings(
        address=bootstrap,
        namespace=namespace,
        partitions=2,
        state_dir=tmp_path,
        rpc_timeout=patience,
        schema_registry_url=url,
    )
    client = await Client.connect(settings=settings)
    async with client, Worker(client, task_queue="q", workflows=WORKFLOWS, activities=ACTIVITIES):
        assert await client.execute_workflow(
            Buy.run, Order("spool", 2), id="b1", task_queue="q"
        ) == Order("spool", 2)
    wire = Wire(bootstrap, namespace, tmp_path, partitions=2)
    codec = Codec(framing=RegistryFraming(url))
    for topic in (wire.events, wire.commands, wire.topics.results, wire.topics.executions):
        values = [value for message in wire.read(topic) if (value := message.value()) is not None]
        assert values and {value[0] for value in values} == {0}, f"{topic}: Confluent's framing"
        assert all(codec.decode(value) is not None for value in values)
    last = [
        codec.decode(value)
        for message in wire.read(wire.topics.executions)
        if (value := message.value()) is not None
    ][-1]
    assert isinstance(last, ExecutionSummary) and last.status == "COMPLETED"
