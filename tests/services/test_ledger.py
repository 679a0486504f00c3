"""A service's own database: effects once a key, compensations that bar what comes late, and what
the services build on it.
"""

from __future__ import annotations

import dataclasses
import re
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from odradek import activity
from odradek.exceptions import ApplicationError
from odradek.testing import ActivityEnvironment
from services.inventory.activities import STOCK_SCHEMA, InventoryActivities, fill_stock
from services.ledger import BarredError, Ledger, RefusedError
from services.orders.models import Item, Order, StepResult
from services.payments.accounts import Accounts, BankUnreachable, Declined


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "folder" / "ledger.sqlite", STOCK_SCHEMA)
    yield ledger
    ledger.close()


def answer(value: str) -> Any:
    return lambda _: {"id": value}


def absorbed(ledger: Ledger, key: str) -> int:
    found: list[int] = []
    ledger.run(
        lambda db: found.extend(
            db.execute("SELECT absorbed FROM effects WHERE key = ?", (key,)).fetchone()
        )
    )
    return found[0]


def test_effect_happens_once_a_key(ledger: Ledger) -> None:
    first = ledger.once("run/1", "FreezePayment", "7", answer("F-1"))
    again = ledger.once("run/1", "FreezePayment", "7", answer("F-2"))
    assert first == again and again.data == {"id": "F-1"}
    assert absorbed(ledger, "run/1") == 1
    other = ledger.once("run/2", "FreezePayment", "7", answer("F-3"))
    assert [effect.data["id"] for effect in ledger.of_order("7", "FreezePayment")] == [
        "F-1",
        other.data["id"],
    ], "the auditor sees a double"


def test_effect_survives_the_process(ledger: Ledger, tmp_path: Path) -> None:
    ledger.once("run/1", "CreateOrder", "7", answer("O-7"))
    later = Ledger(tmp_path / "folder" / "ledger.sqlite")
    assert later.once("run/1", "CreateOrder", "7", answer("other")).data == {"id": "O-7"}
    later.close()


def test_work_that_raises_leaves_nothing(ledger: Ledger) -> None:
    def work(db: sqlite3.Connection) -> dict[str, Any]:
        db.execute("INSERT INTO stock VALUES ('tea', 1)")
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full"):
        ledger.once("run/1", "ReserveInventory", "7", work)
    rows: list[Any] = []
    ledger.run(lambda db: rows.extend(db.execute("SELECT * FROM stock")))
    assert rows == [] and ledger.of_order("7", "ReserveInventory") == []
    assert ledger.once("run/1", "ReserveInventory", "7", answer("R-7")).data == {"id": "R-7"}


@pytest.mark.promise("order-saga")
def test_undo_bars_a_late_attempt(ledger: Ledger) -> None:
    ledger.undo("run/2", "UnfreezePayment", "FreezePayment", "7", answer("U-7"))
    with pytest.raises(
        BarredError, match="FreezePayment of order 7 was compensated or refused before it ran"
    ):
        ledger.once("run/1", "FreezePayment", "7", answer("F-7"))
    assert ledger.once("run/3", "FreezePayment", "8", answer("F-8")).data == {"id": "F-8"}, (
        "other orders are not barred"
    )
    assert ledger.undo("run/2", "UnfreezePayment", "FreezePayment", "7", answer("again")).data == {
        "id": "U-7"
    }


def test_undo_leaves_the_first_answer_to_its_own_key(ledger: Ledger) -> None:
    """An attempt that comes again after the compensation hears what it did the first time, and
    does nothing.
    """
    ledger.once("run/1", "FreezePayment", "7", answer("F-7"))
    ledger.undo("run/2", "UnfreezePayment", "FreezePayment", "7", answer("U-7"))
    assert ledger.once("run/1", "FreezePayment", "7", answer("other")).data == {"id": "F-7"}


@pytest.mark.promise("order-saga")
def test_refusal_bars_a_late_attempt(ledger: Ledger) -> None:
    """One attempt is silent, the next is refused for good: the first must not do afterwards what
    the second said would not happen.
    """

    def refuse(_: sqlite3.Connection) -> dict[str, Any]:
        raise RefusedError("the account is closed")

    with pytest.raises(RefusedError, match="the account is closed"):
        ledger.once("run/1", "FreezePayment", "7", refuse)
    with pytest.raises(BarredError, match="compensated or refused before it ran"):
        ledger.once("run/1", "FreezePayment", "7", answer("F-7"))
    assert ledger.of_order("7", "FreezePayment") == []


def test_number_placed_again_is_a_new_order(ledger: Ledger) -> None:
    """The first run is out of retention, or was of another kind: what it barred is barred for
    its own late attempts.
    """
    ledger.once("run1/1/5", "CreateOrder", "7", answer("O-7"))
    ledger.undo("run1/9/40", "CancelOrder", "CreateOrder", "7", answer("X-7"))

    def refuse(_: sqlite3.Connection) -> dict[str, Any]:
        raise RefusedError("the account is closed")

    with pytest.raises(RefusedError, match="the account is closed"):
        ledger.once("run1/3/11", "FreezePayment", "7", refuse)
    assert ledger.once("run2/1/5", "CreateOrder", "7", answer("O-7 again")).data == {
        "id": "O-7 again"
    }
    assert ledger.once("run2/3/11", "FreezePayment", "7", answer("F-7")).data == {"id": "F-7"}
    with pytest.raises(BarredError):
        ledger.once("run1/3/11", "FreezePayment", "7", answer("late"))


def test_database_of_before_bars_the_runs_that_it_knows(tmp_path: Path) -> None:
    """Its bars were by order number alone."""
    path = tmp_path / "old.sqlite"
    old = Ledger(path)
    old.undo("run1/9/40", "CancelOrder", "CreateOrder", "7", answer("X-7"))
    old.run(lambda db: db.execute("DROP TABLE barred_steps").close())
    old.run(
        lambda db: db.execute(
            "CREATE TABLE barred (order_no TEXT NOT NULL, kind TEXT NOT NULL, PRIMARY KEY"
            " (order_no, kind))"
        ).close()
    )
    old.run(lambda db: db.execute("INSERT INTO barred VALUES ('7', 'CreateOrder')").close())
    old.close()
    for _ in range(2):  # also a second time
        ledger = Ledger(path)
        with pytest.raises(BarredError):
            ledger.once("run1/1/5", "CreateOrder", "7", answer("late"))
        ledger.close()
    ledger = Ledger(path)
    assert ledger.once("run2/1/5", "CreateOrder", "7", answer("O-7")).data == {"id": "O-7"}
    ledger.close()


def test_threads_with_one_key_make_one_effect(ledger: Ledger) -> None:
    barrier = threading.Barrier(8)
    answers = []

    def attempt(number: int) -> None:
        barrier.wait()
        answers.append(ledger.once("run/1", "CreateOrder", "7", answer(f"O-{number}")).data["id"])

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 1 and len(ledger.of_order("7", "CreateOrder")) == 1
    assert absorbed(ledger, "run/1") == 7


def stock_of(ledger: Ledger, product: str) -> int:
    found: list[int] = []
    ledger.run(
        lambda db: found.extend(
            db.execute("SELECT available FROM stock WHERE product = ?", (product,)).fetchone()
        )
    )
    return found[0]


def test_the_step_of_the_guide_runs(ledger: Ledger) -> None:
    """docs/replace-your-saga.md, section 2."""
    guide = (Path(__file__).parents[2] / "docs" / "replace-your-saga.md").read_text(
        encoding="utf-8"
    )
    code = next(
        block
        for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
        if "idempotency_key" in block
    )
    names: dict[str, Any] = {
        "activity": activity,
        "sqlite3": sqlite3,
        "ledger": ledger,
        "Order": Order,
        "StepResult": StepResult,
    }
    exec(code, names)
    order = Order("7", "user", [Item("tea", 1)], 450)
    for _ in range(2):
        assert ActivityEnvironment().run(names["reserve_inventory"], order) == StepResult("R-7")


def test_inventory_takes_all_items_or_none(ledger: Ledger) -> None:
    ledger.run(lambda db: fill_stock(db, {"tea": 5, "samovar": 1}))
    inventory = InventoryActivities(ledger, {})
    environment = ActivityEnvironment()
    with pytest.raises(ApplicationError, match="not enough samovar") as caught:
        environment.run(
            inventory.reserve_inventory, Order("1", "u", [Item("tea", 2), Item("samovar", 3)], 100)
        )
    assert (caught.value.type, caught.value.non_retryable) == ("StockShort", True)
    assert (stock_of(ledger, "tea"), stock_of(ledger, "samovar")) == (5, 1)
    order = Order("2", "u", [Item("tea", 2)], 100)
    assert environment.run(inventory.reserve_inventory, order).id == "R-2"
    assert environment.run(inventory.reserve_inventory, order).id == "R-2"
    assert stock_of(ledger, "tea") == 3, "the same key takes the items once"


def test_inventory_gives_back_only_what_was_taken(ledger: Ledger) -> None:
    ledger.run(lambda db: fill_stock(db, {"tea": 5}))
    inventory = InventoryActivities(ledger, {})
    order = Order("1", "u", [Item("tea", 2)], 100)
    environment = ActivityEnvironment()
    environment.run(inventory.release_inventory, order)
    assert stock_of(ledger, "tea") == 5, "nothing was taken"
    other = ActivityEnvironment()
    other.info = dataclasses.replace(other.default_info(), activity_id="other")
    with pytest.raises(ApplicationError, match="compensated or refused before it ran"):
        other.run(inventory.reserve_inventory, order)
    assert stock_of(ledger, "tea") == 5


def in_run(run_id: str, activity_id: str) -> ActivityEnvironment:
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(
        environment.default_info(), workflow_run_id=run_id, activity_id=activity_id
    )
    return environment


def test_inventory_does_not_give_back_what_an_earlier_order_of_that_number_took(
    ledger: Ledger,
) -> None:
    ledger.run(lambda db: fill_stock(db, {"tea": 10}))
    inventory = InventoryActivities(ledger, {})
    order = Order("8", "u", [Item("tea", 5)], 100)
    in_run("first", "2").run(inventory.reserve_inventory, order)
    in_run("second", "9").run(
        inventory.release_inventory, order
    )  # its own reservation timed out before it ran
    assert stock_of(ledger, "tea") == 5, "they are the first order's"
    in_run("first", "9").run(inventory.release_inventory, order)
    assert stock_of(ledger, "tea") == 10
    in_run("first", "10").run(
        inventory.release_inventory, order
    )  # asked again by the saga: its answer could not be written
    assert stock_of(ledger, "tea") == 10


def test_payments_keep_their_first_answer(ledger: Ledger) -> None:
    accounts = Accounts(ledger, 1_000, {"poor": 5}, {"flaky": 1})
    order = {"order_no": "1", "user_id": "rich", "amount": 900}
    assert accounts.freeze("run/1", 1, order) == {"id": "F-1"}
    stricter = Accounts(ledger, 0, {}, {"rich": 9})
    assert stricter.freeze("run/1", 2, order) == {"id": "F-1"}, (
        "the bank's mood today does not change what was frozen"
    )
    with pytest.raises(Declined):
        accounts.freeze("run/2", 1, {"order_no": "2", "user_id": "poor", "amount": 6})
    flaky = {"order_no": "3", "user_id": "flaky", "amount": 6}
    with pytest.raises(BankUnreachable):
        accounts.freeze("run/3", 1, flaky)
    assert accounts.freeze("run/3", 2, flaky) == {"id": "F-3"}
    assert accounts.unfreeze("run/4", 1, {"order_no": "9"}) == {"id": "U-9"}
    with pytest.raises(Declined, match="compensated or refused before it ran"):
        accounts.freeze("run/5", 1, {"order_no": "9", "user_id": "rich", "amount": 1})
