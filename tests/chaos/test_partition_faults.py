"""Faults between the calls of a lane's transaction: kill -9 and SIGSTOP past the session, at
each point, by name.

Random kills do not find the worst of these. After each: every input applied exactly once, in
order, and the rows agree with the outputs.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from odradek.processor import faults
from tests.kafka.lane_records import Host, Wire
from tests.support.until import until

WORKFLOWS = 10
FIRST, SECOND = 300, 100


def _fault(point: str, action: str) -> str:
    """In mid-work: the points of own pass at the first, the others after the position row of own
    and some batches of both lanes.
    """
    own = point in (faults.AFTER_INIT, faults.AFTER_RESTORE)
    return f"{point}:{action}:{2 if own else 8}"


def _batches(wire: Wire, start: int, stop: int) -> None:
    """Several transactions' worth: the next part is sent when the last is in `events`, not when
    it is applied.
    """
    from odradek.wire.events import SignalWorkflow

    for begin in range(start, stop, 20):
        for number in range(begin, min(begin + 20, stop)):
            wire.send(SignalWorkflow(f"w{number % WORKFLOWS}", "slow:1", request_id=str(number)))
        wire.flush()


@pytest.mark.promise("exactly-once")
@pytest.mark.parametrize("point", faults.POINTS)
def test_killed(point: str, bootstrap: str, namespace: str, tmp_path: Path) -> None:
    """The owner is killed; its successor is the same slot, restarted."""
    wire = Wire(bootstrap, namespace, tmp_path)
    wire.admin.ensure_queue("q")
    _batches(wire, 0, FIRST)
    with Host(wire, batch=10, fault=_fault(point, "kill")) as first:
        first.wait_killed()
    with Host(wire, batch=10) as second:
        second.line("ready")
        _batches(wire, FIRST, FIRST + SECOND)
        wire.assert_exactly_once(FIRST + SECOND, WORKFLOWS)
        assert second.drain() == 0


@pytest.mark.promise("exactly-once")
@pytest.mark.parametrize(
    "point",
    [
        faults.AFTER_INIT,
        faults.AFTER_PRODUCE,
        faults.AFTER_FLUSH,
        faults.BEFORE_COMMIT,
        faults.AFTER_COMMIT,
    ],
)
def test_stopped_past_its_session(
    point: str, bootstrap: str, namespace: str, tmp_path: Path
) -> None:
    """The owner stands still until another has its partitions, then goes on as a zombie: it is
    fenced and changes nothing.
    """
    wire = Wire(bootstrap, namespace, tmp_path)
    wire.admin.ensure_queue("q")
    _batches(wire, 0, FIRST)
    with Host(wire, batch=10, fault=_fault(point, "stop"), log=tmp_path / "first.log") as first:
        first.wait_stopped()
        with Host(wire, batch=10, log=tmp_path / "second.log") as second:
            second.line("ready")  # both partitions: it is alone
            _batches(wire, FIRST, FIRST + SECOND // 2)
            until(
                lambda: sum(map(len, wire.counts().values())) >= FIRST + SECOND // 2,
                60,
                "the second owner applies all",
            )
            os.kill(first.pid, signal.SIGCONT)
            _batches(wire, FIRST + SECOND // 2, FIRST + SECOND)
            wire.assert_exactly_once(FIRST + SECOND, WORKFLOWS)
            assert second.drain() == 0
            if point != faults.AFTER_PRODUCE:  # a session more: once is enough
                return
            _batches(
                wire, FIRST + SECOND, FIRST + 2 * SECOND
            )  # the former zombie is an ordinary member now
            wire.assert_exactly_once(FIRST + 2 * SECOND, WORKFLOWS)
            assert first.drain() == 0
