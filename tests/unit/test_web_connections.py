"""Connections whose requests never come: closed at a deadline, which leaves alone what is being
answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

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
SOON_S = 60.0
LIVE = f"GET /health/live HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()


@contextlib.asynccontextmanager
async def nothing_beneath(server: ServerContext) -> AsyncIterator[None]:
    yield


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a server that waits for heads only so long."""
    with serving(tmp_path_factory.mktemp("server"), HEAD_S, SOON_S) as port:
        yield port


@pytest.fixture
def port_of_bodies(tmp_path: Path) -> Iterator[int]:
    """Of a server that waits for bodies only so long."""
    with serving(tmp_path, SOON_S, BODY_S) as port:
        yield port


@contextlib.contextmanager
def serving(folder: Path, head_s: float, body_s: float) -> Iterator[int]:
    """A server, without Kafka."""
    ready = threading.Event()
    told: list[tuple[str, object]] = []

    def answers(url: str, stop: object) -> None:
        told.append((url, stop))
        ready.set()

    token = TokenAuthenticator(TOKEN)
    options = ServerOptions(
        port=0, head_timeout_s=head_s, body_timeout_s=body_s, keep_alive_s=0.1, authenticator=token
    )
    arguments = {"opening": nothing_beneath, "on_ready": answers}
    thread = threading.Thread(
        target=serve, args=(Settings(state_dir=folder), options), kwargs=arguments, daemon=True
    )
    thread.start()
    assert ready.wait(SOON_S)
    url, stop = told[0]
    yield int(url.rpartition(":")[2])
    stop()  # type: ignore[operator]
    thread.join(SOON_S)
    assert not thread.is_alive()


async def read_to_the_end(reader: asyncio.StreamReader) -> bytes:
    """Also where a byte still came when the server had closed: that resets the connection, after
    all that was said.
    """
    said = b""
    async with asyncio.timeout(SOON_S):
        with contextlib.suppress(ConnectionError):
            while some := await reader.read(4096):
                said += some
    return said


async def asked(port: int, head: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection on which that is said in time. This machine may stand for longer than that
    before it is said.
    """
    for _ in range(100):
        began_s = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head)
        if time.monotonic() - began_s < HEAD_S / 2:
            return reader, writer
        writer.close()
    raise AssertionError("this machine is too slow")


async def test_a_connection_that_says_nothing(port: int) -> None:
    began_s = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await read_to_the_end(reader) == b""
    assert time.monotonic() - began_s >= HEAD_S * 0.9
    writer.close()


@pytest.mark.parametrize("kept", [False, True], ids=["new connection", "kept connection"])
async def test_headers_without_an_end(port: int, kept: bool) -> None:
    """However often a byte comes."""
    reader, writer = await asked(port, LIVE if kept else LIVE[:-2])
    if kept:
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
        assert (await read_to_the_end(reader)).endswith(
            b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        )
    finally:
        dripping.cancel()
        writer.close()


async def test_what_is_being_answered_goes_on(port: int) -> None:
    """An event stream, and a body that takes longer than a head may."""
    reader, writer = await asked(
        port, LIVE.replace(b"/health/live", b"/api/odradek/v1/changes?topics=runs")
    )
    end_s = time.monotonic() + 4 * HEAD_S
    while time.monotonic() < end_s:  # its comments, to keep proxies content
        async with asyncio.timeout(SOON_S):
            assert await reader.readline(), "the stream ended"
    writer.close()

    head = (
        b"POST /api/v1/namespaces/default/workflows/w/signal/go"
        + LIVE[LIVE.index(b" HTTP/1.1") : -2]
    )
    reader, writer = await asked(
        port, head + b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n"
    )
    for byte in b'{"x":  1}':
        await asyncio.sleep(HEAD_S / 4)
        writer.write(bytes([byte]))
    async with asyncio.timeout(SOON_S):
        assert b" 400 " in await reader.readline()  # an answer to the body: it has no such field
    writer.close()


async def test_bodies_without_an_end(port_of_bodies: int) -> None:
    """However often a byte comes; with nobody's token too, at the login."""
    ran_s = 0.0

    async def run() -> None:
        """Counts the time in which this process runs: the machine may stand for seconds, which
        is nobody's fault.
        """
        nonlocal ran_s
        before_s = time.monotonic()
        while True:
            await asyncio.sleep(0.05)
            ran_s += min(time.monotonic() - before_s, 0.1)
            before_s = time.monotonic()

    async def slow(path: str, headers: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of_bodies)
        writer.write(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n".encode()
            + headers
            + b"\r\n"
        )

        while (
            time.monotonic() - began_s < 0.7 * BODY_S
        ):  # not up to its end: at a closed connection writing fails before reading
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
    running = asyncio.create_task(run())
    login, *others = await asyncio.gather(
        slow("/login", b""), *(slow(path, known) for path in paths)
    )
    running.cancel()
    for path, answer in zip(["/login", *paths], [login, *others], strict=True):
        assert answer.startswith(b"HTTP/1.1 504 ") and b"whole within" in answer, (path, answer)
    assert time.monotonic() - began_s >= BODY_S * 0.9 and ran_s < 1.5 * BODY_S, (
        "bytes that come put nothing off"
    )
