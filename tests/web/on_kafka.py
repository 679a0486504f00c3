"""Real runs in a real browser: a worker over a real broker, the server as a process of its own,
one page of Chromium in front.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from odradek import activity, workflow
from odradek.client import Client
from odradek.common import RetryPolicy
from odradek.config import Settings
from odradek.exceptions import ApplicationError
from odradek.worker import Worker
from tests.kafka.test_web_server import server
from tests.web.conftest import NO_BROWSER, how_to_launch

QUEUE = "orders"


@activity.defn
async def charge_card(amount: int) -> str:
    if activity.info().attempt < 2:
        raise ApplicationError("gateway timeout", type="GatewayError")
    return f"charged {amount}"


@activity.defn
async def ask_the_bank(amount: int) -> str:
    """A bank that is closed for the rest of the test."""
    activity.heartbeat({"asked": amount})
    raise ApplicationError(
        "the bank is closed", type="BankError", next_retry_delay=timedelta(hours=1)
    )


@workflow.defn
class OrderSaga:
    """Charges (the second time it works), then waits to be approved."""

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


@workflow.defn
class RefundSaga:
    """Asks a bank that does not answer."""

    @workflow.run
    async def run(self, amount: int) -> str:
        return await workflow.execute_activity(
            ask_the_bank, amount, start_to_close_timeout=timedelta(seconds=20)
        )


@dataclass
class Seen:
    """What a test has: the browser and its page, the server's address, a client of the same
    cluster.
    """

    browser: Any
    page: Any
    url: str
    client: Client


@asynccontextmanager
async def seen(settings: Settings, folder: Path) -> AsyncIterator[Seen]:
    """All of it, until the test is over. A script of a page that fails, fails the test."""
    api = pytest.importorskip("playwright.async_api", reason=NO_BROWSER)
    async with server(settings, folder) as serving, api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(**how_to_launch(playwright))
        context = await browser.new_context(
            viewport={"width": 1280, "height": 820}, timezone_id="UTC", accept_downloads=True
        )
        context.set_default_timeout(25_000)
        page = await context.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        client = await Client.connect(settings=settings)
        async with Worker(
            client,
            task_queue=QUEUE,
            workflows=[OrderSaga, RefundSaga],
            activities=[charge_card, ask_the_bank],
        ):
            yield Seen(browser, page, serving.url, client)
        await browser.close()
        assert complaints == []
