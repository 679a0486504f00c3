"""What another version writes: our records in both framings, with our schema and with one that
this version does not have.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
from confluent_kafka import Producer

from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import producer_config
from odradek.wire.codec import CONFLUENT_MARKER, SINGLE_OBJECT_MARKER, encode
from odradek.wire.outcomes import PublishedSchema
from odradek.wire.schema import avro_schema, schema_fingerprint
from tests.kafka.fake_registry import FakeRegistry

SINGLE = ("own schema, single object", "newer schema, single object")
REGISTRY = ("own schema, registry", "newer schema, registry")
FRAMINGS = (*SINGLE, *REGISTRY)
_SINGLE_HEAD = 10


class Foreign:
    """Writers of the four kinds. A newer schema is published before its first record: in
    `schemas`, or in the registry.
    """

    def __init__(self, settings: Settings, registry: FakeRegistry) -> None:
        self._registry = registry
        self._producer = Producer(producer_config(settings))
        admin = ClusterAdmin(settings)
        self._schemas = admin.topics.schemas
        admin.ensure([self._schemas])

    def encode(self, record: msgspec.Struct, framing: str) -> bytes:
        schema: dict[str, Any] = avro_schema(type(record))
        body = encode(record)[_SINGLE_HEAD:]
        if framing.startswith("newer"):
            schema = copy.deepcopy(schema)
            schema["fields"].append({"name": "mood", "type": "string", "default": ""})
            body += b"\x08good"
        if framing in REGISTRY:
            return (
                CONFLUENT_MARKER + self._registry.add(json.dumps(schema)).to_bytes(4, "big") + body
            )
        mark = schema_fingerprint(schema)
        if framing.startswith("newer"):
            published = PublishedSchema(mark.hex(), schema["name"], json.dumps(schema))
            self._producer.produce(self._schemas, encode(published), mark.hex().encode())
            assert self._producer.flush(20) == 0
        return SINGLE_OBJECT_MARKER + mark + body
