"""A deadline for the head of a request, which uvicorn has not: a connection that sends nothing,
or headers without an end, is closed.

Requests that have begun have deadlines of their own, event streams and long polls none here;
between requests uvicorn's keep-alive holds.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as _Protocol
else:
    _Protocol = AutoHTTPProtocol  # h11, or httptools where it is installed: both have `cycle`

_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


def protocol_with_head_deadline(seconds: float) -> type[asyncio.Protocol]:
    """uvicorn's protocol for `uvicorn.Config(http=…)`. The time counts from the connection, or
    from the first byte of a later request.
    """

    class Protocol(_Protocol):
        _head_deadline: asyncio.TimerHandle | None = None
        _began = False  # whether a byte of the head that is waited for has come

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._head_deadline = self.loop.call_later(seconds, self._head_is_late)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if (
                self.cycle is not None and not self.cycle.response_complete
            ):  # a request is being answered: its head is whole
                self._forget()
                return
            self._began = True
            if self._head_deadline is None:
                self._head_deadline = self.loop.call_later(seconds, self._head_is_late)

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def _forget(self) -> None:
            self._began = False
            if self._head_deadline is not None:
                self._head_deadline.cancel()
                self._head_deadline = None

        def _head_is_late(self) -> None:
            self._head_deadline = None
            if self.transport.is_closing():
                return
            if self._began:
                self.transport.write(_TIMEOUT)
            self.transport.close()

    return Protocol
