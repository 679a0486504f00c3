"""Live updates under a reader's hands: focus, selections and dialogs stay; a server that is
silent is said so, with nothing lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from odradek.wire.history import HistoryEvent, WorkflowExecutionSignaled
from odradek.wire.outcomes import COMPLETED
from tests.unit.web_server import START_MS, plain, summary
from tests.unit.web_ui import long_history
from tests.web.conftest import Site
from tests.web.scenes import TROUBLED, TROUBLED_RUN, now_ms, troubled_order

pytestmark = pytest.mark.timeout(120)
NewPage = Callable[..., Any]
LIVE = "#pulse[data-state=live]"
RUN = f"/workflows/{TROUBLED}/{TROUBLED_RUN}"
SELECT = """selector => {
    const range = document.createRange();
    range.selectNodeContents(document.querySelector(selector));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
}"""


def runs_page(site: Site, new_page: NewPage) -> Any:
    for number in range(4):
        site.server.add(summary(f"order-{number}", start_time_ms=START_MS + number))
    page = new_page()
    page.goto(f"{site.url}/runs")
    page.wait_for_selector(LIVE)
    return page


@pytest.mark.parametrize("stop", ["link", "box", "chip", "head", "button"])
def test_focus_stays_where_it_is(site: Site, new_page: NewPage, stop: str) -> None:
    page = runs_page(site, new_page)
    row = page.locator("tr[data-row]:has-text('order-2')")
    focused = {
        "link": row.locator("td.main a"),
        "box": row.locator("input[name=run]"),
        "chip": page.locator("[data-status=Running]"),
        "head": page.get_by_role("link", name="Task queue", exact=True),
        "button": page.get_by_role("button", name="Signal…"),
    }[stop]
    if stop == "button":
        page.get_by_label("Pick order-1").check()
    focused.focus()
    site.server.add(summary("order-new", start_time_ms=START_MS + 9))
    page.wait_for_selector("tr:has-text('order-new')")
    assert focused.evaluate("one => one === document.activeElement")


def test_a_selection_stays_until_it_is_let_go(site: Site, new_page: NewPage) -> None:
    page = runs_page(site, new_page)
    page.evaluate(SELECT, "tr[data-row] td.main")
    site.server.add(summary("order-new", start_time_ms=START_MS + 9))
    page.wait_for_timeout(2_500)  # the update would have come by now
    assert page.evaluate("String(getSelection())").strip() == "order-3"
    assert page.locator("tr:has-text('order-new')").count() == 0
    page.evaluate("getSelection().removeAllRanges()")
    page.wait_for_selector("tr:has-text('order-new')")


def test_focus_of_a_runs_actions_stays_through_a_dialog(site: Site, new_page: NewPage) -> None:
    run = troubled_order(site.server)
    page = new_page()
    page.goto(site.url + RUN)
    page.wait_for_selector(LIVE)
    signal = page.get_by_role("link", name="Signal…")
    signal.click()
    page.wait_for_selector("#sheet input[name=signal_name]")
    told = HistoryEvent(25, now_ms(), WorkflowExecutionSignaled("approved", [plain(True)]))
    site.server.owner.add(run, [*site.server.owner.events[TROUBLED], told])
    page.wait_for_selector(".tl:has-text('approved')")  # the history grew behind the dialog
    page.keyboard.press("Escape")
    page.wait_for_selector("#run-live :text('25 events')")
    assert signal.evaluate("one => one === document.activeElement")


def test_a_silent_server_is_said_to_be_silent(site: Site, new_page: NewPage) -> None:
    troubled_order(site.server)
    page = new_page()
    page.goto(site.url + RUN)
    page.wait_for_selector(LIVE)
    page.get_by_role("link", name="Signal…").click()
    page.fill("#sheet input[name=signal_name]", "new_card")
    page.context.set_offline(True)
    page.get_by_role("button", name="Send").click()
    page.wait_for_selector("#sheet [role=alert]:has-text('does not answer')")
    assert "not known whether this was done" in page.locator("#sheet [role=alert]").inner_text()
    assert (
        page.input_value("#sheet input[name=signal_name]") == "new_card"
        and page.get_by_role("button", name="Send").is_enabled()
    )
    page.context.set_offline(False)
    page.get_by_role("button", name="Send").click()
    page.wait_for_selector(".note:has-text('Signal delivered')")


def test_a_filter_that_nobody_answers(site: Site, new_page: NewPage) -> None:
    troubled_order(site.server)
    page = new_page()
    page.goto(f"{site.url}{RUN}/history")
    page.context.set_offline(True)
    page.get_by_placeholder("Filter").fill("new_card")
    page.wait_for_selector("#content > [role=alert]:has-text('does not answer')")
    page.get_by_role("link", name="Signal…").click()
    assert page.locator("#lost").count() == 1
    page.context.set_offline(False)
    page.get_by_placeholder("Filter").fill("new_card ")
    page.wait_for_selector("[data-total='1']")
    assert page.locator("#lost").count() == 0


def test_a_page_of_a_history_that_was_lost_comes_when_the_server_does(
    site: Site, new_page: NewPage
) -> None:
    """Without a hand moved: it stayed blank, under a dot that said live, until it had been out
    of sight. Also after errors that pass.
    """
    run = summary("long", status=COMPLETED, close_time_ms=now_ms())
    site.server.add(run, long_history(run, 700))
    page = new_page()
    refused = []

    def refuse(route: Any) -> None:
        refused.append(route.request.url)
        route.fulfill(status=503, body="") if len(refused) < 3 else route.continue_()

    page.goto(f"{site.url}/workflows/long/run-of-long/history?view=full")
    page.wait_for_selector(".chunk > .event > details.ev")
    page.context.set_offline(True)
    chunk = page.evaluate(
        "(one => { one.scrollIntoView(); return one.dataset.first;"
        " })(document.querySelectorAll('.chunk')[15])"
    )
    page.wait_for_selector("#content > [role=alert]:has-text('does not answer')")
    rows = page.locator(f".chunk[data-first='{chunk}'] > *")
    assert rows.count() == 0
    page.route("**/history/**", refuse)
    page.context.set_offline(False)
    rows.first.wait_for()
    page.wait_for_selector("#lost", state="detached")
    assert refused


def test_menus_close_by_keys(site: Site, new_page: NewPage) -> None:
    page = runs_page(site, new_page)
    open_menus = page.locator("details.menu[open]")
    for name in ("Type", "Columns"):
        summary_of = page.locator("details.menu > summary", has_text=name)
        summary_of.focus()
        page.keyboard.press("Enter")
        assert open_menus.count() == 1
        page.keyboard.press("Tab")  # into it
        assert open_menus.count() == 1
        page.keyboard.press("Escape")
        assert open_menus.count() == 0 and summary_of.evaluate(
            "one => one === document.activeElement"
        )
        page.keyboard.press("Enter")
        page.keyboard.press("Shift+Tab")
        assert open_menus.count() == 0
