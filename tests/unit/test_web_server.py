"""The server process: where it listens, what it prints, how it ends, what its options may be."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from odradek.broker.ports import free_ports
from odradek.config import Settings
from odradek.exceptions import BrokerUnreachableError, ConfigurationError, StateStoreError
from odradek.visibility.reader import store_path
from odradek.web.context import ServerContext
from odradek.web.opening import _open_read_side
from odradek.web.options import ServerOptions
from odradek.web.security.authentication import TokenAuthenticator
from odradek.web.server import ServerStartError, _authenticator, listening, serve, url_of

# A server that stands on nothing, for tests of the process alone.
BARE = """
import contextlib, sys
from odradek.config import Settings
from odradek.web.options import ServerOptions
from odradek.web.server import serve
@contextlib.asynccontextmanager
async def opening(server):
    print("opened", flush=True)
    yield
    print("closed", flush=True)
serve(Settings(), ServerOptions(port=0, keep_alive_s=0.2), pages=(), opening=opening)
"""


FULL = """
import contextlib, os
read, write = os.pipe()
os.close(read)
from odradek.config import Settings
from odradek.web.options import ServerOptions
from odradek.web.server import serve
@contextlib.asynccontextmanager
async def opening(server):
    yield
def on_ready(url, stop):
    print(url, flush=True)
    stop()
with OUTPUT as full:
    serve(Settings(), ServerOptions(port=0), pages=(), opening=opening, out=full, on_ready=on_ready)
"""


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ('open("/dev/full", "w")', "No space left on device"),
        ('os.fdopen(write, "w")', "Broken pipe"),
    ],
)
def test_it_serves_when_its_address_cannot_be_printed(output: str, why: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL.replace("OUTPUT", output)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": "streams"},
        check=False,
    )
    url = done.stdout.strip()
    assert done.returncode == 0 and url.startswith("http://127.0.0.1:"), done.stderr
    assert done.stderr == f"serving at {url}, which cannot be printed: {why}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_ends_it_cleanly_with_streams_open(number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        BARE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "streams"},
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"opened\n"
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        assert line.startswith("ui: http://127.0.0.1:")
        async with httpx.AsyncClient(
            base_url=line.removeprefix("ui: ").strip(), timeout=30
        ) as client:
            assert (await client.get("/health/ready")).status_code == 200
            async with client.stream("GET", "/api/odradek/v1/changes") as stream:
                lines = stream.aiter_lines()
                assert (await anext(lines)).startswith("retry: ")
                process.send_signal(number)
                async for _ in lines:  # ends by itself: a stream does not hold the shutdown up
                    pass
        output, errors = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0 and output.endswith(b"closed\n"), errors.decode()
        assert b"Traceback" not in errors, errors.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_second_signal_ends_it_at_once() -> None:
    slow = BARE.replace(
        'print("closed", flush=True)',
        'print("closing", flush=True); import asyncio; await asyncio.sleep(600)',
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        slow,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "streams"},
    )
    try:
        assert process.stdout is not None
        for expected, number in (
            (b"opened", None),
            (b"ui: ", signal.SIGTERM),
            (b"closing", signal.SIGTERM),
        ):
            assert (await asyncio.wait_for(process.stdout.readline(), 60)).startswith(expected)
            if number is not None:
                process.send_signal(number)
        assert await asyncio.wait_for(process.wait(), 20) == 128 + signal.SIGTERM
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_taken_port() -> None:
    with (
        listening("127.0.0.1", 0) as first,
        pytest.raises(ServerStartError, match="--port"),
        listening("127.0.0.1", first.getsockname()[1]),
    ):
        pass


def test_host_that_is_not_ours() -> None:
    with pytest.raises(ServerStartError, match="cannot listen"), listening("192.0.2.1", 0):
        pass


def test_what_cannot_be_opened_is_raised_and_frees_the_port() -> None:
    @contextlib.asynccontextmanager
    async def opening(server: ServerContext) -> AsyncIterator[None]:
        raise BrokerUnreachableError("nowhere:1")
        yield

    (port,) = free_ports(1)  # not of those that the system gives to others meanwhile
    with pytest.raises(BrokerUnreachableError, match="nowhere:1"):
        serve(Settings(), ServerOptions(port=port), pages=(), opening=opening)
    with listening("127.0.0.1", port):
        pass


def as_a_file(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file"


def behind_a_directory(suffix: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = store_path(Settings(state_dir=folder))
        path.with_name(path.name + suffix).mkdir(parents=True)
        return folder

    return make


@pytest.mark.parametrize(
    "make",
    [as_a_file, behind_a_directory(""), behind_a_directory(".lock"), lambda _: Path("/proc/x")],
)
async def test_a_state_dir_that_it_cannot_use(make: Callable[[Path], Path], tmp_path: Path) -> None:
    server = ServerContext(Settings(state_dir=make(tmp_path)), ServerOptions())
    async with contextlib.AsyncExitStack() as stack:
        with pytest.raises(
            StateStoreError,
            match=r"copy of the `executions` topic\. Check the directory \(setting `state_dir`\)",
        ):
            await _open_read_side(server, stack)


def test_in_a_thread() -> None:
    """Without signals: what `on_ready` is told answers."""
    found: list[tuple[str, Callable[[], None]]] = []
    answered = threading.Event()
    out = io.StringIO()

    @contextlib.asynccontextmanager
    async def opening(server: ServerContext) -> AsyncIterator[None]:
        yield

    def ready(url: str, stop: Callable[[], None]) -> None:
        found.append((url, stop))
        answered.set()

    thread = threading.Thread(
        target=serve,
        args=(Settings(), ServerOptions(port=0)),
        kwargs={"pages": (), "opening": opening, "out": out, "on_ready": ready},
        daemon=True,
    )
    thread.start()
    assert answered.wait(30)
    ((url, stop),) = found
    assert out.getvalue() == f"ui: {url}\n"
    assert httpx.get(f"{url}/health/live").json() == {"status": "live"}
    stop()
    thread.join(20)
    assert not thread.is_alive()
    stop()


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::1", "http://[::1]:1"),
        ("h", "http://h:1"),
    ],
)
def test_url(host: str, url: str) -> None:
    assert url_of(host, 1) == url


def test_ways_to_authenticate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ODRADEK_API_KEY", raising=False)
    assert _authenticator(None, "") is None
    file = tmp_path / "token"
    file.write_text("a token of more than 16 letters\n")
    assert isinstance(_authenticator(file, ""), TokenAuthenticator)
    with pytest.raises(ConfigurationError, match="not both"):
        _authenticator(file, "a:b")
    with pytest.raises(ConfigurationError, match="missing"):
        _authenticator(tmp_path / "missing", "")
    monkeypatch.setenv("ODRADEK_API_KEY", "a token of more than 16 letters")
    assert isinstance(_authenticator(None, ""), TokenAuthenticator)
