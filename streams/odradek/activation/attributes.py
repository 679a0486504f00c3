"""Memo and search attributes of the running workflow: reading them, and upserts, which are
commands.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from odradek.common import (
    SearchAttributeIndexedValueType,
    SearchAttributeKey,
    SearchAttributePair,
    SearchAttributes,
    SearchAttributeUpdate,
)
from odradek.common import _arg_unset as unset
from odradek.converter import encode_search_attribute_values, encode_typed_search_attribute_value
from odradek.engine.activation import UpsertMemo, UpsertSearchAttributes
from odradek.wire.payload import Payload

if TYPE_CHECKING:
    from odradek.activation.context import WorkflowContext


def memo(context: WorkflowContext) -> Mapping[str, Any]:
    """All memo values, decoded without hints."""
    if context.converted_memo is None:
        convert = context.payload_converter.from_payload
        context.converted_memo = {
            key: convert(payload) for key, payload in context.started_info.raw_memo.items()
        }
    return context.converted_memo


def memo_value(context: WorkflowContext, key: str, default: Any, type_hint: Any) -> Any:
    """One memo value. `KeyError` when it is absent and `default` is unset."""
    payload = context.started_info.raw_memo.get(key)
    if payload is None:
        if default is unset:
            raise KeyError(f"Memo does not have a value for key {key}")
        return default
    return context.payload_converter.from_payload(payload, type_hint)


def upsert_memo(context: WorkflowContext, updates: Mapping[str, Any]) -> None:
    """Set memo values; None removes one."""
    context.assert_writable("upsert memo")
    convert = context.payload_converter.to_payload
    payloads = {key: convert(value) for key, value in updates.items()}
    if not payloads:
        return
    context.add(UpsertMemo(memo=payloads))
    raw = cast(dict[str, Payload], context.started_info.raw_memo)
    for key, payload in payloads.items():
        if updates[key] is None:
            raw.pop(key, None)
        else:
            raw[key] = payload
    context.converted_memo = None


def upsert_search_attributes(
    context: WorkflowContext, attributes: SearchAttributes | Sequence[SearchAttributeUpdate[Any]]
) -> None:
    """Set or remove search attributes, and keep `workflow.info()` in step."""
    context.assert_writable("upsert search attributes")
    info = context.started_info
    untyped = cast(dict[str, Any], info.search_attributes)
    typed = {pair.key.name: pair for pair in info.typed_search_attributes.search_attributes}
    fields: dict[str, Payload] = {}
    if isinstance(attributes, Mapping):
        for name, values in attributes.items():
            fields[name] = encode_search_attribute_values(values)
            untyped[name] = values
            typed.pop(name, None)
            pair = _guess(name, values)
            if pair is not None:
                typed[name] = pair
    else:
        for update in attributes:
            name, value = update.key.name, update.value
            fields[name] = encode_typed_search_attribute_value(update.key, value)
            if value is None:
                untyped[name] = []
                typed.pop(name, None)
            else:
                is_list = (
                    update.key.indexed_value_type == SearchAttributeIndexedValueType.KEYWORD_LIST
                )
                untyped[name] = list(value) if is_list else [value]
                typed[name] = SearchAttributePair(update.key, value)
    context.add(UpsertSearchAttributes(search_attributes=fields))
    cast(list[Any], info.typed_search_attributes.search_attributes)[:] = sorted(
        typed.values(), key=lambda pair: pair.key.name
    )


def _guess(name: str, values: Any) -> SearchAttributePair[Any] | None:
    """A typed pair for the old form, where the type can be told from the value."""
    with contextlib.suppress(Exception):  # the old form promises nothing about types
        key = SearchAttributeKey._guess_from_untyped_values(name, values)
        if key is not None:
            is_list = key.indexed_value_type == SearchAttributeIndexedValueType.KEYWORD_LIST
            if is_list or len(values) == 1:
                return SearchAttributePair(key, list(values) if is_list else values[0])
    return None
