"""`odradek server`: read side, HTTP API and web UI in one process."""

from __future__ import annotations

import argparse
import importlib.util
import logging
from pathlib import Path

from odradek.cli.app import Commands, add_command
from odradek.cli.common import PORT, cluster_options, settings_of
from odradek.cli.status import SERVING, UsageError

DEFAULT_PORT = 8088
#: Packages of the extra `server` by the module that is imported.
_PACKAGES = {
    "starlette": "starlette",
    "uvicorn": "uvicorn",
    "jinja2": "jinja2",
    "python_multipart": "python-multipart",
}

EXAMPLES = """examples:
  odradek server --address localhost:9092                          UI and API on http://127.0.0.1:8088
  odradek server --address kafka:9092 --host 0.0.0.0 --token-file /run/secrets/odradek --allowed-host odradek.example.com

Prints `ui: http://HOST:PORT` once it serves. SIGTERM or Ctrl-C ends it; no workflow notices.
"""


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "server",
        run,
        help="serve lists, the HTTP API and the web UI",
        parents=[cluster_options()],
        epilog=EXAMPLES,
        statuses=SERVING,
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port",
        type=PORT,
        default=DEFAULT_PORT,
        help=f"port to listen on, 0: any free one (default: {DEFAULT_PORT})",
    )
    parser.add_argument(
        "--read-only", action="store_true", help="refuse everything that changes a workflow"
    )
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help="a file with the token that callers must have",
    )
    parser.add_argument(
        "--authenticator",
        default="",
        metavar="MODULE:NAME",
        help="another way to authenticate, by import path",
    )
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="HOST",
        help=(
            "a name it is reached by, besides IP addresses, localhost and this machine's name; *"
            " for any (repeatable)"
        ),
    )
    parser.add_argument(
        "--trusted-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="an origin browsers may post from (repeatable)",
    )
    parser.add_argument(
        "--cookie-secure",
        choices=("auto", "always", "never"),
        default="auto",
        help=(
            "session cookies for HTTPS alone; auto: when the browser came by HTTPS, through a proxy"
            " too (default: auto)"
        ),
    )


def _there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (
        ValueError
    ):  # imported already, by a module that put something without a spec in its place: Faust does
        return True


def missing_packages() -> list[str]:
    """What the server needs and this installation lacks."""
    return [package for module, package in _PACKAGES.items() if not _there(module)]


def run(options: argparse.Namespace) -> int:
    """Serve until a signal ends it."""
    missing = missing_packages()
    if missing:
        raise UsageError(
            f"`odradek server` needs {', '.join(missing)}: pip install 'odradek[server]'"
        )
    from odradek.cli.logs import log_as_set
    from odradek.web.server import main

    settings = settings_of(options)
    log_as_set(settings, options.log_level)
    librdkafka = logging.getLogger("odradek.kafka")
    if librdkafka.getEffectiveLevel() >= logging.WARNING:
        librdkafka.setLevel(
            logging.CRITICAL
        )  # an outage is told once, by the error of the start or by the read side
    return main(
        settings,
        host=options.host,
        port=options.port,
        read_only=options.read_only,
        token_file=options.token_file,
        authenticator=options.authenticator,
        allowed_hosts=options.allowed_host,
        trusted_origins=options.trusted_origin,
        cookie_secure=options.cookie_secure,
    )
