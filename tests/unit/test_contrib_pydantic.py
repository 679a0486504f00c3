"""Pydantic models and what else pydantic validates, through the data converter."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal, Union
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from odradek.contrib.pydantic import (
    PydanticJSONPlainPayloadConverter,
    PydanticPayloadConverter,
    ToJsonOptions,
    pydantic_data_converter,
)

CONVERTER = pydantic_data_converter.payload_converter


class Item(BaseModel):
    product: str
    quantity: int = Field(gt=0)
    price: Decimal = Decimal("1.50")


class Order(BaseModel):
    items: list[Item]
    placed: datetime
    by: UUID | None = None


@dataclass
class Note:
    text: str
    on: date


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"


VALUES: list[tuple[Any, Any]] = [
    (Item(product="p", quantity=1), Item),
    (
        Order(
            items=[Item(product="p", quantity=2)],
            placed=datetime(2026, 1, 2, tzinfo=UTC),
            by=UUID(int=1),
        ),
        Order,
    ),
    (Note("x", date(2026, 1, 2)), Note),
    ([Dog(), Cat()], list[Annotated[Cat | Dog, Field(discriminator="kind")]]),
    ({date(2026, 1, 2): {1, 2}}, dict[date, set[int]]),
    ((IPv4Address("127.0.0.1"), timedelta(seconds=3)), tuple[IPv4Address, timedelta]),
    ({"a": [1, None]}, None),
]


@pytest.mark.parametrize(("value", "hint"), VALUES, ids=lambda value: repr(value)[:30])
def test_round_trips(value: Any, hint: Any) -> None:
    [payload] = CONVERTER.to_payloads([value])
    assert payload.metadata == {"encoding": b"json/plain"}
    assert CONVERTER.from_payloads([payload], [hint]) == [value]


def test_none_bytes_and_text_are_as_without_pydantic() -> None:
    values = [None, b"x", "x"]
    payloads = CONVERTER.to_payloads(values)
    assert [p.metadata["encoding"] for p in payloads] == [
        b"binary/null",
        b"binary/plain",
        b"json/plain",
    ]
    assert CONVERTER.from_payloads(payloads, [type(None), bytes, str]) == values


@given(
    st.builds(
        Item,
        product=st.text(),
        quantity=st.integers(1, 2**60),
        price=st.decimals(allow_nan=False, allow_infinity=False),
    )
)
def test_models_round_trip(item: Item) -> None:
    assert CONVERTER.from_payload(CONVERTER.to_payload(item), Item) == item


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValidationError):
        CONVERTER.from_payload(CONVERTER.to_payload({"product": "p", "quantity": 0}), Item)


def test_equal_unions_keep_their_own_order() -> None:
    left, right = (
        Annotated[int | float, Field(union_mode="left_to_right")],
        Annotated[float | int, Field(union_mode="left_to_right")],
    )
    payload = CONVERTER.to_payload(1)
    hints: list[Any] = [left, right, left]
    assert [type(CONVERTER.from_payload(payload, hint)) for hint in hints] == [int, float, int]
    assert type(CONVERTER.from_payload(payload, Union[int, str])) is int  # noqa: UP007


def test_hints_that_do_not_hash() -> None:
    hint = Annotated[int, {"unhashable": []}]
    assert CONVERTER.from_payload(CONVERTER.to_payload(5), hint) == 5


def test_adapters_are_kept_and_dropped() -> None:
    converter = PydanticJSONPlainPayloadConverter(max_cached_type_adapters=1)
    payload = converter.to_payload(5)
    assert payload is not None
    for _ in range(2):
        assert converter.from_payload(payload, int) == 5
    assert converter._adapters.cache_info().hits == 1
    assert converter.from_payload(payload, float) == 5.0
    assert converter._adapters.cache_info().currsize == 1
    assert pickle.loads(pickle.dumps(converter)).from_payload(payload, int) == 5
    with pytest.raises(ValueError, match="cannot be negative"):
        PydanticPayloadConverter(max_cached_type_adapters=-1)


def test_exclude_unset() -> None:
    converter = PydanticPayloadConverter(ToJsonOptions(exclude_unset=True))
    assert (
        converter.to_payload(Item(product="p", quantity=1)).data == b'{"product":"p","quantity":1}'
    )
