"""Reporting: Faust counts at least once; the page is exact all the same."""

from __future__ import annotations

import json
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from odradek.broker.ports import free_ports
from services.demo.fleet import Fleet
from services.reporting.service import entry_of, page_of
from services.wire import Schemas, ensure_topics, topic

SCHEMAS = Schemas()
ENDS = ("COMPLETED", "OrderFailed", "OrderCancelled")


def result(number: int, end: str) -> dict[str, Any]:
    said = {"amount": number, "compensations": 0 if end == "COMPLETED" else 2}
    payloads = [{"metadata": {"encoding": b"json/plain"}, "data": json.dumps(said).encode()}]
    completed = end == "COMPLETED"
    return {
        "namespace": "default",
        "task_queue": "order-task-queue",
        "workflow_id": f"order-{number}",
        "run_id": str(uuid.uuid4()),
        "workflow_type": "OrderSaga",
        "status": "COMPLETED" if completed else "FAILED",
        "result": payloads if completed else [],
        "failure": None if completed else {"type": end, "details": payloads},
        "close_time_ms": time.time_ns() // 1_000_000,
    }


class Results:
    """Writes results as a processor does: in transactions, some of which are aborted."""

    def __init__(self, address: str, namespace: str) -> None:
        self._topic = topic("results", namespace)
        ensure_topics(address, NewTopic(self._topic, 3, 1))
        self._producer = Producer(
            {"bootstrap.servers": address, "transactional.id": f"results-{namespace}"}
        )
        self._producer.init_transactions(30)
        self.expected: Counter[str] = Counter()

    def write(self, first: int, count: int) -> None:
        made = [result(n, ENDS[n % 3]) for n in range(first, first + count)]
        for commit, records in ((False, made), (True, made), (True, made[: count // 4])):
            self._producer.begin_transaction()
            for record in records:  # also again, as a copied topic has them
                value = SCHEMAS.encode("WorkflowResult", record)
                self._producer.produce(self._topic, key=record["workflow_id"], value=value)
            if commit:
                self._producer.commit_transaction(30)
            else:
                self._producer.flush(30)
                self._producer.abort_transaction(30)
        for n in range(first, first + count):
            outcome = ("completed", "compensated", "cancelled")[n % 3]
            self.expected[f"orders {outcome}"] += 1
            self.expected[f"cents {outcome}"] += n
            self.expected[f"compensations {outcome}"] += 2 if n % 3 else 0


@pytest.fixture
def fleet(bootstrap: str, namespace: str, tmp_path: Path) -> Iterator[Fleet]:
    fleet = Fleet(tmp_path, bootstrap, namespace)
    try:
        yield fleet
    finally:
        fleet.stop()


def reported(url: str) -> Counter[str]:
    try:
        with urllib.request.urlopen(f"{url}?format=json", timeout=5) as answer:
            rows = json.load(answer)["rows"]
    except OSError:
        return Counter()
    found: Counter[str] = Counter()
    for row in rows:
        for column in ("orders", "cents", "compensations"):
            found[f"{column} {row['outcome']}"] += row[column]
    return found


def until_reported(url: str, expected: Counter[str], at_least: bool = False) -> None:
    deadline = time.monotonic() + 40
    while (found := reported(url)) != expected:
        if at_least and found.total():
            return
        assert time.monotonic() < deadline, f"{found} is not {expected}"
        time.sleep(0.2)


@pytest.mark.timeout(240)
def test_kill_9_under_load_leaves_exact_counts(
    fleet: Fleet, bootstrap: str, namespace: str
) -> None:
    results = Results(bootstrap, namespace)
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}/report"
    results.write(0, 60)
    fleet.start_service("reporting", port=port)
    until_reported(url, results.expected, at_least=True)
    for turn in range(1, 4):
        results.write(100 * turn, 100)
        fleet.kill("reporting")
        results.write(100 * turn + 1_000, 30)
        fleet.restart("reporting")
        until_reported(url, results.expected, at_least=True)
    until_reported(url, results.expected)
    with urllib.request.urlopen(url, timeout=5) as page:
        assert "<td>compensated</td>" in page.read().decode()
    fleet.kill("reporting")  # all from the changelog now
    fleet.restart("reporting")
    until_reported(url, results.expected)


def test_an_order_that_does_not_say_its_amount_counts_as_one() -> None:
    cancelled = result(7, "COMPLETED") | {"status": "CANCELED", "result": []}
    assert entry_of(cancelled).model_dump() == {
        "outcome": "canceled",
        "cents": 0,
        "compensations": 0,
    }
    odd = result(7, "OrderFailed")
    odd["failure"]["details"][0]["data"] = b"\xff"
    assert entry_of(odd).outcome == "compensated"
    row = {"window": "w", "outcome": "<b>", "orders": 1, "cents": 0, "compensations": 0}
    assert "&lt;b&gt;" in page_of([row])
