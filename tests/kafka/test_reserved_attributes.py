"""Search attributes named like the system's, from end to end: refused to client and Temporal's
HTTP API, lists stay whole.
"""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import httpx
import pytest

from odradek import workflow
from odradek.client import Client, RPCError, RPCStatusCode
from odradek.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from odradek.config import Settings
from odradek.worker import Worker
from tests.support.server import running
from tests.support.until import until

pytestmark = pytest.mark.timeout(120)
QUEUE = "orders"
API = "/api/v1/namespaces/default"


@workflow.defn
class Upserts:
    @workflow.run
    async def run(self) -> None:
        workflow.upsert_search_attributes(
            [SearchAttributeKey.for_keyword("RunId").value_set("mine")]
        )


def attributes(name: str) -> TypedSearchAttributes:
    return TypedSearchAttributes([SearchAttributePair(SearchAttributeKey.for_keyword(name), "x")])


async def test_they_are_refused_and_every_list_stays_whole(
    bootstrap: str, namespace: str, tmp_path: Path
) -> None:
    settings = Settings(
        address=bootstrap, namespace=namespace, partitions=1, state_dir=tmp_path / "worker"
    )
    client = await Client.connect(settings=settings)
    payload = {
        "metadata": {"encoding": base64.b64encode(b"json/plain").decode()},
        "data": base64.b64encode(b'"x"').decode(),
    }
    body = {"workflowType": {"name": "Upserts"}, "taskQueue": {"name": QUEUE}}
    command = ("server", "--address", bootstrap, "--namespace", namespace, "--port", "0")
    with running(
        tmp_path / "server", *command, ODRADEK_STATE_DIR=str(tmp_path / "state")
    ) as server:
        url = await asyncio.to_thread(server.line, "ui")
        api = API.replace("default", namespace)
        async with (
            Worker(client, task_queue=QUEUE, workflows=[Upserts]),
            httpx.AsyncClient(base_url=url, timeout=30.0) as http,
        ):
            with pytest.raises(
                RPCError, match="WorkflowId attribute can't be set in SearchAttributes"
            ) as caught:
                await client.start_workflow(
                    "Upserts",
                    id="typed",
                    task_queue=QUEUE,
                    search_attributes=attributes("WorkflowId"),
                )
            assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT
            refused = await http.post(
                f"{api}/workflows/by-http",
                json={**body, "searchAttributes": {"indexedFields": {"ExecutionStatus": payload}}},
            )
            assert (
                refused.status_code == 400
                and "ExecutionStatus attribute can't be set" in refused.text
            )
            handle = await client.start_workflow(
                "Upserts", id="good", task_queue=QUEUE, search_attributes=attributes("Zone")
            )

            def failing() -> bool:
                found = (
                    httpx.get(f"{url}/api/odradek/v1/workflows/good", timeout=30.0)
                    .json()
                    .get("pending_task_failure")
                )
                return (
                    bool(found)
                    and "RunId attribute can't be set in SearchAttributes" in found["message"]
                )

            def listed() -> bool:
                return httpx.get(f"{url}/runs", timeout=30.0).text.count('<tr data-row="') == 1

            await asyncio.to_thread(until, failing)
            await asyncio.to_thread(until, listed)
            page = (await http.get("/runs")).text
            assert ">good</a>" in page and "Running" in page and ">Workflow ID" in page
            known = (await http.get(f"{api}/search-attributes")).json()
            assert known["customAttributes"] == {"Zone": "INDEXED_VALUE_TYPE_KEYWORD"}
            await handle.terminate()
