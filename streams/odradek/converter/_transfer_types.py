"""Transfer types: a class that travels as another one. `@transfer_type_convertible(Converter)`
on the class, nothing at the call sites.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Generic, Self, TypeVar

from odradek.converter._context import SerializationContext, WithSerializationContext
from odradek.converter._payload_converter import PayloadConverter
from odradek.wire.payload import Payload

ValueT = TypeVar("ValueT")
TransferTypeT = TypeVar("TransferTypeT")
_ATTRIBUTE = "__temporal_transfer_type_converter"
_registered = False


class TransferTypeConverter(ABC, Generic[ValueT, TransferTypeT]):
    """Converts values of a class to those of its transfer type and back."""

    transfer_type: type[TransferTypeT] | None = None
    """Type hint with which payloads are decoded before `from_transfer_type`."""

    @abstractmethod
    def to_transfer_type(self, value: ValueT) -> TransferTypeT:
        """What travels in place of `value`."""

    @abstractmethod
    def from_transfer_type(self, value: TransferTypeT, type_hint: type[ValueT]) -> ValueT:
        """The value of what travelled. `type_hint` is the type asked for, with its type arguments."""


def transfer_type_convertible(
    converter_type: type[TransferTypeConverter[ValueT, TransferTypeT]],
) -> Callable[[type[ValueT]], type[ValueT]]:
    """Class decorator: values of the class travel through `converter_type`. `TypeError` when it
    has one already.
    """

    def decorate(cls: type[ValueT]) -> type[ValueT]:
        global _registered
        if hasattr(cls, _ATTRIBUTE):
            raise TypeError("class already has a transfer type converter")
        setattr(cls, _ATTRIBUTE, converter_type())
        _registered = True
        return cls

    return decorate


def _converter_of(value_type: object) -> TransferTypeConverter[Any, Any] | None:
    converter = getattr(value_type, _ATTRIBUTE, None)
    return converter if isinstance(converter, TransferTypeConverter) else None


class TransferTypePayloadConverter(PayloadConverter, WithSerializationContext):
    """Wraps a payload converter with the conversion of transfer types. Costs one call while no
    class has one.
    """

    def __init__(self, inner: PayloadConverter) -> None:
        self._inner = inner

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        """See base class."""
        if _registered:
            converters = [_converter_of(type(value)) for value in values]
            values = [
                value if converter is None else converter.to_transfer_type(value)
                for value, converter in zip(values, converters, strict=True)
            ]
        return self._inner.to_payloads(values)

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[Any] | None = None
    ) -> list[Any]:
        """See base class."""
        if not _registered or type_hints is None:
            return self._inner.from_payloads(payloads, type_hints)
        converters = [_converter_of(hint) for hint in type_hints]
        hints = [
            hint if converter is None else converter.transfer_type
            for hint, converter in zip(type_hints, converters, strict=True)
        ]
        return [
            value if converter is None else converter.from_transfer_type(value, hint)
            for value, converter, hint in zip(
                self._inner.from_payloads(payloads, hints), converters, type_hints, strict=True
            )
        ]

    def with_context(self, context: SerializationContext) -> Self:
        """The same around the inner converter with the context."""
        if not isinstance(self._inner, WithSerializationContext):
            return self
        inner = self._inner.with_context(context)
        return self if inner is self._inner else type(self)(inner)
