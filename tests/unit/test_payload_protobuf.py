"""The protobuf form of payloads: bytes as Temporal's own classes write them, and damage that is
noticed.
"""

from __future__ import annotations

import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from odradek.api.common.v1 import Payload, Payloads
from odradek.wire import payload as wire
from odradek.wire.protobuf import read_varint, varint

payloads = st.builds(Payload, st.dictionaries(st.text(), st.binary(), max_size=3), st.binary())

# Written by temporalio.api.common.v1 (protobuf 7) for the same content.
GOLDEN = (
    bytes.fromhex("0a160a08656e636f64696e67120a6a736f6e2f706c61696e") + b"\x12\xc8\x01" + b"x" * 200
)


def test_the_class_is_the_wire_class() -> None:
    assert Payload is wire.Payload
    assert isinstance(Payload(), msgspec.Struct)


def test_golden_bytes() -> None:
    payload = Payload(metadata={"encoding": b"json/plain"}, data=b"x" * 200)
    assert payload.SerializeToString() == GOLDEN
    assert payload.ByteSize() == len(GOLDEN)
    assert Payload.FromString(GOLDEN) == payload


@given(payloads)
def test_round_trips(payload: Payload) -> None:
    assert Payload.FromString(payload.SerializeToString()) == payload
    assert pickle.loads(pickle.dumps(payload)) == payload


@given(st.lists(payloads, max_size=3))
def test_lists_round_trip(items: list[Payload]) -> None:
    message = Payloads(payloads=items)
    assert Payloads.FromString(message.SerializeToString()) == message


@given(st.integers(0, 2**64 - 1))
def test_varints(value: int) -> None:
    assert read_varint(b"\xff" + varint(value) + b"\xff", 1) == (value, 1 + len(varint(value)))


def test_unknown_fields_are_skipped() -> None:
    unknown = (
        b"\x18\x96\x01" + b"\x21" + b"\0" * 8 + b"\x2d" + b"\0" * 4 + b"\x32\x02hi"
    )  # varint, 64 bits, 32 bits, bytes
    assert Payload.FromString(unknown + GOLDEN) == Payload.FromString(GOLDEN)


@pytest.mark.parametrize(
    "damaged", [GOLDEN[:-1], b"\x0a", b"\x12\x05ab", b"\x80" * 11, b"\x13", b"\x00", b"\x21\x00"]
)
def test_damage_is_noticed(damaged: bytes) -> None:
    with pytest.raises(ValueError, match="protobuf message is"):
        Payload.FromString(damaged)


def test_copy_merge_clear() -> None:
    first, second = Payload({"a": b"1", "b": b"1"}, b"x"), Payload({"b": b"2"}, b"")
    copy = Payload({"gone": b""})
    copy.CopyFrom(first)
    assert copy == first and copy.metadata is not first.metadata
    copy.MergeFrom(second)
    assert copy == Payload({"a": b"1", "b": b"2"}, b"x")
    copy.ParseFromString(second.SerializeToString())
    assert copy == second
    copy.CopyFrom(copy)
    assert copy == second
    copy.Clear()
    assert copy == Payload()

    several = Payloads((first,))  # type: ignore[arg-type]
    several.MergeFrom(Payloads([second]))
    assert several.payloads == [first, second]
    several.payloads[0].metadata["a"] = b"changed"
    other = Payloads()
    other.CopyFrom(several)
    other.payloads[0].metadata["a"] = b"changed again"
    assert several.payloads[0].metadata["a"] == b"changed"


def test_instances_share_nothing() -> None:
    Payload().metadata["x"] = b""
    Payloads().payloads.append(Payload())
    assert Payload().metadata == {} and Payloads().payloads == []
