"""A run on real Kafka, in Chromium: looked at from every side, steered, followed into its
records. Lists: test_ui_lists_on_kafka.py.

What an operator does on a page is done here once, and looked up where it must have arrived: in
the workflow, in Kafka.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from odradek.client import Client, WorkflowFailureError
from odradek.config import Settings
from odradek.exceptions import CancelledError, TerminatedError
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import producer_config
from odradek.wire.topics import Topics
from tests.web.conftest import keep_async
from tests.web.on_kafka import QUEUE, OrderSaga, RefundSaga, seen

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


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


async def test_seen_and_steered_in_a_browser(settings: Settings, tmp_path: Path) -> None:
    async with seen(settings, tmp_path) as on:
        page, client = on.page, on.client
        await _list_and_run(page, on.url, client)
        await _questions(page)
        await _kafka_beside(page, settings)
        await _history(page)
        await _signal(page, client)
        await _download_and_import(page, on.url, tmp_path)
        await _pending_and_ended(page, on.url, client)
        await _queues(page, on.url)
        await _dead_letter(page, on.url, settings)


async def _list_and_run(page: Any, url: str, client: Client) -> None:
    """A run appears in the open list by itself; its page has all there is."""
    await page.goto(f"{url}/runs")
    await page.wait_for_selector("#pulse[data-state=live]")
    await client.start_workflow(OrderSaga.run, 42, id="order/1", task_queue=QUEUE)
    await page.click("a:text-is('order/1')")
    await page.wait_for_selector("h1:has-text('order/1')")
    await page.wait_for_selector(
        ".tl:has-text('charge_card') .attempt:has-text('attempt 2')"
    )  # it failed once
    await page.wait_for_selector("h2:has-text('Pending timers')")
    await page.wait_for_selector("dt:has-text('Partition')")


async def _questions(page: Any) -> None:
    """Call stack, and a query with an argument."""
    await page.click("a:text-is('Call stack')")
    own = page.locator(".coroutine li:not(.library)")
    await own.first.wait_for()
    assert "run" in await own.last.inner_text() and "on_kafka.py:" in await own.last.inner_text()
    await page.wait_for_selector(".coroutine li:last-child:has-text('wait_condition')")
    await keep_async(page, "call-stack")
    await page.click("a:text-is('Queries')")
    await page.wait_for_selector(
        "button:text-is('state')"
    )  # the workflow's code says which queries it answers
    await page.fill("input[name=type]", "state")
    await page.fill("textarea[name=args]", '"order"')
    await page.click("button:text-is('Ask')")
    await page.wait_for_selector("#query-answer pre:has-text('order: waiting')")


async def _kafka_beside(page: Any, settings: Settings) -> None:
    """From an event to its record, and the trail of the workflow over all topics."""
    await page.click("a:text-is('History')")
    await page.click("a:text-is('Full')")
    await page.click("details.ev:has-text('Workflow execution started') summary")
    await page.click("details.ev[open] a[href^='/records/']")
    await page.wait_for_selector("#sheet h2:has-text('StartWorkflow')")
    await page.wait_for_selector(
        f"#sheet :text('{Topics(settings.namespace, settings.topic_prefix).events(QUEUE)}')"
    )
    await page.keyboard.press("Escape")
    # And from what was scheduled to its command, as the service that read it said.
    await page.click(".event:has-text('Activity task scheduled') .came a")
    await page.wait_for_selector("#sheet h2:has-text('ActivityTask')")
    await page.wait_for_selector(
        f"#sheet :text('{Topics(settings.namespace, settings.topic_prefix).commands(QUEUE)}')"
    )
    await page.keyboard.press("Escape")
    await page.click("a:text-is('Records in Kafka')")
    for kind in ("StartWorkflow", "ActivityTask", "ActivityTaskCompleted", "ExecutionSummary"):
        await page.wait_for_selector(f"tr:has-text('{kind}')")
    await _command_deleted(page, settings)


async def _command_deleted(page: Any, settings: Settings) -> None:
    """As its service does within seconds: the trail and the link to it say what is known, and
    why the record is gone.
    """
    admin = ClusterAdmin(settings)
    topic = admin.topics.commands(QUEUE)
    admin.delete_records(
        {
            (topic, number): end
            for number, end in admin.end_offsets(topic, range(2), committed=True).items()
            if end
        }
    )
    await page.reload()
    await page.wait_for_selector(
        ".note:has-text('1 command known from the history: commands are deleted once they are"
        " acknowledged')"
    )
    await page.wait_for_selector(
        ".note:has-text('1 more command deleted likewise')"
    )  # of the attempt that failed
    await keep_async(page, "trail")
    await page.click("tr.gone a")
    await page.wait_for_selector("#sheet h2:has-text('This record is not there')")
    await page.wait_for_selector("#sheet .note:has-text('once the service has acknowledged them')")
    await page.wait_for_selector("#sheet pre:has-text('charge_card')")
    assert await page.locator("#sheet :text('Try again')").count() == 0
    await keep_async(page, "record-deleted")
    await page.keyboard.press("Escape")


async def _history(page: Any) -> None:
    """Filtered by text and by type; a part of its time."""
    await page.click("a:text-is('History')")
    await page.click("a:text-is('Full')")
    await page.wait_for_selector("details.ev")
    whole = int(await page.locator("[data-total]").get_attribute("data-total"))
    await page.fill(
        "input[name=text]", "gateway timeout"
    )  # of the attempt before, in the Started event alone
    await page.wait_for_selector("[data-total='1']")
    await page.wait_for_selector(
        "details.ev:has-text('Activity task started'):has-text('attempt 2')"
    )
    await page.fill("input[name=text]", "")
    await page.wait_for_selector(f"[data-total='{whole}']")
    await page.locator("label.chip:has-text('timer')").click()
    await page.wait_for_selector("[data-total='1']")
    assert await page.locator("details.ev .kind").all_inner_texts() == ["Timer started"]
    await page.locator("label.chip:has-text('timer')").click()
    await page.click("a:text-is('Timeline')")
    await page.wait_for_selector(".tl.axis")
    await page.keyboard.press("+")
    await page.wait_for_selector(".axis[data-zoomed]")
    await page.keyboard.press("0")
    await page.wait_for_selector(".axis:not([data-zoomed])")


async def _signal(page: Any, client: Client) -> None:
    """A signal from the page ends the run, and the page says so without being loaded anew."""
    await page.click("a:text-is('History')")
    await page.wait_for_selector("#pulse[data-state=live]")
    await page.click("a:text-is('Signal…')")
    await page.fill("#sheet input[name=signal_name]", "approve")
    await page.fill("#sheet textarea", '"the boss"')
    await page.click("button:text-is('Send')")
    await page.wait_for_selector("#run-live .knot.completed")
    await page.wait_for_selector("pre:has-text('charged 42, approved by the boss')")
    assert (
        await client.get_workflow_handle("order/1").result() == "charged 42, approved by the boss"
    )
    await keep_async(page, "completed")


async def _download_and_import(page: Any, url: str, folder: Path) -> None:
    async with page.expect_download() as waiting:
        await page.click("a:text-is('Download history')")
    file = folder / "history.json"
    await (await waiting.value).save_as(file)
    assert (
        json.loads(file.read_text())["events"][0]["eventType"]
        == "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED"
    )
    await page.goto(f"{url}/import")
    await page.set_input_files("#import-file", str(file))
    await page.wait_for_selector("text=offline")
    await page.wait_for_selector(".tl:has-text('charge_card')")


async def _pending_and_ended(page: Any, url: str, client: Client) -> None:
    """What an activity waits for; then cancelled and terminated from their pages, and the
    workflows say so.
    """
    handles = [
        await client.start_workflow(RefundSaga.run, number, id=f"refund-{number}", task_queue=QUEUE)
        for number in range(2)
    ]
    await page.goto(f"{url}/workflows/refund-0")
    cell = "section:has(h2:text-is('Pending activities')) td[data-label={}]"
    await page.wait_for_selector(
        f"{cell.format('Failure')}:has-text('BankError: the bank is closed')"
    )
    assert await page.locator(cell.format("Attempt")).inner_text() == "2"
    assert re.match(
        r"in (59 m|1 h)", await page.locator("td[data-label='Next retry']").inner_text()
    )
    await page.locator(f"{cell.format('Failure')} summary.bad").click()
    await page.wait_for_selector(
        f"{cell.format('Failure')} details[open] :text('the bank is closed')"
    )
    # The timeline shows the time to come: the second attempt is due, the first has no place of its
    # own.
    await page.wait_for_selector(".tl .attempt:has-text('attempt 2 in')")
    assert [
        await page.locator(f".tl rect.{kind}").count() for kind in ("tries", "backoff", "work")
    ] == [1, 1, 0]
    for number, (action, button, end) in enumerate(
        (
            ("Cancel", "Request cancellation", CancelledError),
            ("Terminate", "Terminate", TerminatedError),
        )
    ):
        await page.goto(f"{url}/workflows/refund-{number}")
        await page.click(f"a:text-is('{action}…')")
        await page.fill("#sheet input[name=reason]", "enough")
        await page.click(f"#sheet button:text-is('{button}')")
        await page.wait_for_selector(
            f"#run-live .knot.{'canceled' if action == 'Cancel' else 'terminated'}"
        )
        with pytest.raises(WorkflowFailureError) as failed:
            await handles[number].result()
        assert isinstance(failed.value.cause, end)


async def _queues(page: Any, url: str) -> None:
    await page.goto(f"{url}/queues/{QUEUE}")
    await page.wait_for_selector(".tag.good:has-text('running')")
    await page.wait_for_selector("td:has-text('worker-a')")
    await page.goto(f"{url}/services")
    await page.wait_for_selector("td:has-text('charge_card')")
    await page.goto(f"{url}/schemas")
    await page.click("a:text-is('StartWorkflow')")
    await page.wait_for_selector("#sheet pre:has-text('workflow_type')")


async def _dead_letter(page: Any, url: str, settings: Settings) -> None:
    """What nobody can read lies there with its reason, and goes back where it came from."""
    producer = Producer(producer_config(settings))
    topic = Topics(settings.namespace, settings.topic_prefix).events(QUEUE)
    producer.produce(topic, key=b"order/1", value=b"not a record at all")
    assert producer.flush(10) == 0

    async def shown() -> int:
        await page.goto(f"{url}/dead-letters?task_queue={QUEUE}")
        return int(await page.locator("tr[data-row]").count())

    while not await shown():  # ends by the test's own timeout
        await page.wait_for_timeout(300)
    await page.click("tr[data-row] a")
    await page.click("button:text-is('Put it back')")
    await page.wait_for_selector(".note:has-text('put back')")
    await page.click("dl.facts div:has(dt:text-is('Put back at')) a")  # it says where it stands now
    await page.wait_for_selector("#sheet h2:has-text('Undecodable record')")
    await page.wait_for_selector(f"#sheet :text('{topic}')")
    while await shown() < 2:  # it is no better there than before
        await page.wait_for_timeout(300)
