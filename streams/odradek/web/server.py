"""`odradek server`: one process with read side, HTTP API and UI.

`serve` runs it to its end in this thread: it prints `ui: http://HOST:PORT` once it answers;
SIGTERM or SIGINT end event streams at once, give open requests a second, and close everything; a
second one ends the process at once. `main` is the entry of the command line.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TextIO

import uvicorn
from starlette.routing import BaseRoute

from odradek.config import Settings
from odradek.exceptions import ConfigurationError, OdradekError
from odradek.web.app import Opening, create_app
from odradek.web.context import ServerContext
from odradek.web.metrics import server_telemetry
from odradek.web.opening import open_server
from odradek.web.options import DEFAULT_PORT, ServerOptions
from odradek.web.security.authentication import (
    Authenticator,
    TokenAuthenticator,
    load_authenticator,
)
from odradek.web.threads import DaemonPool, calls_under_way

logger = logging.getLogger(__name__)

TOKEN_VARIABLE = "ODRADEK_API_KEY"  # the variable that Temporal's clients know as an API key


class ServerStartError(OdradekError):
    """The server cannot listen where it should."""


def main(
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    read_only: bool = False,
    token_file: Path | None = None,
    authenticator: str = "",
    allowed_hosts: Sequence[str] = (),
    trusted_origins: Sequence[str] = (),
    cookie_secure: str = "auto",
) -> int:
    """Run a server until it is told to end; an exit status. What the options of `odradek server`
    are given to.

    token_file: a file with the token that callers must have; without it the environment's
    `ODRADEK_API_KEY`, without that nobody is asked. authenticator: the import path of another
    way. Raises ConfigurationError, BrokerUnreachableError, ServerStartError.
    """
    options = ServerOptions(
        host=host,
        port=port,
        read_only=read_only,
        authenticator=_authenticator(token_file, authenticator),
        allowed_hosts=tuple(allowed_hosts),
        trusted_origins=tuple(trusted_origins),
        cookie_secure=cookie_secure,
    )
    if options.authenticator is None and not options.loopback:
        print(
            f"odradek: everybody who reaches {host}:{port} may change things: give a token"
            " (--token-file), or --read-only",
            file=sys.stderr,
        )
    serve(settings, options)
    if calls_under_way():
        # All that matters is closed. These threads wait for brokers that do not answer, inside
        # librdkafka: the interpreter would take its clients apart around them, which takes another
        # second, and is no place for a thread to be.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0


def _authenticator(token_file: Path | None, path: str) -> Authenticator | None:
    if token_file is not None and path:
        raise ConfigurationError(
            "give a token file or an authenticator, not both", key="authenticator"
        )
    if path:
        return load_authenticator(path)
    if token_file is not None:
        return TokenAuthenticator(_token_of(token_file))
    token = _one_line(os.environ.get(TOKEN_VARIABLE, "").strip(), TOKEN_VARIABLE)
    return TokenAuthenticator(token) if token else None


def _token_of(file: Path) -> str:
    """The one line of a token file. Of another form no header could ever hold it, and everybody
    would be refused.
    """
    try:
        token = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(
            f"token file {file}: {error.strerror}", key="token_file"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"token file {file} is no text: write the token into it, take `openssl rand -hex 32`",
            key="token_file",
        ) from error
    return _one_line(token, f"token file {file}")


def _one_line(token: str, what: str) -> str:
    if (lines := len(token.splitlines())) > 1:
        raise ConfigurationError(f"{what} has {lines} lines: a token is one line", key="token")
    return token


def serve(
    settings: Settings,
    options: ServerOptions,
    *,
    pages: Sequence[BaseRoute] | None = None,
    opening: Opening = open_server,
    out: TextIO | None = None,
    on_ready: Callable[[str, Callable[[], None]], None] = lambda url, stop: None,
) -> None:
    """Serve until SIGTERM or SIGINT. Raises ServerStartError, and what `opening` raises.

    on_ready: gets the address once it answers, and what ends the server, from any thread.
    """
    server = ServerContext(settings, options)
    app = create_app(server, pages=ui_pages(server) if pages is None else pages)
    with listening(options.host, options.port) as listener:
        url = url_of(options.host, listener.getsockname()[1])

        def ready() -> None:
            _tell(url, out or sys.stdout)
            loop = asyncio.get_running_loop()
            on_ready(url, lambda: None if loop.is_closed() else _later(loop, runner))

        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=1,
            # who asks is the authenticator's question; headers are believed by nobody else
            proxy_headers=False,
        )
        runner = _Runner(config, server, ready)
        asyncio.run(_run(runner, listener, _opened(server, opening)))


def _tell(url: str, out: TextIO) -> None:
    """Where it serves. A full disk behind the output, or nobody who reads it, is no reason not to."""
    try:
        print(f"ui: {url}", file=out, flush=True)
    except OSError as error:
        logger.warning("serving at %s, which cannot be printed: %s", url, error.strerror)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(
            nowhere, out.fileno()
        )  # what is left in the buffer must not be written again at exit
        os.close(nowhere)


@contextlib.asynccontextmanager
async def _opened(server: ServerContext, opening: Opening) -> AsyncIterator[None]:
    async with opening(server), server_telemetry(server):
        yield


def _later(loop: asyncio.AbstractEventLoop, runner: _Runner) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has just ended
        loop.call_soon_threadsafe(runner.stop)


async def _run(
    runner: _Runner, listener: socket.socket, opened: AbstractAsyncContextManager[None]
) -> None:
    """Open, serve, close. Opened here and not by the application's life, so that what fails
    there is raised and not only logged.
    """
    loop = asyncio.get_running_loop()
    loop.set_default_executor(DaemonPool(12, "odradek-web"))  # the client's blocking calls
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(
            NotImplementedError, RuntimeError, ValueError
        ):  # no signals on this platform, or in this thread
            loop.add_signal_handler(number, runner.on_signal, number)
    async with opened:
        if not runner.should_exit:
            await runner.serve(sockets=[listener])


def ui_pages(server: ServerContext) -> Sequence[BaseRoute]:
    """Routes of the UI, if this installation has one: `odradek.web.ui.routes.ui_routes`."""
    if importlib.util.find_spec("odradek.web.ui") is None:
        return ()
    routes = importlib.import_module("odradek.web.ui.routes")
    return tuple(routes.ui_routes(server))


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """A socket that listens, so that a taken port is an error before anything is opened."""
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, address = infos[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ServerStartError(f"cannot listen on {host}: {error.strerror or error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(512)
    except OSError as error:
        listener.close()
        raise ServerStartError(
            f"cannot listen on {host}:{port}: {error.strerror}. Take another port (--port, 0 for"
            " any free one)"
        ) from error
    with listener:
        yield listener


def url_of(host: str, port: int) -> str:
    """The address that a browser on this machine opens."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"


class _Runner(uvicorn.Server):
    """uvicorn, which says when it answers and ends event streams first."""

    def __init__(
        self, config: uvicorn.Config, server: ServerContext, ready: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._server = server
        self._ready = ready

    def on_signal(self, number: signal.Signals) -> None:
        """End soon; the second time at once: the store is a database, and what it did not get is
        read again.
        """
        if self.should_exit:
            os._exit(128 + number)
        self.stop()

    def stop(self) -> None:
        """End soon."""
        self.should_exit = True
        self._server.hub.close()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Not uvicorn's, which raises the signal again when it has served: what is open beneath
        has to be closed yet.
        """
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, then say so."""
        await super().startup(sockets)
        if self.started and not self.should_exit:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Streams first: they would hold the rest up."""
        self._server.hub.close()
        await super().shutdown(sockets)
