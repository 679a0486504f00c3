"""How large a record is to a topic's `max.message.bytes`, before it is sent. Pure.

The limit counts a batch as it is stored (Kafka's message format v2: 61 bytes of batch, then the
record with its varint lengths), after compression. This counts before it, as the producer's own
limit does, and an upper bound of the lengths: what passes here is taken.
"""

from __future__ import annotations

from collections.abc import Iterable

_BATCH_BYTES = 61
_RECORD_BYTES = (
    5 + 1 + 10 + 5 + 5 + 5 + 5
)  # length, attributes, timestamp delta, offset delta, key length, value length, header count
_HEADER_BYTES = 5 + 5  # name length, value length


def record_size(
    key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | str | None]] = ()
) -> int:
    """Upper bound, in bytes, of a batch that holds this record alone."""
    size = _BATCH_BYTES + _RECORD_BYTES + len(key or b"") + len(value or b"")
    for name, content in headers:
        size += _HEADER_BYTES + len(name.encode()) + len(content or b"")
    return size
