"""The parent of `--processes N`: starts members, restarts those that die, ends those that do not
answer. Outside their interpreters.

A workflow that keeps the interpreter (`time.sleep`, a C extension, a regular expression) stops
every Python thread of its process; only somebody outside can end it. Each child writes a byte a
second into a pipe from a Python thread; one that is silent for longer than `silence_seconds` is
killed, and the next owner meets the same run, counts, and parks it (`lane.py`).

SIGTERM or SIGINT is passed on: children drain. A second one kills them at once. A log that
nobody reads holds none of this up.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import FrameType

from odradek.processor.log_thread import LogThread

logger = logging.getLogger(__name__)

# Not an ODRADEK_ variable: those are settings, and this is between parent and child.
PIPE_VARIABLE = "_ODRADEK_ALIVE_FD"
NUMBER_VARIABLE = "_ODRADEK_PROCESS"  # 0 to N - 1: each child needs ports of its own
BEAT_SECONDS = 1.0
SILENCE_SECONDS = 15.0
START_SECONDS = 60.0  # imports and first contact, before the first byte
_BACKOFF_FIRST_SECONDS, _BACKOFF_MAX_SECONDS = 0.5, 10.0
_LIVED_SECONDS = 60.0  # after so long a death counts as the first again
_TICK_SECONDS = 0.2


def process_number() -> int:
    """Which child of a supervisor this process is; 0 without one."""
    return int(os.environ.get(NUMBER_VARIABLE, "0"))


class Parent:
    """Of a child: the supervisor that it beats to. When that has ended, `gone` is called by a
    thread: nobody restarts or ends us then, so that we drain.
    """

    def __init__(self) -> None:
        self.lives = True
        self.gone: Callable[[], object] = lambda: os.kill(os.getpid(), signal.SIGTERM)


def beat_to_parent() -> Parent | None:
    """In a child: begin to tell the parent that this interpreter runs. None when there is no
    such parent. Call once, early.
    """
    text = os.environ.pop(PIPE_VARIABLE, "")
    if not text:
        return None
    descriptor = int(text)
    parent = Parent()

    def beat() -> None:
        while True:
            try:
                os.write(descriptor, b".")
            except OSError:
                parent.lives = False
                parent.gone()
                return
            time.sleep(BEAT_SECONDS)

    threading.Thread(target=beat, name="odradek-beat", daemon=True).start()
    return parent


@dataclass
class _Child:
    number: int
    process: subprocess.Popen[bytes] | None = None
    pipe: int = -1
    heard_at: float = 0.0
    spoke: bool = False
    started_at: float = 0.0
    deaths: int = 0
    restart_at: float = 0.0
    kills: int = field(default=0)
    told: int = 0  # signals that were passed on to the process


class Supervisor:
    """Keeps `processes` copies of `command` alive until told to stop. `run` blocks and returns
    the exit status: 0 after a drain, 143 or 130 after a second signal.

    A child that exits with status 0 on its own is done and not restarted; `EXIT_CONFIGURATION`
    (2) ends all: it would fail again.
    """

    EXIT_CONFIGURATION = 2

    def __init__(
        self,
        command: Sequence[str],
        processes: int,
        *,
        silence_seconds: float = SILENCE_SECONDS,
        start_seconds: float = START_SECONDS,
    ) -> None:
        if processes < 1:
            raise ValueError("processes must be at least 1")
        self._command = list(command)
        self._children = [_Child(number) for number in range(processes)]
        self._silence_seconds = silence_seconds
        self._start_seconds = start_seconds
        self._selector = selectors.DefaultSelector()
        self._asked = 0  # signals that came
        self._signals = 0  # and what children are to have had, which may be of our own
        self._status = 0
        self._ticked_at = time.monotonic()

    @property
    def pids(self) -> list[int]:
        """Processes that live now."""
        return [child.process.pid for child in self._children if child.process is not None]

    @property
    def killed(self) -> int:
        """How many were ended because they did not answer."""
        return sum(child.kills for child in self._children)

    def run(self) -> int:
        """Until all children are gone."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_signal)
        with LogThread(logger) as log:
            try:
                self._keep_alive()
            finally:
                self._kill_all()
                self._selector.close()
        if log.stands:
            os._exit(self._status)
        return self._status

    def stop(self, number: int = signal.SIGTERM) -> None:
        """As that signal: the first time drain, the second time end at once."""
        self._asked += 1
        if self._asked > 1 and self._status != self.EXIT_CONFIGURATION:
            self._status = 128 + number
        self._end(self._asked)

    # --- inside

    def _keep_alive(self) -> None:
        for child in self._children:
            self._spawn(child)
        while any(child.process is not None or child.restart_at for child in self._children):
            self._tick()

    def _end(self, signals: int) -> None:
        self._signals = max(self._signals, signals)
        for child in self._children:
            child.restart_at = 0.0
            self._pass_on(child)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stop(number)

    def _pass_on(self, child: _Child) -> None:
        """What came and was not told to it yet. A signal handler may run this in the middle of
        itself.
        """
        while child.process is not None and child.told < self._signals:
            child.told += 1
            child.process.send_signal(signal.SIGTERM if child.told == 1 else signal.SIGKILL)

    def _spawn(self, child: _Child) -> None:
        child.restart_at = 0.0
        if self._signals:
            return
        child.told = 0
        read, write = os.pipe()
        os.set_inheritable(write, True)
        environment = os.environ | {PIPE_VARIABLE: str(write), NUMBER_VARIABLE: str(child.number)}
        # Its own session: Ctrl-C reaches the parent alone, which passes it on. Without a parent a
        # child drains.
        child.process = subprocess.Popen(
            self._command, env=environment, pass_fds=(write,), start_new_session=True
        )
        os.close(write)
        os.set_blocking(read, False)
        child.pipe = read
        child.started_at = child.heard_at = time.monotonic()
        child.spoke = False
        self._selector.register(read, selectors.EVENT_READ, child)
        logger.info("process %d started: pid %d", child.number, child.process.pid)
        self._pass_on(child)  # a signal that came before this process was known

    def _tick(self) -> None:
        for key, _ in self._selector.select(_TICK_SECONDS):
            child: _Child = key.data
            if os.read(child.pipe, 4_096):
                child.heard_at, child.spoke = time.monotonic(), True
            else:
                self._selector.unregister(child.pipe)  # closed: it is about to end, or ended
                os.close(child.pipe)
                child.pipe = -1
        now = time.monotonic()
        if now - self._ticked_at > self._silence_seconds / 2:
            # it was we who stood still (a suspended machine): what they wrote meanwhile is read
            # first
            for child in self._children:
                child.heard_at = now
        self._ticked_at = now
        for child in self._children:
            if child.process is not None:
                self._watch(child, child.process, now)
            elif child.restart_at and (
                self._signals or now >= child.restart_at
            ):  # a signal lets nobody wait for a restart
                self._spawn(child)

    def _watch(self, child: _Child, process: subprocess.Popen[bytes], now: float) -> None:
        status = process.poll()
        if status is not None:
            self._buried(child, status, now)
            return
        patience = self._silence_seconds if child.spoke else self._start_seconds
        if now - child.heard_at > patience:
            logger.error(
                "process %d (pid %d) has not answered for %.0f s and is ended",
                child.number,
                process.pid,
                now - child.heard_at,
            )
            child.kills += 1
            child.heard_at = now
            process.kill()

    def _buried(self, child: _Child, status: int, now: float) -> None:
        assert child.process is not None
        pid, child.process = child.process.pid, None
        if child.pipe >= 0:
            self._selector.unregister(child.pipe)
            os.close(child.pipe)
            child.pipe = -1
        if self._signals or status == 0:
            if status not in (0, -signal.SIGTERM, -signal.SIGKILL):
                self._status = self._status or 1
            logger.info("process %d (pid %d) ended", child.number, pid)
            return
        if status == self.EXIT_CONFIGURATION:
            logger.error("process %d cannot run as it is configured; ending all", child.number)
            self._status = self.EXIT_CONFIGURATION
            self._end(1)
            return
        child.deaths = 1 if now - child.started_at > _LIVED_SECONDS else child.deaths + 1
        wait = (
            0.0
            if child.deaths == 1
            else min(_BACKOFF_MAX_SECONDS, _BACKOFF_FIRST_SECONDS * 2 ** (child.deaths - 2))
        )
        logger.error(
            "process %d (pid %d) died with status %d, restarted in %.1f s",
            child.number,
            pid,
            status,
            wait,
        )
        child.restart_at = now + wait if wait else now

    def _kill_all(self) -> None:
        for child in self._children:
            if child.process is not None:
                child.process.kill()
                child.process.wait()


def main(argv: Sequence[str]) -> int:
    """`python -m odradek.processor.supervisor N command ...`: for tests and for those who have
    no other supervisor.
    """
    return Supervisor(argv[1:], int(argv[0])).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
