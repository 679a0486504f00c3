"""The UI as a person uses it, in Chromium: keys, completion, live updates, batches, dialogs, ten
thousand events, phone and dark.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from odradek.engine.history_json import to_json
from odradek.wire.events import CancelWorkflow, QueryWorkflow, SignalWorkflow, TerminateWorkflow
from odradek.wire.history import HistoryEvent, WorkflowExecutionSignaled
from tests.unit.web_server import START_MS, plain, summary
from tests.unit.web_ui import long_history
from tests.web.conftest import Site, keep
from tests.web.scenes import (
    TROUBLED,
    TROUBLED_RUN,
    many_orders,
    now_ms,
    some_backlog,
    troubled_order,
)

pytestmark = pytest.mark.timeout(180)
RUN = f"/workflows/{TROUBLED}/{TROUBLED_RUN}"
NewPage = Callable[..., Any]
NewSite = Callable[..., Site]


def test_keys_and_completion(site: Site, new_page: NewPage) -> None:
    many_orders(site.server)
    page = new_page()
    page.goto(f"{site.url}/runs")
    page.wait_for_selector("#pulse[data-state=live]")
    keep(page, "runs")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    first = page.locator("tr[data-row]").first
    assert "cursor" in first.get_attribute("class")
    assert page.evaluate("document.activeElement.matches('tr.cursor td.main a')"), (
        "what keys go to has the focus: it is read out"
    )
    page.keyboard.press("x")
    assert page.locator("#picked-count").inner_text() == "1"
    page.keyboard.press("/")
    page.keyboard.type("WorkflowTy")
    page.wait_for_selector("#query-options li:has-text('WorkflowType')")
    page.keyboard.press("Tab")
    page.keyboard.type("= ")
    page.wait_for_selector("#query-options li:has-text(\"'RefundSaga'\")")
    keep(page, "completion")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.input_value("input[name=query]").strip() == "WorkflowType = 'RefundSaga'"
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("query=WorkflowType"))
    assert set(page.locator("tbody td[data-label=Type]").all_inner_texts()) == {"RefundSaga"}
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("d")
    page.wait_for_url("**/dashboard")


def test_the_list_is_live_and_keeps_picks(site: Site, new_page: NewPage) -> None:
    for number in range(3):
        site.server.add(summary(f"order-{number}", start_time_ms=START_MS + number))
    page = new_page()
    page.goto(f"{site.url}/runs")
    page.wait_for_selector("#pulse[data-state=live]")
    page.get_by_label("Pick order-1").check()
    site.server.add(summary("order-new", start_time_ms=START_MS + 9))
    page.wait_for_selector("tr:has-text('order-new')")
    assert (
        page.get_by_label("Pick order-1").is_checked()
        and page.locator("#picked-count").inner_text() == "1"
    )
    assert page.locator("[data-status=Running] .count").inner_text() == "4"


def test_pages_are_turned_by_keys_and_the_browsers_own_buttons(
    site: Site, new_page: NewPage
) -> None:
    for number in range(9):
        site.server.add(summary(f"order-{number}", start_time_ms=START_MS + number))
    page = new_page()
    page.goto(f"{site.url}/runs?size=4&sort=StartTime")

    def shown(*numbers: int) -> None:
        page.wait_for_selector(f"tr[data-row]:first-of-type:has-text('order-{numbers[0]}')")
        page.wait_for_load_state()  # rows stand there before the script that hears keys
        assert [
            row.split()[0]
            for row in page.locator("tr[data-row] td a").all_inner_texts()
            if row.startswith("order-")
        ] == [f"order-{number}" for number in numbers]

    shown(0, 1, 2, 3)
    page.keyboard.press("p")  # there is none before it
    page.keyboard.press("n")
    shown(4, 5, 6, 7)
    page.keyboard.press("n")
    shown(8)
    page.keyboard.press("p")
    shown(4, 5, 6, 7)
    page.get_by_role("link", name="Previous 4").click()
    shown(0, 1, 2, 3)
    assert page.url.endswith("/runs?sort=StartTime&size=4")
    page.go_back()
    shown(4, 5, 6, 7)
    page.keyboard.press("/")
    page.keyboard.type("np")
    assert page.input_value("input[name=query]") == "np"


def test_batch_over_picked_runs(site: Site, new_page: NewPage) -> None:
    for number in range(4):
        site.server.add(summary(f"order-{number}", start_time_ms=START_MS + number))
    page = new_page()
    page.goto(f"{site.url}/runs")
    page.get_by_label("Pick order-1").check()
    page.get_by_label("Pick order-3").check()
    page.get_by_role("button", name="Cancel…").click()
    page.wait_for_selector("h1:has-text('Cancel 2 open runs?')")
    page.fill("input[name=reason]", "out of thread")
    page.get_by_role("button", name="Cancel 2").click()
    page.wait_for_selector("h1:has-text('finished')")
    sent = [one for one in site.server.owner.seen if isinstance(one, CancelWorkflow)]
    assert {(one.workflow_id, one.reason) for one in sent} == {
        ("order-1", "out of thread"),
        ("order-3", "out of thread"),
    }


def test_picked_with_nothing_picked_has_no_buttons(site: Site, new_page: NewPage) -> None:
    site.server.add(summary("order-1"))
    page = new_page()
    page.goto(f"{site.url}/runs")
    cancel = page.get_by_role("button", name="Cancel…")
    assert cancel.is_disabled() and page.locator("#picked-count").inner_text() == "0"
    page.get_by_label("Pick order-1").check()
    assert cancel.is_enabled()
    page.get_by_label("Pick order-1").uncheck()
    assert cancel.is_disabled() and page.locator("input[value=picked]").is_checked()
    page.get_by_text("All open of this list").click()
    assert cancel.is_enabled()
    site.server.add(summary("order-2"))
    page.wait_for_selector("tr:has-text('order-2')")
    assert cancel.is_enabled() and page.locator("input[value=query]").is_checked(), (
        "an update chooses nothing"
    )


def test_the_list_has_a_heading_and_no_stray_line(site: Site, new_page: NewPage) -> None:
    site.server.add(summary("order-1"))
    page = new_page()
    page.goto(f"{site.url}/runs")
    assert (
        page.locator("h1").inner_text() == "Runs"
        and page.locator("#views summary").inner_text() == "View: All"
    )
    assert not page.locator("#save-view").is_visible()
    page.goto(f"{site.url}/runs?status=Failed")
    assert (
        page.locator("#save-view").is_visible()
        and page.locator("#views summary").inner_text() == "Views"
    )


def test_a_dialog_covers_the_whole_page(site: Site, new_page: NewPage) -> None:
    """Its backdrop leaves no strip where a scroll bar would be."""
    troubled_order(site.server)
    page = new_page()
    page.goto(site.url + RUN)
    assert page.evaluate("getComputedStyle(document.documentElement).scrollbarGutter") == "auto"


def test_batch_over_a_query(site: Site, new_page: NewPage) -> None:
    many_orders(site.server)
    for number in range(30):
        site.server.add(
            summary(
                f"stuck-{number}", workflow_type="Stuck", start_time_ms=now_ms() - 60_000 - number
            )
        )
    page = new_page()
    page.goto(f"{site.url}/runs?type=Stuck")
    page.get_by_text("All open of this list").click()
    page.get_by_role("button", name="Terminate…").click()
    page.wait_for_selector("h1:has-text('Terminate 30 open runs?')")
    page.get_by_role("button", name="Terminate 30").click()
    assert (
        page.locator("h1").inner_text() == "Terminate 30 open runs?"
    )  # a click alone does nothing
    page.fill("input[name=confirm]", "30")
    keep(page, "batch")
    page.get_by_role("button", name="Terminate 30").click()
    page.wait_for_selector("h1:has-text('finished')")
    assert (
        len(
            {
                one.workflow_id
                for one in site.server.owner.seen
                if isinstance(one, TerminateWorkflow)
            }
        )
        == 30
    )


def test_views_columns_and_theme_are_kept(site: Site, new_page: NewPage) -> None:
    many_orders(site.server, 20)
    page = new_page(color_scheme="light")
    page.goto(f"{site.url}/runs?status=Failed&range=24h")
    page.get_by_role("button", name="Save this view").click()
    page.keyboard.type("Broken today")
    page.keyboard.press("Enter")
    page.goto(f"{site.url}/runs")
    page.locator("#views summary").click()
    page.get_by_role("link", name="Broken today").click()
    page.wait_for_url(
        "**/runs?range=24h&status=Failed"
        if "range=24h&status" in page.url
        else "**/runs?status=Failed&range=24h"
    )
    assert page.locator("#views summary").inner_text() == "View: Broken today"
    page.locator("#views summary").click()
    page.get_by_role("button", name="Forget Broken today").click()
    assert page.locator("#saved-views a").count() == 0
    page.keyboard.press("Escape")
    page.locator("h1").click()
    page.locator("summary:has-text('Columns')").click()
    page.get_by_label("Events").check()
    page.get_by_role("button", name="Show these").click()
    page.wait_for_selector("th:has-text('Events')")
    page.goto(f"{site.url}/runs")
    assert page.locator("th:has-text('Events')").count() == 1
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
    keep(page, "runs-dark")


def test_a_run_and_its_actions(site: Site, new_page: NewPage) -> None:
    many_orders(site.server, 60)
    troubled_order(site.server)
    page = new_page()
    page.goto(site.url + RUN)
    for part in ("charge_card", "4 of 10", "gateway timeout", "Pending timers", "order of u-1"):
        page.wait_for_selector(f"#run-live :text('{part}')")
    keep(page, "run")
    page.get_by_role("link", name="Signal…").click()
    page.fill("#sheet input[name=signal_name]", "new_card")
    page.fill("#sheet textarea", "{no json")
    page.get_by_role("button", name="Send").click()
    page.wait_for_selector("#sheet [role=alert]:has-text('line 1')")
    assert page.input_value("#sheet textarea") == "{no json"
    page.fill("#sheet textarea", '"tok_3"')
    keep(page, "signal")
    page.get_by_role("button", name="Send").click()
    page.wait_for_selector(".note:has-text('Signal delivered')")
    sent = [one for one in site.server.owner.seen if isinstance(one, SignalWorkflow)]
    assert [(one.signal_name, one.input) for one in sent] == [("new_card", [plain("tok_3")])]
    page.get_by_role("link", name="Queries").click()
    page.fill("input[name=type]", "state")
    page.fill("textarea[name=args]", '1 {"x": true}')
    page.get_by_role("button", name="Ask", exact=True).click()
    page.wait_for_selector("#query-answer h2:has-text('state')")
    asked = [
        one
        for one in site.server.owner.seen
        if isinstance(one, QueryWorkflow) and one.query_type == "state"
    ]
    assert [json.loads(payload.data) for payload in asked[-1].input] == [1, {"x": True}]
    page.get_by_role("link", name="Call stack").click()
    page.wait_for_selector("pre:has-text('__stack_trace')")


def test_views_of_a_history(site: Site, new_page: NewPage) -> None:
    troubled_order(site.server)
    page = new_page(color_scheme="dark")
    page.goto(f"{site.url}{RUN}/history")
    assert page.locator(".tl:not(.axis)").count() == 7
    keep(page, "timeline-dark")
    page.get_by_role("link", name="Full").click()
    page.wait_for_selector("details.ev")
    page.locator("details.ev:has-text('Activity task failed') summary").click()
    page.wait_for_selector("details.ev[open] :text('insufficient funds')")
    page.locator("details.ev[open] a:has-text('/ 47')").click()
    page.wait_for_selector("#sheet p:has-text('/ 47')")
    keep(page, "record-dark")
    page.keyboard.press("Escape")
    page.locator("details.ev[open] > summary").click()
    page.get_by_placeholder("Filter").fill("new_card")
    page.wait_for_selector("[data-total='1']")
    page.get_by_role("link", name="JSON", exact=True).click()
    page.wait_for_selector("pre.json:has-text('WorkflowExecutionSignaled')")
    page.get_by_role("link", name="Compact").click()
    page.wait_for_selector("a.ev.flat")
    assert page.get_by_placeholder("Filter").input_value() == "new_card"


def test_ten_thousand_events_scroll(site: Site, new_page: NewPage) -> None:
    run = summary("order-1", start_time_ms=now_ms() - 2_000_000)
    events = long_history(run, 1_600)
    site.server.add(run, events)
    last = events[-1].event_id + 2
    assert last > 10_000
    page = new_page()
    page.goto(f"{site.url}/workflows/order-1/run-of-order-1")
    devtools = page.context.new_cdp_session(page)
    devtools.send("Performance.enable", {"timeDomain": "threadTicks"})

    def worked_s() -> float:
        """What the page's thread had of the processor: on a busy machine a frame takes as long
        as others want.
        """
        metrics = devtools.send("Performance.getMetrics")["metrics"]
        return next(float(one["value"]) for one in metrics if one["name"] == "TaskDuration")

    for view, row, rows_max in (("Full", "details.ev", 2_500), ("JSON", "pre.json", 400)):
        page.get_by_role("link", name=view, exact=True).click()
        page.wait_for_selector(f"[data-view={view.lower()}] {row}[data-row='1']")
        assert page.locator("[data-total]").get_attribute("data-total") == str(last)
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        page.wait_for_selector(f"{row}[data-row='{last}']")
        before_s = worked_s()
        found = page.evaluate(SCROLL, row)
        frame_s = (worked_s() - before_s) / found["frames"]
        assert found["most"] < rows_max and found["frames"] > 50, (view, found)
        assert frame_s < 0.1, (view, found, frame_s)
        page.wait_for_function(IN_SIGHT, arg=row)
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_selector(f"{row}[data-row='1']")


IN_SIGHT = """row => [...document.querySelectorAll(row)]
    .map(one => one.getBoundingClientRect()).some(box => box.bottom > 0 && box.top < innerHeight)"""
# By and by from where it stands, as with a wheel: as many frames as it takes, rows in the document
# as many as there are. At most 120 of them: JSON is four million pixels high.
SCROLL = """async (row) => {
    let most = 0, frames = 0;
    for (let y = document.body.scrollHeight; y > 0 && frames < 120; y -= 3000) {
        scrollTo(0, y);
        await new Promise(requestAnimationFrame);
        frames++;
        most = Math.max(most, document.querySelectorAll(row).length);
    }
    return {most, frames};
}"""


def test_a_history_grows_while_it_is_looked_at(site: Site, new_page: NewPage) -> None:
    run = troubled_order(site.server)
    page = new_page()
    page.goto(site.url + RUN)
    page.wait_for_selector("#pulse[data-state=live]")
    assert page.locator(".tl:has-text('approved')").count() == 0
    signaled = HistoryEvent(25, now_ms(), WorkflowExecutionSignaled("approved", [plain(True)]))
    site.server.owner.add(run, [*site.server.owner.events[TROUBLED], signaled])
    page.wait_for_selector(".tl:has-text('approved')")
    page.wait_for_selector("#run-live :text('25 events')")


def test_import(site: Site, new_page: NewPage, tmp_path: Path) -> None:
    run = summary("order-1")
    file = tmp_path / "history.json"
    file.write_text(to_json(long_history(run, 40)), encoding="utf-8")
    page = new_page()
    page.goto(f"{site.url}/import")
    page.set_input_files("#import-file", str(file))
    page.wait_for_selector("text=offline")
    page.wait_for_load_state()
    assert page.locator(".tl:not(.axis)").count() == 40 + 4 * 2 + 1
    page.goto(f"{site.url}/import")
    page.fill("textarea", '{"events": 1}')
    page.get_by_role("button", name="Look at it").click()
    page.wait_for_selector("#import-problem:has-text('no history')")


def test_kafka_beside_it(site: Site, new_page: NewPage) -> None:
    many_orders(site.server)
    page = new_page()
    page.goto(f"{site.url}/queues")
    page.get_by_role("link", name="orders").first.click()
    page.wait_for_selector("h1:has-text('orders')")
    keep(page, "queue")
    page.goto(f"{site.url}/dead-letters")
    page.locator("tr[data-row] a").first.click()
    page.wait_for_selector("h1:has-text('UNDECODABLE')")
    page.get_by_role("button", name="Put it back").click()
    page.wait_for_selector(".note:has-text('put back')")
    assert site.server.kafka.redriven == [5]


def test_dashboard(site: Site, new_page: NewPage) -> None:
    many_orders(site.server, 1_500)
    some_backlog(site.server)
    page = new_page()
    with page.expect_response(
        lambda response: "x-part" in response.request.headers
    ):  # the first look of the live part
        page.goto(f"{site.url}/dashboard")
    assert page.locator("figure.plot").count() == 4 + 3 + 2  # of all, by type, of queues
    assert page.locator("figure.plot path.stroke[d^=M]").count() >= 18
    assert (
        page.locator(".plot .legend").first.text_content().startswith("latest minute")
    )  # tiles are of the whole range
    keep(page, "dashboard")
    backlog = page.locator("figure:has(h3:text('Commands that wait'))")
    assert re.search(
        r"payments: last \d, highest 4\d\d; orders: last",
        backlog.locator("svg[role=img]").get_attribute("aria-label"),
    )
    backlog.evaluate("one => one.scrollIntoView({block: 'end'})")
    keep(page, "dashboard-backlog")
    backlog.get_by_role("link", name="as a table").click()
    page.wait_for_selector("#sheet th:text-is('payments')")
    assert page.locator("#sheet tbody tr").count() == 60
    page.keyboard.press("Escape")
    page.get_by_role("link", name="RefundSaga", exact=True).click()
    page.wait_for_url("**type=RefundSaga*")
    assert (
        page.locator("figure.plot").count() == 4 + 2
        and page.locator("h1").inner_text() == "Dashboard RefundSaga"
    )


def test_backlog_moves_without_any_run(site: Site, new_page: NewPage) -> None:
    many_orders(site.server, 20)
    site.server.context.backlog.note(site.server.kafka.queues())
    page = new_page()
    page.clock.install()
    page.goto(f"{site.url}/dashboard")
    page.wait_for_selector("#pulse[data-state=live]")
    plot = "figure:has(h3:text('Inputs that wait')) svg[aria-label*='highest {}']"
    page.wait_for_selector(plot.format(6))
    waits = [msgspec.structs.replace(queue, lag=70) for queue in site.server.kafka.queues()]
    site.server.context.backlog.note(waits)
    page.clock.run_for(16_000)
    page.wait_for_selector(plot.format(70))


def test_read_only_has_no_actions(new_site: NewSite, new_page: NewPage) -> None:
    site = new_site(read_only=True)
    troubled_order(site.server)
    page = new_page()
    for path in ("/runs", RUN):
        page.goto(site.url + path)
        assert page.locator(".tag:has-text('read-only')").is_visible()
        for name in ("Signal…", "Cancel…", "Terminate…"):
            assert page.get_by_text(name).count() == 0
    assert page.get_by_text("Queries").is_visible()


@pytest.mark.parametrize(
    "path",
    [
        "/runs",
        RUN,
        f"{RUN}/history?view=full",
        f"{RUN}/records",
        "/records",
        "/dashboard",
        "/queues",
        "/queues/orders",
        "/dead-letters",
        "/import",
    ],
)
def test_a_phone_shows_everything_without_sideways_scrolling(
    site: Site, new_page: NewPage, path: str
) -> None:
    many_orders(site.server, 60)
    troubled_order(site.server)
    some_backlog(site.server)
    page = new_page(viewport={"width": 390, "height": 780}, is_mobile=True, has_touch=True)
    page.goto(site.url + path)
    page.wait_for_load_state("load")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    if path in ("/runs", RUN):
        keep(page, "phone-runs" if path == "/runs" else "phone-run")


def test_without_scripts(site: Site, new_page: NewPage) -> None:
    troubled_order(site.server)
    page = new_page(java_script_enabled=False)
    page.goto(f"{site.url}/runs")
    page.get_by_role("link", name=TROUBLED).click()
    page.wait_for_selector(".tl:has-text('reserve_stock')")
    page.get_by_role("link", name="Signal…").click()
    page.fill("input[name=signal_name]", "new_card")
    page.get_by_role("button", name="Send").click()
    page.wait_for_selector(".note:has-text('Signal delivered')")
