"""What an operator does and looks at, each thing by itself, in Chromium: batches, filters, what
is pending, Kafka beside it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from odradek.wire.events import CancelWorkflow, SignalWorkflow, TerminateWorkflow
from tests.unit.web_server import START_MS, summary
from tests.web.conftest import Site, keep
from tests.web.scenes import TROUBLED, TROUBLED_RUN, many_orders, now_ms, troubled_order

pytestmark = pytest.mark.timeout(120)
RUN = f"/workflows/{TROUBLED}/{TROUBLED_RUN}"
NewPage = Callable[..., Any]
RECORDS = {"Signal": SignalWorkflow, "Cancel": CancelWorkflow, "Terminate": TerminateWorkflow}


@pytest.fixture
def page(site: Site, new_page: NewPage) -> Iterator[Any]:
    yield new_page(color_scheme="light")


def orders(site: Site) -> None:
    """Four open ones, one of another type, one that is closed."""
    for number in range(4):
        site.server.add(summary(f"order-{number}", start_time_ms=START_MS + number))
    site.server.add(summary("refund-1", workflow_type="RefundSaga"))
    site.server.add(summary("order-done", status="COMPLETED", close_time_ms=START_MS + 9_000))


@pytest.mark.parametrize("action", list(RECORDS))
@pytest.mark.parametrize("scope", ["picked", "query"])
def test_batches(site: Site, page: Any, action: str, scope: str) -> None:
    orders(site)
    page.goto(f"{site.url}/runs?query=WorkflowType+%3D+'OrderSaga'")
    expected = {"order-0", "order-1", "order-2", "order-3"}
    if scope == "picked":
        expected = {"order-1", "order-2"}
        for name in (*expected, "order-done"):
            page.get_by_label(f"Pick {name}").check()
        assert page.locator("#picked-count").inner_text() == "3"
    else:
        page.get_by_text("All open of this list").click()
    page.get_by_role("button", name=f"{action}…").click()
    # The preview names what it hits: the closed one is not among them.
    page.wait_for_selector(f"h1:has-text('{action} {len(expected)} open runs?')")
    assert set(page.locator("tbody td.main").all_inner_texts()) == expected
    assert not [one for one in site.server.owner.seen if isinstance(one, RECORDS[action])], (
        "nothing is done by looking"
    )
    if action == "Signal":
        page.fill("input[name=signal_name]", "approve")
        page.fill("textarea[name=input]", '"me"')
    else:
        page.fill("input[name=reason]", "out of thread")
        if scope == "query":
            page.fill("input[name=confirm]", str(len(expected)))
    page.get_by_role("button", name=f"{action} {len(expected)}").click()
    page.wait_for_selector("h1:has-text('finished')")
    sent = [one for one in site.server.owner.seen if isinstance(one, RECORDS[action])]
    assert {one.workflow_id for one in sent} == expected and len(sent) == len(expected)
    assert {one.signal_name if action == "Signal" else one.reason for one in sent} == {
        "approve" if action == "Signal" else "out of thread"
    }


@pytest.mark.parametrize(
    ("action", "button"), [("Cancel", "Request cancellation"), ("Terminate", "Terminate")]
)
def test_cancel_and_terminate_one(site: Site, page: Any, action: str, button: str) -> None:
    troubled_order(site.server)
    page.goto(site.url + RUN)
    page.get_by_role("link", name=f"{action}…").click()
    page.fill("#sheet input[name=reason]", "asked by phone")
    page.locator("#sheet").get_by_role("button", name=button, exact=True).click()
    page.wait_for_selector(".note.good")
    sent = [one for one in site.server.owner.seen if isinstance(one, RECORDS[action])]
    assert [(one.workflow_id, one.run_id, one.reason) for one in sent] == [
        (TROUBLED, TROUBLED_RUN, "asked by phone")
    ]


def test_chips_and_sorting(site: Site, page: Any) -> None:
    orders(site)
    page.goto(f"{site.url}/runs")
    assert page.locator("[data-status=Running] .count").inner_text() == "5"
    page.locator("a[data-status=Completed]").click()
    page.wait_for_url("**status=Completed*")
    assert page.locator("tbody td.main").all_inner_texts() == ["order-done"]
    page.get_by_role("link", name="Clear").click()
    page.locator("summary:has-text('Type')").click()
    page.get_by_role("link", name="RefundSaga").click()
    page.wait_for_url("**type=RefundSaga*")
    assert page.locator("tbody td.main").all_inner_texts() == ["refund-1"]
    page.goto(f"{site.url}/runs")
    page.get_by_role("link", name="Workflow ID").click()
    page.wait_for_selector("th[aria-sort=descending]:has-text('Workflow ID')")
    page.wait_for_load_state()  # rows come behind their heads
    names = page.locator("tbody td.main").all_inner_texts()
    assert names == sorted(names, reverse=True) and len(names) == 6
    page.get_by_role("link", name=re.compile("Workflow ID")).click()
    page.wait_for_selector("th[aria-sort=ascending]")
    page.wait_for_load_state()  # rows come behind their heads
    assert page.locator("tbody td.main").all_inner_texts() == names[::-1]


def test_sorting_by_duration_counts_open_runs_until_now(site: Site, page: Any) -> None:
    """As the column shows them: the longest first, whether they have come to their end or not."""
    now = now_ms()
    for name, ago, lasted in (
        ("short", 90_000, 1_000),
        ("open-new", 20_000, 0),
        ("long", 900_000, 600_000),
        ("open-old", 300_000, 0),
    ):
        status, closed = ("COMPLETED", now - ago + lasted) if lasted else ("RUNNING", 0)
        site.server.add(
            summary(
                name,
                status=status,
                start_time_ms=now - ago,
                execution_time_ms=now - ago,
                close_time_ms=closed,
            )
        )
    page.goto(f"{site.url}/runs")
    page.get_by_role("link", name="Duration").click()
    page.wait_for_selector("th[aria-sort=descending]:has-text('Duration')")
    page.wait_for_load_state()  # rows come behind their heads
    assert page.locator("tbody td.main").all_inner_texts() == [
        "long",
        "open-old",
        "open-new",
        "short",
    ]
    assert re.fullmatch(
        r"5 m \d\d s", page.locator("tr:has-text('open-old') td[data-label=Duration]").inner_text()
    )
    page.get_by_role("link", name="Duration").click()
    page.wait_for_selector("th[aria-sort=ascending]:has-text('Duration')")
    assert page.locator("tbody td.main").all_inner_texts() == [
        "short",
        "open-new",
        "open-old",
        "long",
    ]


def test_what_is_pending(site: Site, page: Any) -> None:
    troubled_order(site.server)
    page.goto(site.url + RUN)
    waits, runs = page.locator("section:has(h2:text-is('Pending activities')) tbody tr").all()
    texts = {
        cell.get_attribute("data-label"): cell.inner_text() for cell in waits.locator("td").all()
    }
    assert texts["State"] == "scheduled" and texts["Attempt"] == "4 of 10"
    assert texts["Failure"] == "activity failed, caused by GatewayError: gateway timeout"
    assert (
        re.fullmatch(r"in 1 m \d\d s", texts["Next retry"])
        and texts["Heartbeat"] == "—"
        and texts["Worker"] == "payments@h3"
    )
    assert texts["Command"] == "—"
    texts = {
        cell.get_attribute("data-label"): cell.inner_text() for cell in runs.locator("td").all()
    }
    assert re.fullmatch(r"started for [\d.]+ m?s", texts["State"]) and texts["Next retry"] == "—"
    assert re.fullmatch(r'[\d.]+ m?s ago \{"sent": 2\}', texts["Heartbeat"]), texts
    runs.get_by_role("link", name="1 / 64").click()
    page.wait_for_selector("#sheet p:has-text('odradek.default.notifications.commands / 1 / 64')")
    page.keyboard.press("Escape")
    timer = page.locator("section:has(h2:text-is('Pending timers')) tbody tr")
    assert "in 1 m" in timer.inner_text()
    waits.locator("summary").click()  # the failure with its chain
    waits.get_by_text("caused by", exact=True).wait_for()


@pytest.mark.parametrize("width", [1024, 800, 390])
def test_pending_activities_are_cards_where_columns_would_be_squeezed(
    site: Site, page: Any, width: int
) -> None:
    troubled_order(site.server)
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(site.url + RUN)
    heights = page.evaluate(
        "[...document.querySelectorAll('td[data-label=Worker]')].map(one =>"
        " one.getBoundingClientRect().height)"
    )
    assert len(heights) == 2 and max(heights) < 30  # on one line
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("path", ["/dashboard", "/queues", "/queues/orders", "/services"])
def test_no_word_is_broken_on_a_tablet(site: Site, page: Any, path: str) -> None:
    """Names of types and queues stand on one line: tables of many columns are cards before they
    squeeze them.
    """
    many_orders(site.server, 60)
    page.set_viewport_size({"width": 768, "height": 1024})
    page.goto(site.url + path)
    heights = page.evaluate(
        "[...document.querySelectorAll('td.main')].map(one => one.getBoundingClientRect().height)"
    )
    assert heights and max(heights) < 45
    assert page.evaluate("document.documentElement.scrollWidth") <= 768


def test_a_phone_sees_what_an_event_says_and_where_it_is(site: Site, page: Any) -> None:
    troubled_order(site.server)
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto(f"{site.url}{RUN}/history?view=full")
    row = page.locator("details.ev[data-row='13']")
    assert (
        row.locator(".kind").inner_text() == "Activity task failed"
        and row.locator(".says").is_visible()
    )
    cut = (
        "[...document.querySelectorAll('details.ev .kind')].filter(one => one.scrollWidth >"
        " one.clientWidth).length"
    )
    assert page.evaluate(cut) == 0  # kinds are whole
    page.locator(".event:has([data-row='13']) > .came a").click()
    page.wait_for_selector("#sheet p:has-text('odradek.default.orders.events / 2 / 47')")
    page.goto(f"{site.url}/batches")
    box = page.locator(".nav a[aria-current]").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390  # the row of pages is scrolled to it


def test_filter_of_a_history_by_type(site: Site, page: Any) -> None:
    troubled_order(site.server)
    page.goto(f"{site.url}{RUN}/history?view=full")
    page.locator("label.chip:has-text('timer')").click()
    page.wait_for_selector("[data-total='2']")
    assert page.locator("details.ev .kind").all_inner_texts() == ["Timer started", "Timer canceled"]
    page.locator("label.chip:has-text('signal')").click()
    page.wait_for_selector("[data-total='3']")
    page.locator("label.chip:has-text('newest first')").click()
    page.wait_for_selector(".chunk > :first-child > details.ev[data-row='23']")
    keep(page, "history-filtered")


def test_events_and_commands_open_their_records(site: Site, page: Any) -> None:
    troubled_order(site.server)
    page.goto(f"{site.url}{RUN}/history?view=full")
    keep(page, "history")
    assert (
        page.locator("summary a, summary button, button a, a button").count() == 0
    )  # nothing that is clicked within what is clicked
    page.locator(".event:has([data-row='7']) > .came a").click()
    page.wait_for_selector("#sheet p:has-text('odradek.default.orders.events / 2 / 43')")
    page.keyboard.press("Escape")
    page.locator(".event:has([data-row='11']) > .came a").click()
    page.wait_for_selector("#sheet p:has-text('odradek.default.payments.commands / 0 / 31')")
    page.keyboard.press("Escape")
    # Every event of the activity names it; and the one that still runs, as its owner says.
    for event_id, place in (
        ("11", "payments.commands / 0 / 31"),
        ("13", "payments.commands / 0 / 31"),
        ("18", "notifications.commands / 1 / 64"),
    ):
        page.goto(f"{site.url}{RUN}/events/{event_id}")
        page.wait_for_selector(f"article a:has-text('{place}')")


def test_payloads_of_a_codec_say_so(site: Site, page: Any) -> None:
    troubled_order(site.server)
    page.goto(f"{site.url}{RUN}/events/11")
    page.wait_for_selector(
        ".unreadable:has-text('Unreadable here. written by a payload codec (encoding"
        " binary/encrypted)')"
    )


def test_kafka_pages(site: Site, page: Any) -> None:
    many_orders(site.server, 40)
    troubled_order(site.server)
    page.goto(f"{site.url}{RUN}/records")
    page.wait_for_selector("tr:has-text('StartWorkflow')")
    page.wait_for_selector(".note:has-text('Not everything is here')")
    page.goto(f"{site.url}/services")
    row = page.locator("tbody tr").first.inner_text()
    assert "worker-a" in row and "5 of 20" in row and "charge" in row
    page.goto(f"{site.url}/queues/orders")
    head = page.locator("thead").first.inner_text()
    for column in ("Owner", "Position", "Lag", "To restore", "Timers soon"):
        assert column in head
    page.wait_for_selector("td:has-text('no owner')")
    page.wait_for_selector(".note:has-text('Not every partition has an owner')")


def test_a_dead_letter_that_was_put_back_shows_it(site: Site, page: Any) -> None:
    page.goto(f"{site.url}/dead-letters/orders/5")
    assert page.locator("dl.facts").first.inner_text().endswith("Put back at\nNot yet.")
    page.get_by_role("button", name="Put it back").click()
    page.wait_for_selector("dl.facts a:has-text('odradek.default.orders.events / 3 / 57')")
    page.wait_for_selector("button:text-is('Put it back again')")
    page.goto(f"{site.url}/dead-letters?task_queue=orders")
    page.wait_for_selector("tr:has-text('put back')")
    keep(page, "dead-letters")


def test_an_address_that_is_none(site: Site, page: Any) -> None:
    page.goto(f"{site.url}/nothing/here")
    page.wait_for_selector("h1:text-is('Not found')")
    page.get_by_role("link", name="To the start").click()
    page.wait_for_url("**/runs")
