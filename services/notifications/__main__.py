"""`python -m services.notifications --config FILE`: one notification a closed order, from the
topic `results`.

A plain Kafka consumer that reads committed records only. Each record is stored under its
partition and offset before the offset is committed, so a record read twice after a crash is one
row; two rows for one run would be a doubled result.
"""

from __future__ import annotations

import base64
import json
import sqlite3
import time
from typing import Any

from confluent_kafka import Consumer, Message

from services.avro_wire import NotReadable, Schemas, UnknownSchema, says_nothing, schemas_folder
from services.database import open_database
from services.ending import on_signals
from services.foreign_telemetry import Telemetry
from services.notifications.standing import Standing
from services.published_schemas import learn
from services.registry import AGAIN_AFTER_SECONDS, Registry, RegistryAway
from services.service_config import ForeignConfig, load
from services.topic_names import topic_of_namespace

NOTIFICATIONS = """
CREATE TABLE IF NOT EXISTS notifications (
  partition INTEGER NOT NULL, offset INTEGER NOT NULL, workflow_id TEXT NOT NULL, run_id TEXT NOT NULL, status TEXT NOT NULL,
  reason_type TEXT NOT NULL, reason TEXT NOT NULL, result TEXT NOT NULL, PRIMARY KEY (partition, offset)
);
CREATE INDEX IF NOT EXISTS notifications_workflow ON notifications (workflow_id);
"""


def results_topic(namespace: str) -> str:
    """Topic of all outcomes of a namespace."""
    return topic_of_namespace(namespace, "results")


def schemas_topic(namespace: str) -> str:
    """Where its writers publish what they write by."""
    return topic_of_namespace(namespace, "schemas")


def main() -> None:
    config = load(ForeignConfig, "The notifications service.")
    database = open_database(config.database, NOTIFICATIONS)
    telemetry = Telemetry("notifications", config.telemetry)
    topic = results_topic(config.odradek.namespace)
    standing: Standing
    consumer = Consumer(
        {
            "bootstrap.servers": config.odradek.address,
            "group.id": f"notifications.{config.odradek.namespace}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 6000,
            "topic.metadata.refresh.interval.ms": 2000,
            "allow.auto.create.topics": False,
            "statistics.interval.ms": 3000,
            "stats_cb": lambda text: standing.update(json.loads(text)),
        }
    )
    standing = Standing(telemetry, consumer, topic)

    def assigned(*_: Any) -> None:
        telemetry.assigned = True

    consumer.subscribe([topic], on_assign=assigned)
    told: list[None] = []
    on_signals(lambda: told.append(None))
    print("reading results", flush=True)
    reader = Reader(
        config.odradek.address,
        schemas_topic(config.odradek.namespace),
        config.odradek.schema_registry_url,
    )
    waiting: list[Message] = []
    held = False
    try:
        while not told:
            telemetry.beat()
            first = consumer.poll(0.2)
            waiting += [
                message
                for message in ([first] if first else []) + consumer.consume(500, 0)
                if message.error() is None
            ]
            try:
                _store(database, reader, waiting)
            except (
                RegistryAway
            ) as away:  # what is here waits, nothing more comes, and the group sees that we live
                if not held:
                    print(f"{away}; results wait for it", flush=True)
                held = True
                consumer.pause(consumer.assignment())
                time.sleep(AGAIN_AFTER_SECONDS)
                continue
            if held:
                held = False
                consumer.resume(consumer.assignment())
            if waiting:
                telemetry.read(len(waiting))
                consumer.commit(asynchronous=True)
                waiting = []
    finally:
        telemetry.stopping = True
        consumer.close()
        database.close()


class Reader:
    """Decodes, also what a newer writer wrote."""

    def __init__(self, address: str, schemas_topic: str, registry_url: str | None = None) -> None:
        self._address = address
        self._topic = schemas_topic
        self._schemas = Schemas(schemas_folder(), Registry(registry_url) if registry_url else None)

    def decode(self, value: bytes) -> tuple[str, dict[str, Any]]:
        """`(record name, fields)`. Raises NotReadable, RegistryAway."""
        try:
            return self._schemas.decode(value)
        except UnknownSchema as missing:
            learn(self._schemas, self._address, self._topic, missing)
            return self._schemas.decode(value)


def _store(database: sqlite3.Connection, reader: Reader, messages: list[Message]) -> None:
    rows = [row for row in (_row(reader, message) for message in messages) if row is not None]
    if not rows:
        return
    database.execute("BEGIN")
    database.executemany(
        "INSERT OR IGNORE INTO notifications VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows
    )
    database.execute("COMMIT")


def _row(reader: Reader, message: Message) -> tuple[Any, ...] | None:
    if says_nothing(message.value(), message.headers()):
        return None
    try:
        name, fields = reader.decode(message.value() or b"")
    except NotReadable as error:
        print(
            f"skipped {message.topic()} {message.partition()}@{message.offset()}: {error}",
            flush=True,
        )
        return None
    if name != "WorkflowResult":
        return None
    failure = fields["failure"] or {}
    result = _readable(fields["result"][0]) if fields["result"] else None
    where = (
        message.partition(),
        message.offset(),
        fields["workflow_id"],
        fields["run_id"],
        fields["status"],
    )
    return (*where, failure.get("type", ""), failure.get("message", ""), json.dumps(result))


def _readable(payload: dict[str, Any]) -> Any:
    """What a payload says, as JSON. Any workflow of the namespace may write here: nothing at
    all, bytes, or what a codec made of it.
    """
    encoding = payload["metadata"].get("encoding", b"").decode("ascii", "replace")
    data: bytes = payload["data"]
    if encoding == "binary/null":
        return None
    if encoding.startswith("json/"):
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            pass  # told as it is
    return {"encoding": encoding, "base64": base64.b64encode(data).decode()}


if __name__ == "__main__":
    main()
