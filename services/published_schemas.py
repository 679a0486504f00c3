"""Schemas that this checkout does not have: a newer writer published its own on `schemas` before its first record (docs/wire.md)."""

from __future__ import annotations

import json
import time
from contextlib import closing

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from services.avro_wire import NotReadable, Schemas, UnknownSchema

KNOWN_WITHIN_SECONDS = 30.0


def learn(schemas: Schemas, address: str, topic: str, missing: UnknownSchema, within_seconds: float = KNOWN_WITHIN_SECONDS) -> bool:
    """Read `topic` until the missing schema is there; whether it is. Blocks. Every other schema on the way is learnt too."""
    settings = {
        "bootstrap.servers": address,
        "group.id": "odradek.readers",  # a name that the client wants; nothing is committed, nobody joins
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "allow.auto.create.topics": False,
    }
    deadline = time.monotonic() + within_seconds
    with closing(Consumer(settings)) as consumer:
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        while not schemas.knows(missing.prefix) and time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None and message.value():
                _take(schemas, message.value() or b"")
    return schemas.knows(missing.prefix)


def _take(schemas: Schemas, value: bytes) -> None:
    try:
        name, fields = schemas.decode(value)
        if name == "PublishedSchema":
            schemas.learn(json.loads(fields["schema"]))
    except (NotReadable, ValueError, RecursionError) as error:  # one that nobody can read must not hide those behind it
        print(f"a published schema cannot be read: {error}", flush=True)
