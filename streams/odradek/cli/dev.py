"""`odradek dev`: Kafka on this machine, without Docker."""

from __future__ import annotations

import argparse
from pathlib import Path

from odradek.cli.app import Commands, add_command

EXAMPLES = """examples:
  odradek dev                                   a free port, temporary data
  odradek dev --port 9092 --data-dir ./kafka    data that outlives it

Prints `bootstrap: HOST:PORT` as soon as clients can connect. Ctrl-C or SIGTERM ends all of it.
"""


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(commands, "dev", run, help="run a local Kafka broker", epilog=EXAMPLES)
    parser.add_argument("--port", type=int, help="port for clients (default: a free one)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="keep data here (default: a temporary directory)")
    parser.add_argument("--brokers", type=int, default=1, help="more than one: a replicated cluster on free ports (default: 1)")


def run(options: argparse.Namespace) -> int:
    """Run the broker until a signal ends it."""
    from odradek.broker import dev  # brings what only this command needs

    return dev.run(port=options.port, data_dir=options.data_dir, brokers=options.brokers)
