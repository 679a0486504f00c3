"""A Kafka broker on a terminal, until Ctrl-C or SIGTERM: `odradek dev` without its server.

Standard output carries one line, `bootstrap: HOST:PORT`, for programs; everything for people
goes to standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Protocol

from odradek.broker.cluster import LocalCluster
from odradek.broker.errors import BrokerError, DataDirError
from odradek.broker.local import LocalBroker
from odradek.broker.progress import StderrProgress

Handler = (
    Callable[[int, FrameType | None], object] | int | None
)  # as `signal.signal` takes and gives them

#: How often we look whether the broker has ended by itself.
WATCH_INTERVAL_S = 0.5


class Beside(Protocol):
    """Something that runs beside the brokers, in the main thread, until a signal ends all; it
    may take SIGINT and SIGTERM meanwhile.
    """

    def __call__(self, bootstrap: str, folder: Path, stopping: threading.Event) -> bool:
        """Run. True: asked to end, by a signal or by `stopping` (set when the brokers are gone);
        False: it cannot run, go on without it.

        folder: where the brokers' data is; what lies there goes or stays with it.
        """
        ...


def main(argv: Sequence[str] | None = None) -> int:
    """Run until told to stop. Exit status: 0 stopped by a signal, 1 the broker failed (log file
    named), 2 wrong usage.
    """
    options = _parser().parse_args(argv)
    return run(port=options.port, data_dir=options.data_dir, brokers=options.brokers)


def run(
    port: int | None = None,
    data_dir: Path | None = None,
    brokers: int = 1,
    beside: Beside | None = None,
) -> int:
    """As `main`, for callers that have parsed the arguments themselves. Must be called from the
    main thread.

    Args:
        port: where clients connect; only with one broker. brokers: 1, or more for a replicated
        cluster, of which any one may be killed: its end does not end us. beside: what else runs
        until the end, once clients can connect.
    """
    progress = StderrProgress()
    if port is not None and brokers > 1:
        progress.say("odradek dev: --port goes with one broker only")
        return 2
    stopping = threading.Event()
    interrupted: list[int] = []
    previous = _take_signals(interrupted)
    kafka: LocalBroker | LocalCluster = (
        LocalBroker(port, data_dir, progress=progress)
        if brokers == 1
        else LocalCluster(brokers, data_dir, progress=progress)
    )
    try:
        progress.say("starting Kafka")
        kafka.start()
        print(f"bootstrap: {kafka.bootstrap}", flush=True)
        for line in _description(kafka):
            progress.say(line)
        progress.say(
            f"{f'data in {data_dir}' if data_dir else 'data is temporary (--data-dir keeps it)'};"
            " Ctrl-C stops it"
        )
        with _watched(kafka, stopping) as gone:
            if beside is None or not beside(kafka.bootstrap, kafka.root, stopping):
                _take_signals(interrupted)
                while not stopping.is_set():
                    time.sleep(
                        WATCH_INTERVAL_S
                    )  # Windows tells of signals between two of them only
        if gone.is_set():
            progress.say("Kafka ended by itself; what it said stands in the log named above")
            return 1
        return 0
    except _Interrupted:
        return 0
    except BrokerError as error:
        progress.say(f"odradek dev: {error}")
        return 2 if isinstance(error, DataDirError) else 1
    finally:
        # From here on a second signal must not leave half a broker behind: the guard ends it in any
        # case.
        for number in previous:
            signal.signal(number, signal.SIG_IGN)
        if _alive(kafka):
            kafka.stop()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _take_signals(interrupted: list[int]) -> dict[signal.Signals, Handler]:
    """The first one raises `_Interrupted`. No event is set there: a handler may come in the
    middle of a wait for it, which has its lock.
    """

    def interrupt(number: int, _: object) -> None:
        interrupted.append(number)
        if len(interrupted) == 1:
            raise _Interrupted

    return {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}


@contextlib.contextmanager
def _watched(
    kafka: LocalBroker | LocalCluster, stopping: threading.Event
) -> Iterator[threading.Event]:
    """While in it: the end of the brokers sets `stopping` and the event that is given."""
    gone = threading.Event()

    def watch() -> None:
        while not stopping.wait(WATCH_INTERVAL_S):
            if not _alive(kafka):
                gone.set()
                stopping.set()

    thread = threading.Thread(target=watch, name="odradek-dev-watch", daemon=True)
    thread.start()
    try:
        yield gone
    finally:
        stopping.set()
        thread.join()


def _description(kafka: LocalBroker | LocalCluster) -> list[str]:
    if isinstance(kafka, LocalBroker):
        return [f"log: {kafka.log_file}"]
    return [
        f"broker {n}: {address}, pid {kafka.pid(n)}, log: {kafka.log_file(n)}"
        for n, address in kafka.addresses.items()
    ]


def _alive(kafka: LocalBroker | LocalCluster) -> bool:
    if isinstance(kafka, LocalBroker):
        return kafka.pid is not None
    return kafka.started and any(kafka.pid(n) is not None for n in kafka.addresses)


class _Interrupted(BaseException):
    """A stop signal; BaseException, so that no `except Exception` on the way swallows it."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="odradek dev", description="Run Kafka on this machine, without Docker."
    )
    parser.add_argument("--port", type=int, help="port for clients (default: a free one)")
    parser.add_argument(
        "--data-dir",
        type=Path,
        help="keep data and cluster id here (default: a temporary directory)",
    )
    parser.add_argument(
        "--brokers",
        type=int,
        default=1,
        help="more than one: a replicated cluster on free ports (default: 1)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
