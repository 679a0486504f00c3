"""Runs one child process and ends it with whoever started it. Run as a script: `python -I -S
guard.py …`.

The starter holds the write end of our standard input. When that end closes, or the starter is
gone (our parent changed), the child is ended and its temporary directory removed: also when the
starter was killed with -9. If we are killed ourselves, Linux ends the child (PR_SET_PDEATHSIG;
it follows the *thread* that started the child, which is why the starter's own threads cannot do
this and we, who have one thread, can).

Commands, a line each on standard input: `kill` (SIGKILL now, keep everything), `keep` (do not
remove the directory). Prints `pid N` once the child runs. Exits with the child's status (128 +
signal when a signal ended it).

Standard library only, and nothing of odradek: it starts in 20 ms and must outlive any mistake of
ours.
"""

from __future__ import annotations

import argparse
import os
import select
import shutil
import signal
import subprocess
import sys
import time


def main() -> int:
    options = _arguments()
    starter = os.getppid()
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _note)
    try:
        log = open(options.log, "ab", buffering=0)  # noqa: SIM115 - closed below
    except FileNotFoundError:  # the starter was interrupted meanwhile, and has removed all of it
        return 128 + signal.SIGTERM
    with log:
        child = subprocess.Popen(
            options.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=options.cwd,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - safe: this process has one thread
        )
    sys.stdout.write(f"pid {child.pid}\n")
    sys.stdout.flush()
    keep = False
    buffered = b""
    while child.poll() is None and not _asked_to_stop and os.getppid() == starter:
        readable, _, _ = select.select([0, wake_read], [], [], 1.0)
        if wake_read in readable:
            os.read(wake_read, 512)
        if 0 not in readable:
            continue
        received = os.read(0, 512)
        if not received:
            break
        *lines, buffered = (buffered + received).split(b"\n")
        keep = keep or b"keep" in lines
        if b"kill" in lines:
            child.kill()
            return _status(child.wait())
    crashed = child.poll() is not None
    if not crashed:
        _end(child, options.grace_ms / 1000)
    if options.remove and not keep and not crashed:
        shutil.rmtree(options.remove, ignore_errors=True)
    return _status(child.wait())


_asked_to_stop = False


def _note(number: int, _frame: object) -> None:
    global _asked_to_stop
    _asked_to_stop = _asked_to_stop or number != signal.SIGCHLD


def _end(child: subprocess.Popen[bytes], grace_s: float) -> None:
    if grace_s > 0:
        child.terminate()
        deadline = time.monotonic() + grace_s
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
    if child.poll() is None:
        child.kill()
    child.wait()


def _status(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode


def _die_with_parent() -> None:
    """In the child, before exec: Linux only; elsewhere the pipe alone has to do."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    pr_set_pdeathsig = 1
    guard = os.getppid()
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != guard or guard == 1:
        os._exit(1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--log", required=True)
    parser.add_argument("--cwd", required=True)
    parser.add_argument("--grace-ms", type=int, default=0, help="0: SIGKILL at once")
    parser.add_argument("--remove", help="directory that goes when the starter is done or gone")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if options.command[:1] == ["--"]:
        del options.command[0]
    return options


if __name__ == "__main__":
    sys.exit(main())
