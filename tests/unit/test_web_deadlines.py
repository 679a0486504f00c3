"""Everything that waits has a deadline: no owner, no answer of a broker, no read side. What is
asked ends soon, and says who is silent.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from odradek.web.options import ServerOptions
from tests.unit.web_server import summary
from tests.unit.web_ui import UiServer

N = "/api/v1/namespaces/default/workflows/order-1"
OURS = "/api/odradek/v1"
RUN = "/workflows/order-1/run-of-order-1"
#: Far above the deadlines of these tests, with which this machine may stand still for seconds; far
#: below the limit of all requests.
SOON_S = 60.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[UiServer]:
    options = ServerOptions(
        request_timeout_s=0.4,
        long_poll_s=0.3,
        search_timeout_s=0.4,
        request_limit_s=600.0,
        keep_alive_s=0.2,
    )
    web = UiServer(tmp_path, options, rpc_timeout=0.4)
    web.add(summary("order-1"))
    yield web
    web.store.close()


@pytest.fixture
def limited(server: UiServer) -> UiServer:
    server.context.options = replace(server.context.options, request_limit_s=1.5)
    return server


async def all_asked(web: UiServer, *requests: tuple[str, str]) -> list[tuple[str, Any]]:
    """Path and answer of each; they wait beside each other."""
    began_s = time.monotonic()
    async with web.client(timeout=SOON_S, follow_redirects=True) as client:
        waiting = [
            client.request(method, path, json={} if method == "POST" else None)
            for method, path in requests
        ]
        answers = await asyncio.gather(*waiting)
    assert time.monotonic() - began_s < SOON_S
    return [(path, answer) for (_, path), answer in zip(requests, answers, strict=True)]


async def test_an_owner_that_is_down_is_503_with_its_queue(server: UiServer) -> None:
    server.owner.muted = True
    server.transport.living.clear()
    for path, silent in await all_asked(
        server,
        ("GET", N),
        ("GET", f"{N}/history"),
        ("GET", f"{N}/history?waitNewEvent=true"),
        ("GET", f"{N}/history?historyEventFilterType=2&waitNewEvent=true"),
        ("GET", f"{N}/history-reverse"),
        ("POST", f"{N}/query/state"),
        ("POST", f"{N}/activities/1/complete"),
        ("POST", f"{N}/activities/1/fail"),
        ("POST", f"{N}/activities/1/heartbeat"),
        ("POST", f"{N}/activities/1/resolve-as-canceled"),
        ("GET", f"{OURS}/workflows/order-1"),
        ("GET", f"{OURS}/workflows/order-1/history"),
    ):
        assert silent.status_code == 503 and "'orders'" in silent.json()["message"], (
            path,
            silent.text,
        )


async def test_pages_say_it_too(server: UiServer) -> None:
    server.owner.muted = True
    server.transport.living.clear()
    for path, silent in await all_asked(
        server,
        ("GET", f"{RUN}/history"),
        ("GET", f"{RUN}/events/1"),
        ("GET", f"{RUN}/history.json"),
    ):
        assert (
            silent.status_code == 503
            and "orders" in silent.text
            and silent.headers["content-type"].startswith("text/html")
        ), path


async def test_pages_with_something_to_show_show_it(server: UiServer) -> None:
    server.owner.muted = True
    server.transport.living.clear()
    for path, page in await all_asked(
        server, ("GET", RUN), ("GET", f"{RUN}/call-stack"), ("GET", f"{RUN}/queries?type=state")
    ):
        assert (
            page.status_code == 200 and "order-1" in page.text and "does not answer" in page.text
        ), path


async def test_a_batch_ends_without_owners(server: UiServer) -> None:
    """Each request is accepted into the log; nobody waits for an owner for ever."""
    server.owner.muted = True
    server.transport.living.clear()
    async with server.client(timeout=SOON_S, follow_redirects=True) as client:
        preview = await client.post(
            "/batches/preview", data={"action": "cancel", "scope": "query", "query": ""}
        )
        fields = dict(_hidden(preview.text))
        began = await client.post("/batches", data={**fields, "reason": "x"})
        deadline_s = time.monotonic() + SOON_S
        while "data-finished" not in began.text:
            assert time.monotonic() < deadline_s, began.text
            await asyncio.sleep(0.02)
            began = await client.get(str(began.url))
    assert "<dt>Accepted, no owner yet</dt><dd>1</dd>" in began.text


def _hidden(html: str) -> list[tuple[str, str]]:
    pairs = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)"', html)
    return [(name, unescape(value)) for name, value in pairs]


# ---------------------------------------------------------------- brokers and read side that do not
# answer


class Stuck:
    """Stands for a part whose broker says nothing: every call blocks until the test is over."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.topics = None

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            self.over.wait(100)
            raise AssertionError("the test is over")

        return call


async def test_a_broker_that_says_nothing_ends_at_the_limit(limited: UiServer) -> None:
    stuck: Any = Stuck()
    limited.context.queues = limited.context.records = limited.context.dead_letters = stuck
    paths = (
        f"{OURS}/task-queues",
        f"{OURS}/task-queues/orders",
        f"{OURS}/records/odradek.default.orders.events/0/1",
        f"{OURS}/task-queues/orders/dead-letters",
        f"{OURS}/workflows/order-1/trail",
        "/api/v1/namespaces/default/task-queues/orders",
        "/queues",
        "/dead-letters",
    )
    try:
        answers = await all_asked(limited, *(("GET", path) for path in paths))
    finally:
        stuck.over.set()
    for path, late in answers:
        assert late.status_code == 504, (path, late.text)


async def test_the_dashboard_does_without_queues_that_do_not_answer(server: UiServer) -> None:
    stuck: Any = Stuck()
    server.context.queues = stuck
    server.context.options = ServerOptions(request_limit_s=30.0)
    try:
        ((_, page),) = await all_asked(server, ("GET", "/dashboard"))
    finally:
        stuck.over.set()
    assert page.status_code == 200 and "By workflow type" in page.text


async def test_a_read_side_that_says_nothing_ends_at_the_limit(limited: UiServer) -> None:
    stuck: Any = Stuck()
    limited.context.read_side = lambda: stuck
    paths = (
        "/api/v1/namespaces/default/workflows",
        f"{OURS}/workflows",
        f"{OURS}/statistics",
        "/runs",
        "/dashboard",
    )
    try:
        answers = await all_asked(limited, *(("GET", path) for path in paths))
    finally:
        stuck.over.set()
    for path, late in answers:
        assert late.status_code == 504, (path, late.text)


async def test_what_has_no_deadline_of_its_own_ends_at_the_limit(limited: UiServer) -> None:
    """Whatever a route waits for: there is one limit around all of them. A page for a person,
    JSON for a program; streams go on.
    """

    async def hangs(request: Any) -> Any:
        await asyncio.sleep(600)

    limited.app.router.routes.insert(0, Route("/hangs", hangs))
    async with limited.client(timeout=SOON_S) as client:
        late, page = await asyncio.gather(
            client.get("/hangs"), client.get("/hangs", headers={"Accept": "text/html"})
        )
    assert late.status_code == page.status_code == 504
    assert late.json()["code"] == 4 and "longer than this server allows" in late.json()["message"]
    assert (
        "longer than this server allows" in page.text and "content-security-policy" in page.headers
    )
