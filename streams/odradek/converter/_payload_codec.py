"""Payload codecs: bytes to bytes, for encryption and compression. Run outside workflow code, so
they may do IO.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence

from odradek.wire.payload import Failure, Payload, Payloads

Transform = Callable[[Sequence[Payload]], Awaitable[list[Payload]]]


class PayloadCodec(ABC):
    """Encodes payloads after conversion and decodes them before it. Neither method may change
    what it is given.
    """

    @abstractmethod
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Encoded payloads: at least one and at most as many as given."""

    @abstractmethod
    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """What `encode` was given."""

    async def encode_wrapper(self, payloads: Payloads) -> None:
        """Encode a `Payloads` message in place."""
        payloads.payloads = list(await self.encode(payloads.payloads))

    async def decode_wrapper(self, payloads: Payloads) -> None:
        """Decode a `Payloads` message in place."""
        payloads.payloads = list(await self.decode(payloads.payloads))

    async def encode_failure(self, failure: Failure) -> None:
        """Encode all payloads of a failure and its causes in place."""
        await transform_failure(failure, self.encode)

    async def decode_failure(self, failure: Failure) -> None:
        """Decode all payloads of a failure and its causes in place."""
        await transform_failure(failure, self.decode)


async def transform_failure(failure: Failure, transform: Transform) -> None:
    """Put every payload of a failure and its causes through `transform`: encoded attributes,
    details, heartbeat details.
    """
    link: Failure | None = failure
    while link is not None:
        if link.encoded_attributes is not None:
            link.encoded_attributes = (await transform([link.encoded_attributes]))[0]
        if link.details:
            link.details = list(await transform(link.details))
        link = link.cause
