"""Accounts: freezing and unfreezing money, idempotent by the activity's key."""

from __future__ import annotations

import sqlite3
from typing import Any

from services.ledger import BarredError, Ledger, RefusedError

AMOUNT_MAX = 2**53 - 1  # what a JSON number is in every language


class Declined(RefusedError):
    """The account does not cover the amount; trying again is of no use."""


class InvalidOrder(Exception):
    """What it asks for is no amount of money; trying again is of no use."""


class BankUnreachable(Exception):
    """The bank did not answer; trying again may help."""


class Accounts:
    """`limits`: what a user may freeze in one order, in cents. `flaky_users`: how many first
    attempts the bank loses for a user.
    """

    def __init__(
        self,
        ledger: Ledger,
        default_limit: int,
        limits: dict[str, int],
        flaky_users: dict[str, int],
    ) -> None:
        self._ledger = ledger
        self._default_limit = default_limit
        self._limits = limits
        self._flaky_users = flaky_users

    def freeze(self, key: str, attempt: int, order: dict[str, Any]) -> dict[str, Any]:
        """FreezePayment. Raises InvalidOrder, Declined or BankUnreachable.

        Everything is asked inside `once`: what an earlier attempt froze stays the answer,
        whatever the bank would say now.
        """
        user, amount = order["user_id"], order["amount"]
        if type(amount) is not int or not 0 <= amount <= AMOUNT_MAX:
            raise InvalidOrder(f"amount: 0 to {AMOUNT_MAX} cents, not {amount!r:.50}")

        def work(_: sqlite3.Connection) -> dict[str, Any]:
            if attempt <= self._flaky_users.get(user, 0):
                raise BankUnreachable(f"the bank did not answer (attempt {attempt})")
            if amount > self._limits.get(user, self._default_limit):
                raise Declined(f"card of {user} declined for {amount}")
            return {"id": f"F-{order['order_no']}", "user_id": user, "amount": amount}

        try:
            return {
                "id": self._ledger.once(key, "FreezePayment", order["order_no"], work).data["id"]
            }
        except BarredError as error:
            raise Declined(str(error)) from error

    def unfreeze(self, key: str, attempt: int, order: dict[str, Any]) -> dict[str, Any]:
        """UnfreezePayment, the compensation; a no-op if nothing was frozen."""

        def work(_: sqlite3.Connection) -> dict[str, Any]:
            return {"id": f"U-{order['order_no']}"}

        return {
            "id": self._ledger.undo(
                key, "UnfreezePayment", "FreezePayment", order["order_no"], work
            ).data["id"]
        }
