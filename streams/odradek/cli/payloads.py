"""Payloads that cannot be read here: a codec wrote them, or their bytes are damaged. They are
shown as what they are and end no command.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from odradek.converter import DataConverter, DefaultPayloadConverter
from odradek.wire import standard_json
from odradek.wire.payload import Payload

_OWN = ("json/plain", "binary/plain", "binary/null")
_PROTOBUF = ("json/protobuf", "binary/protobuf")


class Unreadable:
    """Stands for the value of such a payload. `str` of it is for people, `to_json` for programs."""

    def __init__(self, payload: Payload) -> None:
        self.payload = payload

    def __str__(self) -> str:
        encoding = self.payload.metadata.get("encoding", b"").decode("utf-8", "replace")
        if encoding in _OWN:
            why = _not_standard(self.payload) or "damaged"
        elif encoding in _PROTOBUF:
            why = "of a message type that is not known here"
        else:
            why = "written by a payload codec"
        return f"unreadable: encoding {encoding or 'none'}, {len(self.payload.data)} bytes, {why}"

    def to_json(self) -> Any:
        """As Temporal writes such a payload: `metadata` and `data` in base64; a protobuf message
        in JSON as its fields.
        """
        from odradek.engine.json_fields import write_payload
        from odradek.web.temporal.shorthand import shorten

        return shorten(write_payload(self.payload))


class ShowingPayloadConverter(DefaultPayloadConverter):
    """Writes as the default one does, and reads what it can; anything else becomes `Unreadable`,
    not an error.
    """

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[Any] | None = None
    ) -> list[Any]:
        """One value a payload. Never raises: a value that does not fit its hint comes as it is."""
        hints = [*(type_hints or ()), *[None] * len(payloads)]
        return [self._value(payload, hint) for payload, hint in zip(payloads, hints, strict=False)]

    def _value(self, payload: Payload, hint: Any) -> Any:
        for one in (hint, None) if hint is not None else (None,):
            try:
                if payload.metadata.get("encoding", b"").startswith(b"json/"):
                    standard_json.loads(
                        payload.data
                    )  # converters take NaN and Infinity, which no JSON output can hold
                return super().from_payloads([payload], None if one is None else [one])[0]
            except Exception:  # whatever a converter makes of foreign bytes: they are only shown
                continue
        return Unreadable(payload)


def _not_standard(payload: Payload) -> str:
    """What of a payload's JSON only Python reads; "" where that is not what is wrong with it."""
    try:
        standard_json.loads(payload.data)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return ""
    except ValueError as error:
        return str(error)
    return ""


#: What commands connect with.
SHOWING = DataConverter(payload_converter_class=ShowingPayloadConverter)


def in_words(value: Any) -> Any:
    """What stands in Temporal's JSON (of an event, say), for people: payloads in short form,
    `Unreadable` in its words.
    """
    from odradek.web.temporal.shorthand import shorten

    if isinstance(value, list):
        return [in_words(part) for part in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"payloads"} and isinstance(value["payloads"], list):
        return in_words(value["payloads"])
    if value and value.keys() <= {"metadata", "data"}:
        return _unreadable(value) or shorten(value)
    return {name: in_words(part) for name, part in value.items()}


def _unreadable(written: dict[str, Any]) -> str:
    """Of a payload in JSON; "" where it can be read, or is none."""
    from odradek.engine.json_fields import read_payload

    try:
        found = SHOWING.payload_converter.from_payloads([read_payload(written)])[0]
    except (
        ValueError,
        TypeError,
        AttributeError,
    ):  # an event that another program wrote: fields of these names that hold something else
        return ""
    return str(found) if isinstance(found, Unreadable) else ""
