"""What the demo shows: its rows, where nobody sees a terminal too."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from services.demo import board as board_module
from services.demo.audit import OrderAudit
from services.demo.board import Board
from services.demo.plan import plan


@pytest.mark.parametrize("height", [24, 50])
def test_on_a_terminal_the_live_table_fits_and_nothing_of_it_comes_after_the_last_line(
    monkeypatch: pytest.MonkeyPatch, height: int
) -> None:
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=110, height=height, color_system=None)
    monkeypatch.setattr(board_module, "Console", lambda: terminal)
    with Board(plan()) as board:
        for order in plan():
            board.set(order.order_no, "completed")
        live = out.getvalue()[out.getvalue().rindex("Orders under way") :]
        assert live.count("\n") < height
        assert (
            ("1008" in live) == (height == 50)
            and "1001" in live
            and "all of them: 30 completed" in live
        )
        board.final([OrderAudit(order.order_no, "completed") for order in plan()])
        terminal.print("the last line")
    shown = out.getvalue()
    assert "under way" not in shown[shown.rindex("Orders, counted") :]
    assert shown.rindex("│ 1030") < shown.rindex("the last line") > shown.rindex("under way")


def test_one_row_an_order_and_what_happened_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    declined = "CardDeclined: card of user-declined declined for 3900"
    audits = [
        OrderAudit(
            order.order_no,
            "completed",
            {"CreateOrder": 1, "ReserveInventory": 1, "FreezePayment": 1},
        )
        for order in plan()
    ]
    undone = {"CreateOrder": 1, "CancelOrder": 1, "ReserveInventory": 1, "ReleaseInventory": 1}
    audits[3] = OrderAudit("1004", "compensated", undone, reason=declined)
    audits[5] = OrderAudit(
        "1006", "cancelled", {"ReleaseInventory": 1}, reason="undone, never done"
    )
    audits[6] = OrderAudit("1007", "completed", {"CreateOrder": 2}, duplicated=True)
    with Board(plan()) as board:
        board.set("1004", "compensating")
        board.set("1004", "compensated")
        board.set("1004", "compensated")
        board.final(audits)
    shown = capsys.readouterr().out
    assert shown.count("order-1004: compensated") == 1 and "compensating" not in shown
    lines = [line for line in shown.splitlines() if line.startswith("│")]
    rows = {line.split("│")[1].strip(): line for line in lines}
    assert len(lines) == len(rows) == 30, "a row that is folded is two"
    assert "order↩ stock↩" in rows["1004"] and declined in rows["1004"]
    assert "order stock payment" in rows["1008"]
    assert "stock×0↩" in rows["1006"]
    assert "order×2" in rows["1007"] and "duplicated" in rows["1007"]
