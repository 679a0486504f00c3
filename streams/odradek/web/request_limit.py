"""The limit of a request: none takes longer, whatever it waits for. Event streams have none, nor
has an answer on its way to a slow reader.

Handlers of the APIs and pages get a little less of it, so that they can say what was late in
their own form; the middleware answers for whatever is not theirs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from odradek.web.context import server_of
from odradek.web.errors import ApiError, api_error
from odradek.web.options import ServerOptions

_SHARE = 0.95


def handler_limit(options: ServerOptions) -> asyncio.Timeout:
    """What a handler gets of the limit, body included."""
    return asyncio.timeout(_SHARE * options.request_limit_s)


class EndAtTheLimit:
    """ASGI middleware: ends what has not begun to answer by then."""

    def __init__(
        self, app: ASGIApp, problem: Callable[[HTTPConnection, ApiError], Response]
    ) -> None:
        self._app = app
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        connection, begun = HTTPConnection(scope), False
        try:
            async with asyncio.timeout(server_of(connection).options.request_limit_s) as limit:

                async def send_and_see(message: Message) -> None:
                    nonlocal begun
                    begun = True
                    if not limit.expired():  # else somebody answers as it ends
                        limit.reschedule(None)
                    await send(message)

                await self._app(scope, receive, send_and_see)
        except TimeoutError as error:
            if begun or not limit.expired():
                raise
            await self._problem(connection, api_error(error))(scope, receive, send)
