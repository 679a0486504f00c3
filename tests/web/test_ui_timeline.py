"""The timeline in Chromium: what its bars open, and looking at a part of the time by keys,
buttons and mouse.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from odradek.wire.history import HistoryEvent, WorkflowExecutionSignaled
from tests.unit.web_server import plain, summary
from tests.unit.web_ui import long_history
from tests.web.conftest import Site, keep
from tests.web.scenes import TROUBLED, TROUBLED_RUN, now_ms, troubled_order

pytestmark = pytest.mark.timeout(120)
RUN = f"/workflows/{TROUBLED}/{TROUBLED_RUN}"
LONG = "/workflows/order-1/run-of-order-1"
NewPage = Callable[..., Any]


def bounds(page: Any) -> tuple[int, int]:
    axis = page.locator("[data-axis]")
    return int(axis.get_attribute("data-start")), int(axis.get_attribute("data-end"))


def long_run(site: Site) -> None:
    """Some 33 minutes, over since a while."""
    run = summary(
        "order-1",
        status="COMPLETED",
        start_time_ms=now_ms() - 4_000_000,
        close_time_ms=now_ms() - 2_000_000,
    )
    site.server.add(run, long_history(run, 400))


def test_a_bar_opens_the_event_that_tells_of_it(site: Site, new_page: NewPage) -> None:
    troubled_order(site.server)
    page = new_page()
    page.goto(f"{site.url}{RUN}/history")
    row = page.locator(".tl:has-text('charge_card')").first
    assert row.locator(".attempt").text_content() == "6.68 s · attempt 3"
    row.locator(
        "rect.tries"
        # two attempts before, whose times nobody keeps: the third's start has the failure of the
        # second
    ).click()
    page.wait_for_selector("#sheet h2:has-text('ActivityTaskStarted')")
    page.wait_for_selector("#sheet :text('gateway timeout')")
    page.keyboard.press("Escape")
    row.locator("rect.work").click()
    page.wait_for_selector("#sheet h2:has-text('ActivityTaskFailed')")
    page.locator("#sheet .chip:has-text('Scheduled')").click()
    page.wait_for_selector("#sheet h2:has-text('ActivityTaskScheduled')")
    keep(page, "event")
    page.keyboard.press("Escape")
    retry = page.locator(".tl:has-text('charge_card')").last
    assert re.match(r"attempt 4 in (1 m |\d+ s)", retry.locator(".attempt").text_content())
    assert retry.locator("rect.backoff").count() == 1 and page.locator(".axis .now").count() == 1


#: In one go, or it ticks meanwhile.
LABELLED = """(label, text) => {
    label.textContent = text;
    const all = document.createRange();
    all.selectNodeContents(label);
    return [label.getBoundingClientRect().toJSON(), all.getBoundingClientRect().width, getComputedStyle(label).backgroundColor];
}"""


def test_a_label_hides_the_bar_under_it(site: Site, new_page: NewPage) -> None:
    """A bar that shows between two words strikes them through. What is under the label is
    clicked all the same.
    """
    troubled_order(site.server)
    page = new_page()
    page.goto(f"{site.url}{RUN}/history")
    row = page.locator(".tl:has-text('charge_card')").last
    label, bar = row.locator(".attempt"), row.locator("rect.tries").bounding_box()
    for text in ("attempt 9 in 42 s", "attempt 4"):  # as it ticks, its ground goes with it
        box, width, ground = label.evaluate(LABELLED, text)
        assert (
            ground == page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
            and ground != "rgba(0, 0, 0, 0)"
        )
        assert box["y"] <= bar["y"] and box["y"] + box["height"] >= bar["y"] + bar["height"]
        assert box["width"] >= width
    assert label.evaluate("label => getComputedStyle(label).pointerEvents") == "none"


def test_keys_look_nearer_and_further(site: Site, new_page: NewPage) -> None:
    long_run(site)
    page = new_page()
    page.goto(f"{site.url}{LONG}/history")
    start, end = bounds(page)
    rows = int(page.locator("[data-total]").get_attribute("data-total"))
    for times in (1, 2):
        page.keyboard.press("+")
        page.wait_for_function(
            "span => document.querySelector('[data-axis]').dataset.end -"
            " document.querySelector('[data-axis]').dataset.start == span",
            arg=(end - start) // 2**times,
        )
    zoomed = bounds(page)
    assert abs((zoomed[0] + zoomed[1]) - (start + end)) <= 4  # about the middle
    assert 0 < int(page.locator("[data-total]").get_attribute("data-total")) < rows
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(f"[data-axis]:not([data-start='{zoomed[0]}'])")
    keep(page, "timeline-zoomed")
    page.keyboard.press("/")
    page.keyboard.type("0-")  # into the filter
    assert page.locator("input[name=text]").input_value() == "0-"
    page.wait_for_selector(".empty:has-text('No event fits this filter')")
    page.locator("input[name=text]").fill("")
    page.wait_for_selector(".chunk .tl")
    assert bounds(page)[1] - bounds(page)[0] == (end - start) // 4
    page.keyboard.press("Escape")
    page.keyboard.press("0")
    page.wait_for_selector(f"[data-axis][data-start='{start}'][data-end='{end}']")


def test_buttons_keep_the_focus_and_work_without_scripts(site: Site, new_page: NewPage) -> None:
    long_run(site)
    page = new_page()
    page.goto(f"{site.url}{LONG}/history")
    start, end = bounds(page)
    page.get_by_role("link", name="Show less time").focus()
    for share in (4, 8):
        page.keyboard.press("Enter")
        page.wait_for_selector(
            f"[data-axis][data-start='{start + (end - start) // 4 + (0 if share == 4 else (end - start) // 2 // 4)}']"
        )
        page.wait_for_function("document.activeElement.dataset.zoom == '+'")
    page = new_page(java_script_enabled=False)
    page.goto(f"{site.url}{LONG}/history")
    page.get_by_role("link", name="Show less time").click()
    page.get_by_role("link", name="Show all of it").wait_for()
    page.wait_for_load_state()
    assert page.locator(".tl").count() > 5


def test_the_mouse_picks_a_part(site: Site, new_page: NewPage) -> None:
    long_run(site)
    page = new_page()
    page.goto(f"{site.url}{LONG}/history")
    start, end = bounds(page)
    box = page.locator("[data-axis]").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.1, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 10, steps=4)
    assert page.locator(".axis .drag").count() == 1
    page.mouse.up()
    page.wait_for_selector(".axis[data-zoomed]")
    near = bounds(page)
    assert (
        abs(near[0] - (end - start) * 0.1) < (end - start) * 0.005
        and abs(near[1] - (end - start) * 0.2) < (end - start) * 0.005
    )


def test_new_events_leave_the_part_as_it_is(site: Site, new_page: NewPage) -> None:
    run = troubled_order(site.server)
    page = new_page()
    page.goto(site.url + RUN)
    page.wait_for_selector("#pulse[data-state=live]")
    page.keyboard.press("+")
    page.wait_for_selector(".axis[data-zoomed]")
    before = bounds(page)
    signaled = HistoryEvent(
        25,
        run.start_time_ms + (before[0] + before[1]) // 2,
        WorkflowExecutionSignaled("approved", [plain(True)]),
    )
    site.server.owner.add(run, [*site.server.owner.events[TROUBLED], signaled])
    page.wait_for_selector(".tl:has-text('approved')")
    assert bounds(page) == before
