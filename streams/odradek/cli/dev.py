"""`odradek dev`: Kafka on this machine without Docker, with Odradek's server beside it."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from odradek.broker.ports import is_free
from odradek.cli.app import Commands, add_command
from odradek.cli.common import PORT, POSITIVE
from odradek.cli.server import DEFAULT_PORT, missing_packages
from odradek.cli.status import Status, status_of
from odradek.config import Settings
from odradek.exceptions import OdradekError

EXAMPLES = """examples:
  odradek dev                                   a free port, temporary data; UI on http://127.0.0.1:8088
  odradek dev --port 9092 --data-dir ./kafka    data that outlives it
  odradek dev --no-server                       the broker alone

Prints `bootstrap: HOST:PORT` as soon as clients can connect, then `ui: http://HOST:PORT` once the server answers. Ctrl-C or SIGTERM ends
all of it.
"""
STATUSES = (Status.OK, Status.FAILED, Status.USAGE)
PORTS_TRIED = 100  # behind the default one


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "dev",
        run,
        help="run a local Kafka broker, and the server with API and UI",
        epilog=EXAMPLES,
        statuses=STATUSES,
    )
    parser.add_argument("--port", type=PORT, help="port for Kafka's clients (default: a free one)")
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="keep data here, lists too (default: a temporary directory)",
    )
    parser.add_argument(
        "--brokers",
        type=POSITIVE,
        default=1,
        help="more than one: a replicated cluster on free ports (default: 1)",
    )
    parser.add_argument(
        "--ui-port",
        type=PORT,
        metavar="PORT",
        help=f"port of the server (default: {DEFAULT_PORT}, or the next free one)",
    )
    parser.add_argument(
        "--no-server", action="store_true", help="the broker alone: no lists, no HTTP API, no UI"
    )


def run(options: argparse.Namespace) -> int:
    """Run until a signal ends it."""
    from odradek.broker import dev  # brings what only this command needs

    if options.no_server:
        return dev.run(port=options.port, data_dir=options.data_dir, brokers=options.brokers)
    missing = missing_packages()
    if missing:
        _say(
            f"no server here, the broker alone: it needs {', '.join(missing)}. pip install"
            " 'odradek[server]'"
        )
        return dev.run(port=options.port, data_dir=options.data_dir, brokers=options.brokers)
    if options.ui_port and not is_free(options.ui_port):
        _say(
            f"odradek: port {options.ui_port} is in use by another program. Stop that, or give"
            " another --ui-port"
        )
        return Status.FAILED
    server = _Server(options.ui_port)
    return dev.run(
        port=options.port, data_dir=options.data_dir, brokers=options.brokers, beside=server.serve
    )


Stop = Callable[[], None]


class _Server:
    """The server, beside the brokers of `odradek dev`. port: None is the default one, or the
    next that is free.
    """

    def __init__(self, port: int | None) -> None:
        self._port = port

    def serve(self, bootstrap: str, folder: Path, stopping: threading.Event) -> bool:
        """Serve until a signal or `stopping`. False when it could not: the broker goes on
        without it.
        """
        from odradek.web.options import ServerOptions
        from odradek.web.server import serve

        def end_with_brokers(stop: Stop) -> None:
            def wait() -> None:
                stopping.wait()
                stop()

            threading.Thread(target=wait, name="odradek-dev-server", daemon=True).start()

        try:
            settings = Settings.load(None, address=bootstrap, state_dir=folder / "server")
            serve(
                settings,
                ServerOptions(port=self._choose()),
                on_ready=lambda _, stop: end_with_brokers(stop),
            )
        except OdradekError as error:
            _, message = status_of(error)
            _say(f"the server does not run, the broker does: {message}")
            return False
        return True

    def _choose(self) -> int:
        if self._port is not None:
            return self._port
        port = next(
            (port for port in range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED) if is_free(port)), 0
        )
        if port != DEFAULT_PORT:
            _say(
                f"port {DEFAULT_PORT} is in use by another program: the server takes"
                f" {port or 'any free one'}"
            )
        return port


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
