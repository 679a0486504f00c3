"""What the demo counts as an order that came to its end: its own saga said so, and nothing else
did.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from services.demo.audit import audit, summary
from services.inventory.activities import STOCK_SCHEMA
from services.ledger import Ledger
from services.notifications.__main__ import NOTIFICATIONS


@pytest.fixture
def databases(tmp_path: Path) -> dict[str, Path]:
    """Of services that did nothing but notify of order-1 once."""
    for service in ("orders", "inventory", "payments"):
        Ledger(tmp_path / f"{service}.sqlite", STOCK_SCHEMA).close()
    with sqlite3.connect(tmp_path / "notifications.sqlite") as database:
        database.executescript(NOTIFICATIONS)
        database.execute(
            "INSERT INTO notifications VALUES (0, 0, 'order-1', 'run', '', '', '', 'null')"
        )
    database.close()
    return {
        service: tmp_path / f"{service}.sqlite"
        for service in ("orders", "inventory", "payments", "notifications")
    }


@pytest.mark.parametrize(
    ("status", "failure_type", "outcome"),
    [
        ("FAILED", "OrderFailed", "compensated"),
        ("FAILED", "InvalidOrder", "compensated"),
        ("FAILED", "OrderCancelled", "cancelled"),
        ("CANCELED", "", "cancelled"),
        ("FAILED", "ZeroDivisionError", "lost"),
        ("FAILED", "", "lost"),
        ("TERMINATED", "", "lost"),
        ("TIMED_OUT", "", "lost"),
        ("CONTINUED_AS_NEW", "", "lost"),
        ("COMPLETED", "", "lost"),
    ],
)
def test_only_the_saga_itself_says_that_it_undid(
    databases: dict[str, Path], status: str, failure_type: str, outcome: str
) -> None:
    failure: dict[str, Any] | None = {"type": failure_type, "message": ""} if failure_type else None
    (one,) = audits = audit(
        ["1"], databases, [{"workflow_id": "order-1", "status": status, "failure": failure}]
    )
    assert one.outcome == outcome, one.problems
    assert f"{outcome}: 1" in summary(audits)
    assert (outcome == "lost") is bool(one.problems)
