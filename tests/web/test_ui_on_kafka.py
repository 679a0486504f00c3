"""The UI on real runs: a real broker, a real worker, the server as its own process, Chromium in front.

Everything an operator does on a page is done here once, and looked up where it must have arrived: in the workflow, in Kafka.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from odradek import activity, workflow
from odradek.client import Client, WorkflowFailureError
from odradek.common import RetryPolicy
from odradek.config import Settings
from odradek.exceptions import ApplicationError, CancelledError, TerminatedError
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import producer_config
from odradek.wire.topics import Topics
from odradek.worker import Worker
from tests.kafka.test_web_server import server
from tests.web.conftest import NO_BROWSER, how_to_launch, keep_async

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]
QUEUE = "orders"


@activity.defn
async def charge_card(amount: int) -> str:
    if activity.info().attempt < 2:
        raise ApplicationError("gateway timeout", type="GatewayError")
    return f"charged {amount}"


@workflow.defn
class OrderSaga:
    def __init__(self) -> None:
        self.approved = ""

    @workflow.run
    async def run(self, amount: int) -> str:
        receipt: str = await workflow.execute_activity(
            charge_card,
            amount,
            start_to_close_timeout=timedelta(seconds=20),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=50)),
        )
        await workflow.wait_condition(lambda: bool(self.approved), timeout=timedelta(hours=1))
        return f"{receipt}, approved by {self.approved}"

    @workflow.signal
    def approve(self, by: str) -> None:
        self.approved = by

    @workflow.query
    def state(self, label: str) -> str:
        return f"{label}: {self.approved or 'waiting'}"


@pytest.fixture
def settings(bootstrap: str, namespace: str, tmp_path: Path) -> Settings:
    return Settings(
        address=bootstrap, namespace=namespace, state_dir=tmp_path / "worker", partitions=2, replication_factor=1, identity="worker-a"
    )


async def test_seen_and_steered_in_a_browser(settings: Settings, tmp_path: Path) -> None:
    api = pytest.importorskip("playwright.async_api", reason=NO_BROWSER)
    async with server(settings, tmp_path) as serving, api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(**how_to_launch(playwright))
        context = await browser.new_context(viewport={"width": 1280, "height": 820}, timezone_id="UTC", accept_downloads=True)
        context.set_default_timeout(25_000)
        page = await context.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        client = await Client.connect(settings=settings)
        async with Worker(client, task_queue=QUEUE, workflows=[OrderSaga], activities=[charge_card]):
            await _list_and_run(page, serving.url, client)
            await _questions(page, serving.url)
            await _kafka_beside(page, settings)
            await _signal(page, client)
            await _download_and_import(page, serving.url, tmp_path)
            await _batch(page, serving.url, client)
            await _queues(page, serving.url)
            await _dead_letter(page, serving.url, settings)
            await page.goto(f"{serving.url}/dashboard")
            await page.wait_for_selector(".figure:has-text('Started') .big:text-is('6')")
        await browser.close()
        assert complaints == []


async def _list_and_run(page: Any, url: str, client: Client) -> None:
    """A run appears in the open list by itself; its page has all there is."""
    await page.goto(f"{url}/runs")
    await page.wait_for_selector("#pulse[data-state=live]")
    await client.start_workflow(OrderSaga.run, 42, id="order/1", task_queue=QUEUE)
    await page.click("a:text-is('order/1')")
    await page.wait_for_selector("h1:has-text('order/1')")
    await page.wait_for_selector(".tl:has-text('charge_card') .attempt:has-text('attempt 2')")  # it failed once
    await page.wait_for_selector("h2:has-text('Pending timers')")
    await page.wait_for_selector("dt:has-text('Partition')")


async def _questions(page: Any, url: str) -> None:
    """Call stack, and a query with an argument."""
    await page.click("a:text-is('Call stack')")
    await page.wait_for_selector("pre:has-text('wait_condition')")
    await page.click("a:text-is('Queries')")
    await page.wait_for_selector("button:text-is('state')")  # the workflow's code says which queries it answers
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
    await page.wait_for_selector(f"#sheet :text('{Topics(settings.namespace, settings.topic_prefix).events(QUEUE)}')")
    await page.keyboard.press("Escape")
    # And from what was scheduled to its command, as the service that read it said.
    await page.click("details.ev:has-text('Activity task scheduled') .came a")
    await page.wait_for_selector("#sheet h2:has-text('ActivityTask')")
    await page.wait_for_selector(f"#sheet :text('{Topics(settings.namespace, settings.topic_prefix).commands(QUEUE)}')")
    await page.keyboard.press("Escape")
    await page.click("a:text-is('Records in Kafka')")
    for kind in ("StartWorkflow", "ActivityTask", "ActivityTaskCompleted", "ExecutionSummary"):
        await page.wait_for_selector(f"tr:has-text('{kind}')")
    await _command_deleted(page, settings)


async def _command_deleted(page: Any, settings: Settings) -> None:
    """As its service does within seconds: the trail and the link to it say what is known, and why the record is gone."""
    admin = ClusterAdmin(settings)
    topic = admin.topics.commands(QUEUE)
    admin.delete_records({(topic, number): end for number, end in admin.end_offsets(topic, range(2), committed=True).items() if end})
    await page.reload()
    await page.wait_for_selector(".note:has-text('1 command known from the history: commands are deleted once they are acknowledged')")
    await page.wait_for_selector(".note:has-text('1 more command deleted likewise')")  # of the attempt that failed
    await keep_async(page, "trail")
    await page.click("tr.gone a")
    await page.wait_for_selector("#sheet h2:has-text('This record is not there')")
    await page.wait_for_selector("#sheet .note:has-text('once the service has acknowledged them')")
    await page.wait_for_selector("#sheet pre:has-text('charge_card')")
    assert await page.locator("#sheet :text('Try again')").count() == 0
    await keep_async(page, "record-deleted")
    await page.keyboard.press("Escape")


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
    assert await client.get_workflow_handle("order/1").result() == "charged 42, approved by the boss"
    await keep_async(page, "completed")


async def _download_and_import(page: Any, url: str, folder: Path) -> None:
    async with page.expect_download() as waiting:
        await page.click("a:text-is('Download history')")
    file = folder / "history.json"
    await (await waiting.value).save_as(file)
    assert json.loads(file.read_text())["events"][0]["eventType"] == "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED"
    await page.goto(f"{url}/import")
    await page.set_input_files("#import-file", str(file))
    await page.wait_for_selector("text=offline")
    await page.wait_for_selector(".tl:has-text('charge_card')")


async def _batch(page: Any, url: str, client: Client) -> None:
    """Cancel four by a query, terminate one by its page; counts follow."""
    handles = [await client.start_workflow(OrderSaga.run, number, id=f"batch-{number}", task_queue=QUEUE) for number in range(5)]
    await page.goto(f"{url}/runs")
    await page.wait_for_selector("[data-status=Running] .count:text-is('5')")
    await page.click("a:text-is('batch-4')")
    await page.click("a:text-is('Terminate…')")
    await page.fill("#sheet input[name=reason]", "enough")
    await page.click("#sheet button:text-is('Terminate')")
    await page.wait_for_selector("#run-live .knot.terminated")
    await page.goto(f"{url}/runs?query=WorkflowId+STARTS_WITH+'batch-'")
    await page.click("button:text-is('Cancel…')")
    await page.wait_for_selector("h1:has-text('Cancel 4 open runs?')")
    await page.fill("input[name=confirm]", "cancel")
    await page.click("button:text-is('Cancel 4')")
    await page.wait_for_selector("h1:has-text('finished')")
    await page.goto(f"{url}/runs")
    await page.wait_for_selector("[data-status=Canceled] .count:text-is('4')")
    for number, handle in enumerate(handles):
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
        assert isinstance(failed.value.cause, TerminatedError if number == 4 else CancelledError)


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
