"""Answers that are large: results and failures up to what `results` takes reach whoever asks, by
every way; others say why not.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from odradek import activity, cli, workflow
from odradek.client import (
    Client,
    RPCError,
    RPCStatusCode,
    WorkflowContinuedAsNewError,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHistoryEventFilterType,
    WorkflowQueryFailedError,
)
from odradek.common import RetryPolicy
from odradek.config import Settings
from odradek.exceptions import ApplicationError
from odradek.kafka.admin import ClusterAdmin
from odradek.wire.history import WorkflowExecutionCompleted
from odradek.worker import Worker
from tests.kafka.bad_input import described
from tests.kafka.test_web_server import answer, server
from tests.support.settings import settings_for
from tests.support.worker import QUEUE

# Just below what `results` takes (1,048,588 bytes), with key, headers and the other fields of the
# record.
LARGE = 1_046_000


@pytest.fixture
def settings(bootstrap: str, namespace: str, tmp_path: Path) -> Settings:
    return settings_for(bootstrap, namespace, tmp_path, rpc_timeout=timedelta(seconds=60))


@activity.defn
async def beats(size: int) -> None:
    """Fails for as long as it is tried; leaves a large heartbeat behind."""
    activity.heartbeat("h" * size)
    raise ApplicationError("f" * size)


@workflow.defn
class Ends:
    """Ends with something of the given size. Query `echo` gives so much."""

    @workflow.run
    async def run(self, how: str, size: int) -> str:
        if how == "fails":
            raise ApplicationError("d" * size, type="Large")
        if how == "continues":
            workflow.continue_as_new(args=["returns", size])
        if how == "beats":
            policy = RetryPolicy(initial_interval=timedelta(hours=1))
            options: dict[str, Any] = {
                "start_to_close_timeout": timedelta(minutes=1),
                "retry_policy": policy,
            }
            await asyncio.gather(
                *(workflow.execute_activity(beats, size, **options) for _ in range(20))
            )
        return "z" * size

    @workflow.query
    def echo(self, size: int) -> str:
        return "q" * size


@pytest.mark.promise("too-large")
@pytest.mark.parametrize("size", [899_900, 900_100, LARGE])
async def test_result_reaches_whoever_waits(client: Client, size: int) -> None:
    """The start that waits, a handle before and after the end, a chain followed and not."""
    async with Worker(client, task_queue=QUEUE, workflows=[Ends]):
        assert (
            await client.execute_workflow(
                Ends.run, args=["returns", size], id="executed", task_queue=QUEUE
            )
            == "z" * size
        )
        handle = await client.start_workflow(
            Ends.run, args=["returns", size], id="started", task_queue=QUEUE
        )
        assert await handle.result() == "z" * size
        assert await client.get_workflow_handle("started", task_queue=QUEUE).result() == "z" * size
        chain = await client.start_workflow(
            Ends.run, args=["continues", size], id="chain", task_queue=QUEUE
        )
        assert await chain.result() == "z" * size
        with pytest.raises(WorkflowContinuedAsNewError):
            await chain.result(follow_runs=False)


@pytest.mark.promise("too-large")
async def test_failure_reaches_whoever_waits(client: Client) -> None:
    async with Worker(client, task_queue=QUEUE, workflows=[Ends]):
        started = await client.start_workflow(
            Ends.run, args=["fails", LARGE - 1_500], id="failing", task_queue=QUEUE
        )
        again = client.get_workflow_handle("failing", task_queue=QUEUE)

        async def executed() -> None:
            await client.execute_workflow(
                Ends.run, args=["fails", LARGE - 1_500], id="failing-2", task_queue=QUEUE
            )

        for wait in (started.result, again.result, executed):
            with pytest.raises(WorkflowFailureError) as caught:
                await wait()
            assert isinstance(caught.value.cause, ApplicationError)
            assert (caught.value.cause.type, caught.value.cause.message) == (
                "Large",
                "d" * (LARGE - 1_500),
            )


@pytest.mark.promise("too-large")
async def test_result_over_http_from_the_command_line_and_in_the_history(
    client: Client,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with Worker(client, task_queue=QUEUE, workflows=[Ends]):
        handle = await client.start_workflow(
            Ends.run, args=["returns", LARGE], id="large", task_queue=QUEUE
        )
        closing = handle.fetch_history_events(
            wait_new_event=True, event_filter_type=WorkflowHistoryEventFilterType.CLOSE_EVENT
        )
        (event,) = [event async for event in closing]
        assert (
            isinstance(event.attributes, WorkflowExecutionCompleted)
            and len(event.attributes.result[0].data) == LARGE + 2
        )
        for name, value in (
            ("ADDRESS", settings.address),
            ("NAMESPACE", settings.namespace),
            ("STATE_DIR", str(tmp_path / "cli")),
        ):
            monkeypatch.setenv(f"ODRADEK_{name}", value)
        assert (
            await asyncio.to_thread(
                cli.main, ["workflow", "result", "-w", "large", "-t", QUEUE, "-o", "json"]
            )
            == 0
        )
        assert json.loads(capsys.readouterr().out)["result"] == "z" * LARGE
        async with server(settings, tmp_path) as serving, serving.client() as http:
            path = f"/api/v1/namespaces/{settings.namespace}/workflows/large/history"
            asked = {
                "waitNewEvent": "true",
                "historyEventFilterType": "HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT",
            }
            (closed,) = answer(await http.get(path, params=asked))["history"]["events"]
            assert closed["workflowExecutionCompletedEventAttributes"]["result"] == ["z" * LARGE]


@pytest.mark.promise("too-large")
async def test_query_result_up_to_what_replies_take(client: Client) -> None:
    """`replies` takes 16 MiB; what is larger fails the query alone, with size, limit, topic and
    the setting's name.
    """
    async with Worker(client, task_queue=QUEUE, workflows=[Ends]):
        handle = await client.start_workflow(
            Ends.run, args=["returns", 1], id="asked", task_queue=QUEUE
        )
        for size in (900_100, 1_100_000, 5_000_000):
            assert await handle.query(Ends.echo, size) == "q" * size
        with pytest.raises(WorkflowQueryFailedError) as caught:
            await handle.query(Ends.echo, 17_000_000)
        topic = ClusterAdmin(client.settings).topics.replies
        for word in ("170", "16776192", topic, "max.message.bytes"):
            assert word in str(caught.value), caught.value
        assert await handle.query(Ends.echo, 3) == "qqq", "the next one is answered"


@pytest.mark.promise("too-large")
async def test_replies_that_take_less_than_results(client: Client) -> None:
    """An administrator's doing: the run completes, its result is in `results`; who waits hears
    both limits, and does not wait for ever.
    """
    async with Worker(client, task_queue=QUEUE, workflows=[Ends]):
        assert (
            await client.execute_workflow(
                Ends.run, args=["returns", 1], id="small", task_queue=QUEUE
            )
            == "z"
        )
    replies = ClusterAdmin(client.settings).topics.replies
    admin = AdminClient({"bootstrap.servers": client.settings.address})
    change = ConfigEntry("max.message.bytes", "500000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, replies, incremental_configs=[change])
    admin.incremental_alter_configs([resource])[resource].result(20)
    async with Worker(client, task_queue=QUEUE, workflows=[Ends]):
        handle = await client.start_workflow(
            Ends.run, args=["returns", 600_000], id="large", task_queue=QUEUE
        )
        with pytest.raises(RPCError) as caught:
            await handle.result()
        assert caught.value.status is RPCStatusCode.RESOURCE_EXHAUSTED
        for word in (
            "600",
            "498976",
            replies,
            "max.message.bytes",
            ClusterAdmin(client.settings).topics.results,
        ):
            assert word in str(caught.value), caught.value
        assert (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED


@pytest.mark.promise("too-large")
async def test_run_with_large_pending_activities_is_described_and_found(client: Client) -> None:
    """Twenty heartbeats and failures of a million bytes are more than a reply takes: some are
    cut short, the run is described.
    """
    async with Worker(client, task_queue=QUEUE, workflows=[Ends], activities=[beats]):
        handle = await client.start_workflow(
            Ends.run, args=["beats", 500_000], id="pending", task_queue=QUEUE
        )
        found = await described(
            handle, lambda d: [a.attempt for a in d.raw_description.pending_activities] == [2] * 20
        )
        pending = found.raw_description.pending_activities
        whole = [
            a
            for a in pending
            if a.last_failure is not None and len(a.last_failure.message) == 500_000
        ]
        cut = [
            a
            for a in pending
            if a.last_failure is not None
            and a.last_failure.message.startswith("ff")
            and a not in whole
        ]
        assert whole and cut and len(whole) + len(cut) == 20
        assert cut[-1].last_failure is not None and "cut short" in cut[-1].last_failure.message
        assert (
            await client.get_workflow_handle("pending").describe()
        ).status is WorkflowExecutionStatus.RUNNING, "found by its id"
