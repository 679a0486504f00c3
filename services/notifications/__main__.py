"""`python -m services.notifications --config FILE`: one notification a closed order, from the
topic `results`. Does not import odradek.

A plain Kafka consumer that reads committed records only. Each record is stored under its
partition and offset before the offset is committed, so a record that is read twice is one row;
two rows for one run would be a doubled result.
"""

from __future__ import annotations

import base64
import json
import signal
import sqlite3
import time
from typing import Any

from confluent_kafka import Consumer, Message

from services.config import ForeignConfig, load, serve_metrics
from services.ledger import open_database
from services.wire import NotReadable, RegistryAway, Schemas, topic

NOTIFICATIONS = """
CREATE TABLE IF NOT EXISTS notifications (
  partition INTEGER NOT NULL, offset INTEGER NOT NULL, workflow_id TEXT NOT NULL, run_id TEXT NOT NULL,
  status TEXT NOT NULL, reason_type TEXT NOT NULL, reason TEXT NOT NULL, result TEXT NOT NULL,
  PRIMARY KEY (partition, offset)
);
CREATE INDEX IF NOT EXISTS notifications_workflow ON notifications (workflow_id);
"""


def main() -> None:
    config = load(ForeignConfig, "The notifications service.")
    wire = config.odradek
    database = open_database(config.database, NOTIFICATIONS)
    schemas = Schemas(wire.address, wire.namespace, wire.schema_registry_url)
    consumer = Consumer(
        {
            "bootstrap.servers": wire.address,
            "group.id": f"notifications.{wire.namespace}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 6000,
            "topic.metadata.refresh.interval.ms": 2000,
            "allow.auto.create.topics": False,
        }
    )
    ended: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: ended.append(number))
    serve_metrics(config.telemetry)
    consumer.subscribe([topic("results", wire.namespace)])
    print("reading results", flush=True)
    waiting: list[Message] = []
    try:
        while not ended:
            first = consumer.poll(0.2)
            new = ([first] if first else []) + consumer.consume(500, 0)
            waiting += [message for message in new if message.error() is None]
            if not waiting:
                continue
            try:
                store(database, schemas, waiting)
            except RegistryAway as error:  # nothing more is read, and the group sees that we live
                print(f"{error}; results wait for it", flush=True)
                consumer.pause(consumer.assignment())
                time.sleep(1.0)
                continue
            consumer.resume(consumer.assignment())
            consumer.commit(asynchronous=True)
            waiting = []
    finally:
        consumer.close()
        database.close()


def store(database: sqlite3.Connection, schemas: Schemas, messages: list[Message]) -> None:
    """A row for each result. Raises RegistryAway: then none of them is stored."""
    rows = [row for message in messages if (row := _row(schemas, message)) is not None]
    database.execute("BEGIN")
    database.executemany(
        "INSERT OR IGNORE INTO notifications VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows
    )
    database.execute("COMMIT")


def _row(schemas: Schemas, message: Message) -> tuple[Any, ...] | None:
    value = message.value()
    if value is None:
        return None  # a no-op record, which ends a transaction
    place = (message.partition(), message.offset())
    try:
        name, fields = schemas.decode(value)
    except NotReadable as error:
        print(f"skipped {message.topic()} {place}: {error}", flush=True)
        return None
    if name != "WorkflowResult":
        return None
    failure = fields["failure"] or {}
    return (
        *place,
        fields["workflow_id"],
        fields["run_id"],
        fields["status"],
        failure.get("type", ""),
        failure.get("message", ""),
        json.dumps(_readable(fields["result"][0]) if fields["result"] else None),
    )


def _readable(payload: dict[str, Any]) -> Any:
    """A payload as JSON. Any workflow of the namespace may write here: nothing at all, bytes, or
    what a codec made of it.
    """
    encoding = payload["metadata"].get("encoding", b"").decode("ascii", "replace")
    data: bytes = payload["data"]
    if encoding == "binary/null":
        return None
    if encoding.startswith("json/"):
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            pass
    return {"encoding": encoding, "base64": base64.b64encode(data).decode()}


if __name__ == "__main__":
    main()
