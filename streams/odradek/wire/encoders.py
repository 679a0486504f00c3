"""Avro bodies written at speed: one function a record type, generated from its fields.

Why not fastavro here: with it a StartWorkflow costs 12 µs to write and 9 µs to read, and history
rows more (a dict in between, unions searched branch by branch); these functions take a quarter
of the first (`docs/decisions/0004-generated-codec.md`). fastavro is the judge: tests hold both
to the same bytes, and it reads whatever was written with another schema than ours (`codec.py`).

The generated text is one expression a field, in schema order:

    def encode(r, head):
        return join((head,
            STRING[r.workflow_id],
            LONG[r.attempt],
            NULL if (v := r.parent) is None else h7(v, b"\\x02"),
        ))

A value of the wrong type never passes silently: it raises one of `ENCODE_ERRORS`, which
`codec.py` explains.
"""

from __future__ import annotations

import struct
import typing
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from odradek.wire.generated import CACHE_LIMIT, JSON_METADATA, JSON_METADATA_BYTES, Scope
from odradek.wire.schema import RecordType, field_type, is_union

Encoder = Callable[[Any, bytes], bytes]

ENCODE_ERRORS = (
    AttributeError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    RecursionError,
    struct.error,
)

_CACHED_TEXT_BYTES = 64  # longer texts are data, not names
_INT64 = 1 << 63


class _Longs(dict[int, bytes]):
    """int -> zigzag varint, with memory."""

    def __missing__(self, value: int) -> bytes:
        if not isinstance(value, int):
            raise TypeError(f"Expected `int`, got `{type(value).__name__}`")
        if not -_INT64 <= value < _INT64:
            raise OverflowError(f"{value} does not fit a long")
        rest = (value << 1) ^ (value >> 63)
        out = bytearray()
        while rest > 127:
            out.append(rest & 127 | 128)
            rest >>= 7
        out.append(rest)
        if len(self) >= CACHE_LIMIT:
            self.clear()
        self[value] = encoded = bytes(out)
        return encoded


LONG = _Longs()


class _Strings(dict[str, bytes]):
    """str -> length and UTF-8, with memory for the short ones."""

    def __missing__(self, text: str) -> bytes:
        raw = text.encode()
        encoded = LONG[len(raw)] + raw
        if len(raw) <= _CACHED_TEXT_BYTES:
            if len(self) >= CACHE_LIMIT:
                self.clear()
            self[text] = encoded
        return encoded


STRING = _Strings()

_ENCODE_SCALAR = {
    str: "STRING[{}]",
    int: "LONG[{}]",
    bool: "BOOL[{}]",
    float: "DOUBLE({})",
}


@cache
def encoder(record_type: RecordType) -> Encoder:
    """The function that writes a record: `(record, bytes to put before it) -> bytes`."""
    scope = Scope(join=b"".join, STRING=STRING, LONG=LONG, NULL=b"\0")
    scope.update(BOOL={True: b"\x01", False: b"\x00"}, DOUBLE=struct.Struct("<d").pack)
    parts = [
        _encode_expression(field.type, f"r.{field.name}", record_type, scope)
        for field in msgspec.structs.fields(record_type)
    ]
    lines = (
        ["def encode(r, head):", "    return join((head,"]
        + [f"        {part}," for part in parts]
        + ["    ))"]
    )
    return typing.cast(Encoder, scope.define("encode", lines, record_type))


def _encode_expression(hint: Any, value: str, owner: RecordType, scope: Scope) -> str:
    hint, nullable = field_type(hint)
    if nullable:
        some = _encode_some(hint, "v", owner, scope)
        return f"NULL if (v := {value}) is None else {some}"
    if hint is bytes:
        return f"LONG[len(v := {value})], v"
    if hint in _ENCODE_SCALAR:
        return _ENCODE_SCALAR[hint].format(value)
    if is_union(hint):
        arms = scope.add(
            {
                arm: (LONG[n], _encoder_of(arm, owner, scope))
                for n, arm in enumerate(typing.get_args(hint))
            }
        )
        return f"(u := {arms}[type(v := {value})])[1](v, u[0])"
    if typing.get_origin(hint) in (list, dict):
        # len() rather than truth: a None must raise, not pass for an empty list.
        return f"{scope.add(_encode_many(hint, owner, scope))}(v) if len(v := {value}) else NULL"
    return f"{scope.add(_encoder_of(hint, owner, scope))}({value}, b'')"


def _encode_some(hint: Any, value: str, owner: RecordType, scope: Scope) -> str:
    if hint in _ENCODE_SCALAR:
        return "b'\\x02' + " + _ENCODE_SCALAR[hint].format(value)
    return f"{scope.add(_encoder_of(hint, owner, scope))}({value}, b'\\x02')"


def _encoder_of(hint: Any, owner: RecordType, scope: Scope) -> Encoder:
    """Encoder of a nested record. One that holds itself (Failure.cause) is not there yet while
    it is made: it is looked up when it runs.
    """
    if hint is not owner:
        return encoder(hint)

    def write_own(value: Any, head: bytes) -> bytes:
        return typing.cast(bytes, scope["encode"](value, head))

    return write_own


def _encode_many(hint: Any, owner: RecordType, scope: Scope) -> Callable[[Any], bytes]:
    """Arrays and maps, in one block: count, items, 0."""
    join = b"".join
    if typing.get_origin(hint) is list:
        one = _encode_item(typing.get_args(hint)[0], owner, scope)

        def write_list(items: list[Any]) -> bytes:
            if len(items) == 1:
                return b"\x02" + one(items[0]) + b"\0"
            return join((LONG[len(items)], *[one(item) for item in items], b"\0"))

        return write_list
    each = _encode_item(typing.get_args(hint)[1], owner, scope)

    if typing.get_args(hint)[1] is bytes:

        def write_metadata(items: dict[str, bytes]) -> bytes:
            if items == JSON_METADATA:
                return JSON_METADATA_BYTES
            return join(
                (
                    LONG[len(items)],
                    *[
                        part
                        for key, item in items.items()
                        for part in (STRING[key], LONG[len(item)], item)
                    ],
                    b"\0",
                )
            )

        return write_metadata

    def write_map(items: dict[str, Any]) -> bytes:
        return join(
            (
                LONG[len(items)],
                *[part for key, item in items.items() for part in (STRING[key], each(item))],
                b"\0",
            )
        )

    return write_map


def _encode_item(hint: Any, owner: RecordType, scope: Scope) -> Callable[[Any], bytes]:
    if hint is str:
        return STRING.__getitem__
    if hint is int:
        return LONG.__getitem__
    if hint is bytes:
        return lambda raw: LONG[len(raw)] + raw
    if typing.get_origin(hint) in (list, dict):
        many = _encode_many(hint, owner, scope)
        return lambda items: many(items) if len(items) else b"\0"
    one = _encoder_of(hint, owner, scope)
    return lambda record: one(record, b"")
