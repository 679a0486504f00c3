"""Requests under way when the server ends: they get a moment, then each that has not begun to
answer gets 503 instead of a lost connection.

What they wait for (an owner, a broker that is gone) goes on or not without them: a thread that
waits is not waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from odradek.web.errors import ApiError, unavailable

Problem = Callable[[HTTPConnection, ApiError], Response]


class OpenRequests:
    """The tasks that answer requests. Belongs to the loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cut: set[asyncio.Task[Any]] = set()

    def add(self, task: asyncio.Task[Any]) -> None:
        """A request has begun."""
        self._tasks.add(task)

    def remove(self, task: asyncio.Task[Any]) -> None:
        """It has ended."""
        self._tasks.discard(task)
        self._cut.discard(task)

    def cut(self) -> None:
        """End those that are open."""
        for task in self._tasks - self._cut:
            self._cut.add(task)
            task.cancel()

    def was_cut(self, task: asyncio.Task[Any]) -> bool:
        """Whether it is cancelled because the server ends, and not because the client went away."""
        return task in self._cut


class CutAtTheEnd:
    """ASGI middleware: keeps `OpenRequests`, answers for those that were cut."""

    def __init__(self, app: ASGIApp, open_requests: OpenRequests, problem: Problem) -> None:
        self._app = app
        self._open = open_requests
        self._problem = problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        task = asyncio.current_task()
        if scope["type"] != "http" or task is None:
            await self._app(scope, receive, send)
            return
        begun = False

        async def send_and_see(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        self._open.add(task)
        try:
            await self._app(scope, receive, send_and_see)
        except asyncio.CancelledError:
            if not self._open.was_cut(task):
                raise
            task.uncancel()
            if not begun:
                answer = self._problem(
                    HTTPConnection(scope),
                    unavailable("this server is ending: ask again, or ask another"),
                )
                await answer(scope, receive, send)
        finally:
            self._open.remove(task)
