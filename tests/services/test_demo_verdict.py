"""What the demo ends with: its exit status and its last line, whatever the audit found."""

from __future__ import annotations

import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from services.demo import __main__ as command
from services.demo import run as demo
from services.demo.audit import OrderAudit
from services.demo.interruption import SIGNALS
from services.demo.plan import plan

LAST = (
    "orders: 30  completed: {completed}  compensated: 0  cancelled: 0  lost: {lost}  duplicated:"
    " {duplicated}"
)


class NoBroker:
    """In place of one that starts."""

    bootstrap = "nowhere:1"

    def __init__(self, **_: Any) -> None: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


@pytest.fixture
def end_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[[list[OrderAudit]], int]]:
    """`make demo` whose orders were audited so; its exit status."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    monkeypatch.setattr(demo, "LocalBroker", NoBroker)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["demo"])
    monkeypatch.delenv("KEEP", raising=False)

    def end(audits: list[OrderAudit]) -> int:
        async def run(_: demo.Demo) -> list[OrderAudit]:
            return audits

        monkeypatch.setattr(demo.Demo, "run", run)
        return command.main()

    yield end
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("lost", "duplicated"),
    [([], []), ([3], []), ([], [3]), ([29], [0]), ([3], [3]), (range(30), []), ([], range(30))],
    ids=str,
)
def test_status_is_0_only_if_nothing_is_lost_or_duplicated(
    end_with: Callable[[list[OrderAudit]], int],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    lost: list[int],
    duplicated: list[int],
) -> None:
    audits = [OrderAudit(order.order_no, "completed") for order in plan()]
    for place in lost:
        audits[place].outcome = "lost"
    for place in duplicated:
        audits[place].duplicated = True
    status = end_with(audits)
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == LAST.format(
        completed=30 - len(lost), lost=len(lost), duplicated=len(duplicated)
    )
    assert status == (1 if lost or duplicated else 0)
    assert len(list(tmp_path.iterdir())) == ("what it left behind" in err) == bool(status), (
        "what there is to look into is kept"
    )
