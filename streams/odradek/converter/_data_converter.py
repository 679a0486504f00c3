"""`DataConverter`: payload converter, codec and failure converter in one value, as client and
worker take it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from odradek.converter._context import SerializationContext, WithSerializationContext
from odradek.converter._failure_converter import DefaultFailureConverter, FailureConverter, _copy
from odradek.converter._payload_codec import PayloadCodec, transform_failure
from odradek.converter._payload_converter import DefaultPayloadConverter, PayloadConverter
from odradek.converter._transfer_types import TransferTypePayloadConverter
from odradek.wire.payload import Failure, Payload, Payloads


@dataclass(frozen=True)
class DataConverter(WithSerializationContext):
    """How values and exceptions become payloads and failures. Immutable: `dataclasses.replace`
    makes a changed one.

    Without a codec everything is synchronous: callers that mind the time test `payload_codec is
    None` and call `payload_converter` and `failure_converter` directly. With one, workflow code
    still sees those two only; the codec runs outside, through this class.
    """

    payload_converter_class: type[PayloadConverter] = DefaultPayloadConverter
    """Made without arguments."""

    payload_codec: PayloadCodec | None = None
    """Encodes and decodes bytes."""

    failure_converter_class: type[FailureConverter] = DefaultFailureConverter
    """Made without arguments."""

    payload_converter: PayloadConverter = dataclasses.field(init=False)
    """The payload converter, transfer types included."""

    failure_converter: FailureConverter = dataclasses.field(init=False)
    """The failure converter."""

    default: ClassVar[DataConverter]
    """The default one."""

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "payload_converter", TransferTypePayloadConverter(self.payload_converter_class())
        )
        object.__setattr__(self, "failure_converter", self.failure_converter_class())

    async def encode(self, values: Sequence[Any]) -> list[Payload]:
        """Payloads of values, through converter and codec."""
        payloads = self.payload_converter.to_payloads(values)
        return (
            payloads
            if self.payload_codec is None
            else list(await self.payload_codec.encode(payloads))
        )

    async def decode(
        self, payloads: Sequence[Payload], type_hints: list[Any] | None = None
    ) -> list[Any]:
        """Values of payloads, through codec and converter."""
        if self.payload_codec is not None:
            payloads = await self.payload_codec.decode(payloads)
        return self.payload_converter.from_payloads(payloads, type_hints)

    async def encode_wrapper(self, values: Sequence[Any]) -> Payloads:
        """`encode` as one `Payloads` message."""
        return Payloads(payloads=await self.encode(values))

    async def decode_wrapper(
        self, payloads: Payloads | None, type_hints: list[Any] | None = None
    ) -> list[Any]:
        """`decode` of one `Payloads` message; `None` is an empty one."""
        return (
            await self.decode(payloads.payloads, type_hints)
            if payloads and payloads.payloads
            else []
        )

    async def encode_failure(self, exception: BaseException, failure: Failure) -> None:
        """Fill in `failure`, an empty record, from an exception, through converter and codec."""
        self.failure_converter.to_failure(exception, self.payload_converter, failure)
        if self.payload_codec is not None:
            await transform_failure(failure, self.payload_codec.encode)

    async def decode_failure(self, failure: Failure) -> BaseException:
        """The exception of a failure, through codec and converter. The record is left as it is:
        it may be part of a history.
        """
        if self.payload_codec is not None:
            decoded = Failure()
            _copy(failure, decoded)
            await transform_failure(decoded, self.payload_codec.decode)
            failure = decoded
        return self.failure_converter.from_failure(failure, self.payload_converter)

    def with_context(self, context: SerializationContext) -> Self:
        """A copy whose parts use the context; `self` when none of them does."""
        changed: dict[str, Any] = {}
        for name in ("payload_converter", "payload_codec", "failure_converter"):
            part = getattr(self, name)
            if isinstance(part, WithSerializationContext):
                contextual = part.with_context(context)
                if contextual is not part:
                    changed[name] = contextual
        if not changed:
            return self
        copy = dataclasses.replace(self)
        for name, part in changed.items():
            object.__setattr__(copy, name, part)
        return copy


def default() -> DataConverter:
    """`DataConverter.default`, as a function for older code."""
    return DataConverter.default
