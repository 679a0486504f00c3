"""A data converter for pydantic models (v2), and for everything else that pydantic can validate.

Give `pydantic_data_converter` as `data_converter` to the client; workers take it from there::

    client = await Client.connect("localhost:9092", data_converter=pydantic_data_converter)

Values are written by `pydantic_core.to_json` and read by `TypeAdapter(hint).validate_json`:
models, dataclasses, dates, decimals, sets, UUIDs, addresses, unions of them. Encoding
json/plain, as without it, so that other services need not know.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import SchemaSerializer, to_json
from pydantic_core.core_schema import any_schema

from odradek.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    JSONPlainPayloadConverter,
)
from odradek.wire.payload import Payload

__all__ = [
    "PydanticJSONPlainPayloadConverter",
    "PydanticPayloadConverter",
    "ToJsonOptions",
    "pydantic_data_converter",
]

_DEFAULT_CACHED = 1024


@dataclass
class ToJsonOptions:
    """How values are written."""

    exclude_unset: bool = False
    """Leave out the fields of models that nobody set."""


class PydanticJSONPlainPayloadConverter(EncodingPayloadConverter):
    """json/plain by pydantic. Type adapters are kept by hint, `max_cached_type_adapters` of them
    (`None`: all, 0: none).

    Instances pickle, without the adapters.
    """

    def __init__(
        self,
        to_json_options: ToJsonOptions | None = None,
        *,
        max_cached_type_adapters: int | None = _DEFAULT_CACHED,
    ) -> None:
        if max_cached_type_adapters is not None and max_cached_type_adapters < 0:
            raise ValueError("max_cached_type_adapters cannot be negative")
        self._to_json_options = to_json_options
        self._max_cached = max_cached_type_adapters
        self._prepare()

    def _prepare(self) -> None:
        self._serializer = SchemaSerializer(any_schema())
        # Only the building of the adapter is kept: two equal hints validate alike, but unions of
        # another order may not, and those are told apart by their text (`Union[int, str] ==
        # Union[str, int]`).
        self._adapters = functools.lru_cache(maxsize=self._max_cached)(_build_adapter)

    def __getstate__(self) -> dict[str, Any]:
        return {"_to_json_options": self._to_json_options, "_max_cached": self._max_cached}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._prepare()

    @property
    def encoding(self) -> str:
        """See base class."""
        return "json/plain"

    def to_payload(self, value: Any) -> Payload | None:
        """See base class. `PydanticSerializationError` for what pydantic cannot write."""
        if self._to_json_options is None:
            data = to_json(value)
        else:
            data = self._serializer.to_json(
                value, exclude_unset=self._to_json_options.exclude_unset
            )
        return Payload({"encoding": b"json/plain"}, data)

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        """See base class. `ValidationError` for what does not fit the hint."""
        hint = Any if type_hint is None else type_hint
        return self._adapter(hint).validate_json(payload.data)

    def _adapter(self, hint: Any) -> TypeAdapter[Any]:
        if isinstance(hint, type):
            return self._adapters(hint, "")
        try:
            hash(hint)
        except TypeError:  # an annotation may hold anything
            return TypeAdapter(hint)
        return self._adapters(hint, repr(hint))


def _build_adapter(hint: Any, text: str) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


class PydanticPayloadConverter(CompositePayloadConverter):
    """The default payload converter with pydantic's json/plain in place of its own.

    For other options make a subclass whose constructor takes no arguments and give it as
    `DataConverter.payload_converter_class`.
    """

    def __init__(
        self,
        to_json_options: ToJsonOptions | None = None,
        *,
        max_cached_type_adapters: int | None = _DEFAULT_CACHED,
    ) -> None:
        pydantic_json = PydanticJSONPlainPayloadConverter(
            to_json_options, max_cached_type_adapters=max_cached_type_adapters
        )
        super().__init__(
            *(
                pydantic_json if isinstance(converter, JSONPlainPayloadConverter) else converter
                for converter in DefaultPayloadConverter.default_encoding_payload_converters
            )
        )


pydantic_data_converter = DataConverter(payload_converter_class=PydanticPayloadConverter)
"""The data converter to give to a client."""
