"""Avro bodies read at speed: one function a record type, generated from its fields; for bodies
written with that very schema.

    def decode(d, i):
        n = d[i]; i += 1; j = i + LENGTH[n]
        f0 = d[i:j].decode(); i = j
        …
        return ParentExecution(f0, f1, f2), i

Garbage never passes silently and never loops: each item takes a byte at least, and reading
beyond the end raises one of `DECODE_ERRORS` (a slice may come out short, but then the position
is beyond the data, which the caller checks).
"""

from __future__ import annotations

import struct
import typing
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from odradek.wire.generated import CACHE_LIMIT, JSON_ENCODING, JSON_METADATA_BYTES, Scope
from odradek.wire.schema import RecordType, field_type, is_union

Decoder = Callable[[bytes, int], tuple[Any, int]]

DECODE_ERRORS = (
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    RecursionError,
    struct.error,
)

_ZIGZAG = tuple((n >> 1) ^ -(n & 1) for n in range(128))
# Lengths are never negative: an odd first byte finds None, and adding that raises.
_LENGTH: tuple[Any, ...] = tuple(None if n & 1 else n >> 1 for n in range(128))
_LONG6: dict[
    bytes, int
] = {}  # six-byte varints: times in epoch ms. A valid one never equals the head of another number.


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """Zigzag varint at `at`: (value, position after it)."""
    byte = data[at]
    if byte < 128:
        return _ZIGZAG[byte], at + 1
    start, shift, result = at, 0, 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 127) << shift
        if byte < 128:
            break
        shift += 7
        if shift > 63:
            raise ValueError("varint longer than a long")
    value = (result >> 1) ^ -(result & 1)
    if at - start == 6:
        if len(_LONG6) >= CACHE_LIMIT:
            _LONG6.clear()
        _LONG6[data[start:at]] = value
    return value, at


def _read_length(data: bytes, at: int) -> tuple[int, int]:
    """Length at `at`: (end of what it measures, where that begins)."""
    length, at = read_long(data, at)
    if length < 0:
        raise ValueError("negative length")
    return at + length, at


# Each leaves the field in {f}. Most numbers and lengths are of one byte, some of two, times of six.
_DECODE_SCALAR = {
    str: """
    n = d[i]
    i += 1
    if n == 0:
        {f} = ""
    else:
        if n < 128:
            j = i + LENGTH[n]
        else:
            j, i = read_length(d, i - 1)
        {f} = d[i:j].decode()
        i = j""",
    bytes: """
    n = d[i]
    i += 1
    if n < 128:
        j = i + LENGTH[n]
    else:
        j, i = read_length(d, i - 1)
    {f} = d[i:j]
    i = j""",
    int: """
    n = d[i]
    if n < 128:
        {f} = ZIGZAG[n]
        i += 1
    elif d[i + 1] < 128:
        n = n & 127 | d[i + 1] << 7
        {f} = (n >> 1) ^ -(n & 1)
        i += 2
    else:
        {f} = LONG6.get(d[i:i + 6])
        if {f} is None:
            {f}, i = read_long(d, i)
        else:
            i += 6""",
    bool: """
    {f} = BOOL[d[i]]
    i += 1""",
    float: """
    ({f},) = DOUBLE(d, i)
    i += 8""",
}


@cache
def decoder(record_type: RecordType) -> Decoder:
    """The function that reads a record: `(data, position) -> (record, position after it)`."""
    scope = Scope(
        ZIGZAG=_ZIGZAG,
        LENGTH=_LENGTH,
        LONG6=_LONG6,
        BOOL=(False, True),
        DOUBLE=struct.Struct("<d").unpack_from,
        read_long=read_long,
        read_length=_read_length,
        Record=record_type,
    )
    fields = msgspec.structs.fields(record_type)
    lines = ["def decode(d, i):"]
    for number, field in enumerate(fields):
        lines += _decode_lines(field.type, f"f{number}", record_type, scope)
    arguments = ", ".join(f"f{number}" for number in range(len(fields)))
    return typing.cast(
        Decoder, scope.define("decode", [*lines, f"    return Record({arguments}), i"], record_type)
    )


def _decode_lines(hint: Any, name: str, owner: RecordType, scope: Scope) -> list[str]:
    hint, nullable = field_type(hint)
    if nullable:
        some = _decode_lines(hint, name, owner, scope)
        return [
            "    n = d[i]",
            "    i += 1",
            "    if n == 0:",
            f"        {name} = None",
            "    elif n != 2:",
            "        raise ValueError('no such branch of a nullable field')",
            "    else:",
            *["    " + line for line in some],
        ]
    if hint in _DECODE_SCALAR:
        return _DECODE_SCALAR[hint].format(f=name).strip("\n").split("\n")
    if is_union(hint):
        arms = scope.add(
            {n: _decoder_of(arm, owner, scope) for n, arm in enumerate(typing.get_args(hint))}
        )
        return ["    n, i = read_long(d, i)", f"    {name}, i = {arms}[n](d, i)"]
    if origin := typing.get_origin(hint):
        many = scope.add(
            _decode_list(hint, owner, scope) if origin is list else _decode_map(hint, owner, scope)
        )
        empty = "[]" if origin is list else "{}"
        return [
            "    if d[i] == 0:",
            f"        {name} = {empty}",
            "        i += 1",
            "    else:",
            f"        {name}, i = {many}(d, i)",
        ]
    return [f"    {name}, i = {scope.add(_decoder_of(hint, owner, scope))}(d, i)"]


def _decoder_of(hint: Any, owner: RecordType, scope: Scope) -> Decoder:
    """Decoder of a nested record; see `encoders._encoder_of`."""
    if hint is not owner:
        return decoder(hint)

    def read_own(data: bytes, at: int) -> tuple[Any, int]:
        return typing.cast("tuple[Any, int]", scope["decode"](data, at))

    return read_own


def _decode_item(hint: Any, owner: RecordType, scope: Scope) -> Decoder:
    if hint is str:
        return _read_text
    if hint is int:
        return read_long
    if hint is bytes:
        return _read_bytes
    if origin := typing.get_origin(hint):
        return (
            _decode_list(hint, owner, scope) if origin is list else _decode_map(hint, owner, scope)
        )
    return _decoder_of(hint, owner, scope)


def _read_text(data: bytes, at: int) -> tuple[str, int]:
    end, at = _read_length(data, at)
    return data[at:end].decode(), end


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    end, at = _read_length(data, at)
    return data[at:end], end


def _read_block(data: bytes, at: int) -> tuple[int, int]:
    """Items in the block at `at`, 0 at the end. A negative count is followed by the block's size
    in bytes (for skipping).
    """
    count, at = read_long(data, at)
    if count < 0:
        _, at = read_long(data, at)
        return -count, at
    return count, at


def _decode_list(hint: Any, owner: RecordType, scope: Scope) -> Decoder:
    one = _decode_item(typing.get_args(hint)[0], owner, scope)

    def read_list(data: bytes, at: int) -> tuple[list[Any], int]:
        if data[at] == 2:  # one block of one item, the usual argument list
            item, at = one(data, at + 1)
            if data[at] == 0:
                return [item], at + 1
            items = [item]
        else:
            items = []
        count, at = _read_block(data, at)
        while count:
            for _ in range(count):
                item, at = one(data, at)
                items.append(item)
            count, at = _read_block(data, at)
        return items, at

    return read_list


def _decode_map(hint: Any, owner: RecordType, scope: Scope) -> Decoder:
    item_type = typing.get_args(hint)[1]
    one = _decode_item(item_type, owner, scope)

    def read_map(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        items: dict[str, Any] = {}
        count, at = _read_block(data, at)
        while count:
            for _ in range(count):
                key, at = _read_text(data, at)
                items[key], at = one(data, at)
            count, at = _read_block(data, at)
        return items, at

    def read_metadata(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        if data.startswith(JSON_METADATA_BYTES, at):
            return {"encoding": JSON_ENCODING}, at + len(JSON_METADATA_BYTES)
        return read_map(data, at)

    return read_metadata if item_type is bytes else read_map
