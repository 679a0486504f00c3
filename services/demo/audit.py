"""Counts what happened, from the services' databases and the results topic; nothing from the
demo's memory but the order numbers.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Each step, its database and its compensation.
STEPS = (
    ("CreateOrder", "orders", "CancelOrder"),
    ("ReserveInventory", "inventory", "ReleaseInventory"),
    ("FreezePayment", "payments", "UnfreezePayment"),
)


@dataclass
class OrderAudit:
    """One order as the records show it."""

    order_no: str
    outcome: str = "lost"  # completed, compensated, cancelled, lost
    effects: dict[str, int] = field(default_factory=dict)
    results: int = 0
    notifications: int = 0
    reason: str = ""
    problems: list[str] = field(default_factory=list)
    duplicated: bool = False


def audit(
    order_nos: list[str], databases: dict[str, Path], results: list[dict[str, Any]]
) -> list[OrderAudit]:
    """One OrderAudit an order. `results`: WorkflowResult records of the results topic."""
    effects = _count_effects(databases)
    notifications = _count_notifications(databases["notifications"])
    by_workflow: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        by_workflow.setdefault(result["workflow_id"], []).append(result)
    return [
        _audit_one(number, effects, notifications, by_workflow.get(f"order-{number}", []))
        for number in order_nos
    ]


def summary(audits: list[OrderAudit]) -> str:
    """The demo's last line."""
    count = Counter(one.outcome for one in audits)
    duplicated = sum(one.duplicated for one in audits)
    return (
        f"orders: {len(audits)}  completed: {count['completed']}  compensated:"
        f" {count['compensated']}  cancelled: {count['cancelled']}  lost: {count['lost']} "
        f" duplicated: {duplicated}"
    )


def _audit_one(
    order_no: str,
    effects: Counter[tuple[str, str]],
    notifications: Counter[str],
    results: list[dict[str, Any]],
) -> OrderAudit:
    one = OrderAudit(
        order_no, results=len(results), notifications=notifications[f"order-{order_no}"]
    )
    for step, _, compensation in STEPS:
        for kind in (step, compensation):
            if effects[(kind, order_no)]:
                one.effects[kind] = effects[(kind, order_no)]
    one.duplicated = (
        len(results) > 1
        or one.notifications > 1
        or any(count > 1 for count in one.effects.values())
    )
    if not results:
        one.problems.append("no result")
        return one
    failure = results[0]["failure"] or {}
    one.reason = failure.get("message", "")
    if results[0]["status"] == "COMPLETED":
        one.problems += [f"{step} is missing" for step, _, _ in STEPS if not one.effects.get(step)]
        one.problems += [
            f"{undo} on a completed order" for _, _, undo in STEPS if one.effects.get(undo)
        ]
        outcome = "completed"
    else:
        one.problems += [
            f"{step} was not undone"
            for step, _, undo in STEPS
            if one.effects.get(step) and not one.effects.get(undo)
        ]
        outcome = _undone_as(results[0]["status"], failure.get("type", ""))
        if (
            not outcome
        ):  # ended by somebody, or by a defect: that its saga undid anything is not said
            one.problems.append(
                f"ended as {results[0]['status']} {failure.get('type', '')}".rstrip()
            )
    if one.notifications == 0:
        one.problems.append("no notification")
    one.outcome = "lost" if one.problems else outcome
    return one


def _undone_as(status: str, failure_type: str) -> str:
    """How a saga that undid its steps says so; "" for every other end."""
    if status == "CANCELED":
        return "cancelled"
    return (
        {
            "OrderCancelled": "cancelled",
            "OrderFailed": "compensated",
            "InvalidOrder": "compensated",
        }.get(failure_type, "")
        if status == "FAILED"
        else ""
    )


def _count_effects(databases: dict[str, Path]) -> Counter[tuple[str, str]]:
    counts: Counter[tuple[str, str]] = Counter()
    for service in {service for _, service, _ in STEPS}:
        for kind, order_no, count in _rows(
            databases[service],
            "SELECT kind, order_no, count(*) FROM effects GROUP BY kind, order_no",
        ):
            counts[(kind, order_no)] = count
    return counts


def _count_notifications(database: Path) -> Counter[str]:
    return Counter(
        dict(
            _rows(database, "SELECT workflow_id, count(*) FROM notifications GROUP BY workflow_id")
        )
    )


def _rows(database: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()
