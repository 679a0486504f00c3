"""The `notifications` consumer over results that are none of its orders': whatever a workflow of the namespace returns."""

from __future__ import annotations

import json
from typing import Any

import pytest

from odradek.wire.topics import Topics
from services.avro_wire import Schemas, schemas_folder
from services.notifications.__main__ import Reader, _row, results_topic, schemas_topic
from services.topic_names import topic_of_queue


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
    schema = json.loads((schemas_folder() / "WorkflowResult.avsc").read_text())
    empty = {"string": "x", "int": 1, "long": 1}
    fields = {
        field["name"]: empty.get(field["type"] if isinstance(field["type"], str) else "", [])
        for field in schema["fields"]
        if "default" not in field
    }
    return Record(Schemas(schemas_folder()).encode("WorkflowResult", fields | {"result": payloads}))


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
    row = _row(Reader("nowhere:1", "schemas"), _result([{"metadata": {"encoding": encoding}, "data": data}]))  # type: ignore[arg-type]
    assert row is not None and row[:3] == (3, 7, "x")
    assert json.loads(row[-1]) == told


def test_run_without_a_result() -> None:
    row = _row(Reader("nowhere:1", "schemas"), _result([]))  # type: ignore[arg-type]
    assert row is not None and json.loads(row[-1]) is None


def test_record_that_says_nothing_is_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    reader = Reader("nowhere:1", "schemas")
    assert _row(reader, Record(None, [("odradek-kind", b"Nothing")])) is None  # type: ignore[arg-type]
    assert capsys.readouterr().out == ""
    assert _row(reader, Record(None)) is None  # type: ignore[arg-type]
    assert "skipped odradek.default.results 3@7" in capsys.readouterr().out


def test_failure_chain_without_end_is_skipped(capsys: pytest.CaptureFixture[str]) -> None:
    """fastavro's C reader would end the process."""
    schemas = Schemas(schemas_folder())
    fields = schemas.decode(_result([]).value())[1]

    def failed(depth: int) -> bytes:
        failure = None
        for _ in range(depth):
            failure = {"message": "unique", "cause": failure}
        return schemas.encode("WorkflowResult", fields | {"failure": failure})

    one, two = failed(1), failed(2)
    begin = two.index(b"unique") - 1
    cause = next(n for n in range(len(one)) if one[n] != two[n])  # the branch of the union: null or another failure
    chain = two[: cause + 1] + two[begin : cause + 1] * 20_000
    assert _row(Reader("nowhere:1", "schemas"), Record(chain)) is None  # type: ignore[arg-type]
    assert "recursion" in capsys.readouterr().out


@pytest.mark.parametrize("namespace", ["default", "shop_eu", "shöp.eu", "a-b"])
def test_topics_are_those_of_the_namespace(namespace: str) -> None:
    ours = Topics(namespace)
    assert (results_topic(namespace), schemas_topic(namespace)) == (ours.results, ours.schemas)
    assert topic_of_queue(namespace, "order_queue", "events") == ours.events("order_queue")
