"""Details of pages that only a browser shows: completion behind letters of two halves, times of the reader's zone, links with theirs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.unit.web_server import summary
from tests.web.conftest import Site
from tests.web.scenes import many_orders, now_ms

pytestmark = pytest.mark.timeout(120)
NewPage = Callable[..., Any]
HOUR_MS = 3_600_000


def test_completion_behind_letters_of_two_halves(site: Site, new_page: NewPage) -> None:
    many_orders(site.server, 20)
    page = new_page()
    page.goto(f"{site.url}/runs")
    page.click("input[name=query]")
    page.keyboard.insert_text("WorkflowId = '😀😀' AND Execution")
    page.keyboard.type("St")
    page.wait_for_selector("#query-options li:has-text('ExecutionStatus')")
    page.keyboard.press("Tab")
    assert page.input_value("input[name=query]").strip() == "WorkflowId = '😀😀' AND ExecutionStatus"


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


def test_links_and_tooltips_of_the_dashboard(site: Site, new_page: NewPage) -> None:
    many_orders(site.server, 300)
    page = new_page(timezone_id="Asia/Kolkata")
    page.goto(f"{site.url}/dashboard?range=6h")
    link = page.locator("a.bad[href^='/runs']").first
    number, asked = link.inner_text(), parse_qs(urlsplit(link.get_attribute("href")).query)
    assert re.fullmatch(r"CloseTime >= '[0-9T:.Z-]+'", asked["query"][0])
    shown = page.locator("figure.plot title").first
    hour, minute = (int(part) for part in re.search(r"(\d\d):(\d\d) –", shown.text_content()).groups())
    begins = int(shown.get_attribute("data-from")) // 60_000
    assert (hour * 60 + minute) % 1_440 == (begins + 330) % 1_440
    link.click()
    page.wait_for_selector("td.main")
    assert page.locator(".bar").first.inner_text().startswith(f"{number} run")
