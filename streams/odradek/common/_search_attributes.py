"""Typed search attributes: keys, pairs, updates and their collection."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from itertools import pairwise
from typing import (
    Any,
    ClassVar,
    Generic,
    NamedTuple,
    TypeAlias,
    TypeVar,
    cast,
    get_origin,
    overload,
)

# A list and not a sequence: a str is a sequence too, and passing one by mistake has to be noticed.
SearchAttributeValues: TypeAlias = list[str] | list[int] | list[float] | list[bool] | list[datetime]
SearchAttributes: TypeAlias = Mapping[str, SearchAttributeValues]
SearchAttributeValue: TypeAlias = str | int | float | bool | datetime | Sequence[str]
SearchAttributeValueType = TypeVar(
    "SearchAttributeValueType", str, int, float, bool, datetime, Sequence[str]
)
_Default = TypeVar("_Default")


class SearchAttributeIndexedValueType(IntEnum):
    """How a search attribute is indexed."""

    TEXT = 1
    KEYWORD = 2
    INT = 3
    DOUBLE = 4
    BOOL = 5
    DATETIME = 6
    KEYWORD_LIST = 7


_METADATA_TYPES: dict[SearchAttributeIndexedValueType, str] = {
    SearchAttributeIndexedValueType.TEXT: "Text",
    SearchAttributeIndexedValueType.KEYWORD: "Keyword",
    SearchAttributeIndexedValueType.INT: "Int",
    SearchAttributeIndexedValueType.DOUBLE: "Double",
    SearchAttributeIndexedValueType.BOOL: "Bool",
    SearchAttributeIndexedValueType.DATETIME: "Datetime",
    SearchAttributeIndexedValueType.KEYWORD_LIST: "KeywordList",
}
"""The `type` metadata of the payload that carries a value."""

_VALUE_TYPES: dict[SearchAttributeIndexedValueType, Any] = {
    SearchAttributeIndexedValueType.TEXT: str,
    SearchAttributeIndexedValueType.KEYWORD: str,
    SearchAttributeIndexedValueType.INT: int,
    SearchAttributeIndexedValueType.DOUBLE: float,
    SearchAttributeIndexedValueType.BOOL: bool,
    SearchAttributeIndexedValueType.DATETIME: datetime,
    SearchAttributeIndexedValueType.KEYWORD_LIST: Sequence[str],
}

# The server writes PascalCase, in rare cases the name of the enum value.
_BY_METADATA_TYPE = {name: kind for kind, name in _METADATA_TYPES.items()}
_BY_METADATA_TYPE |= {f"INDEXED_VALUE_TYPE_{kind.name}": kind for kind in _METADATA_TYPES}


class SearchAttributeKey(ABC, Generic[SearchAttributeValueType]):
    """Name and type of a search attribute. Made by one of the `for_` methods; keys are equal
    when name and type are.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the attribute."""

    @property
    @abstractmethod
    def indexed_value_type(self) -> SearchAttributeIndexedValueType:
        """How it is indexed."""

    @property
    @abstractmethod
    def value_type(self) -> type[SearchAttributeValueType]:
        """Python type of its values; may be a generic, which `isinstance` does not take."""

    @property
    def origin_value_type(self) -> type:
        """Python type of its values, without type arguments."""
        return get_origin(self.value_type) or self.value_type

    @property
    def _metadata_type(self) -> str:
        return _METADATA_TYPES[self.indexed_value_type]

    def value_set(
        self, value: SearchAttributeValueType
    ) -> SearchAttributeUpdate[SearchAttributeValueType]:
        """An update that sets this attribute."""
        return _Update(self, value)

    def value_unset(self) -> SearchAttributeUpdate[SearchAttributeValueType]:
        """An update that removes this attribute."""
        return _Update(self, None)

    @staticmethod
    def for_text(name: str) -> SearchAttributeKey[str]:
        """Key of a text, searched by words."""
        return _Key[str](name, SearchAttributeIndexedValueType.TEXT)

    @staticmethod
    def for_keyword(name: str) -> SearchAttributeKey[str]:
        """Key of a text, searched as a whole."""
        return _Key[str](name, SearchAttributeIndexedValueType.KEYWORD)

    @staticmethod
    def for_int(name: str) -> SearchAttributeKey[int]:
        """Key of an integer."""
        return _Key[int](name, SearchAttributeIndexedValueType.INT)

    @staticmethod
    def for_float(name: str) -> SearchAttributeKey[float]:
        """Key of a float."""
        return _Key[float](name, SearchAttributeIndexedValueType.DOUBLE)

    @staticmethod
    def for_bool(name: str) -> SearchAttributeKey[bool]:
        """Key of a bool."""
        return _Key[bool](name, SearchAttributeIndexedValueType.BOOL)

    @staticmethod
    def for_datetime(name: str) -> SearchAttributeKey[datetime]:
        """Key of a time; values need a time zone."""
        return _Key[datetime](name, SearchAttributeIndexedValueType.DATETIME)

    @staticmethod
    def for_keyword_list(name: str) -> SearchAttributeKey[Sequence[str]]:
        """Key of a list of keywords."""
        return _Key[Sequence[str]](name, SearchAttributeIndexedValueType.KEYWORD_LIST)

    @staticmethod
    def _from_metadata_type(name: str, metadata_type: str) -> SearchAttributeKey[Any] | None:
        kind = _BY_METADATA_TYPE.get(metadata_type)
        return None if kind is None else _Key(name, kind)

    @staticmethod
    def _guess_from_untyped_values(
        name: str, values: SearchAttributeValues
    ) -> SearchAttributeKey[Any] | None:
        if not values:
            return None
        first: object = values[0]
        if len(values) > 1:
            return SearchAttributeKey.for_keyword_list(name) if isinstance(first, str) else None
        if isinstance(first, bool):  # before int: a bool is one
            return SearchAttributeKey.for_bool(name)
        kinds: list[tuple[type, SearchAttributeIndexedValueType]] = [
            (str, SearchAttributeIndexedValueType.KEYWORD),
            (int, SearchAttributeIndexedValueType.INT),
            (float, SearchAttributeIndexedValueType.DOUBLE),
            (datetime, SearchAttributeIndexedValueType.DATETIME),
        ]
        return next(
            (_Key(name, kind) for python_type, kind in kinds if isinstance(first, python_type)),
            None,
        )


@dataclass(frozen=True)
class _Key(SearchAttributeKey[SearchAttributeValueType]):
    _name: str
    _indexed_value_type: SearchAttributeIndexedValueType

    @property
    def name(self) -> str:
        return self._name

    @property
    def indexed_value_type(self) -> SearchAttributeIndexedValueType:
        return self._indexed_value_type

    @property
    def value_type(self) -> type[SearchAttributeValueType]:
        return cast(type[SearchAttributeValueType], _VALUE_TYPES[self._indexed_value_type])


class SearchAttributePair(NamedTuple, Generic[SearchAttributeValueType]):
    """A search attribute with its value."""

    key: SearchAttributeKey[SearchAttributeValueType]
    value: SearchAttributeValueType


class SearchAttributeUpdate(ABC, Generic[SearchAttributeValueType]):
    """A change of one search attribute. Made by `SearchAttributeKey.value_set` and `value_unset`."""

    @property
    @abstractmethod
    def key(self) -> SearchAttributeKey[SearchAttributeValueType]:
        """The attribute."""

    @property
    @abstractmethod
    def value(self) -> SearchAttributeValueType | None:
        """Its new value; `None` removes it."""


@dataclass(frozen=True)
class _Update(SearchAttributeUpdate[SearchAttributeValueType]):
    _key: SearchAttributeKey[SearchAttributeValueType]
    _value: SearchAttributeValueType | None

    @property
    def key(self) -> SearchAttributeKey[SearchAttributeValueType]:
        return self._key

    @property
    def value(self) -> SearchAttributeValueType | None:
        return self._value


@dataclass(frozen=True)
class TypedSearchAttributes(Collection[SearchAttributePair[Any]]):
    """Immutable set of search attributes, in order of their names. `ValueError` for a name that
    stands twice.
    """

    search_attributes: Sequence[SearchAttributePair[Any]]
    """The pairs. Not to be changed."""

    empty: ClassVar[TypedSearchAttributes]
    """The set of none."""

    def __post_init__(self) -> None:
        pairs = sorted(self.search_attributes, key=lambda pair: pair.key.name)
        for one, next_one in pairwise(pairs):
            if one.key.name == next_one.key.name:
                raise ValueError(f"Duplicate search attribute entries found for key {one.key.name}")
        object.__setattr__(self, "search_attributes", pairs)

    def __len__(self) -> int:
        return len(self.search_attributes)

    def __iter__(self) -> Iterator[SearchAttributePair[Any]]:
        return iter(self.search_attributes)

    def __contains__(self, key: object) -> bool:
        """Whether there is a value for exactly this key, type included."""
        return any(pair.key == key for pair in self.search_attributes)

    def __getitem__(
        self, key: SearchAttributeKey[SearchAttributeValueType]
    ) -> SearchAttributeValueType:
        """The value of a key. `KeyError` when it has none."""
        for pair in self.search_attributes:
            if pair.key == key and pair.value is not None:
                return cast(SearchAttributeValueType, pair.value)
        raise KeyError(key.name)

    @overload
    def get(
        self, key: SearchAttributeKey[SearchAttributeValueType]
    ) -> SearchAttributeValueType | None: ...

    @overload
    def get(
        self, key: SearchAttributeKey[SearchAttributeValueType], default: _Default
    ) -> SearchAttributeValueType | _Default: ...

    def get(self, key: SearchAttributeKey[Any], default: Any = None) -> Any:
        """The value of a key, else `default`."""
        try:
            return self[key]
        except KeyError:
            return default

    def updated(self, *search_attributes: SearchAttributePair[Any]) -> TypedSearchAttributes:
        """A copy with these pairs added, in place of those of the same names."""
        by_name = {pair.key.name: pair for pair in self.search_attributes}
        by_name.update((pair.key.name, pair) for pair in search_attributes)
        return TypedSearchAttributes(list(by_name.values()))


TypedSearchAttributes.empty = TypedSearchAttributes([])


def _warn_on_deprecated_search_attributes(attributes: object, stack_level: int = 2) -> None:
    """Warn when search attributes come in the older form of a dict of lists. `stack_level` 1
    blames the caller of the caller.
    """
    if attributes and isinstance(attributes, Mapping):
        warnings.warn(
            "Dictionary-based search attributes are deprecated",
            DeprecationWarning,
            stacklevel=1 + stack_level,
        )
