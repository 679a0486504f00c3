"""Runs whose workflow task keeps failing, in a browser: mark, chip and count, live; and a lane
that stands still on its queue's page.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from odradek.wire.outcomes import ExecutionSummary
from tests.unit.web_server import START_MS, summary
from tests.web.conftest import HURRIED, Site

PROBLEMS = ["category=WorkflowTaskFailed", "cause=WorkflowTaskFailedCauseNonDeterministicError"]


def run(workflow_id: str, *problems: str, transitions: int = 1) -> ExecutionSummary:
    return summary(
        workflow_id,
        start_time_ms=START_MS,
        reported_problems=list(problems),
        state_transition_count=transitions,
    )


def test_failing_tasks_come_and_go_in_the_open_list(
    site: Site, new_page: Callable[..., Any]
) -> None:
    for number in range(3):
        site.server.add(run(f"order-{number}"))
    page = new_page()
    page.goto(f"{site.url}/runs")
    page.wait_for_selector("#pulse[data-state=live]")
    assert page.locator("#failing").count() == 0
    site.server.add(run("order-1", *PROBLEMS, transitions=2))
    page.wait_for_selector("#failing .count:text-is('1')")
    mark = page.locator("tr[data-row=run-of-order-1] .tag.bad")
    assert mark.inner_text() == "task failing" and PROBLEMS[1] in mark.get_attribute("title")
    page.click("#failing")
    page.wait_for_url("**/runs?failing=1")
    page.wait_for_selector("#failing[aria-current=true]")
    assert page.locator("tbody tr").count() == 1
    page.wait_for_selector("#pulse[data-state=live]")
    site.server.add(run("order-2", *PROBLEMS, "category=Parked", transitions=2))
    page.wait_for_selector("tr[data-row=run-of-order-2]")
    for name in ("order-1", "order-2"):
        site.server.add(run(name, transitions=3))
    page.wait_for_selector(":text('No run fits')")
    assert page.locator("#failing .count").inner_text() == "0"
    page.click("#failing")
    page.wait_for_selector("tr[data-row=run-of-order-1]")
    assert page.locator("#failing").count() == 0


def test_the_view_is_ready(site: Site, new_page: Callable[..., Any]) -> None:
    site.server.add(run("order-1"))
    site.server.add(run("order-2", *PROBLEMS))
    page = new_page()
    page.goto(f"{site.url}/runs")
    page.click("#views summary")
    page.click("#views a:text-is('Failing tasks')")
    page.wait_for_url("**/runs?failing=1")
    assert (
        page.locator("tbody tr").count() == 1
        and page.locator("tbody tr").inner_text().count("order-2") == 1
    )


def test_a_lane_that_stands_still_is_marked_without_any_news_of_it(
    site: Site, new_page: Callable[..., Any]
) -> None:
    """Nobody tells that somebody says nothing: the open page asks again by itself."""
    page = new_page()
    page.add_init_script(HURRIED)
    page.goto(f"{site.url}/queues/orders")
    page.wait_for_selector("#pulse[data-state=live]")
    row = page.locator("tbody tr").nth(1)
    assert (
        row.locator(".tag").all_inner_texts() == ["running"]
        and row.locator("td[data-label=Progress]").inner_text() == "1.20 s ago"
    )
    site.server.kafka.heard[1] = (500, 45_000)
    page.wait_for_selector(".tag.bad:text-is('stalled for 45 s')")
    page.wait_for_selector("[role=alert]:has-text('1 of 4 partitions does not get on')")
    site.server.kafka.heard[1] = (9_000, 9_500)
    page.wait_for_selector(".tag.bad:text-is('silent for 9 s')")
    site.server.kafka.heard[1] = (500, 700)
    page.wait_for_selector("tbody tr:nth-child(2):not(:has(.tag.bad))")


def test_an_open_list_learns_that_it_is_old(site: Site, new_page: Callable[..., Any]) -> None:
    """Its news come by the intake: when that stands still, none comes, so the list asks again by
    itself.
    """
    site.server.add(run("order-1"))
    page = new_page()
    page.add_init_script(HURRIED)
    page.goto(f"{site.url}/runs")
    page.wait_for_selector("#pulse[data-state=live]")
    note = page.locator("#runs-live .note.warn")
    assert note.count() == 0
    site.server.context.standstill = lambda: (
        "the intake has taken in nothing since 2026-09-21 16:13:20 UTC: OperationalError: full"
    )
    note.wait_for()
    assert "are old: the intake has taken in nothing since" in note.inner_text()
    site.server.context.standstill = lambda: ""
    note.wait_for(state="detached")
