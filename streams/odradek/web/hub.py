"""Server-sent events: one hub that every open stream listens to, and the response that writes a
stream.

Topics of the hub: `runs` (something in the lists changed), `members` (somebody came, went or
said how it stands). A listener that is slow loses nothing it needs: what is published of one
topic while it waits becomes one message. Every stream ends when the hub closes, which the server
does first at SIGTERM: a stream never holds a shutdown up.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection
from typing import Any

from starlette.responses import StreamingResponse

RUNS = "runs"
MEMBERS = "members"
TOPICS = (RUNS, MEMBERS)
#: Runs that one message names.
KEYS_MAX = 50
#: Changes within this time become one message.
GATHER_S = 0.25
#: How long a browser waits before it opens a lost stream again.
RETRY_MS = 2_000


class TooManyStreamsError(Exception):
    """The hub has as many listeners as it takes."""


class Hub:
    """Distributes changes. `publish` may be called from any thread, everything else on the hub's
    loop.
    """

    def __init__(self, *, limit: int = 500) -> None:
        self._limit = limit
        self._listeners: set[Listener] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.closing = asyncio.Event()
        self.published = 0

    def open(self) -> None:
        """Belong to the running loop."""
        self._loop = asyncio.get_running_loop()

    def publish(self, topic: str, **facts: Any) -> None:
        """Tell every listener of a topic. `facts` of several changes are merged: `keys` are
        those of all, and with more of them than a message names it says `many`, as when one of
        the changes did.
        """
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._publish, topic, facts)

    def _publish(self, topic: str, facts: dict[str, Any]) -> None:
        self.published += 1
        for listener in self._listeners:
            listener.take(topic, facts)

    def listen(self, topics: Collection[str]) -> Listener:
        """A new listener; use it as an async context manager."""
        if len(self._listeners) >= self._limit:
            raise TooManyStreamsError(f"{self._limit} event streams are open already")
        return Listener(self, frozenset(topics))

    def add(self, listener: Listener) -> None:
        """Have it told."""
        self._listeners.add(listener)

    def remove(self, listener: Listener) -> None:
        """No longer."""
        self._listeners.discard(listener)

    def close(self) -> None:
        """End every stream; idempotent, from the loop's thread."""
        self.closing.set()
        for listener in list(self._listeners):
            listener.wake()

    def statistics(self) -> dict[str, int]:
        """Open streams, changes published."""
        return {"streams": len(self._listeners), "published": self.published}


class Listener:
    """One listener of a hub."""

    def __init__(self, hub: Hub, topics: frozenset[str]) -> None:
        self._hub = hub
        self._topics = topics
        self._changes: dict[str, dict[str, Any]] = {}
        self._woken = asyncio.Event()

    async def __aenter__(self) -> Listener:
        self._hub.add(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._hub.remove(self)

    def take(self, topic: str, facts: dict[str, Any]) -> None:
        """A change."""
        if topic in self._topics:
            self._changes[topic] = _merged(self._changes.get(topic, {}), facts)
            self._woken.set()

    def wake(self) -> None:
        """Look whether the hub is closing."""
        self._woken.set()

    async def changes(self, timeout_s: float) -> dict[str, dict[str, Any]] | None:
        """What changed since the last call, gathered for a moment; empty at the timeout; None
        once the hub closes.
        """
        if self._hub.closing.is_set():
            return None
        try:
            await asyncio.wait_for(self._woken.wait(), timeout_s)
        except TimeoutError:
            return {}
        if not self._hub.closing.is_set():
            await asyncio.sleep(GATHER_S)  # a burst of changes becomes one message
        if self._hub.closing.is_set():
            return None
        self._woken.clear()
        changes, self._changes = self._changes, {}
        return changes


def _merged(before: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    if "keys" not in before or "keys" not in facts:
        return {**before, **facts}
    keys = list(dict.fromkeys([*before["keys"], *facts["keys"]]))
    many = bool(before.get("many") or facts.get("many") or len(keys) > KEYS_MAX)
    return {**before, **facts, "keys": keys[:KEYS_MAX], "many": many}


def sse(event: str, data: Any, *, id: str = "") -> bytes:
    """One message."""
    lines = [f"id: {id}"] if id else []
    lines += [
        f"event: {event}",
        f"data: {json.dumps(data, separators=(',', ':'), ensure_ascii=False, allow_nan=False)}",
    ]
    return ("\n".join(lines) + "\n\n").encode("utf-8", "backslashreplace")


#: Keeps a stream open through proxies; browsers do not see it.
KEEP_ALIVE = b": \n\n"
HELLO = f"retry: {RETRY_MS}\n\n".encode()


class EventStream(StreamingResponse):
    """A stream of messages. Cancelled when the browser goes away; ends when its iterator does."""

    media_type = "text/event-stream"

    def __init__(self, messages: AsyncIterator[bytes]) -> None:
        super().__init__(
            messages, headers={"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
        )


async def hub_stream(listener: Listener, keep_alive_s: float) -> AsyncIterator[bytes]:
    """Messages of a listener, until its hub closes."""
    async with listener:
        yield HELLO
        while (changes := await listener.changes(keep_alive_s)) is not None:
            if not changes:
                yield KEEP_ALIVE
            for topic, facts in changes.items():
                yield sse(topic, facts)
