"""Activities that are completed over HTTP, on real Kafka: by ids, and by the task token that the
activity gave away.
"""

from __future__ import annotations

import base64
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from odradek import activity, workflow
from odradek.client import Client
from odradek.common import RetryPolicy
from odradek.config import Settings
from odradek.worker import Worker
from tests.kafka.test_web_server import answer, server
from tests.support.until import until_async

pytestmark = pytest.mark.timeout(180)
QUEUE = "approvals"
TOKENS: list[bytes] = []


@activity.defn
async def ask_a_person(what: str) -> str:
    TOKENS.append(activity.info().task_token)
    activity.raise_complete_async()


@workflow.defn
class Approval:
    @workflow.run
    async def run(self, what: str) -> str:
        answered: str = await workflow.execute_activity(
            ask_a_person,
            what,
            activity_id="ask/1",
            start_to_close_timeout=timedelta(minutes=5),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=50)),
        )
        return answered


@pytest.fixture
def settings(bootstrap: str, namespace: str, tmp_path: Path) -> Settings:
    return Settings(
        address=bootstrap,
        namespace=namespace,
        state_dir=tmp_path / "worker",
        partitions=2,
        replication_factor=1,
        identity="tester",
    )


async def test_completed_over_http(settings: Settings, tmp_path: Path) -> None:
    api = f"/api/v1/namespaces/{settings.namespace}"
    TOKENS.clear()
    client = await Client.connect(settings=settings)
    async with (
        server(settings, tmp_path) as serving,
        serving.client() as http,
        Worker(client, task_queue=QUEUE, workflows=[Approval], activities=[ask_a_person]),
    ):
        by_id = await client.start_workflow(Approval.run, "tea", id="approval-1", task_queue=QUEUE)
        path = f"{api}/workflows/approval-1/activities/ask%2F1"

        async def pending(workflow_id: str, attempt: int) -> Any:
            described = answer(await http.get(f"{api}/workflows/{workflow_id}"))
            found = described.get("pendingActivities", [{}])[0]
            return (
                found
                if found.get("attempt") == attempt
                and found["state"] == "PENDING_ACTIVITY_STATE_STARTED"
                else None
            )

        await until_async(lambda: pending("approval-1", 1))
        assert answer(await http.post(f"{path}/heartbeat", json={"details": ["asked"]})) == {}

        async def heard() -> Any:
            return (await pending("approval-1", 1) or {}).get("heartbeatDetails") == ["asked"]

        await until_async(heard)
        assert (
            answer(
                await http.post(
                    f"{path}/fail",
                    json={"failure": {"message": "not now", "applicationFailureInfo": {}}},
                )
            )
            == {}
        )
        again = await until_async(
            lambda: pending("approval-1", 2)
        )  # the engine decided to try again
        assert again["lastFailure"]["message"] == "not now"
        assert answer(await http.post(f"{path}/complete", json={"result": ["yes"]})) == {}
        assert await by_id.result() == "yes"
        assert (await http.post(f"{path}/complete", json={})).status_code == 404

        by_token = await client.start_workflow(
            Approval.run, "mug", id="approval-2", task_queue=QUEUE
        )
        await until_async(lambda: pending("approval-2", 1))
        body = {"taskToken": base64.b64encode(TOKENS[-1]).decode(), "result": ["of course"]}
        assert answer(await http.post(f"{api}/activity-complete", json=body)) == {}
        assert await by_token.result() == "of course"

        # What was completed from outside names its command too: its Started said where it stood.
        history = answer(await http.get("/api/odradek/v1/workflows/approval-2/history"))
        [command] = {
            str(event["command"])
            for event in history["events"]
            if event["event_type"].startswith("ActivityTask")
        }
        assert ".approvals.commands" in command

        async def both() -> Any:
            found = answer(
                await http.get(f"{api}/workers", params={"query": f"TaskQueue = '{QUEUE}'"})
            )["workers"]
            return found if len(found) == 2 else None

        assert {one["workerIdentity"] for one in await until_async(both)} == {"tester"}
    client.close()
