"""The end of a server whose broker is gone, with requests under way that wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from odradek.broker import QUICK_START, LocalBroker
from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin
from tests.support.server import get, running
from tests.support.until import until

pytestmark = pytest.mark.timeout(120)

API, OURS = "/api/v1/namespaces/default", "/api/odradek/v1"
#: Every way of waiting for a broker: offsets, members, an owner, a search, pages, the producer.
WAITING = (
    ("GET", f"{OURS}/task-queues", None),
    ("GET", f"{API}/task-queues/orders", None),
    ("GET", f"{API}/workflows/order-1", None),
    ("GET", f"{API}/workflows/order-1/history?waitNewEvent=true", None),
    ("GET", f"{OURS}/workflows/order-1/trail?task_queue=orders", None),
    ("GET", f"{OURS}/task-queues/orders/dead-letters", None),
    ("GET", "/queues", None),
    ("POST", f"{API}/workflows/order-1/signal/go?taskQueue=orders", {}),
    (
        "POST",
        f"{API}/workflows/order-2",
        {"workflowType": {"name": "Order"}, "taskQueue": {"name": "orders"}},
    ),
)


@pytest.fixture
def broker() -> Iterator[LocalBroker]:
    """One of this test's own, to be killed."""
    with LocalBroker(jvm_options=QUICK_START) as started:
        yield started


async def test_requests_that_wait_for_a_dead_broker_do_not_delay_the_end(
    broker: LocalBroker, tmp_path: Path
) -> None:
    """Within 2 s or what a busy machine needs, and each of them gets an answer: 503, not a lost
    connection.
    """
    ClusterAdmin(Settings(address=broker.bootstrap, partitions=2)).ensure_queue("orders")
    state = {"ODRADEK_STATE_DIR": str(tmp_path / "s")}
    with running(
        tmp_path / "1", "server", "--address", broker.bootstrap, "--port", "0", **state
    ) as one:
        url = one.line("ui")
        until(lambda: get(f"{url}/health/ready")[0] == 200)
        async with httpx.AsyncClient(base_url=url, timeout=30.0) as http:
            broker.kill()
            sent: set[str] = set()
            all_sent = asyncio.Event()

            async def ask(method: str, path: str, body: object) -> httpx.Response:
                async def note(event: str, _: object) -> None:
                    if event == "http11.send_request_body.complete":
                        sent.add(path)
                        if len(sent) == len(WAITING):
                            all_sent.set()

                return await http.request(method, path, json=body, extensions={"trace": note})

            under_way = {
                path: asyncio.create_task(ask(method, path, body)) for method, path, body in WAITING
            }
            await asyncio.wait_for(all_sent.wait(), 20)
            await asyncio.sleep(0.5)  # and taken up
            waiting = {path for path, task in under_way.items() if not task.done()}
            # Some give up after three seconds without an owner, in which a machine may stand still.
            assert len(waiting) > len(WAITING) // 2, waiting
            took_s = await asyncio.to_thread(one.end)
            for path, task in under_way.items():
                response = await task
                assert response.status_code == 503, (path, response.text)
                assert path not in waiting or "this server is ending" in response.text, (
                    path,
                    response.text,
                )
    assert took_s < 7.0 and one.process.returncode == 0, (took_s, one.said())
    assert "Traceback" not in one.errors.read_text(), one.said()
