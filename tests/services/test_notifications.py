"""The `notifications` consumer over results that are none of its orders', and over those that
were never committed.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin
from odradek.wire.topics import Topics
from services.demo.fleet import Fleet
from services.notifications.__main__ import _row
from services.wire import SCHEMAS_FOLDER, Schemas, topic
from tests.support.until import until


class Record:
    """A record of `results`."""

    def __init__(self, value: bytes | None, headers: list[tuple[str, bytes]] | None = None) -> None:
        self._value, self._headers = value, headers

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes]] | None:
        return self._headers

    def topic(self) -> str:
        return "odradek.default.results"

    def partition(self) -> int:
        return 3

    def offset(self) -> int:
        return 7


def _result(payloads: list[dict[str, Any]]) -> Record:
    schema = json.loads((SCHEMAS_FOLDER / "WorkflowResult.avsc").read_text())
    empty = {"string": "x", "int": 1, "long": 1}
    fields = {
        field["name"]: empty.get(field["type"] if isinstance(field["type"], str) else "", [])
        for field in schema["fields"]
        if "default" not in field
    }
    return Record(Schemas().encode("WorkflowResult", fields | {"result": payloads}))


@pytest.mark.parametrize(
    ("encoding", "data", "told"),
    [
        (b"json/plain", b'{"order_id": "1"}', {"order_id": "1"}),
        (b"binary/null", b"", None),
        (b"binary/plain", b"\xff\x00", {"encoding": "binary/plain", "base64": "/wA="}),
        (b"binary/encrypted", b"secret", {"encoding": "binary/encrypted", "base64": "c2VjcmV0"}),
        (b"json/plain", b"{", {"encoding": "json/plain", "base64": "ew=="}),
        (b"json/plain", b"[" * 9_000, {"encoding": "json/plain", "base64": "W1tb" * 3_000}),
        (b"", b"", {"encoding": "", "base64": ""}),
    ],
)
def test_result_of_any_workflow_is_told(encoding: bytes, data: bytes, told: Any) -> None:
    row = _row(
        Schemas(),
        _result([{"metadata": {"encoding": encoding}, "data": data}]),
    )  # type: ignore[arg-type]
    assert row is not None and row[:3] == (3, 7, "x")
    assert json.loads(row[-1]) == told


def test_run_without_a_result() -> None:
    row = _row(Schemas(), _result([]))  # type: ignore[arg-type]
    assert row is not None and json.loads(row[-1]) is None


def test_failure_chain_without_end_is_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    """fastavro's C reader would end the process."""
    schemas = Schemas()
    fields = schemas.decode(_result([]).value())[1]

    def failed(depth: int) -> bytes:
        failure = None
        for _ in range(depth):
            failure = {"message": "unique", "cause": failure}
        return schemas.encode("WorkflowResult", fields | {"failure": failure})

    one, two = failed(1), failed(2)
    begin = two.index(b"unique") - 1
    cause = next(
        n for n in range(len(one)) if one[n] != two[n]
    )  # the branch of the union: null or another failure
    chain = two[: cause + 1] + two[begin : cause + 1] * 20_000
    assert _row(Schemas(), Record(chain)) is None  # type: ignore[arg-type]
    assert "recursion" in capsys.readouterr().out


@pytest.mark.parametrize("namespace", ["default", "shop_eu", "shöp.eu", "a-b"])
def test_topics_are_those_of_the_namespace(namespace: str) -> None:
    ours = Topics(namespace)
    assert topic("results", namespace) == ours.results
    assert topic("events", namespace, "order_queue") == ours.events("order_queue")


def test_result_of_an_aborted_transaction_is_never_told(
    bootstrap: str, namespace: str, tmp_path: Path
) -> None:
    """A processor that dies before its commit has closed nothing: whoever takes over says how
    the run ended.
    """
    admin = ClusterAdmin(Settings(address=bootstrap, namespace=namespace, partitions=1))
    admin.ensure([admin.topics.results])
    schemas = Schemas()
    producer = Producer(
        {"bootstrap.servers": bootstrap, "transactional.id": namespace, "linger.ms": 0}
    )
    producer.init_transactions(20)

    def close(workflow_id: str, status: str, *, commit: bool) -> None:
        fields = dict.fromkeys(("namespace", "task_queue", "run_id", "workflow_type"), "x") | {
            "workflow_id": workflow_id,
            "status": status,
        }
        producer.begin_transaction()
        producer.produce(
            admin.topics.results, schemas.encode("WorkflowResult", fields), partition=0
        )
        assert producer.flush(20) == 0  # in the log, whatever becomes of it
        producer.commit_transaction(20) if commit else producer.abort_transaction(20)

    def told() -> list[tuple[str, str]]:
        with sqlite3.connect(fleet.database("notifications")) as database:
            return database.execute(
                "SELECT workflow_id, status FROM notifications ORDER BY offset"
            ).fetchall()

    close("order-1", "FAILED", commit=False)
    close("order-1", "COMPLETED", commit=True)
    fleet = Fleet(tmp_path, bootstrap, namespace)
    try:
        fleet.start_service("notifications")
        until(lambda: "reading results" in fleet.log("notifications").read_text())
        until(lambda: ("order-1", "COMPLETED") in told())
        close("order-2", "FAILED", commit=False)  # while it reads
        close("order-2", "COMPLETED", commit=True)
        until(lambda: ("order-2", "COMPLETED") in told())
        assert told() == [("order-1", "COMPLETED"), ("order-2", "COMPLETED")]
    finally:
        fleet.stop()
