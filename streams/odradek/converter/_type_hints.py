"""From plain JSON values to the types that hints name.

The rules are the Temporal Python SDK's `value_to_type`: strict scalars (but int and float
convert into each other), dataclasses (unknown fields ignored, missing ones left to the
constructor), TypedDict, NewType, Literal, unions (the first member that converts), enums that
mix in int or str (a plain Enum is refused), UUID, ISO 8601 datetimes, bytes as a list of
integers, collections, mapping keys.

Each hint is compiled once into a closure, and closures are kept by the *identity* of the hint:
`Union[int, str]` and `Union[str, int]` are equal and hash alike, yet convert differently. A kept
entry holds its hint, so its id cannot be reused.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import inspect
import types
import typing
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, ClassVar, Literal, NewType, TypeVar

_CACHE_LIMIT = 4096

Decode = Callable[[Any], Any]

JSONTypeConverterUnhandled = NewType("JSONTypeConverterUnhandled", object)
"""Type of `JSONTypeConverter.Unhandled`."""


class JSONTypeConverter(ABC):
    """Turns plain JSON values into a type of the user's own. Asked first, at every level of a
    hint.
    """

    Unhandled: ClassVar[JSONTypeConverterUnhandled] = JSONTypeConverterUnhandled(object())
    """Returned for "not mine"."""

    @abstractmethod
    def to_typed_value(self, hint: type, value: Any) -> Any | JSONTypeConverterUnhandled | None:
        """The value as `hint`, or `Unhandled`. `value` is a scalar, list or dict."""


def value_to_type(
    hint: Any, value: Any, custom_converters: Sequence[JSONTypeConverter] = ()
) -> Any:
    """Convert a plain JSON value to the type that `hint` names. `TypeError` when it does not fit."""
    decoders = TypeDecoders(custom_converters) if custom_converters else _default_decoders
    return decoders.get(hint)(value)


class TypeDecoders:
    """Compiled hints for one sequence of custom converters. Safe to share between threads."""

    def __init__(self, custom_converters: Sequence[JSONTypeConverter] = ()) -> None:
        self._custom = tuple(custom_converters)
        self._cache: dict[int, tuple[Any, Decode]] = {}

    def get(self, hint: Any) -> Decode:
        """The closure that converts to `hint`. Never fails itself: what cannot be converted
        fails in the closure.
        """
        entry = self._cache.get(id(hint))
        if entry is not None:
            return entry[1]
        decode = _compile(hint, self)
        if self._custom:
            decode = _custom_first(hint, self._custom, decode)
        if len(self._cache) >= _CACHE_LIMIT:  # hints made anew for each call
            self._cache.clear()
        self._cache[id(hint)] = (hint, decode)
        return decode

    @property
    def plain(self) -> bool:
        """Whether there are no custom converters."""
        return not self._custom


def _custom_first(hint: Any, custom: tuple[JSONTypeConverter, ...], decode: Decode) -> Decode:
    def custom_first(value: Any) -> Any:
        for converter in custom:
            result = converter.to_typed_value(hint, value)
            if result is not JSONTypeConverter.Unhandled:
                return result
        return decode(value)

    return custom_first


def _compile(hint: Any, decoders: TypeDecoders) -> Decode:
    if isinstance(hint, type) and hint in _SCALARS:
        return _SCALARS[hint]
    if hint is Any or isinstance(hint, TypeVar):
        return _same
    if hint is None:
        return _none
    supertype = getattr(hint, "__supertype__", None)
    if supertype is not None:  # NewType
        return decoders.get(supertype)
    if type(hint).__name__ == "TypeAliasType":  # `type X = ...`
        return _alias(hint, decoders)

    origin, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if origin is typing.Annotated:
        return decoders.get(arguments[0])
    if origin is Literal:
        return _literal(arguments)
    if origin is typing.Union or origin is types.UnionType:
        return _union(hint, arguments, decoders)
    if not inspect.isclass(origin):
        return _unserializable(hint)
    if issubclass(origin, collections.abc.Mapping):
        return (
            _typed_dict(hint, origin, decoders)
            if typing.is_typeddict(origin)
            else _mapping(hint, arguments, decoders)
        )
    if dataclasses.is_dataclass(origin):
        return _dataclass(hint, origin, arguments, decoders)
    return _compile_class(hint, origin, arguments, decoders)


def _compile_class(
    hint: Any, origin: type, arguments: tuple[Any, ...], decoders: TypeDecoders
) -> Decode:
    if isinstance(inspect.getattr_static(hint, "parse_obj", None), classmethod | staticmethod):
        return _pydantic(hint)
    if issubclass(origin, Enum):
        for base, name in ((int, "an integer"), (str, "a string")):
            if issubclass(origin, base):
                return _enum(hint, base, name)
        return _unserializable(hint)
    if issubclass(origin, uuid.UUID):
        return _uuid(hint)
    if issubclass(origin, tuple) and len(arguments) > 0 and arguments[-1] is not Ellipsis:
        return _fixed_tuple(hint, arguments, decoders)
    if issubclass(origin, collections.abc.Iterable):
        return _iterable(hint, origin, arguments, decoders)
    return _unserializable(hint)


# ---------------------------------------------------------------------------------------------------------------------
# Scalars


def _same(value: Any) -> Any:
    return value


def _none(value: Any) -> None:
    if value is not None:
        raise TypeError(f"Expected None, got value of type {type(value)}")


def _str(value: Any) -> str:
    if type(value) is str:
        return value
    if not isinstance(value, str):
        raise TypeError(f"Expected value to be str, was {type(value)}")
    return str(value)


def _int(value: Any) -> int:
    if type(value) is int:
        return value
    if not isinstance(value, int | float):
        raise TypeError(f"Expected value to be int|float, was {type(value)}")
    return int(value)


def _float(value: Any) -> float:
    if type(value) is float:
        return value
    if not isinstance(value, int | float):
        raise TypeError(f"Expected value to be int|float, was {type(value)}")
    return float(value)


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"Expected value to be bool, was {type(value)}")
    return value


def _bytes(value: Any) -> bytes:
    # A list of integers, as the encoder writes bytes inside other values. (A bytes argument of its
    # own is binary/plain.)
    if not isinstance(value, bytes | list):
        raise TypeError(f"Expected value to be bytes, was {type(value)}")
    return bytes(value)


def _datetime(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise TypeError(f"Expected datetime or ISO8601 string, got {type(value)}")
    try:
        return datetime.fromisoformat(value)
    except ValueError as err:
        raise TypeError(f"Failed parsing datetime string: {value}") from err


_SCALARS: dict[Any, Decode] = {
    str: _str,
    int: _int,
    float: _float,
    bool: _bool,
    bytes: _bytes,
    datetime: _datetime,
    type(None): _none,
    object: _same,
}


# ---------------------------------------------------------------------------------------------------------------------
# Everything else


def _unserializable(hint: Any) -> Decode:
    def decode(value: Any) -> Any:
        raise TypeError(f"Unserializable type during conversion: {hint}")

    return decode


def _alias(hint: Any, decoders: TypeDecoders) -> Decode:
    # Resolved at the first use: an alias may name itself.
    def decode(value: Any) -> Any:
        return decoders.get(hint.__value__)(value)

    return decode


def _literal(allowed: tuple[Any, ...]) -> Decode:
    def decode(value: Any) -> Any:
        if value not in allowed:
            raise TypeError(f"Value {value} not in literal values {allowed}")
        return value

    return decode


def _union(hint: Any, arguments: tuple[Any, ...], decoders: TypeDecoders) -> Decode:
    members = [decoders.get(argument) for argument in arguments]
    # Whichever member takes None gives None, so there is no need to look for it.
    none_as_is = decoders.plain and type(None) in arguments

    def decode(value: Any) -> Any:
        if value is None and none_as_is:
            return None
        for member in members:
            try:
                return member(value)
            except Exception:  # not this member; the last line reports
                continue
        raise TypeError(f"Failed converting to {hint} from {value}")

    return decode


def _enum(hint: Any, base: type, name: str) -> Decode:
    def decode(value: Any) -> Any:
        if not isinstance(value, base):
            raise TypeError(
                f"Cannot convert to enum {hint}, value not {name}, value is {type(value)}"
            )
        return hint(value)

    return decode


def _uuid(hint: Any) -> Decode:
    def decode(value: Any) -> Any:
        if not isinstance(value, str):
            raise TypeError(f"Expected a UUID string, was {type(value)}")
        return hint(value)

    return decode


def _pydantic(hint: Any) -> Decode:
    # Older pydantic without its own data converter. `odradek.contrib.pydantic` is the proper way.
    def decode(value: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError(f"Cannot convert to {hint}, value is {type(value)} not dict")
        return hint.parse_obj(value)

    return decode


def _substitute(hint: Any, by_type_variable: dict[Any, Any]) -> Any:
    """A field's hint with the type arguments of its generic dataclass put in."""
    if isinstance(hint, TypeVar):
        return by_type_variable.get(hint, hint)
    parameters = getattr(hint, "__parameters__", ())
    if not by_type_variable or not parameters or isinstance(hint, type):
        return hint
    return hint[tuple(by_type_variable.get(parameter, parameter) for parameter in parameters)]


def _dataclass(
    hint: Any, origin: Any, type_arguments: tuple[Any, ...], decoders: TypeDecoders
) -> Decode:
    # Field hints are resolved at the first use, not before: a dataclass may contain itself.
    plan: list[tuple[str, Decode]] = []
    late: list[str] = []

    def resolve() -> None:
        hints = typing.get_type_hints(origin)
        by_type_variable = dict(
            zip(getattr(origin, "__parameters__", ()), type_arguments, strict=False)
        )
        fields = dataclasses.fields(origin)
        late[:] = [field.name for field in fields if not field.init]
        plan[:] = [
            (field.name, decoders.get(_substitute(hints[field.name], by_type_variable)))
            for field in fields
        ]

    def decode(value: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError(f"Cannot convert to dataclass {hint}, value is {type(value)} not dict")
        if not plan:
            resolve()
        arguments: dict[str, Any] = {}
        name = ""
        try:
            for name, field_decode in plan:
                if name in value:
                    arguments[name] = field_decode(value[name])
        except Exception as err:
            raise TypeError(f"Failed converting field {name} on dataclass {hint}") from err
        if not late:
            return origin(**arguments)
        # What __init__ does not take was serialized all the same; object.__setattr__ also works on
        # frozen dataclasses.
        after = {name: arguments.pop(name) for name in late if name in arguments}
        result = origin(**arguments)
        for name, field_value in after.items():
            object.__setattr__(result, name, field_value)
        return result

    return decode


def _typed_dict(hint: Any, origin: Any, decoders: TypeDecoders) -> Decode:
    by_key: dict[str, Decode] = {}

    def decode(value: Any) -> Any:
        if not isinstance(value, collections.abc.Mapping):
            raise TypeError(f"Expected {hint}, value was {type(value)}")
        if not by_key:
            by_key.update(
                (key, decoders.get(key_hint))
                for key, key_hint in typing.get_type_hints(origin).items()
            )
        result = {}
        for key, item in value.items():
            try:
                result[key] = by_key.get(key, _same)(item)
            except Exception as err:
                raise TypeError(
                    f"Failed converting value for key {key!r} in mapping {hint}"
                ) from err
        return hint(**result)

    return decode


def _argument(arguments: tuple[Any, ...], index: int) -> Any | None:
    """A type argument, or `None` where it says nothing."""
    if index >= len(arguments) or arguments[index] is Any or isinstance(arguments[index], TypeVar):
        return None
    return arguments[index]


def _mapping(hint: Any, arguments: tuple[Any, ...], decoders: TypeDecoders) -> Decode:
    key_hint, value_hint = _argument(arguments, 0), _argument(arguments, 1)
    decode_key = (
        _same
        if key_hint is None or (key_hint is str and decoders.plain)
        else _mapping_key(key_hint, decoders)
    )
    decode_value = _same if value_hint is None else decoders.get(value_hint)

    def decode(value: Any) -> dict[Any, Any]:
        if not isinstance(value, collections.abc.Mapping):
            raise TypeError(f"Expected {hint}, value was {type(value)}")
        result = {}
        for key, item in value.items():
            try:
                typed_key = decode_key(key)
            except Exception as err:
                raise TypeError(
                    f"Failed converting key {key!r} to type {key_hint} in mapping {hint}"
                ) from err
            try:
                result[typed_key] = decode_value(item)
            except Exception as err:
                raise TypeError(
                    f"Failed converting value for key {typed_key!r} in mapping {hint}"
                ) from err
        return result

    return decode


_CONSTANT_KEYS: dict[Any, dict[str, Any]] = {
    bool: {"true": True, "false": False},
    type(None): {"null": None},
}


def _mapping_key(key_hint: Any, decoders: TypeDecoders) -> Decode:
    # JSON has text keys only: int, float, bool and None keys were written as text, and the hint
    # brings them back.
    decode = decoders.get(key_hint)
    is_class = isinstance(key_hint, type)
    from_text: Decode = _same
    if key_hint in (int, float):
        from_text = key_hint
    elif is_class and issubclass(key_hint, Enum) and issubclass(key_hint, int):
        from_text = int
    elif is_class and key_hint in _CONSTANT_KEYS:
        from_text = _CONSTANT_KEYS[key_hint].__getitem__

    def decode_key(key: Any) -> Any:
        if isinstance(key, str):
            key = from_text(key)
        return key if is_class and isinstance(key, key_hint) else decode(key)

    return decode_key


_COLLECTIONS: dict[Any, Callable[[list[Any]], Any]] = {
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    collections.deque: collections.deque,
}


def _iterable(hint: Any, origin: Any, arguments: tuple[Any, ...], decoders: TypeDecoders) -> Decode:
    item_hint = _argument(arguments, 0)
    if item_hint is Ellipsis:
        item_hint = None
    decode_item = None if item_hint is None else decoders.get(item_hint)
    build = _COLLECTIONS.get(origin)

    def decode(value: Any) -> Any:
        if not isinstance(value, collections.abc.Iterable):
            raise TypeError(f"Expected {hint}, value was {type(value)}")
        if decode_item is None:
            items = list(value)
        else:
            items = []
            try:
                for item in value:
                    items.append(decode_item(item))  # its length is the index in the error below
            except Exception as err:
                raise TypeError(f"Failed converting {hint} index {len(items)}") from err
        return items if build is None else build(items)

    return decode


def _fixed_tuple(hint: Any, arguments: tuple[Any, ...], decoders: TypeDecoders) -> Decode:
    members = [decoders.get(argument) for argument in arguments]

    def decode(value: Any) -> Any:
        if not isinstance(value, collections.abc.Iterable):
            raise TypeError(f"Expected {hint}, value was {type(value)}")
        items: list[Any] = []
        for index, item in enumerate(value):
            if index >= len(members):
                raise TypeError(
                    f"Type {hint} only expecting {len(members)} values, got at least {index + 1}"
                )
            try:
                items.append(members[index](item))
            except Exception as err:
                raise TypeError(f"Failed converting {hint} index {index}") from err
        return tuple(items)

    return decode


_default_decoders = TypeDecoders()
