"""Search attributes are refused where they are given, when no index could hold them: a value is
of the type that it says.
"""

from __future__ import annotations

import pytest

from odradek.wire import outcomes
from odradek.wire.events import StartWorkflow
from odradek.wire.payload import Payload
from tests.engine.script import payloads
from tests.engine.test_requests import world


def typed(value_type: str, data: bytes, encoding: bytes = b"json/plain") -> Payload:
    return Payload({"encoding": encoding, "type": value_type.encode()}, data)


BAD_VALUES = [
    (("Int", b"1180591620717411303424"), "1180591620717411303424 is no Int"),
    (("Int", b"1.5"), "1.5 is no Int"),
    (("Double", b'"x"'), "'x' is no Double"),
    (("Bool", b"1"), "1 is no Bool"),
    (("Datetime", b'"yesterday"'), "Invalid isoformat string: 'yesterday'"),
    (("Datetime", b'"9999-12-31T23:59:59-23:00"'), "date value out of range"),
    (("Keyword", b'["a","b"]'), "it has one value, here are 2"),
    (("KeywordList", b'["a",7]'), "7 is no KeywordList"),
    (("Keyword", b"\x00"), "Expecting value"),
    (("INDEXED_VALUE_TYPE_INT", b"1.5"), "1.5 is no Int"),
    (("INDEXED_VALUE_TYPE_KEYWORD", b'["a","b"]'), "it has one value, here are 2"),
    (("Keyword", b"x", b"binary/encrypted"), "its encoding is 'binary/encrypted', not json/plain"),
]
GOOD_VALUES = [
    *[
        ("Int", b"-9223372036854775808"),
        ("Double", b"7"),
        ("Bool", b"false"),
        ("Datetime", b'"2026-01-01T00:00:00.123456789Z"'),
    ],
    *[
        ("Keyword", b'["a"]'),
        ("KeywordList", b'["a","b"]'),
        ("Text", '"größer"'.encode()),
        ("Int", b"null"),
        ("Keyword", b"[]"),
    ],
    ("Int", b"", b"binary/null"),
    *[
        ("INDEXED_VALUE_TYPE_KEYWORD", b'"a"'),
        ("INDEXED_VALUE_TYPE_KEYWORD_LIST", b'["a","b"]'),
        ("INDEXED_VALUE_TYPE_INT", b"1"),
    ],
    ("INDEXED_VALUE_TYPE_DATETIME", b'"2026-01-01T00:00:00Z"'),
]


def test_search_attributes_of_their_types_start() -> None:
    w = world()
    values = {f"A{n}": typed(*value) for n, value in enumerate(GOOD_VALUES)} | {
        "untyped": payloads(["x", 1])[0],
        "no index": payloads({"a": 1})[0],
        "removed": Payload({"encoding": b"binary/null"}),
    }
    w.step(
        StartWorkflow(
            workflow_id="w", workflow_type="waiting", reply_to="c", search_attributes=values
        )
    )
    assert w.replies[-1].status == outcomes.OK and w.run().search_attributes == values


@pytest.mark.parametrize(("value", "why"), BAD_VALUES)
def test_a_start_with_a_value_that_is_not_of_its_type_is_refused(
    value: tuple[str, bytes], why: str
) -> None:
    w = world()
    w.step(
        StartWorkflow(
            workflow_id="w",
            workflow_type="waiting",
            reply_to="c",
            search_attributes={"A": typed(*value)},
        )
    )
    assert w.replies[-1].status == outcomes.INVALID_ARGUMENT
    assert (
        f"invalid value for search attribute A of type {value[0]}: {why}" in w.replies[-1].message
    )
    assert w.tables.table("run") == {}


UNREADABLE = [
    ({}, b"x", "its encoding is '', not json/plain"),
    ({"encoding": b""}, b'"x"', "its encoding is '', not json/plain"),
    ({"encoding": b"\xff\xfe"}, b'"x"', "its encoding is '\ufffd\ufffd', not json/plain"),
    ({"encoding": b"binary/encrypted"}, b"x", "its encoding is 'binary/encrypted', not json/plain"),
    ({"encoding": b"json/plain"}, b"{bad", "Expecting property name"),
    ({"encoding": b"json/plain"}, b"[NaN]", "NaN is no JSON value"),
    ({"encoding": b"json/plain"}, b'"caf\xe9"', "'utf-8' codec can't decode byte 0xe9"),
    ({"encoding": b"json/plain"}, '"x"'.encode("utf-16"), "'utf-8' codec can't decode byte 0xff"),
    ({"encoding": b"json/plain"}, b"[" * 100_000, "maximum recursion depth exceeded"),
]


@pytest.mark.parametrize(("metadata", "data", "why"), UNREADABLE)
def test_a_value_of_no_type_can_be_read_at_least(
    metadata: dict[str, bytes], data: bytes, why: str
) -> None:
    """Temporal's server knows its type from elsewhere, and decodes it by that: what does not
    decode is refused.
    """
    w = world()
    w.step(
        StartWorkflow(
            workflow_id="w",
            workflow_type="waiting",
            reply_to="c",
            search_attributes={"A": Payload(metadata, data)},
        )
    )
    assert w.replies[-1].status == outcomes.INVALID_ARGUMENT
    assert w.replies[-1].message.startswith(f"invalid value for search attribute A: {why}")
    assert w.tables.table("run") == {}


@pytest.mark.parametrize(
    "unknown",
    [
        "Nope",
        "INDEXED_VALUE_TYPE_NOPE",
        "INDEXED_VALUE_TYPE_UNSPECIFIED",
        "INDEXED_VALUE_TYPE_Int",
        "KEYWORD",
    ],
)
def test_an_unknown_type_is_refused_with_those_there_are(unknown: str) -> None:
    w = world()
    w.step(
        StartWorkflow(
            workflow_id="w",
            workflow_type="waiting",
            reply_to="c",
            search_attributes={"A": typed(unknown, b"1")},
        )
    )
    assert w.replies[-1].message.startswith(
        f"search attribute A is of the unknown type {unknown!r}; types are Bool, Datetime,"
        " Double, Int"
    )
