"""What a type checker makes of the workflow API. `mypy --strict` judges this file; run, it only
checks that the names are there.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

from odradek import activity, workflow
from odradek.workflow import ActivityConfig, ActivityHandle

MINUTE = timedelta(minutes=1)


@dataclass
class Order:
    id: str


@activity.defn
async def charge(order: Order) -> int:
    return 1


@activity.defn
def ship(order: Order, express: bool) -> str:
    return "x"


@activity.defn
def ping() -> None:
    return None


class Activities:
    @activity.defn
    async def refund(self, order: Order) -> int:
        return 1


async def calls() -> None:
    """Never run: the types are the test."""
    config = ActivityConfig(start_to_close_timeout=MINUTE)
    assert_type(
        await workflow.execute_activity(charge, Order("1"), start_to_close_timeout=MINUTE), int
    )
    assert_type(await workflow.execute_activity(charge, Order("1"), **config), int)
    assert_type(await workflow.execute_activity(ship, args=[Order("1"), True], **config), str)
    assert_type(await workflow.execute_activity("by-name", 1, **config), Any)
    assert_type(await workflow.execute_activity("by-name", result_type=Order, **config), Order)
    assert_type(workflow.start_activity(charge, Order("1"), **config), ActivityHandle[int])
    assert_type(await workflow.start_activity(charge, Order("1"), **config), int)
    assert_type(
        await workflow.execute_activity_method(Activities.refund, Order("1"), **config), int
    )
    await workflow.execute_activity(ping, **config)
    assert_type(workflow.memo_value("key", type_hint=int), int)
    assert_type(workflow.memo_value("key", None, type_hint=int), int | None)
    assert_type(workflow.get_last_completion_result(Order), Order | None)
    await workflow.execute_activity(charge, "wrong", **config)  # type: ignore[arg-type]
    await workflow.execute_activity(charge, Order("1"), start_to_close=MINUTE)  # type: ignore[call-overload]


@workflow.defn(name="typed")
class Typed:
    @workflow.run
    async def run(self, order: Order) -> str:
        return order.id

    @workflow.signal
    async def poke(self, number: int) -> None: ...

    @workflow.query(name="asked")
    def ask(self) -> int:
        return 1

    @workflow.update
    async def change(self, by: int) -> str:
        return str(by)

    @change.validator
    def check(self, by: int) -> None: ...


def test_decorated_methods_keep_their_types() -> None:
    assert_type(Typed().ask(), int)
    result = Typed.change(Typed(), 1)
    assert isinstance(result, Awaitable)
    getattr(result, "close")()  # noqa: B009 - an Awaitable to the type checker
    assert callable(calls)
