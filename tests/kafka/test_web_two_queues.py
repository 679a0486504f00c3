"""One workflow id in two task queues, on real Kafka: both of two servers refuse it from the
first moment on, and neither run is touched.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from odradek.client import Client
from odradek.config import Settings
from odradek.worker import Worker
from tests.kafka.test_web_server import Counter, answer, server
from tests.support.until import until_async

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def settings(bootstrap: str, namespace: str, tmp_path: Path) -> Settings:
    return Settings(
        address=bootstrap,
        namespace=namespace,
        state_dir=tmp_path / "worker",
        partitions=2,
        replication_factor=1,
    )


async def test_both_servers_refuse_it_at_once(settings: Settings, tmp_path: Path) -> None:
    api = f"/api/v1/namespaces/{settings.namespace}"
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    client = await Client.connect(settings=settings)
    async with (
        Worker(client, task_queue="first", workflows=[Counter]),
        Worker(client, task_queue="second", workflows=[Counter]),
        server(settings, folders[0]) as one,
        server(settings, folders[1]) as other,
        one.client() as http,
        other.client() as there,
    ):

        async def both_live(client: httpx.AsyncClient) -> bool:
            queues = answer(await client.get("/api/odradek/v1/task-queues"))["task_queues"]
            return {queue["name"] for queue in queues if queue["served"]} == {"first", "second"}

        async def start(client: httpx.AsyncClient, workflow_id: str, queue: str) -> None:
            body = {"workflowType": {"name": "Counter"}, "taskQueue": {"name": queue}}
            assert (
                answer(await client.post(f"{api}/workflows/{workflow_id}", json=body))["started"]
                is True
            )

        async def refusals(workflow_id: str) -> None:
            base = f"{api}/workflows/{workflow_id}"
            for client in (http, there):
                asked = [
                    client.get(f"{base}{path}")
                    for path in ("", "/history", "/history?waitNewEvent=true")
                ]
                asked += [
                    client.post(f"{base}/{path}", json={})
                    for path in ("query/total", "signal/add", "cancel", "terminate")
                ]
                for response in await asyncio.gather(*asked):
                    assert (
                        response.status_code == 400
                        and "'first', 'second'" in response.json()["message"]
                    ), response.text

        for client_ in (http, there):
            await until_async(lambda client=client_: both_live(client))  # type: ignore[misc]
        for number in range(5):  # before either read side can know of the second one
            workflow_id = f"twice-{number}"
            await start(http, workflow_id, "first")
            assert (
                answer(await http.get(f"{api}/workflows/{workflow_id}"))["executionConfig"][
                    "taskQueue"
                ]["name"]
                == "first"
            )
            await start(there, workflow_id, "second")
            await refusals(workflow_id)
            for queue in ("first", "second"):
                described = answer(
                    await there.get(f"{api}/workflows/{workflow_id}?taskQueue={queue}")
                )
                assert (
                    described["workflowExecutionInfo"]["status"]
                    == "WORKFLOW_EXECUTION_STATUS_RUNNING"
                )

        # With one of them closed it still has two; and once its run is deleted there is one.
        assert (
            answer(await there.post(f"{api}/workflows/twice-0/terminate?taskQueue=second", json={}))
            == {}
        )
        await refusals("twice-0")
        await client.get_workflow_handle("twice-0", task_queue="second").delete()
        for client_ in (http, there):

            async def one_is_left(client: httpx.AsyncClient = client_) -> bool:
                return (await client.get(f"{api}/workflows/twice-0")).status_code == 200

            await until_async(one_is_left)
            assert (
                answer(
                    await client_.post(f"{api}/workflows/twice-0/signal/add", json={"input": [1]})
                )
                == {}
            )
    client.close()
