"""While the read side's first copy is made: the dashboard shows what there is, pages come alive
by themselves when the copy is whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.web.conftest import HURRIED, Site, keep
from tests.web.scenes import many_orders, some_backlog

pytestmark = pytest.mark.timeout(120)
NewPage = Callable[..., Any]


def build(site: Site, percent: int | None) -> None:
    context = site.server.context
    context.building = lambda: (
        f"{(percent or 0) * 50:,} of about 5,000 records read" if percent != 100 else ""
    )
    context.built_percent = lambda: percent


@pytest.fixture
def building(site: Site) -> Site:
    many_orders(site.server)
    some_backlog(site.server)
    build(site, 12)
    return site


def test_the_dashboard_comes_alive_by_itself(building: Site, new_page: NewPage) -> None:
    page = new_page()
    page.add_init_script(HURRIED)
    page.goto(f"{building.url}/dashboard")
    note = page.locator(".building")
    assert "12 %" in note.inner_text() and page.locator("figure.plot").count() == 2
    assert (
        page.get_by_role("link", name="orders").first.is_visible()
        and page.get_by_text("worker-a").is_visible()
    )
    keep(page, "building")
    page.evaluate("window.same = true")
    build(building, 61)
    page.wait_for_selector(".building :text('61 %')")
    build(building, 100)
    page.wait_for_selector("figure.plot :text('Latency of completed runs')")
    assert note.count() == 0 and page.evaluate("window.same") is True, (
        "the page was not loaded anew"
    )


def test_the_list_does_too(building: Site, new_page: NewPage) -> None:
    page = new_page()
    page.add_init_script(HURRIED)
    page.goto(f"{building.url}/runs?status=Failed")
    page.wait_for_selector(".building :text('12 %')")
    build(building, None)
    page.wait_for_selector(".building progress:not([value])")
    build(building, 100)
    page.wait_for_selector("[data-row]")
    assert "status=Failed" in page.url


def test_on_a_phone(building: Site, new_page: NewPage) -> None:
    page = new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page.goto(f"{building.url}/dashboard")
    page.wait_for_selector(".building :text('12 %')")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    keep(page, "phone-building")


def test_without_javascript(building: Site, new_page: NewPage) -> None:
    page = new_page(java_script_enabled=False)
    page.goto(f"{building.url}/runs")
    assert "12 %" in page.locator(".building").inner_text()
    build(building, 100)
    page.wait_for_selector("[data-row]")
