"""Schemas that this checkout does not have (docs/wire.md): a newer writer published its own on
`schemas` before its first record, and a registry has those that stand behind its ids.
"""

from __future__ import annotations

import json
import time
from contextlib import closing

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from services.avro_wire import NotReadable, Schemas, UnknownSchema

KNOWN_WITHIN_SECONDS = 30.0


def learn(
    schemas: Schemas,
    address: str,
    topic: str,
    missing: UnknownSchema,
    within_seconds: float = KNOWN_WITHIN_SECONDS,
) -> bool:
    """Ask the registry for an id; else read `topic` until the missing schema is there, and learn
    every other one on the way. Blocks.

    Whether it is known now. Raises RegistryAway: that is not known yet.
    """
    if missing.number is not None:
        return _ask(schemas, missing.number)
    settings = {
        "bootstrap.servers": address,
        # a name that the client wants; nothing is committed, nobody joins
        "group.id": "odradek.readers",
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


def _ask(schemas: Schemas, number: int) -> bool:
    raw = schemas.registry.schema_of(number) if schemas.registry is not None else None
    if raw is None:
        return False
    try:
        schemas.learn(raw, number)
    except ValueError as error:
        print(f"schema {number} of the registry cannot be read: {error}", flush=True)
        return False
    return True


def _take(schemas: Schemas, value: bytes) -> None:
    try:
        name, fields = schemas.decode(value)
        if name == "PublishedSchema":
            schemas.learn(json.loads(fields["schema"]))
    except (
        NotReadable,
        ValueError,
        RecursionError,
    ) as error:  # one that nobody can read must not hide those behind it
        print(f"a published schema cannot be read: {error}", flush=True)
