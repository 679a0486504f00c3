"""W3C trace context in record headers: a trace goes through services that know nothing of
Odradek, and comes from producers that do not.

Inside, a trace travels as the payload header `_tracer-data` (Temporal's name: JSON,
`{"traceparent": ..., "tracestate": ...}`), since histories keep payload headers, and replay has
to find them. A record whose payload headers hold it repeats `traceparent`, `tracestate` and
`baggage` as record headers of these names, in W3C's own form; a start, signal or query that
carries only record headers gets the payload header from them, once, when its owner reads it.

Never: fail a record over a trace. What is malformed, too long or encrypted by a codec is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping

from odradek.wire.payload import Payload

TRACER_DATA = "_tracer-data"
TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
BAGGAGE = "baggage"

_NAMES = (TRACEPARENT, TRACESTATE, BAGGAGE)
_LENGTH_MAX = 8_192  # W3C asks for 512 of tracestate and 8,192 of baggage at least
_PARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


def trace_headers(headers: Mapping[str, Payload]) -> list[tuple[str, bytes]]:
    """Record headers that repeat a record's `_tracer-data`; none without one."""
    payload = headers.get(TRACER_DATA)
    if payload is None or payload.metadata.get("encoding") != b"json/plain":
        return []
    try:
        carrier = json.loads(payload.data)
    except (ValueError, RecursionError):
        return []
    if not isinstance(carrier, dict) or not _is_parent(carrier.get(TRACEPARENT)):
        return []
    return [(name, value.encode()) for name in _NAMES if (value := _text(carrier.get(name)))]


def tracer_data(headers: Iterable[tuple[str, bytes | str | None]] | None) -> Payload | None:
    """The payload header that record headers stand for; None without a valid `traceparent`."""
    carrier: dict[str, str] = {}
    for name, raw in headers or ():
        if name in _NAMES and raw is not None:
            carrier[name] = _text(raw if isinstance(raw, str) else raw.decode("utf-8", "replace"))
    if not _is_parent(carrier.get(TRACEPARENT)):
        return None
    carrier = {name: value for name, value in carrier.items() if value}
    return Payload({"encoding": b"json/plain"}, json.dumps(carrier, separators=(",", ":")).encode())


def _is_parent(value: object) -> bool:
    return isinstance(value, str) and _PARENT.fullmatch(value) is not None


def _text(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= _LENGTH_MAX else ""
