"""Records as JSON values: field names as on the wire, payloads with what they hold where it can
be read, other bytes in base64.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

import msgspec

from odradek.web.shown_json import parse_shown
from odradek.wire.payload import Payload

_PLAIN_ENCODINGS = (b"json/plain", b"json/protobuf")


def record_value(value: Any) -> Any:
    """Any part of a record."""
    if isinstance(value, Payload):
        return payload_view(value)
    if isinstance(value, msgspec.Struct):
        fields = {name: record_value(getattr(value, name)) for name in value.__struct_fields__}
        tag = value.__struct_config__.tag
        return {"type": tag, **fields} if tag else fields
    if isinstance(value, dict):
        return {str(key): record_value(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [record_value(part) for part in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value


def payload_view(payload: Payload) -> dict[str, Any]:
    """A payload: `encoding`, `metadata`, `size`, and `value` if it is plain.

    What a codec has made of it (encrypted, compressed) cannot be read here: `unreadable` says
    so, `data` has the bytes in base64.
    """
    encoding = payload.metadata.get("encoding", b"")
    others = {
        name: text.decode("utf-8", "replace")
        for name, text in payload.metadata.items()
        if name != "encoding"
    }
    view: dict[str, Any] = {
        "encoding": encoding.decode("utf-8", "replace"),
        "metadata": others,
        "size": len(payload.data),
    }
    if encoding == b"binary/null":
        return view | {"value": None}
    if encoding in _PLAIN_ENCODINGS:
        try:
            return view | {"value": parse_shown(payload.data)}
        except ValueError as error:
            return view | {
                "unreadable": f"it says {encoding.decode()} and is no JSON: {error}",
                "data": _base64(payload.data),
            }
    view["data"] = _base64(payload.data)
    if encoding not in (b"binary/plain", b"binary/protobuf"):
        name = encoding.decode("utf-8", "replace") or "none"
        view["unreadable"] = (
            f"written by a payload codec (encoding {name}), which this server does not have"
        )
    return view


def header_texts(headers: Iterable[tuple[str, bytes | str | None]] | None) -> dict[str, str]:
    """Headers of a record as text; the last of several wins."""
    return {
        name: raw if isinstance(raw, str) else (raw or b"").decode("utf-8", "replace")
        for name, raw in headers or ()
    }


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
