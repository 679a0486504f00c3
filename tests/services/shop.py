"""The services as a user deploys them, each a process of its own, on the tests' broker under a
namespace of their own.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from odradek.broker.ports import free_ports
from services.demo.audit import OrderAudit, audit
from services.demo.fleet import REPOSITORY, Fleet
from services.demo.raw_client import QUEUE, TopicReader
from services.wire import Schemas, escape, topic

T = TypeVar("T")
SERVICES = ("orders", "inventory", "payments", "notifications")
SCHEMAS = Schemas()
PARTITIONS = 4


def until(condition: Callable[[], T], timeout: float = 40.0, what: str = "") -> T:
    """Wait for a condition; its value."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {timeout:g} s: {what or condition}"
        time.sleep(0.05)
    return value


class Shop:
    """A fleet of services and what tests ask of it."""

    def __init__(self, address: str, folder: Path, **environment: str) -> None:
        self.address = address
        self.namespace = f"shop_{secrets.token_hex(4)}"  # a name that topics hold escaped
        paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "streams")])
        ours = {
            "ODRADEK_PARTITIONS": str(PARTITIONS),
            "ODRADEK_REPLICATION_FACTOR": "1",
            "PYTHONPATH": paths,
        }
        self.fleet = Fleet(folder, address, self.namespace, ours | environment)
        self.port = free_ports(1)[0]
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)

    # ---------------------------------------------------------------- processes

    def start_services(self, *services: str, **settings: dict[str, Any]) -> None:
        for service in services:
            more = {"partitions": PARTITIONS} if service == "payments" else {}
            self.fleet.start_service(service, **{**more, **settings.get(service, {})})

    def start_api(self) -> None:
        """The HTTP order API, until it answers."""
        self.fleet.start_service("order_api", port=self.port)
        until(self._answers, what=f"the order API listens; {self.fleet.log('order_api')}")

    def _answers(self) -> bool:
        self.fleet.check()
        try:
            return self.http.get("/openapi.json").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        """End all of it, and delete its topics."""
        self.http.close()
        self.fleet.stop()
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        topics = [
            topic
            for topic in admin.list_topics(timeout=20).topics
            if escape(self.namespace) in topic
        ]
        for future in (
            admin.delete_topics(topics, operation_timeout=20) if topics else {}
        ).values():
            future.result(20)

    # ---------------------------------------------------------------- asking

    def order(self, order_no: str, **changes: Any) -> dict[str, Any]:
        """What a shop posts."""
        items = [{"product": changes.pop("product", "tea"), "quantity": changes.pop("quantity", 1)}]
        return {"order_no": order_no, "user_id": "user-1", "items": items, "amount": 450, **changes}

    def produce_raw(self, key: str, value: bytes, headers: dict[str, str] | None = None) -> None:
        """A record on `events`, from a producer that knows nothing of ours but Kafka's own
        partitioner.
        """
        producer = Producer({"bootstrap.servers": self.address, "partitioner": "murmur2_random"})
        producer.produce(
            topic("events", self.namespace, QUEUE), key=key, value=value, headers=headers or {}
        )
        assert producer.flush(20) == 0

    def results(self) -> list[dict[str, Any]]:
        """All committed records of `results`."""
        reader = TopicReader(self.address, topic("results", self.namespace), SCHEMAS)
        try:
            return [fields for name, fields in reader.read(30) if name == "WorkflowResult"]
        finally:
            reader.close()

    def rows(self, service: str, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """From a service's database."""
        database = sqlite3.connect(f"file:{self.fleet.database(service)}?mode=ro", uri=True)
        try:
            return database.execute(query, parameters).fetchall()
        finally:
            database.close()

    def effects(self, order_no: str) -> dict[str, int]:
        """How often each kind of effect happened to an order, over all databases."""
        found: dict[str, int] = {}
        for service in ("orders", "inventory", "payments"):
            query = "SELECT kind, count(*) FROM effects WHERE order_no = ? GROUP BY kind"
            found |= dict(self.rows(service, query, order_no))
        return found

    def audit(self, order_nos: list[str]) -> list[OrderAudit]:
        """As the demo counts."""
        return audit(
            order_nos,
            {service: self.fleet.database(service) for service in SERVICES},
            self.results(),
        )


@contextmanager
def shop_on(address: str, folder: Path, **environment: str) -> Iterator[Shop]:
    """A shop that ends with the block; when the block fails, the ends of all logs are shown."""
    shop = Shop(address, folder, **environment)
    try:
        yield shop
    except BaseException:
        for log in sorted(folder.glob("*.log")):
            print(
                f"--- {log.name}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-30:])
            )
        raise
    finally:
        shop.close()


def json_start(order_no: str, **changes: Any) -> bytes:
    """A start in plain JSON (docs/wire.md): what a shell could write."""
    order = {
        "order_no": order_no,
        "user_id": "u",
        "items": [{"product": "tea", "quantity": 1}],
        "amount": 450,
    }
    record = {
        "kind": "StartWorkflow",
        "workflow_id": f"order-{order_no}",
        "workflow_type": "OrderSaga",
        "input": [order],
        **changes,
    }
    return json.dumps(record).encode()
