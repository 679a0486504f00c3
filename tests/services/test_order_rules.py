"""Orders that make no sense: what the API refuses with 422, the services refuse when it comes
past the API.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from odradek.exceptions import ApplicationError
from odradek.testing import ActivityEnvironment
from services.inventory.activities import STOCK_SCHEMA, InventoryActivities, fill_stock
from services.ledger import Ledger
from services.order_api.shapes import OrderIn
from services.orders.activities import OrderActivities
from services.orders.models import Item, Order
from services.orders.rules import problem_of
from services.payments.accounts import Accounts, InvalidOrder

GOOD = Order("A-7.b_c~d", "user", [Item("tea", 2)], 900)


def changed(**fields: Any) -> Order:
    return dataclasses.replace(GOOD, **fields)


def with_item(product: str, quantity: Any) -> Order:
    return changed(items=[Item("tea", 1), Item(product, quantity)])


WRONG = {
    "amount: -3": changed(amount=-3),
    "amount: a number too large": changed(amount=2**53),
    "amount: no whole number": changed(amount=1.5),
    "quantity: -5": with_item("tea", -5),
    "quantity: none": with_item("tea", 0),
    "quantity: too many": with_item("tea", 1_000_001),
    "product: no name": with_item("", 1),
    "product: half a character": with_item("\ud800", 1),
    "product: too long": with_item("x" * 201, 1),
    "items: none": changed(items=[]),
    "items: too many": changed(items=[Item("tea", 1)] * 1_001),
    "user_id: no name": changed(user_id=""),
    "order_no: a path": changed(order_no="no/path"),
    "order_no: empty": changed(order_no=""),
    "order_no: a line": changed(order_no="7\n"),
    "order_no: too long": changed(order_no="x" * 101),
}
wrong_orders = pytest.mark.parametrize("order", WRONG.values(), ids=WRONG)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.sqlite", STOCK_SCHEMA)
    yield ledger
    ledger.close()


def effects(ledger: Ledger) -> list[Any]:
    found: list[Any] = []
    ledger.run(lambda db: found.extend(db.execute("SELECT kind FROM effects")))
    return found


@wrong_orders
def test_the_rule_is_the_apis(order: Order) -> None:
    assert problem_of(GOOD) == ""
    OrderIn.model_validate(dataclasses.asdict(GOOD))
    field = next(name for name, order_of in WRONG.items() if order_of is order).partition(":")[0]
    assert field in problem_of(order)
    with pytest.raises(ValidationError, match=field):
        OrderIn.model_validate(dataclasses.asdict(order))


@wrong_orders
@pytest.mark.parametrize("step", ["create_order", "reserve_inventory"])
def test_a_step_of_an_order_that_makes_no_sense_is_refused_for_good(
    ledger: Ledger, step: str, order: Order
) -> None:
    ledger.run(lambda db: fill_stock(db, {"tea": 5_000_000}))
    run: Callable[[Order], Any] = getattr(
        OrderActivities(ledger) if step == "create_order" else InventoryActivities(ledger, {}), step
    )
    with pytest.raises(ApplicationError) as caught:
        ActivityEnvironment().run(run, order)
    assert (caught.value.type, caught.value.non_retryable) == ("InvalidOrder", True)
    assert effects(ledger) == []


@pytest.mark.parametrize("amount", [-3, 2**53, 1.5, "900", None, True])
def test_payments_freeze_no_amount_that_is_none(ledger: Ledger, amount: Any) -> None:
    accounts = Accounts(ledger, 2**60, {}, {})
    with pytest.raises(InvalidOrder, match="amount"):
        accounts.freeze("run/1", 1, {"order_no": "1", "user_id": "user", "amount": amount})
    assert effects(ledger) == []
    assert accounts.freeze("run/1", 2, {"order_no": "1", "user_id": "user", "amount": 0}) == {
        "id": "F-1"
    }
