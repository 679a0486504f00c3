"""Connections whose requests never come: closed at a deadline, which leaves alone what is being answered."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from odradek.config import Settings
from odradek.web.context import ServerContext
from odradek.web.options import ServerOptions
from odradek.web.security.authentication import TokenAuthenticator
from odradek.web.server import serve

HEAD_S = 0.4
BODY_S = 3.0
TOKEN = "0123456789abcdef0123"
#: Far above the deadline, far below a hang.
SOON_S = 10.0
LIVE = f"GET /health/live HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()


@contextlib.asynccontextmanager
async def nothing_beneath(server: ServerContext) -> AsyncIterator[None]:
    yield


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A server, without Kafka."""
    ready = threading.Event()
    told: list[tuple[str, object]] = []

    def answers(url: str, stop: object) -> None:
        told.append((url, stop))
        ready.set()

    token = TokenAuthenticator(TOKEN)
    options = ServerOptions(port=0, head_timeout_s=HEAD_S, body_timeout_s=BODY_S, keep_alive_s=0.1, authenticator=token)
    arguments = {"opening": nothing_beneath, "on_ready": answers}
    thread = threading.Thread(
        target=serve, args=(Settings(state_dir=tmp_path_factory.mktemp("server")), options), kwargs=arguments, daemon=True
    )
    thread.start()
    assert ready.wait(20)
    url, stop = told[0]
    yield int(url.rpartition(":")[2])
    stop()  # type: ignore[operator]
    thread.join(20)
    assert not thread.is_alive()


async def read_to_the_end(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(SOON_S):
        return await reader.read()


async def test_a_connection_that_says_nothing(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began_s = time.monotonic()
    assert await read_to_the_end(reader) == b""
    assert time.monotonic() - began_s >= HEAD_S * 0.9
    writer.close()


@pytest.mark.parametrize("kept", [False, True], ids=["new connection", "kept connection"])
async def test_headers_without_an_end(port: int, kept: bool) -> None:
    """However often a byte comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if kept:
        writer.write(LIVE)
        assert b" 200 " in await reader.readline()
        while (await reader.readline()).strip():
            pass
    writer.write(LIVE[:-2])

    async def drip() -> None:
        while True:
            writer.write(b"X-More: 1\r\n")
            await asyncio.sleep(HEAD_S / 8)

    dripping = asyncio.create_task(drip())
    try:
        assert (await read_to_the_end(reader)).endswith(b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    finally:
        dripping.cancel()
        writer.close()


async def test_what_is_being_answered_goes_on(port: int) -> None:
    """An event stream, and a body that takes longer than a head may."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(LIVE.replace(b"/health/live", b"/api/odradek/v1/changes?topics=runs"))
    end_s = time.monotonic() + 4 * HEAD_S
    while time.monotonic() < end_s:  # its comments, to keep proxies content
        async with asyncio.timeout(SOON_S):
            assert await reader.readline(), "the stream ended"
    writer.close()

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    path = b"/api/v1/namespaces/default/workflows/w/signal/go"
    writer.write(b"POST " + path + LIVE[LIVE.index(b" HTTP/1.1") : -2] + b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n")
    for byte in b'{"x":  1}':
        await asyncio.sleep(HEAD_S / 4)
        writer.write(bytes([byte]))
    async with asyncio.timeout(SOON_S):
        assert b" 400 " in await reader.readline()  # an answer to the body: it has no such field
    writer.close()


async def test_bodies_without_an_end(port: int) -> None:
    """However often a byte comes; with nobody's token too, at the login."""

    async def slow(path: str, headers: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n".encode() + headers + b"\r\n")

        for _ in range(7):  # not up to its end: a byte that meets a closed connection resets it, and the answer may be lost
            writer.write(b" ")
            await asyncio.sleep(BODY_S / 10)
        try:
            return await read_to_the_end(reader)
        finally:
            writer.close()

    known = f"Content-Type: application/json\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
    paths = [
        "/api/odradek/v1/workflows/x/unpark",
        "/api/v1/namespaces/default/workflows/x/signal/y",
        "/batches/preview",
        "/import",
    ]
    began_s = time.monotonic()
    login, *others = await asyncio.gather(slow("/login", b""), *(slow(path, known) for path in paths))
    for path, answer in zip(["/login", *paths], [login, *others], strict=True):
        assert answer.startswith(b"HTTP/1.1 504 ") and b"whole within" in answer, (path, answer)
    assert BODY_S * 0.9 <= time.monotonic() - began_s < 2 * BODY_S  # bytes that come put nothing off
