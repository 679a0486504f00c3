"""Details of pages that only a browser shows: completion behind letters of two halves, times of
the reader's zone, links with theirs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest

from odradek.wire.payload import Failure, Payload
from tests.support.transport import reply_to
from tests.unit.web_server import plain, summary
from tests.unit.web_ui import long_history
from tests.web.conftest import Site
from tests.web.scenes import (
    TROUBLED,
    TROUBLED_RUN,
    many_orders,
    now_ms,
    some_backlog,
    troubled_order,
)

pytestmark = pytest.mark.timeout(120)
NewPage = Callable[..., Any]
HOUR_MS = 3_600_000
RUN = f"/workflows/{TROUBLED}/{TROUBLED_RUN}"


def test_completion_behind_letters_of_two_halves(site: Site, new_page: NewPage) -> None:
    many_orders(site.server, 20)
    page = new_page()
    page.goto(f"{site.url}/runs")
    page.click("input[name=query]")
    page.keyboard.insert_text("WorkflowId = '😀😀' AND Execution")
    page.keyboard.type("St")
    page.wait_for_selector("#query-options li:has-text('ExecutionStatus')")
    page.keyboard.press("Tab")
    assert (
        page.input_value("input[name=query]").strip() == "WorkflowId = '😀😀' AND ExecutionStatus"
    )


def test_failed_today_is_what_closed_today(site: Site, new_page: NewPage) -> None:
    now = now_ms()
    failed = {"status": "FAILED", "start_time_ms": now - 100 * HOUR_MS}
    site.server.add(summary("began-last-week", **failed, close_time_ms=now - HOUR_MS))
    site.server.add(summary("failed-last-week", **failed, close_time_ms=now - 90 * HOUR_MS))
    page = new_page()
    page.goto(f"{site.url}/runs")
    if page.locator("#views summary").count():
        page.locator("#views summary").click()
    page.get_by_role("link", name="Failed today").click()
    page.wait_for_url("**closed=24h**")
    assert page.locator("td.main").all_inner_texts() == ["began-last-week"]
    page.get_by_role("link", name="closed: 24h").click()
    page.wait_for_selector("td.main:has-text('failed-last-week')")


#: Words of drawings that stick out of them, where they are cut off.
CUT = """[...document.querySelectorAll('svg text')].filter(text => {
    const own = text.getBoundingClientRect(), all = text.ownerSVGElement.getBoundingClientRect();
    return own.width && (own.left < all.left || own.right > all.right || own.top < all.top || own.bottom > all.bottom);
}).map(text => text.textContent)"""


def test_axes_of_the_dashboard_are_whole(site: Site, new_page: NewPage) -> None:
    """Of latencies of each order: those of some hundred milliseconds have the longest names of
    ticks.
    """
    now = now_ms()
    for place, latency_ms in enumerate((3, 332, 780, 982, 1_900, 90_000, 50_000_000)):
        for number in range(3):
            times = {
                "start_time_ms": now - 1_000 - number - latency_ms,
                "close_time_ms": now - 1_000 - number,
            }
            site.server.add(
                summary(
                    f"w{place}-{number}", workflow_type=f"T{place}", status="COMPLETED", **times
                ),
                owner=False,
            )
    some_backlog(site.server)
    page = new_page()
    for width, path in (
        (1_400, "/dashboard"),
        (700, "/dashboard"),
        (390, "/dashboard"),
        (390, "/dashboard?range=30d"),
    ):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(site.url + path)
        assert (
            page.locator(".plots.small figure").count() == 6
            and page.locator("svg text").count() > 60
        )
        assert page.evaluate(CUT) == []


def test_links_and_tooltips_of_the_dashboard(site: Site, new_page: NewPage) -> None:
    many_orders(site.server, 300)
    page = new_page(timezone_id="Asia/Kolkata")
    page.goto(f"{site.url}/dashboard?range=6h")
    link = page.locator("a.bad[href^='/runs']").first
    number, asked = link.inner_text(), parse_qs(urlsplit(link.get_attribute("href")).query)
    assert re.fullmatch(r"CloseTime >= '[0-9T:.Z-]+'", asked["query"][0])
    shown = page.locator("figure.plot title").first
    hour, minute = (
        int(part) for part in re.search(r"(\d\d):(\d\d) –", shown.text_content()).groups()
    )
    begins = int(shown.get_attribute("data-from")) // 60_000
    assert (hour * 60 + minute) % 1_440 == (begins + 330) % 1_440
    link.click()
    page.wait_for_selector("td.main")
    assert page.locator(".bar").first.inner_text().startswith(f"{number} run")


def test_how_a_history_is_looked_at_is_in_the_address(site: Site, new_page: NewPage) -> None:
    troubled_order(site.server)
    page = new_page()
    page.goto(site.url + RUN)
    page.get_by_role("link", name="Full", exact=True).click()
    page.wait_for_selector("details.ev")
    page.get_by_placeholder("Filter").fill("new_card")
    page.wait_for_selector("[data-total='1']")
    page.wait_for_url(f"{site.url}{RUN}?view=full&text=new_card")
    page.reload()
    page.wait_for_selector("[data-history][data-view=full]")
    assert (
        page.locator("details.ev").count() == 1
        and page.get_by_placeholder("Filter").input_value() == "new_card"
    )
    page.get_by_placeholder("Filter").fill("")
    page.get_by_role("link", name="Timeline", exact=True).click()
    page.wait_for_selector(".tl")
    page.wait_for_function("location.search === ''")


def test_a_long_history_opens_as_its_address_says(site: Site, new_page: NewPage) -> None:
    run = summary("order-1", start_time_ms=now_ms() - 900_000)
    site.server.add(run, long_history(run, 700))
    page = new_page()
    page.goto(f"{site.url}/workflows/order-1/{run.run_id}?view=full&order=newest")
    page.wait_for_selector(f".chunk > :first-child > details.ev[data-row='{run.history_length}']")


def test_marks_of_a_run(site: Site, new_page: NewPage) -> None:
    run = troubled_order(site.server)
    site.server.owner.descriptions[TROUBLED].pending_task_failure = Failure("bug")
    colour = Payload({"encoding": b"json/plain", "type": b"Keyword"}, b'"blue"')
    run.search_attributes = {"Colour": colour}
    page = new_page()
    page.goto(site.url + RUN)
    assert page.locator(".head .tag").all_inner_texts() == ["task failing"]
    assert page.locator("div:has(> dt:text-is('Colour')) dd").inner_text() == "blue"
    assert page.locator(".tl:has-text('Signal new_card')").count() == 1
    row = page.locator(".tl:has-text('reserve_stock')")
    bar, label = row.locator("rect").last.bounding_box(), row.locator(".attempt").bounding_box()
    assert 0 <= label["x"] - bar["x"] - bar["width"] < 12, "its duration stands beside its bar"


def test_long_ids_take_few_lines(site: Site, new_page: NewPage) -> None:
    """All of one is there, to be copied and found; it pushes nothing else out of sight."""
    name = f"order-{'x' * 980}-end"
    site.server.add(
        summary(
            name,
            "r1",
            parent_workflow_id=name,
            parent_run_id="r0",
            root_workflow_id=name,
            root_run_id="r0",
        )
    )
    get = site.server.kafka.get

    def letter(*given: Any, **options: Any) -> Any:
        found = get(*given, **options)
        return msgspec.structs.replace(
            found, workflow_id=name, record=msgspec.structs.replace(found.record, key=name)
        )

    site.server.kafka.get = letter
    page = new_page()
    paths = (
        "/dead-letters?task_queue=orders",
        "/dead-letters/orders/5",
        f"/workflows/{name}/r1",
        f"/workflows/{name}/r1/actions/terminate",
    )
    for width in (1_400, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for path in paths:
            page.goto(site.url + path)
            found = page.locator(f":text('{name}'):visible").all()
            assert found and all(one.text_content().strip() == name for one in found), path
            assert max(one.bounding_box()["height"] for one in found) < 100, path
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_a_query_with_a_long_name_fits_a_phone(
    site: Site, new_page: NewPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "where_is_the_parcel_of_this_order_and_who_has_it_now_" * 2
    metadata = {"definition": {"type": "OrderSaga", "queryDefinitions": [{"name": name}]}}
    site.server.add(summary("long"))
    monkeypatch.setattr(
        site.server.owner,
        "_query",
        lambda record, run: reply_to(record, payloads=[plain(metadata)]),
    )
    page = new_page(viewport={"width": 360, "height": 740})
    page.goto(f"{site.url}/workflows/long/run-of-long/queries")
    page.get_by_role("button", name=name).click()
    page.wait_for_selector(f"#query-answer h2:text-is('{name}')")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_phone_sorts_and_picks_all(site: Site, new_page: NewPage) -> None:
    for number in range(3):
        site.server.add(summary(f"order-{number}", start_time_ms=now_ms() - 60_000 * number))
    page = new_page(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page.goto(f"{site.url}/runs")
    page.get_by_role("checkbox", name="Pick all on this page").check()
    assert (
        page.locator("#picked-count").inner_text() == "3"
        and page.locator("input[name=run]:checked").count() == 3
    )
    boxes = page.locator(".cards input[name=run], .bar .check input")
    # In one look: a live update between two puts others in their place, and those that are gone
    # have no box.
    sides = boxes.evaluate_all(
        "all => all.map(one => one.getBoundingClientRect()).map(box => Math.min(box.width,"
        " box.height))"
    )
    assert len(sides) == 4 and all(side >= 24 for side in sides)
    page.get_by_text("Sort: Started ↓").click()
    page.get_by_role("link", name="Started ↓").click()
    page.wait_for_url("**sort=StartTime*")
    assert page.locator("td.main").all_inner_texts() == ["order-2", "order-1", "order-0"]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
