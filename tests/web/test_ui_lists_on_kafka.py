"""The lists on real runs: query completion, saved views, sorting, batches over a selection and
over a query, dashboard, read-only mode.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from odradek.client import WorkflowFailureError
from odradek.config import Settings
from odradek.exceptions import CancelledError, TerminatedError
from tests.support.server import get
from tests.support.until import until
from tests.web.on_kafka import QUEUE, OrderSaga, RefundSaga, Seen, seen

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
ACTIONS = ("signal", "cancel", "terminate")


@pytest.fixture
def settings(bootstrap: str, namespace: str, tmp_path: Path) -> Settings:
    return Settings(
        address=bootstrap,
        namespace=namespace,
        state_dir=tmp_path / "worker",
        partitions=2,
        replication_factor=1,
        identity="worker-a",
    )


async def test_lists_batches_and_what_they_add_up_to(settings: Settings, tmp_path: Path) -> None:
    async with seen(settings, tmp_path) as on:
        ids = [
            f"{scope}-{action}-{number}"
            for action in ACTIONS
            for scope in ("picked", "query")
            for number in range(2)
        ]
        for number, workflow_id in enumerate(ids):
            await on.client.start_workflow(OrderSaga.run, number, id=workflow_id, task_queue=QUEUE)
        await on.client.start_workflow(RefundSaga.run, 7, id="refund", task_queue=QUEUE)
        await _completion(on)
        await _saved_view(on)
        await _sorted(on)
        for action in ACTIONS:
            await _batch(
                on, action, f"WorkflowId STARTS_WITH 'picked-{action}'", picked=f"picked-{action}-1"
            )
            await _batch(on, action, f"WorkflowId STARTS_WITH 'query-{action}'")
            await _ended(on, action)
        await _dashboard(on)
        async with _read_only(settings, tmp_path) as url:
            await _looked_at(on, url)


async def _completion(on: Seen) -> None:
    """Names of columns, and values that runs have."""
    page = on.page
    await page.goto(f"{on.url}/runs")
    await page.wait_for_selector("[data-status=Running] .count:text-is('13')")
    await page.keyboard.press("/")
    await page.keyboard.type("WorkflowTy")
    await page.wait_for_selector("#query-options li:has-text('WorkflowType')")
    await page.keyboard.press("Tab")
    await page.keyboard.type("= 'Ref")
    await page.wait_for_selector("#query-options li:has-text(\"'RefundSaga'\")")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Escape")
    await page.keyboard.press("Enter")
    await page.wait_for_url(re.compile("query=WorkflowType"))
    await page.wait_for_selector("tbody td.main:has-text('refund')")
    assert await page.locator("tbody tr").count() == 1


async def _saved_view(on: Seen) -> None:
    """A query under a name: it finds by it again, and forgets it."""
    page = on.page
    await page.click("#save-view")
    await page.keyboard.type("Refunds")
    await page.keyboard.press("Enter")
    await page.goto(f"{on.url}/runs")
    await page.click("#views summary")
    await page.click("#saved-views a:has-text('Refunds')")
    await page.wait_for_url(re.compile("query=WorkflowType"))
    assert await page.locator("tbody tr").count() == 1
    await page.click("#views summary")
    await page.click("button[aria-label='Forget Refunds']")
    assert await page.locator("#saved-views a").count() == 0


async def _sorted(on: Seen) -> None:
    """By a column that was added: the longest that are open yet come first, whatever their ids
    are.
    """
    page = on.page
    await page.goto(f"{on.url}/runs?type=OrderSaga&sort=-ExecutionDuration")
    names = await page.locator("tbody td.main").all_inner_texts()
    started = [
        (await on.client.get_workflow_handle(name).describe()).start_time
        for name in (names[0], names[-1])
    ]
    assert len(names) == 12 and started[0] <= started[1]
    await page.click("summary:has-text('Columns')")
    await page.get_by_label("Events").check()
    await page.click("button:text-is('Show these')")
    await page.wait_for_selector("th:has-text('Events')")
    await page.click("th a:has-text('Events')")
    await page.wait_for_selector("th[aria-sort=descending]:has-text('Events')")


async def _batch(on: Seen, action: str, query: str, picked: str = "") -> None:
    """Preview, then done: what was picked of a list, or all that a query finds."""
    page = on.page
    await page.goto(f"{on.url}/runs")
    await page.fill("input[name=query]", query)
    await page.keyboard.press("Escape")
    await page.click("button:text-is('Find')")
    await page.wait_for_url(re.compile("query=WorkflowId"))
    await page.wait_for_selector("tbody tr >> nth=1")
    hit = [picked] if picked else await page.locator("tbody td.main").all_inner_texts()
    for name in hit if picked else ():
        await page.get_by_label(f"Pick {name}").check()
    if not picked:
        await page.click("label:has-text('All open of this list')")
    verb = action.capitalize()
    await page.click(f"button:text-is('{verb}…')")
    await page.wait_for_selector(f"h1:has-text('{verb} {len(hit)} open run')")
    assert sorted(await page.locator("tbody td.main").all_inner_texts()) == sorted(hit)
    if action == "signal":
        await page.fill("input[name=signal_name]", "approve")
        await page.fill("textarea[name=input]", '"the team"')
    else:
        await page.fill("input[name=reason]", "enough")
        if not picked:
            await page.fill("input[name=confirm]", str(len(hit)))
    await page.click(f"button:text-is('{verb} {len(hit)}')")
    await page.wait_for_selector("h1:has-text('finished')")
    assert await page.locator("dl.facts div:has(dt:text-is('Done')) dd").inner_text() == str(
        len(hit)
    )


async def _ended(on: Seen, action: str) -> None:
    """The workflows themselves say what came of it; who was not picked goes on."""
    for workflow_id in (f"picked-{action}-1", f"query-{action}-0", f"query-{action}-1"):
        handle = on.client.get_workflow_handle(workflow_id)
        if action == "signal":
            assert str(await handle.result()).endswith("approved by the team")
            continue
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert isinstance(
            failed.value.cause, TerminatedError if action == "terminate" else CancelledError
        )
    status = (await on.client.get_workflow_handle(f"picked-{action}-0").describe()).status
    assert status is not None and status.name == "RUNNING"


async def _dashboard(on: Seen) -> None:
    """Counts of what was done here, latency by type, and what waits, from when on the server
    looked.
    """
    page = on.page
    await page.goto(f"{on.url}/dashboard")
    for name, count in (("Started", 13), ("Completed", 3), ("Open now", 4)):
        await page.wait_for_selector(f".figure:has-text('{name}') .big:text-is('{count}')")
    row = page.locator("tr[data-row=OrderSaga]")
    assert await row.locator("td[data-label=Completed]").inner_text() == "3"
    assert await row.locator("td[data-label=p50]").inner_text() != "—"
    backlog = page.locator("figure:has(h3:has-text('Inputs that wait'))")
    await backlog.wait_for()
    label = await backlog.locator("svg[role=img]").get_attribute("aria-label")
    assert re.search(rf"{QUEUE}: last \d+, highest \d+", label), label
    await backlog.get_by_role("link", name="as a table").click()
    await page.wait_for_selector(f"#sheet th:text-is('{QUEUE}')")
    await page.keyboard.press("Escape")


@asynccontextmanager
async def _read_only(settings: Settings, folder: Path) -> AsyncIterator[str]:
    """A second server of the same cluster, as `odradek server --read-only` starts it."""
    arguments = [
        "--address",
        settings.address,
        "--namespace",
        settings.namespace,
        "--port",
        "0",
        "--read-only",
    ]
    environment = {**os.environ, "ODRADEK_STATE_DIR": str(folder / "only-looks")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "odradek.cli",
        "server",
        *arguments,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        url = line.removeprefix("ui: ").strip()
        await asyncio.to_thread(
            until, lambda: get(f"{url}/health/ready")[0] == 200
        )  # before, it lists nothing
        yield url
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _looked_at(on: Seen, url: str) -> None:
    """Everything is seen, queries are answered, and nothing can be changed: neither by a button
    nor by a form of one's own.
    """
    page = await on.browser.new_page()
    await page.goto(f"{url}/runs")
    await page.wait_for_selector("[data-status=Running] .count:text-is('4')")
    await page.wait_for_selector(".tag:has-text('read-only')")
    assert await page.locator("button[name=action]").count() == 0
    await page.click("a:text-is('picked-signal-0')")
    await page.click("a:text-is('Queries')")
    await page.wait_for_selector("button:text-is('state')")
    assert await page.locator("a:text-is('Terminate…')").count() == 0
    await page.fill("textarea[name=args]", '"order"')
    await page.click("button:text-is('state')")
    await page.wait_for_selector("#query-answer pre:has-text('order: waiting')")
    assert await page.evaluate(FORM_OF_ONES_OWN) == 403
    status = (await on.client.get_workflow_handle("picked-signal-0").describe()).status
    assert status is not None and status.name == "RUNNING"


FORM_OF_ONES_OWN = """async () => {
    const action = location.pathname.replace("/queries", "/actions/terminate");
    return (await fetch(action, {method: "POST", body: new URLSearchParams({reason: "x"})})).status;
}"""
