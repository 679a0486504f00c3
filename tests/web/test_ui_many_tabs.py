"""Many tabs of one browser: over HTTP/1.1 they share six connections to a host, and an event
stream keeps one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from odradek.wire.history import HistoryEvent, WorkflowExecutionSignaled
from tests.unit.web_server import plain, summary
from tests.unit.web_ui import long_history
from tests.web.conftest import Site
from tests.web.scenes import now_ms

pytestmark = pytest.mark.timeout(180)
NewPage = Callable[..., Any]
TABS = 8
LIVE = "#pulse[data-state=live]"
#: Headless Chromium shows every page at once: this is what a page is told when another tab comes
#: before it.
HIDE = """hidden => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""
#: Long waits are noted and take a moment.
HURRY = """window.waits = [];
const wait = setTimeout;
window.setTimeout = (work, ms) => { if (ms >= 5000) waits.push(ms); return wait(work, Math.min(ms, 20)); };"""


def streams(site: Site, count: int, page: Any) -> None:
    """Wait until the server has so many open streams of changes."""
    for _ in range(1_500):
        if site.server.context.hub.statistics()["streams"] == count:
            return
        page.wait_for_timeout(20)
    raise AssertionError(site.server.context.hub.statistics())


def tabs_of(new_page: NewPage, *addresses: str) -> list[Any]:
    first = new_page()
    tabs = [first, *(first.context.new_page() for _ in addresses[1:])]
    for tab, address in zip(tabs, addresses, strict=True):
        tab.goto(address)
    return tabs


@pytest.mark.slow
def test_lists_in_many_tabs_share_one_stream(site: Site, new_page: NewPage) -> None:
    site.server.add(summary("order-1"))
    tabs = tabs_of(new_page, *[f"{site.url}/runs"] * (TABS - 1), f"{site.url}/queues")
    for tab in tabs:
        tab.wait_for_selector(LIVE)
    streams(site, 1, tabs[0])
    site.server.add(summary("order-2"))
    for tab in tabs[:-1]:
        tab.wait_for_selector("tr:has-text('order-2')")
    tabs[0].close()  # the one that read the stream: another does from here on
    streams(site, 1, tabs[1])
    site.server.add(summary("order-3"))
    for tab in tabs[1:-1]:
        tab.wait_for_selector("tr:has-text('order-3')")


def test_runs_in_many_tabs_all_load_and_move(site: Site, new_page: NewPage) -> None:
    runs = [summary(f"order-{number}", start_time_ms=now_ms() - 5_000) for number in range(TABS)]
    for run in runs:
        site.server.add(run, long_history(run, 2))
    tabs = tabs_of(
        new_page, *[f"{site.url}/workflows/{run.workflow_id}/{run.run_id}" for run in runs]
    )
    for tab in tabs:
        tab.wait_for_selector(LIVE)
    for run in runs:
        events = site.server.owner.events[run.workflow_id]
        told = HistoryEvent(
            run.history_length + 1, now_ms(), WorkflowExecutionSignaled("approved", [plain(True)])
        )
        site.server.owner.add(run, [*events, told])
    for tab in tabs:
        tab.wait_for_selector(".tl:has-text('approved')")


def test_a_run_without_a_stream_is_asked_for_every_15_seconds_at_least(
    site: Site, new_page: NewPage
) -> None:
    """However long nothing has changed: a third tab would see the end of its run more than a
    minute late.
    """
    run = summary("order-1", start_time_ms=now_ms() - 5_000)
    site.server.add(run, long_history(run, 2))
    page = new_page()
    page.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
    page.add_init_script(HURRY)
    page.goto(f"{site.url}/workflows/order-1/{run.run_id}")
    for _ in range(3_000):
        if len(page.evaluate("waits")) >= 7:
            break
        page.wait_for_timeout(20)
    waits = page.evaluate("waits")
    assert len(waits) >= 7 and max(waits) == 15_000, waits


def test_a_hidden_page_holds_no_stream(site: Site, new_page: NewPage) -> None:
    site.server.add(summary("order-1"))
    page = new_page()
    page.goto(f"{site.url}/runs")
    page.wait_for_selector(LIVE)
    page.evaluate(HIDE, True)
    streams(site, 0, page)
    site.server.add(summary("order-2"))
    assert page.locator("tr:has-text('order-2')").count() == 0
    page.evaluate(HIDE, False)
    page.wait_for_selector("tr:has-text('order-2')")
    streams(site, 1, page)


@pytest.mark.slow
def test_without_locks_lists_are_asked_for(site: Site, new_page: NewPage) -> None:
    """Browsers give them to secure pages alone: plain HTTP under a host name is none."""
    run = summary("order-1", start_time_ms=now_ms() - 5_000)
    site.server.add(run, long_history(run, 2))
    page = new_page()
    page.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
    page.goto(f"{site.url}/runs")
    page.wait_for_selector(LIVE)
    site.server.add(summary("order-2"))
    page.wait_for_selector("tr:has-text('order-2')")
    streams(site, 0, page)
    page.goto(f"{site.url}/workflows/order-1/{run.run_id}")
    page.wait_for_selector(LIVE)
    told = HistoryEvent(
        run.history_length + 1, now_ms(), WorkflowExecutionSignaled("approved", [plain(True)])
    )
    site.server.owner.add(run, [*site.server.owner.events["order-1"], told])
    page.wait_for_selector(".tl:has-text('approved')")
