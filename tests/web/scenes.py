"""What pages show in browser tests and on screenshots: some hundred orders, one of them in the
midst of trouble.
"""

from __future__ import annotations

import random
import time
from typing import Any

from odradek.visibility.store.rows import Change
from odradek.web.kafka.backlog import Backlog
from odradek.web.kafka.facts import QueueView
from odradek.wire.history import (
    ActivityTaskCompletedEvent,
    ActivityTaskFailedEvent,
    ActivityTaskScheduled,
    ActivityTaskStartedEvent,
    HistoryEvent,
    TimerCanceled,
    TimerStarted,
    WorkflowExecutionSignaled,
    WorkflowExecutionStarted,
    WorkflowTask,
)
from odradek.wire.outcomes import (
    ExecutionSummary,
    PendingActivity,
    PendingTimer,
    WorkflowDescription,
)
from odradek.wire.payload import Failure, Payload
from tests.unit.web_server import plain, summary
from tests.unit.web_ui import UiServer

_STATUSES = (
    ["COMPLETED"] * 24 + ["FAILED"] * 2 + ["CANCELED", "TERMINATED", "TIMED_OUT"] + ["RUNNING"] * 4
)
_TYPES = ["OrderSaga"] * 6 + ["RefundSaga"] * 2 + ["StockReplenishment"]
TROUBLED = "order-10402"
TROUBLED_RUN = "7f1c5f0a-3d0e-4c64-8d7e-5f2f3b0c9a11"


def now_ms() -> int:
    """The time."""
    return int(time.time() * 1000)


def many_orders(server: UiServer, count: int = 400) -> None:
    """Orders of the last hour, always the same ones; only the read side knows them."""
    chance, now = random.Random(4), now_ms()
    changes = []
    for number in range(count):
        status, start = chance.choice(_STATUSES), now - 20_000 - int(chance.random() * 3_400_000)
        close = (
            0 if status == "RUNNING" else min(now - 1, start + int(chance.lognormvariate(7, 0.8)))
        )
        run = summary(
            f"order-{10_400 - number}",
            f"{chance.getrandbits(128):032x}",
            status=status,
            start_time_ms=start,
            close_time_ms=close,
            workflow_type=chance.choice(_TYPES),
            history_length=chance.randint(12, 60),
            history_size_bytes=chance.randint(900, 9_000),
        )
        changes.append(Change(0, number, f"{run.workflow_id}/{run.run_id}".encode(), run))
    server.store.apply(changes)
    server._offset = count
    server.member(
        time_ms=now + 100_000
    )  # alive for as long as a slow browser takes, by a clock that is ahead
    server.context.board.complete = True


def troubled_order(server: UiServer) -> ExecutionSummary:
    """An order whose card was declined, and whose next card is being tried."""
    run = summary(TROUBLED, TROUBLED_RUN, start_time_ms=now_ms() - 25_000, history_size_bytes=4_812)
    at = run.start_time_ms
    declined = Failure(
        "insufficient funds",
        type="CardError",
        non_retryable=True,
        stack_trace='  File "pay.py", line 41, in charge_card',
    )
    order = {"user_id": "u-1", "amount": 1250, "items": [{"sku": "thread-4", "count": 2}]}
    events = [
        HistoryEvent(
            1,
            at,
            WorkflowExecutionStarted(
                run.workflow_id, run.run_id, run.workflow_type, run.task_queue, [plain(order)]
            ),
            41,
        ),
        HistoryEvent(2, at + 4, WorkflowTask(at + 4, "worker-a")),
        HistoryEvent(
            5,
            at + 8,
            ActivityTaskScheduled(
                "1", "reserve_stock", "orders", [plain({"sku": "thread-4", "count": 2})]
            ),
        ),
        HistoryEvent(6, at + 40, ActivityTaskStartedEvent(5, 1, "stock-service@h2", None, 2, 11)),
        HistoryEvent(7, at + 900, ActivityTaskCompletedEvent(5, 6, [plain("reservation-77")]), 43),
        HistoryEvent(8, at + 910, WorkflowTask(at + 910, "worker-a")),
        HistoryEvent(
            11,
            at + 915,
            ActivityTaskScheduled(
                "2",
                "charge_card",
                "payments",
                [Payload({"encoding": b"binary/encrypted"}, b"x" * 312)],
            ),
        ),
        HistoryEvent(
            12,
            at + 6_400,
            ActivityTaskStartedEvent(
                11, 3, "payments@h3", Failure("gateway timeout", type="GatewayError"), 0, 31
            ),
        ),
        HistoryEvent(
            13,
            at + 7_600,
            ActivityTaskFailedEvent(
                11, 12, Failure("activity failed", cause=declined), "NON_RETRYABLE_FAILURE"
            ),
            47,
        ),
        HistoryEvent(14, at + 7_610, WorkflowTask(at + 7_610, "worker-a")),
        HistoryEvent(17, at + 7_615, TimerStarted("3", 60_000)),
        HistoryEvent(
            18,
            at + 7_616,
            ActivityTaskScheduled("4", "ask_for_another_card", "notifications", [plain("u-1")]),
        ),
        HistoryEvent(
            19,
            at + 12_000,
            WorkflowExecutionSignaled("new_card", [plain("tok_2")], identity="shop@web"),
            52,
        ),
        HistoryEvent(20, at + 12_010, WorkflowTask(at + 12_010, "worker-a")),
        HistoryEvent(23, at + 12_020, TimerCanceled("3", 17)),
        HistoryEvent(
            24, at + 12_021, ActivityTaskScheduled("5", "charge_card", "payments", [plain("tok_2")])
        ),
    ]
    server.add(run, events)
    gateway = Failure("activity failed", cause=Failure("gateway timeout", type="GatewayError"))
    charge = PendingActivity(
        "5",
        "charge_card",
        "payments",
        "SCHEDULED",
        4,
        at + 12_021,
        0,
        0,
        now_ms() + 95_000,
        10,
        [],
        gateway,
        "payments@h3",
    )
    ask = PendingActivity(
        "4",
        "ask_for_another_card",
        "notifications",
        "STARTED",
        1,
        at + 7_616,
        at + 7_700,
        now_ms() - 900,
        0,
        0,
        [plain({"sent": 2})],
        None,
        "mail@h1",
        scheduled_event_id=18,
        command_partition=1,
        command_offset=64,
    )
    server.owner.descriptions[run.workflow_id] = WorkflowDescription(
        run,
        run_timeout_ms=600_000,
        static_summary=plain("order of u-1"),
        pending_activities=[charge, ask],
        pending_timers=[PendingTimer("9", 26, now_ms() + 90_000)],
    )
    return run


def some_backlog(server: UiServer) -> None:
    """Forty minutes of what waited: a burst that was worked off, a service that was away for a
    while.
    """
    chance, now = random.Random(7), now_ms()
    clock = [now]
    server.context.backlog = Backlog(clock_ms=lambda: clock[0])
    for minute in range(40):
        clock[0] = now - (39 - minute) * 60_000
        burst = max(0, 900 - 110 * (minute - 12)) if minute >= 12 else 0
        away = (
            60 * (minute - 20)
            if 20 <= minute < 27
            else max(0, 400 - 90 * (minute - 27))
            if minute >= 27
            else 0
        )
        waits = [
            ("orders", burst + chance.randint(0, 40), chance.randint(0, 12)),
            ("payments", None, away + chance.randint(0, 5)),
        ]
        lags: list[Any] = [
            QueueView(
                name, bool(lag), True, True, 4, 1, 1, lag, more, 20, 5, 0, 0, 12, 0, "classic"
            )
            for name, lag, more in waits
        ]
        server.context.backlog.note(lags)
