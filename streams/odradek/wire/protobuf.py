"""Protobuf wire format, as much of it as `Payload` needs: varints and length-delimited fields.
Pure functions.

Code written for Temporal stores a payload as protobuf bytes (an encrypting codec wraps the
serialized inner payload), so those bytes have to be the ones that Temporal's own classes write
and read. Format: https://protobuf.dev/programming-guides/encoding/. Never decodes anything else:
records on topics are Avro.
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, LENGTH_DELIMITED, START_GROUP, END_GROUP, FIXED32 = range(6)


def varint(value: int) -> bytes:
    """Encode a non-negative integer, 7 bits a byte, least significant first."""
    if value < 0x80:
        return value.to_bytes(1, "little")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Decode the varint at `position`. Returns the value and the position behind it.
    `ValueError` when it is cut off or too long.
    """
    value = shift = 0
    while True:
        if position >= len(data):
            raise ValueError("protobuf message is truncated: a number runs past its end")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("protobuf message is damaged: a number is longer than 10 bytes")


def length_delimited(number: int, content: bytes) -> bytes:
    """Encode one length-delimited field (bytes, string, nested message)."""
    return varint(number << 3 | LENGTH_DELIMITED) + varint(len(content)) + content


def fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Each length-delimited field of a message as (field number, content), in order. Other
    fields are skipped, as unknown ones are.
    """
    position, end = 0, len(data)
    while position < end:
        tag, position = read_varint(data, position)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("protobuf message is damaged: field number 0")
        if kind == LENGTH_DELIMITED:
            size, position = read_varint(data, position)
            if position + size > end:
                raise ValueError(
                    f"protobuf message is truncated: field {number} announces {size} bytes,"
                    f" {end - position} are left"
                )
            yield number, data[position : position + size]
            position += size
        elif kind == VARINT:
            _, position = read_varint(data, position)
        elif kind in (FIXED64, FIXED32):
            position += 8 if kind == FIXED64 else 4
            if position > end:
                raise ValueError(f"protobuf message is truncated in field {number}")
        else:
            raise ValueError(f"protobuf message is damaged: field {number} has wire type {kind}")
