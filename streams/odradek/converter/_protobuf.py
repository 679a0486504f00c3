"""json/protobuf and binary/protobuf, for code that passes protobuf messages. Only importable
where `google.protobuf` is installed.
"""

from __future__ import annotations

import json
from typing import Any

from google.protobuf import json_format, message, symbol_database  # type: ignore[import-untyped, unused-ignore]

from odradek.converter._payload_converter import EncodingPayloadConverter, TypeRouted
from odradek.wire.payload import Payload

_symbols: Any = symbol_database.Default()


def _metadata(encoding: bytes, value: Any) -> dict[str, bytes]:
    return {"encoding": encoding, "messageType": value.DESCRIPTOR.full_name.encode()}


def _new_message(payload: Payload) -> Any:
    name = payload.metadata.get("messageType", b"<unknown>").decode()
    try:
        return _symbols.GetSymbol(name)()
    except KeyError as err:
        raise RuntimeError(f"Unknown Protobuf type {name}") from err


class JSONProtoPayloadConverter(EncodingPayloadConverter, TypeRouted):
    """`json/protobuf`: protobuf messages as protobuf's JSON; `messageType` metadata names the
    type.
    """

    def __init__(self, ignore_unknown_fields: bool = False) -> None:
        super().__init__()
        self._ignore_unknown_fields = ignore_unknown_fields

    @property
    def encoding(self) -> str:
        """See base class."""
        return "json/protobuf"

    def to_payload(self, value: Any) -> Payload | None:
        """See base class."""
        if not isinstance(value, message.Message):
            return None
        text = json.dumps(json_format.MessageToDict(value), separators=(",", ":"), sort_keys=True)
        return Payload(_metadata(b"json/protobuf", value), text.encode())

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        """See base class."""
        try:
            return json_format.Parse(
                payload.data,
                _new_message(payload),
                ignore_unknown_fields=self._ignore_unknown_fields,
            )
        except json_format.ParseError as err:
            raise RuntimeError("Failed parsing") from err


class BinaryProtoPayloadConverter(EncodingPayloadConverter, TypeRouted):
    """`binary/protobuf`: protobuf messages as protobuf's bytes; `messageType` metadata names the
    type.
    """

    @property
    def encoding(self) -> str:
        """See base class."""
        return "binary/protobuf"

    def to_payload(self, value: Any) -> Payload | None:
        """See base class."""
        return (
            Payload(_metadata(b"binary/protobuf", value), value.SerializeToString())
            if isinstance(value, message.Message)
            else None
        )

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        """See base class."""
        value = _new_message(payload)
        try:
            value.ParseFromString(payload.data)
        except message.DecodeError as err:
            raise RuntimeError("Failed parsing") from err
        return value
