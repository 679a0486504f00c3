"""`odradek dev`: a Kafka broker on a terminal, until Ctrl-C or SIGTERM.

Standard output carries one line, `bootstrap: HOST:PORT`, for programs; everything for people goes to standard error.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from odradek.broker.errors import BrokerError
from odradek.broker.local import LocalBroker
from odradek.broker.progress import StderrProgress

#: How often we look whether the broker has ended by itself.
WATCH_INTERVAL_S = 0.5


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop. Exit status: 0 stopped by a signal, 1 the broker failed (log file named), 2 wrong usage."""
    options = _parser().parse_args(argv)
    return run(port=options.port, data_dir=options.data_dir)


def run(port: int | None = None, data_dir: Path | None = None) -> int:
    """As `main`, for callers that have parsed the arguments themselves. Must be called from the main thread."""
    progress = StderrProgress()
    stopping = threading.Event()
    previous = {number: signal.signal(number, lambda *_: _interrupt(stopping)) for number in (signal.SIGINT, signal.SIGTERM)}
    broker = LocalBroker(port, data_dir, progress=progress)
    try:
        progress.say("starting Kafka")
        broker.start()
        print(f"bootstrap: {broker.bootstrap}", flush=True)
        kept = f"data in {data_dir}" if data_dir else "data is temporary (--data-dir keeps it)"
        progress.say(f"Kafka is ready; {kept}; log: {broker.log_file}. Ctrl-C stops it.")
        while not stopping.wait(WATCH_INTERVAL_S):
            if broker.pid is None:
                progress.say(f"the broker ended by itself; its log: {broker.log_file}")
                return 1
        return 0
    except _Interrupted:
        return 0
    except BrokerError as error:
        progress.say(f"odradek dev: {error}")
        return 1
    finally:
        # From here on a second signal must not leave half a broker behind: the guard ends it in any case.
        for number in previous:
            signal.signal(number, signal.SIG_IGN)
        failed_by_itself = broker.pid is None
        if not failed_by_itself:
            broker.stop()
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Interrupted(BaseException):
    """A stop signal; BaseException, so that no `except Exception` on the way swallows it."""


def _interrupt(stopping: threading.Event) -> None:
    if not stopping.is_set():
        stopping.set()
        raise _Interrupted


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="odradek dev", description="Run a Kafka broker on this machine, without Docker.")
    parser.add_argument("--port", type=int, help="port for clients (default: a free one)")
    parser.add_argument("--data-dir", type=Path, help="keep data and cluster id here (default: a temporary directory)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
