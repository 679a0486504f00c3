"""Times: to the millisecond where it matters, in a zone that is named, and found by the query
when they are copied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.web_server import completed_history, summary
from tests.web.conftest import Site

pytestmark = pytest.mark.timeout(120)
NewPage = Callable[..., Any]
START_MS = 1_790_000_000_123  # 2026-09-21T14:13:20.123Z, 16:13:20 in Berlin


def test_the_zone_is_named_and_chosen(site: Site, new_page: NewPage) -> None:
    run = site.server.add(summary("order-1", start_time_ms=START_MS))
    page = new_page(timezone_id="Europe/Berlin")
    page.clock.set_fixed_time(START_MS / 1000 + 5)
    page.goto(f"{site.url}/workflows/order-1/{run.run_id}")
    started = page.locator("dl.facts div:has(dt:text-is('Started')) time")
    zone = page.locator("[data-zone]")
    assert started.inner_text() == "2026-09-21 16:13:20.123" and zone.inner_text() == "UTC+2"
    zone.click()
    assert started.inner_text() == "2026-09-21 14:13:20.123" and zone.inner_text() == "UTC"
    page.goto(f"{site.url}/runs")
    assert (
        page.locator("td[data-label=Started] time").inner_text() == "2026-09-21 14:13:20"
    )  # kept, and to the second in a list
    page.keyboard.press("u")
    assert page.locator("td[data-label=Started] time").inner_text() == "2026-09-21 16:13:20"


def test_events_have_milliseconds(site: Site, new_page: NewPage) -> None:
    run = summary("order-1", start_time_ms=START_MS)
    site.server.add(run, completed_history(run))
    page = new_page()
    page.goto(f"{site.url}/workflows/order-1/{run.run_id}/history?view=full")
    assert page.locator("[data-row='6'] .at").inner_text() == "2026-09-21 14:13:20.127"


@pytest.mark.parametrize("zone", ["utc", "local"])
def test_a_copied_time_is_found_by_the_query(site: Site, new_page: NewPage, zone: str) -> None:
    site.server.add(summary("order-1", start_time_ms=START_MS))
    site.server.add(summary("order-2", start_time_ms=START_MS + 1))
    page = new_page(timezone_id="Asia/Kathmandu")  # +05:45
    page.add_init_script(f"localStorage.setItem('odradek.zone', '{zone}')")
    page.goto(f"{site.url}/runs")
    copied = page.evaluate("""() => {
            const row = [...document.querySelectorAll("tbody tr")].find((one) => one.textContent.includes("order-1"));
            const time = row.querySelector("td[data-label=Started] time");
            getSelection().selectAllChildren(time);
            const event = new ClipboardEvent("copy", {clipboardData: new DataTransfer(), bubbles: true, cancelable: true});
            document.activeElement.dispatchEvent(event);
            return event.clipboardData.getData("text/plain");
        }""")
    assert (
        copied
        == {"utc": "2026-09-21T14:13:20.123Z", "local": "2026-09-21T19:58:20.123+05:45"}[zone]
    )
    page.fill("input[name=query]", f"StartTime = '{copied}'")
    page.get_by_role("button", name="Find").click()
    page.wait_for_selector("tr:has-text('order-1')")
    assert page.locator("tbody tr").count() == 1
