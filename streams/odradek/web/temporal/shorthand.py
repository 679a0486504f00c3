"""The short form of payloads, which Temporal's HTTP API uses unless told otherwise
(`noPayloadShorthand`).

A payload of plain JSON stands for itself, null for one without data, a list for `Payloads`;
whatever has other metadata or another encoding keeps the long form. Written on the finished
JSON, where a payload is told by its shape; read where a payload is expected.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from odradek.web.errors import check_text, invalid
from odradek.web.shown_json import parse_shown
from odradek.wire.payload import Payload

_MESSAGE_TYPE = "_protoMessageType"
_NO = object()


def shorten(value: Any) -> Any:
    """A JSON value with every payload in it in short form where it has one."""
    if isinstance(value, list):
        return [shorten(part) for part in value]
    if not isinstance(value, dict):
        return value
    if _is_payload(value):
        short = _short(value)
        return value if short is _NO else short
    if _is_payloads(value):
        shorts = [_short(payload) for payload in value["payloads"]]
        return value if any(short is _NO for short in shorts) else shorts
    return {key: shorten(part) for key, part in value.items()}


def _is_payload(value: dict[str, Any]) -> bool:
    metadata = value.get("metadata")
    return (
        isinstance(metadata, dict)
        and "encoding" in metadata
        and value.keys() <= {"metadata", "data"}
    )


def _is_payloads(value: dict[str, Any]) -> bool:
    payloads = value.get("payloads")
    return (
        len(value) == 1
        and isinstance(payloads, list)
        and all(isinstance(part, dict) and _is_payload(part) for part in payloads)
    )


def _short(value: dict[str, Any]) -> Any:
    metadata = value["metadata"]
    encoding = base64.b64decode(metadata["encoding"])
    if encoding == b"binary/null":
        return None
    if encoding not in (b"json/plain", b"json/protobuf"):
        return _NO
    try:
        data = parse_shown(base64.b64decode(value.get("data", "")))
    except ValueError:
        return _NO
    if encoding == b"json/plain":
        return data if len(metadata) == 1 else _NO
    if len(metadata) != 2 or "messageType" not in metadata or not isinstance(data, dict):
        return _NO
    return {
        **data,
        _MESSAGE_TYPE: base64.b64decode(metadata["messageType"]).decode("utf-8", "replace"),
    }


def read_payload(value: Any, what: str, *, short: bool = True) -> Payload:
    """A payload in either form; `short` False: the long one only. ApiError names `what` when it
    is neither.
    """
    long = _read_long(value, whole=short)
    if long is not None:
        for name in long.metadata:
            check_text(name, f"a name in {what}.metadata")
        return long
    if not short:
        raise invalid(f"{what}: a payload is an object with `metadata` and `data`, both in base64")
    if value is None:
        return Payload({"encoding": b"binary/null"})
    if (
        isinstance(value, dict)
        and isinstance(value.get(_MESSAGE_TYPE), str)
        and value[_MESSAGE_TYPE]
    ):
        rest = {key: part for key, part in value.items() if key != _MESSAGE_TYPE}
        return Payload(
            {"encoding": b"json/protobuf", "messageType": value[_MESSAGE_TYPE].encode()},
            _json(rest),
        )
    return Payload({"encoding": b"json/plain"}, _json(value))


def read_payloads(value: Any, what: str, *, short: bool = True) -> list[Payload]:
    """A list of payloads: `{"payloads": [...]}`, or in short form just a list."""
    if isinstance(value, dict) and value.keys() <= {"payloads"}:
        items = value.get("payloads", [])
        if isinstance(items, list):
            return [
                read_payload(item, f"{what}.payloads[{number}]", short=short)
                for number, item in enumerate(items)
            ]
    if short and isinstance(value, list):
        return [read_payload(item, f"{what}[{number}]") for number, item in enumerate(value)]
    raise invalid(
        f"{what}: payloads are a list of JSON values, or an object with a list named `payloads`"
    )


def _read_long(value: Any, *, whole: bool) -> Payload | None:
    """A payload in its long form, None when it is not in it. whole: with metadata, and with data
    where it is not null, or else it is taken for a JSON value that stands for itself.
    """
    if not isinstance(value, dict) or not value.keys() <= {"metadata", "data"}:
        return None
    metadata, data = value.get("metadata"), value.get("data")
    if not isinstance(metadata, dict | None) or not isinstance(data, str | None):
        return None
    try:
        payload = Payload(
            {key: from_base64(text) for key, text in (metadata or {}).items()},
            from_base64(data or ""),
        )
    except (binascii.Error, ValueError, TypeError, AttributeError):
        return None
    is_whole = bool(payload.metadata) and bool(
        payload.data or payload.metadata.get("encoding") == b"binary/null"
    )
    return payload if is_whole or not whole else None


def from_base64(text: str) -> bytes:
    """Base64, also its URL form and without padding, as protobuf's JSON reader takes it."""
    plain = text.replace("-", "+").replace("_", "/").rstrip("=")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "backslashreplace"
    )
