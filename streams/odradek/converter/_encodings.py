"""The encodings that need nothing but the standard library: binary/null, binary/plain, json/plain."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import Any

from odradek.converter._json import AdvancedJSONEncoder, loads, loads_with, make_encode
from odradek.converter._payload_converter import EncodingPayloadConverter, TypeRouted
from odradek.converter._type_hints import JSONTypeConverter, TypeDecoders
from odradek.wire.payload import Payload


class BinaryNullPayloadConverter(EncodingPayloadConverter, TypeRouted):
    """`binary/null`: None, without data."""

    @property
    def encoding(self) -> str:
        """See base class."""
        return "binary/null"

    def to_payload(self, value: Any) -> Payload | None:
        """See base class."""
        return Payload({"encoding": b"binary/null"}) if value is None else None

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        """See base class."""
        if payload.data:
            raise RuntimeError("Expected empty data set for binary/null")
        return None


class BinaryPlainPayloadConverter(EncodingPayloadConverter, TypeRouted):
    """`binary/plain`: bytes, as they are."""

    @property
    def encoding(self) -> str:
        """See base class."""
        return "binary/plain"

    def to_payload(self, value: Any) -> Payload | None:
        """See base class."""
        return Payload({"encoding": b"binary/plain"}, value) if isinstance(value, bytes) else None

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        """See base class."""
        return payload.data


class JSONPlainPayloadConverter(EncodingPayloadConverter):
    """`json/plain`: compact JSON with sorted keys. Types come back by the hint, see `value_to_type`.

    `encoder` (`None`: the standard one) adds types on the way out, `decoder` and
    `custom_type_converters` on the way in; the latter are asked in order, first of all.
    Instances pickle, without what they remember.
    """

    def __init__(
        self,
        *,
        encoder: type[json.JSONEncoder] | None = AdvancedJSONEncoder,
        decoder: type[json.JSONDecoder] | None = None,
        encoding: str = "json/plain",
        custom_type_converters: Sequence[JSONTypeConverter] = (),
    ) -> None:
        super().__init__()
        self._encoder = encoder
        self._decoder = decoder
        self._encoding = encoding
        self._custom_type_converters = custom_type_converters
        self._prepare()

    def _prepare(self) -> None:
        self._encoding_bytes = self._encoding.encode()
        self._encode = make_encode(self._encoder)
        self._decoder_for = TypeDecoders(self._custom_type_converters).get

    def __getstate__(self) -> dict[str, Any]:
        prepared = ("_encoding_bytes", "_encode", "_decoder_for")
        return {name: value for name, value in self.__dict__.items() if name not in prepared}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()

    @property
    def encoding(self) -> str:
        """See base class."""
        return self._encoding

    def to_payload(self, value: Any) -> Payload | None:
        """See base class. Whatever the encoder raises is raised."""
        if type(value) not in _PLAIN and hasattr(value, "parse_obj"):
            warnings.warn(
                "pydantic models need odradek.contrib.pydantic.pydantic_data_converter as the"
                " client's data_converter; without it they travel as what their dict() gives",
                stacklevel=2,
            )
        return Payload({"encoding": self._encoding_bytes}, self._encode(value))

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        """See base class."""
        value = (
            loads(payload.data)
            if self._decoder is None
            else loads_with(self._decoder, payload.data)
        )
        return value if type_hint is None else self._decoder_for(type_hint)(value)


_PLAIN = frozenset((str, int, float, bool, dict, list, tuple))
