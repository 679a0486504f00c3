"""Type hints drive decoding, by Temporal's rules: what converts, what is refused, and that order
and identity of hints matter.
"""

# The older spellings of hints are what is tested here.
# ruff: noqa: UP006, UP007, UP035, UP045

from __future__ import annotations

import collections
import dataclasses
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import (
    Annotated,
    Any,
    Deque,
    Dict,
    Generic,
    List,
    Literal,
    NewType,
    NotRequired,
    Optional,
    Set,
    Tuple,
    TypedDict,
    TypeVar,
    Union,
)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odradek.converter import (
    DataConverter,
    JSONTypeConverter,
    JSONTypeConverterUnhandled,
    value_to_type,
)
from odradek.converter._type_hints import TypeDecoders

T = TypeVar("T")
UserId = NewType("UserId", str)


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Colour(StrEnum):
    RED = "red"


class Plain(Enum):
    ONE = 1


@dataclass
class Item:
    product: str
    quantity: int = 1


@dataclass(frozen=True, slots=True)
class Order:
    items: list[Item]
    note: str | None = None
    level: Level = Level.LOW


@dataclass
class Tree:
    name: str
    children: list[Tree] = field(default_factory=list)


@dataclass(frozen=True)
class Computed:
    value: int
    double: int = field(init=False, default=0)


@dataclass
class Box(Generic[T]):
    content: T
    more: list[T] = field(default_factory=list)


class Address(TypedDict):
    street: str
    number: NotRequired[int]


OK: list[tuple[Any, Any, Any]] = [
    (Any, {"a": [1]}, {"a": [1]}),
    (object, "x", "x"),
    (T, [1], [1]),
    (int, 5, 5),
    (int, 5.7, 5),
    (float, 5, 5.0),
    (str, "x", "x"),
    (bool, True, True),
    (type(None), None, None),
    (None, None, None),
    (bytes, [1, 255], b"\x01\xff"),
    (datetime, "2026-01-02T03:04:05+00:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    (datetime, "2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    (UserId, "x", "x"),
    (Annotated[int, "note"], 5, 5),
    (Literal["a", 1], "a", "a"),
    (Literal["a", 1], 1, 1),
    (Optional[int], None, None),
    (int | None, 5, 5),
    (Union[int, str], "x", "x"),
    (int | str, "x", "x"),
    (Item | Address, {"product": "p", "street": "s"}, Item("p")),
    (dict, {"a": 1}, {"a": 1}),
    (Dict, {"a": 1}, {"a": 1}),
    (dict[str, Item], {"a": {"product": "p"}}, {"a": Item("p")}),
    (Mapping[str, int], {"a": 1}, {"a": 1}),
    (dict[int, str], {"1": "x"}, {1: "x"}),
    (dict[float, str], {"1.5": "x"}, {1.5: "x"}),
    (dict[bool, str], {"true": "x", "false": "y"}, {True: "x", False: "y"}),
    (dict[type(None), str], {"null": "x"}, {None: "x"}),  # type: ignore[misc]
    (dict[Level, str], {"2": "x"}, {Level.HIGH: "x"}),
    (dict[Colour, int], {"red": 1}, {Colour.RED: 1}),
    (dict[Any, T], {"a": {"b": 1}}, {"a": {"b": 1}}),  # type: ignore[valid-type]
    (Address, {"street": "s", "number": 1, "other": 2}, {"street": "s", "number": 1, "other": 2}),
    (Item, {"product": "p", "quantity": 2, "unknown": 1}, Item("p", 2)),
    (Item, {"product": "p"}, Item("p", 1)),
    (Order, {"items": [{"product": "p"}], "level": 2}, Order([Item("p")], None, Level.HIGH)),
    (Tree, {"name": "a", "children": [{"name": "b"}]}, Tree("a", [Tree("b")])),
    (
        Box[Item],
        {"content": {"product": "p"}, "more": [{"product": "q"}]},
        Box(Item("p"), [Item("q")]),
    ),
    (Level, 2, Level.HIGH),
    (Colour, "red", Colour.RED),
    (
        uuid.UUID,
        "12345678-1234-5678-1234-567812345678",
        uuid.UUID("12345678-1234-5678-1234-567812345678"),
    ),
    (list, [1, "a"], [1, "a"]),
    (List[int], [1, 2.5], [1, 2]),
    (Sequence[Item], [{"product": "p"}], [Item("p")]),
    (Iterable[int], [1], [1]),
    (set[int], [1, 2], {1, 2}),
    (Set[int], [1, 1], {1}),
    (frozenset[str], ["a"], frozenset(["a"])),
    (Deque[int], [1], collections.deque([1])),
    (tuple, [1, "a"], (1, "a")),
    (tuple[int, str], [1, "a"], (1, "a")),
    (Tuple[int, ...], [1, 2, 3], (1, 2, 3)),
    (tuple[Item, ...], [{"product": "p"}], (Item("p"),)),
    (list[T], [1, "a"], [1, "a"]),  # type: ignore[valid-type]
    (list[list[Optional[int]]], [[1, None]], [[1, None]]),
]

REFUSED: list[tuple[Any, Any]] = [
    (int, "5"),
    (int, None),
    (float, "x"),
    (str, 5),
    (bool, 1),
    (type(None), 0),
    (bytes, "text"),
    (datetime, 5),
    (datetime, "yesterday"),
    (UserId, 5),
    (Literal["a"], "b"),
    (Optional[int], "x"),
    (dict[str, int], [1]),
    (dict[str, int], {"a": "x"}),
    (dict[int, str], {"a": "x"}),
    (dict[bool, int], {"yes": 1}),
    (Address, {"street": 5}),
    (Item, {"quantity": 5}),
    (Item, {"product": 5}),
    (Item, ["p"]),
    (Level, "LOW"),
    (Colour, 1),
    (Plain, 1),
    (uuid.UUID, 5),
    (list[int], ["x"]),
    (list[int], 5),
    (tuple[int, str], [1, "a", 2]),
    (tuple[int, str], ["a", 1]),
    (date, "2026-01-02"),
    (Decimal, "1.5"),
    ("Item", {"product": "p"}),
]


@pytest.mark.parametrize(("hint", "value", "expected"), OK, ids=lambda value: repr(value)[:40])
def test_converts(hint: Any, value: Any, expected: Any) -> None:
    result = value_to_type(hint, value)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(("hint", "value"), REFUSED, ids=lambda value: repr(value)[:40])
def test_refuses(hint: Any, value: Any) -> None:
    with pytest.raises(TypeError):
        value_to_type(hint, value)


def test_errors_say_where() -> None:
    with pytest.raises(TypeError, match="Failed converting field items on dataclass") as caught:
        value_to_type(Order, {"items": [{"product": "p"}, {"product": 1}]})
    inner = caught.value.__cause__
    assert "index 1" in str(inner)
    with pytest.raises(TypeError, match="Failed converting value for key 'a' in mapping"):
        value_to_type(dict[str, int], {"a": "x"})
    with pytest.raises(TypeError, match="Failed converting key 'x'"):
        value_to_type(dict[int, int], {"x": 1})


def test_fields_outside_init_are_restored() -> None:
    assert dataclasses.asdict(value_to_type(Computed, {"value": 1, "double": 2})) == {
        "value": 1,
        "double": 2,
    }
    with pytest.raises(TypeError):
        value_to_type(Computed, {"value": 1, "double": "x"})


def test_equal_unions_convert_by_their_own_order() -> None:
    one, other = Union[int, float], Union[float, int]
    assert one == other and hash(one) == hash(other)
    assert [type(value_to_type(hint, 1.5)) for hint in (one, other, one, other)] == [
        int,
        float,
        int,
        float,
    ]


def test_many_hints_made_anew_do_not_pile_up() -> None:
    decoders = TypeDecoders()
    for _ in range(10_000):
        assert decoders.get(list[int])([1]) == [1]
    assert len(decoders._cache) <= 4096 + 1


class Upper(JSONTypeConverter):
    def to_typed_value(self, hint: Any, value: Any) -> Any | JSONTypeConverterUnhandled | None:
        if hint is date:
            return date.fromisoformat(value)
        if hint is str and value == "nothing":
            return None
        return JSONTypeConverter.Unhandled


def test_custom_converters_come_first_at_every_level() -> None:
    converters = [Upper()]
    assert value_to_type(dict[str, list[date]], {"a": ["2026-01-02"]}, converters) == {
        "a": [date(2026, 1, 2)]
    }
    assert value_to_type(str, "nothing", converters) is None
    assert value_to_type(str, "x", converters) == "x"
    assert value_to_type(Optional[date], None, [NoneToday()]) == date(2026, 1, 1)


class NoneToday(JSONTypeConverter):
    def to_typed_value(self, hint: Any, value: Any) -> Any | JSONTypeConverterUnhandled | None:
        return date(2026, 1, 1) if hint is date else JSONTypeConverter.Unhandled


# What is written in JSON under a hint comes back equal under it.
scalars = {
    int: st.integers(),
    float: st.floats(allow_nan=False),
    str: st.text(),
    bool: st.booleans(),
    Level: st.sampled_from(Level),
    Colour: st.sampled_from(Colour),
    uuid.UUID: st.uuids(),
    datetime: st.datetimes(timezones=st.just(UTC)),
    Item: st.builds(Item, st.text(), st.integers()),
    Optional[int]: st.none() | st.integers(),
}


@st.composite
def hinted(draw: st.DrawFn) -> tuple[Any, Any]:
    hint, values = draw(st.sampled_from(list(scalars.items())))
    for shape in draw(
        st.lists(st.sampled_from(["list", "tuple", "dict", "keyed", "box"]), max_size=3)
    ):
        match shape:
            case "list":
                hint, values = list[hint], st.lists(values, max_size=3)  # type: ignore[valid-type]
            case "tuple":
                hint, values = tuple[hint, ...], st.lists(values, max_size=3).map(tuple)  # type: ignore[valid-type]
            case "dict":
                hint, values = dict[str, hint], st.dictionaries(st.text(), values, max_size=3)  # type: ignore[valid-type]
            case "keyed":
                hint, values = dict[int, hint], st.dictionaries(st.integers(), values, max_size=3)  # type: ignore[valid-type]
            case "box":
                hint, values = Box[hint], st.builds(Box, values, st.lists(values, max_size=2))  # type: ignore[valid-type]
    return hint, draw(values)


@given(hinted())
def test_round_trips(pair: tuple[Any, Any]) -> None:
    hint, value = pair
    converter = DataConverter.default.payload_converter
    [payload] = converter.to_payloads([value])
    assert converter.from_payloads([payload], [hint]) == [value]
