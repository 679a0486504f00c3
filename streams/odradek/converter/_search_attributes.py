"""Search attributes to payloads and back. Never through a user's converter or codec: the read
side has to read them.

An attribute's payload is json/plain with its index type in the `type` metadata; a removed one is
binary/null without it. Starts of programs in any language bring others, and what cannot be read
is left out: a list of runs, or a run's own code, must not fail over it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from odradek.common import (
    SearchAttributeIndexedValueType,
    SearchAttributeKey,
    SearchAttributePair,
    SearchAttributes,
    TypedSearchAttributes,
)
from odradek.converter._data_converter import default
from odradek.wire.payload import Payload


def encode_search_attributes(
    attributes: SearchAttributes | TypedSearchAttributes,
) -> dict[str, Payload]:
    """Payloads by attribute name, for either form of search attributes."""
    if isinstance(attributes, TypedSearchAttributes):
        return {
            pair.key.name: encode_typed_search_attribute_value(pair.key, pair.value)
            for pair in attributes
        }
    return {name: encode_search_attribute_values(values) for name, values in attributes.items()}


def encode_typed_search_attribute_value(key: SearchAttributeKey[Any], value: Any) -> Payload:
    """Payload of one value; `None` removes the attribute. `TypeError` when the value is not of
    the key's type.
    """
    if value is None:
        return default().payload_converter.to_payload(None)
    if not isinstance(value, key.origin_value_type):
        raise TypeError(
            f"Value of type {value} not suitable for indexed value type {key.indexed_value_type}"
        )
    if isinstance(value, datetime):
        value = _iso(value)
    elif isinstance(value, Sequence) and not all(isinstance(item, str) for item in value):
        raise TypeError("All values of a keyword list must be strings")
    payload = default().payload_converter.to_payload(value)
    payload.metadata["type"] = key._metadata_type.encode()
    return payload


def encode_search_attribute_values(values: Any) -> Payload:
    """Payload of the older form, a list of values of one type. `TypeError` for anything else."""
    if not isinstance(values, list):
        raise TypeError("Search attribute values must be lists")
    for value in values:
        if not isinstance(value, str | int | float | bool | datetime):
            raise TypeError(
                f"Search attribute value of type {type(value).__name__} not one of str, int, float,"
                " bool, or datetime"
            )
        if type(value) is not type(values[0]):
            raise TypeError("Search attribute values must have the same type for the same key")
    return default().payload_converter.to_payload(
        [_iso(value) if isinstance(value, datetime) else value for value in values]
    )


def _iso(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError("Timezone must be present on all search attribute dates")
    return value.isoformat()


def decode_search_attributes(fields: Mapping[str, Payload]) -> SearchAttributes:
    """The older form, a list of values by name, from payloads by name. What cannot be read is
    left out.
    """
    result: dict[str, Any] = {}
    for name, payload in fields.items():
        with contextlib.suppress(Exception):
            value = default().payload_converter.from_payload(payload)
            values = value if isinstance(value, list) else [value]
            is_time = payload.metadata.get("type") == b"Datetime"
            result[name] = [datetime.fromisoformat(item) for item in values] if is_time else values
    return result


def decode_typed_search_attributes(fields: Mapping[str, Payload]) -> TypedSearchAttributes:
    """Typed search attributes from payloads by name. What carries no known type, or a value of
    another one, is left out.
    """
    pairs: list[SearchAttributePair[Any]] = []
    for name, payload in fields.items():
        with contextlib.suppress(Exception):
            pair = _typed_pair(name, payload)
            if pair is not None:
                pairs.append(pair)
    return TypedSearchAttributes(pairs)


def _typed_pair(name: str, payload: Payload) -> SearchAttributePair[Any] | None:
    key = SearchAttributeKey._from_metadata_type(name, payload.metadata.get("type", b"").decode())
    if key is None:
        return None
    value: Any = default().payload_converter.from_payload(payload)
    kind = key.indexed_value_type
    if isinstance(value, list) and kind != SearchAttributeIndexedValueType.KEYWORD_LIST:
        if len(value) != 1:
            return None
        value = value[0]
    if kind == SearchAttributeIndexedValueType.DATETIME:
        value = datetime.fromisoformat(value)
    elif kind == SearchAttributeIndexedValueType.DOUBLE and type(value) is int:
        value = float(value)  # a whole number loses its point in JSON
    return SearchAttributePair(key, value) if isinstance(value, key.origin_value_type) else None
