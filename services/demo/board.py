"""The live table of the demo, and its last form: one row an order."""

from __future__ import annotations

from collections import Counter

from rich.console import Console
from rich.live import Live
from rich.table import Table

from services.demo.audit import STEPS, OrderAudit
from services.demo.plan import PlannedOrder

FRAME_LINES = 8  # of the table, and what is said above it
SHORT = {"CreateOrder": "order", "ReserveInventory": "stock", "FreezePayment": "payment"}
COLOURS = {"completed": "green", "compensated": "yellow", "cancelled": "magenta", "lost": "red"}


class Board:
    """Shows each order's status while it changes. On a terminal the table is redrawn; elsewhere
    each order that is over is a line.
    """

    def __init__(self, orders: list[PlannedOrder]) -> None:
        self._orders = orders
        self._status = {order.order_no: "" for order in orders}
        terminal = Console()
        # In a file or a pipe nobody folds lines for us: wide enough for one row an order.
        self._console = terminal if terminal.is_terminal else Console(width=180)
        self._live = (
            Live(console=self._console, auto_refresh=False, transient=True)
            if self._console.is_terminal
            else None
        )

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
        elif status in COLOURS:
            self.say(f"order-{order_no}: {status}")

    def final(self, audits: list[OrderAudit]) -> None:
        """One row an order, as audited. Nothing is redrawn after it."""
        if self._live:
            self._live.update("")  # a table that is taller than the terminal cannot be taken back
            self._live.stop()
        planned = {order.order_no: order for order in self._orders}
        table = Table(
            title="Orders, counted from the services' databases and the results topic (↩ undone)",
            title_justify="left",
        )
        for column in ("order", "placed by", "story", "outcome", "effects", "reason"):
            table.add_column(column, no_wrap=column not in ("story", "reason"))
        for one in audits:
            order = planned[one.order_no]
            colour = COLOURS[one.outcome]
            outcome = f"[{colour}]{one.outcome}[/]" + (
                " [red]duplicated[/]" if one.duplicated else ""
            )
            table.add_row(
                one.order_no,
                order.via,
                order.story,
                outcome,
                _effects(one),
                "; ".join(one.problems) or one.reason,
            )
        self._console.print(table)

    def _running(self) -> Table:
        """All orders, or where the terminal is low only those with a story, and how many of the
        others stand where.
        """
        low = self._console.height < len(self._orders) + FRAME_LINES
        table = Table(
            title="Orders under way",
            title_justify="left",
            caption=self._counts(),
            caption_justify="left",
        )
        for column in ("order", "placed by", "story", "status"):
            table.add_column(column)
        for order in self._orders:
            if order.story or not low:
                status = self._status[order.order_no] or "…"
                table.add_row(
                    order.order_no,
                    order.via,
                    order.story,
                    f"[{COLOURS.get(status, 'cyan')}]{status}[/]",
                )
        return table

    def _counts(self) -> str:
        counts = Counter(status or "not seen yet" for status in self._status.values())
        return "all of them: " + ", ".join(
            f"{count} {status}" for status, count in counts.most_common()
        )


def _effects(one: OrderAudit) -> str:
    """`order stock↩ payment×2`: what happened, what was undone, what happened more than once (as
    nothing should).
    """
    shown = []
    for step, _, undo in STEPS:
        done, undone = one.effects.get(step, 0), one.effects.get(undo, 0)
        if done or undone:
            shown.append(SHORT[step] + _times(done) + ("↩" + _times(undone) if undone else ""))
    return " ".join(shown)


def _times(count: int) -> str:
    return "" if count == 1 else f"×{count}"
