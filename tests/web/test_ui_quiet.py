"""A page that is left open asks little: each request to an owner is a record of `events`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from odradek.wire.outcomes import WorkflowDescription
from tests.unit.web_server import summary
from tests.unit.web_ui import long_history
from tests.web.conftest import Site
from tests.web.scenes import TROUBLED, TROUBLED_RUN, now_ms, troubled_order

pytestmark = pytest.mark.timeout(120)
NewPage = Callable[..., Any]


def asked(site: Site) -> Counter[str]:
    return Counter(type(one).__name__ for one in site.server.owner.seen)


def test_an_idle_run_is_asked_nothing(site: Site, new_page: NewPage) -> None:
    """No activity is pending: nothing can change without an event, and the stream tells these."""
    run = summary("order-1", start_time_ms=now_ms() - 5_000)
    site.server.add(run, long_history(run, 3))
    page = new_page()
    page.clock.install()
    page.goto(f"{site.url}/workflows/order-1/{run.run_id}")
    page.wait_for_selector("#pulse[data-state=live]")
    before = asked(site)["DescribeWorkflow"]
    for _ in range(12):
        page.clock.run_for(5_000)
    page.evaluate("fetch('/static/icon.svg').then(() => 0)")  # whatever was asked has come
    assert asked(site)["DescribeWorkflow"] == before


def test_attempts_are_asked_for_less_and_less(site: Site, new_page: NewPage) -> None:
    run = troubled_order(site.server)
    page = new_page()
    page.clock.install()
    page.goto(f"{site.url}/workflows/{TROUBLED}/{TROUBLED_RUN}")
    page.wait_for_selector("#pulse[data-state=live]")
    under_way: set[Any] = set()
    page.on("request", lambda one: under_way.add(one) if one.headers.get("x-part") else None)
    for ended in ("requestfinished", "requestfailed"):
        # a builtin is none that Playwright can wrap
        page.on(ended, lambda one: under_way.discard(one))  # noqa: PLW0108
    before = asked(site)
    for _ in range(40):  # 200 s: after 5, 10, 20, 40 and 80 s
        page.clock.run_for(5_000)
        page.wait_for_timeout(20)
        while (
            under_way
        ):  # else the page's clock runs on while this machine takes its time to answer
            page.wait_for_timeout(20)
    after = asked(site)
    assert 3 <= after["DescribeWorkflow"] - before["DescribeWorkflow"] <= 6
    # What changes brings the rhythm back.
    found: WorkflowDescription = site.server.owner.descriptions[run.workflow_id]
    found.pending_activities[0].attempt = 5
    changed = page.locator("#run-live :text('5 of 10')")
    for _ in range(1_000):  # an answer from before the change may still have been on its way
        page.clock.run_for(5_000)
        page.wait_for_timeout(20)
        if changed.is_visible():
            break
    changed.wait_for()
