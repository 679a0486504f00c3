"""Workflow ids that are no plain segment of a path, in a browser: it takes `.` and `..` out of
addresses, `%2e%2e` too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.web_server import completed_history, summary
from tests.web.conftest import Site
from tests.web.scenes import now_ms

pytestmark = pytest.mark.timeout(120)
NewPage = Callable[..., Any]


@pytest.mark.parametrize(
    "workflow_id", [".", "..", "~.", "~~..", "~", "../..", "a/../b", "...", "%2e%2e"]
)
def test_a_run_is_reached_from_the_list(site: Site, new_page: NewPage, workflow_id: str) -> None:
    """The link of the list, the page, its history, an action and its way back, and the stream of
    events.
    """
    run = summary(workflow_id, "run-1", start_time_ms=now_ms() - 5_000)
    site.server.add(run, completed_history(run)[:2])
    page = new_page()
    page.goto(f"{site.url}/runs")
    page.click(f"tr[data-row='{run.run_id}'] td.main a")
    page.wait_for_selector("#run-live")
    page.wait_for_selector("#pulse[data-state=live]")  # events come by the API
    page.goto(page.url)
    assert page.text_content("h1").strip() == workflow_id
    page.click("a:text('Queries')")
    page.wait_for_selector("form")
    assert run.run_id in page.url and page.text_content("h1").strip() == workflow_id
    page.goto(f"{page.url.rpartition('/')[0]}/actions/signal")
    page.fill("[name=signal_name]", "go")
    page.click("main form button.primary")
    page.wait_for_selector("text=Signal delivered.")
    assert site.server.owner.seen and {one.workflow_id for one in site.server.owner.seen} == {
        workflow_id
    }
