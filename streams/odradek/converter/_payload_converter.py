"""Values to payloads and back: the two interfaces, and the composite that tries one encoding
after the other.

`PayloadConverter` works on whole argument lists, `EncodingPayloadConverter` on single values of
one encoding. Synchronous and pure: bytes-to-bytes work (encryption, compression) is a codec's,
see `_payload_codec`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import zip_longest
from typing import Any, ClassVar, Self, TypeVar, overload

from odradek.common import RawValue
from odradek.converter._context import SerializationContext, WithSerializationContext
from odradek.wire.payload import Payload, Payloads

_ROUTE_LIMIT = 4096
_T = TypeVar("_T")


class PayloadConverter(ABC):
    """Converts argument lists to payloads and back."""

    default: ClassVar[PayloadConverter]
    """The default one."""

    @abstractmethod
    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        """Payloads of values. A `RawValue` gives its own. Raises whatever the conversion raises."""

    @abstractmethod
    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[Any] | None = None
    ) -> list[Any]:
        """Values of payloads. `type_hints`, if given, has one hint a payload; the hint
        `RawValue` gives the payload itself.
        """

    def to_payloads_wrapper(self, values: Sequence[Any]) -> Payloads:
        """`to_payloads` as one `Payloads` message."""
        return Payloads(payloads=self.to_payloads(values))

    def from_payloads_wrapper(self, payloads: Payloads | None) -> list[Any]:
        """`from_payloads` of one `Payloads` message; `None` is an empty one."""
        return self.from_payloads(payloads.payloads) if payloads and payloads.payloads else []

    def to_payload(self, value: Any) -> Payload:
        """The payload of one value."""
        return self.to_payloads([value])[0]

    @overload
    def from_payload(self, payload: Payload) -> Any: ...

    @overload
    def from_payload(self, payload: Payload, type_hint: type[_T]) -> _T: ...

    @overload
    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any: ...

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        """The value of one payload."""
        return self.from_payloads([payload], None if type_hint is None else [type_hint])[0]


class EncodingPayloadConverter(ABC):
    """Converts single values of one encoding. Parts of a `CompositePayloadConverter`."""

    @property
    @abstractmethod
    def encoding(self) -> str:
        """What stands in the payload's `encoding` metadata."""

    @abstractmethod
    def to_payload(self, value: Any) -> Payload | None:
        """The payload of a value; `None` for "not mine". TypeError, ValueError or RuntimeError
        when it is but cannot be encoded.
        """

    @abstractmethod
    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        """The value of a payload of this encoding. RuntimeError when its bytes are damaged,
        TypeError when they do not fit the hint.
        """


class TypeRouted:
    """Marks encodings whose `to_payload` decides by the type of the value alone, whether it takes it.

    The composite remembers, by type, which encoding took a value. It may do so only past
    encodings of exactly a marked class: a subclass or a stranger may decide by more than the
    type.
    """

    __slots__ = ()


class CompositePayloadConverter(PayloadConverter, WithSerializationContext):
    """Tries one encoding after the other, in order. `converters` maps encoding names to them."""

    converters: Mapping[bytes, EncodingPayloadConverter]

    def __init__(self, *converters: EncodingPayloadConverter) -> None:
        self._set_converters(*converters)

    def _set_converters(self, *converters: EncodingPayloadConverter) -> None:
        self.converters = {converter.encoding.encode(): converter for converter in converters}
        self._routes: dict[type, EncodingPayloadConverter] = {}

    def to_payloads(self, values: Sequence[Any]) -> list[Payload]:
        """One payload a value. `RuntimeError` for a value that no encoding takes."""
        payloads: list[Payload] = []
        for value in values:  # in order: an encoding may depend on what it saw before
            route = self._routes.get(type(value))
            payload = None if route is None else route.to_payload(value)
            payloads.append(
                self._first_payload(value, len(payloads)) if payload is None else payload
            )
        return payloads

    def _first_payload(self, value: Any, index: int) -> Payload:
        if isinstance(value, RawValue):
            return value.payload
        by_type = True
        for converter in self.converters.values():
            payload = converter.to_payload(value)
            if payload is not None:
                if by_type:
                    if len(self._routes) >= _ROUTE_LIMIT:
                        self._routes.clear()
                    self._routes[type(value)] = converter
                return payload
            by_type = by_type and TypeRouted in type(converter).__bases__
        raise RuntimeError(f"Value at index {index} of type {type(value)} has no known converter")

    def from_payloads(
        self, payloads: Sequence[Payload], type_hints: list[Any] | None = None
    ) -> list[Any]:
        """One value a payload. `KeyError` for an unknown encoding, `RuntimeError` for damaged
        bytes, `TypeError` for a misfit.
        """
        values: list[Any] = []
        for payload, type_hint in zip_longest(payloads, type_hints or ()):
            if type_hint is RawValue:
                values.append(RawValue(payload))
                continue
            encoding = payload.metadata.get("encoding", b"<unknown>")
            converter = self.converters.get(encoding)
            if converter is None:
                raise KeyError(f"Unknown payload encoding {encoding.decode()}")
            try:
                values.append(converter.from_payload(payload, type_hint))
            except RuntimeError as err:
                raise RuntimeError(
                    f"Payload at index {len(values)} with encoding {encoding.decode()} could not be"
                    " converted"
                ) from err
        return values

    def with_context(self, context: SerializationContext) -> Self:
        """A copy whose encodings use the context; `self` when none of them does. The class needs
        a constructor without arguments.
        """
        converters = self.get_converters_with_context(context)
        if converters is None:
            return self
        copy = type(self)()
        copy._set_converters(*converters)
        return copy

    def get_converters_with_context(
        self, context: SerializationContext
    ) -> list[EncodingPayloadConverter] | None:
        """The encodings with the context; `None` when none of them uses it."""
        if not self._any_takes_context:
            return None
        before = list(self.converters.values())
        after = [
            (
                converter.with_context(context)
                if isinstance(converter, WithSerializationContext)
                else converter
            )
            for converter in before
        ]
        return (
            after if any(new is not old for new, old in zip(after, before, strict=True)) else None
        )

    @cached_property
    def _any_takes_context(self) -> bool:
        return any(
            isinstance(converter, WithSerializationContext)
            for converter in self.converters.values()
        )


class DefaultPayloadConverter(CompositePayloadConverter):
    """None, bytes, protobuf messages where protobuf is installed, and whatever JSON can carry.
    Understood by Temporal's other SDKs.
    """

    default_encoding_payload_converters: tuple[EncodingPayloadConverter, ...]
    """Its encodings, in order."""

    def __init__(self) -> None:
        super().__init__(*DefaultPayloadConverter.default_encoding_payload_converters)
