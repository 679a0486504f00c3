"""The live table of the demo, and its last form: one row an order."""

from __future__ import annotations

from rich.console import Console
from rich.live import Live
from rich.table import Table

from services.demo.audit import OrderAudit
from services.demo.plan import PlannedOrder

COLOURS = {"completed": "green", "compensated": "yellow", "cancelled": "magenta", "lost": "red"}


class Board:
    """Shows each order's status while it changes. On a terminal the table is redrawn; elsewhere changes are lines."""

    def __init__(self, orders: list[PlannedOrder]) -> None:
        self._orders = orders
        self._status = {order.order_no: "" for order in orders}
        terminal = Console()
        # In a file or a pipe nobody folds lines for us: wide enough for one row an order.
        self._console = terminal if terminal.is_terminal else Console(width=160)
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if self._console.is_terminal else None

    def __enter__(self) -> Board:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """A line of progress."""
        self._console.print(text, highlight=False)

    def set(self, order_no: str, status: str) -> None:
        """Note the status of an order."""
        if self._status[order_no] == status:
            return
        self._status[order_no] = status
        if self._live:
            self._live.update(self._running(), refresh=True)

    def final(self, audits: list[OrderAudit]) -> None:
        """One row an order, as audited."""
        planned = {order.order_no: order for order in self._orders}
        table = Table(title="Orders, counted from the services' databases and the results topic", title_justify="left")
        for column in ("order", "placed by", "story", "outcome", "effects", "reason"):
            table.add_column(column)
        for one in audits:
            order = planned[one.order_no]
            effects = " ".join(kind if count == 1 else f"{kind}×{count}" for kind, count in one.effects.items())
            colour = COLOURS[one.outcome]
            outcome = f"[{colour}]{one.outcome}[/]" + (" [red]duplicated[/]" if one.duplicated else "")
            table.add_row(one.order_no, order.via, order.story, outcome, effects, "; ".join(one.problems) or one.reason)
        self._console.print(table)

    def _running(self) -> Table:
        table = Table(title="Orders under way", title_justify="left")
        for column in ("order", "placed by", "story", "status"):
            table.add_column(column)
        for order in self._orders:
            status = self._status[order.order_no] or "…"
            table.add_row(order.order_no, order.via, order.story, f"[{COLOURS.get(status, 'cyan')}]{status}[/]")
        return table
