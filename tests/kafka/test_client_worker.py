"""The client and a real worker, in one process: what a user does with a workflow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from odradek.client import (
    Client,
    RPCError,
    RPCStatusCode,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHistory,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from odradek.common import QueryRejectCondition, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from odradek.config import Settings
from odradek.exceptions import (
    ApplicationError,
    CancelledError,
    TerminatedError,
    WorkflowAlreadyStartedError,
)
from odradek.worker import Worker
from tests.kafka.client_workflows import ACTIVITIES, WORKFLOWS, Buy, Gate, Order, Outside
from tests.support.until import until_async


@pytest.fixture
async def client(bootstrap: str, namespace: str, tmp_path: Path) -> AsyncIterator[Client]:
    settings = Settings(
        address=bootstrap,
        namespace=namespace,
        partitions=2,
        state_dir=tmp_path,
        rpc_timeout=timedelta(seconds=30),
    )
    client = await Client.connect(settings=settings)
    async with client, Worker(client, task_queue="q", workflows=WORKFLOWS, activities=ACTIVITIES):
        yield client


async def test_start_to_result(client: Client) -> None:
    order = await client.execute_workflow(Buy.run, Order("spool", 2), id="b1", task_queue="q")
    assert order == Order("spool", 2)
    with pytest.raises(WorkflowFailureError) as caught:
        await client.execute_workflow(Buy.run, Order("spool", -1), id="b2", task_queue="q")
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError) and (cause.message, cause.type, cause.details) == (
        "less than nothing",
        "BadOrder",
        (-1,),
    )


async def test_signals_queries_and_what_closed_runs_say(client: Client) -> None:
    handle = await client.start_workflow(
        Gate.run, id="g", task_queue="q", memo={"shop": 1}, static_summary="a gate"
    )
    await handle.signal(Gate.say, "one")
    await handle.signal(Gate.say, "two")
    assert await handle.query(Gate.heard) == ["one", "two"], (
        "a query sees every signal acknowledged before it"
    )
    with pytest.raises(WorkflowQueryFailedError, match="heard"):
        await handle.query("nothing")
    description = await handle.describe()
    assert (
        description.status == WorkflowExecutionStatus.RUNNING
        and description.run_id == handle.result_run_id
    )
    assert (
        await description.memo() == {"shop": 1} and await description.static_summary() == "a gate"
    )
    await handle.signal(Gate.finish)
    assert await handle.result() == ["one", "two"]
    assert await client.get_workflow_handle_for(Gate.run, "g").result() == ["one", "two"]
    assert await handle.query(Gate.heard) == ["one", "two"], "closed runs answer"
    with pytest.raises(WorkflowQueryRejectedError) as rejected:
        await handle.query(Gate.heard, reject_condition=QueryRejectCondition.NOT_OPEN)
    assert rejected.value.status == WorkflowExecutionStatus.COMPLETED
    await handle.cancel()  # as Temporal: a success that changes nothing
    for call in (handle.signal(Gate.finish), handle.terminate()):
        with pytest.raises(RPCError) as caught:
            await call
        assert caught.value.status == RPCStatusCode.NOT_FOUND
    described = await handle.describe()
    assert (
        described.status == WorkflowExecutionStatus.COMPLETED and described.close_time is not None
    )


async def test_cancel_and_terminate(client: Client) -> None:
    cancelled = await client.start_workflow(Gate.run, id="c", task_queue="q")
    await cancelled.cancel(reason="enough")
    with pytest.raises(WorkflowFailureError) as caught:
        await cancelled.result()
    assert isinstance(caught.value.cause, CancelledError)
    terminated = await client.start_workflow(Gate.run, id="t", task_queue="q")
    await terminated.terminate("detail", 2, reason="no more")
    with pytest.raises(WorkflowFailureError) as caught:
        await terminated.result()
    assert isinstance(caught.value.cause, TerminatedError)
    assert (str(caught.value.cause), list(caught.value.cause.details)) == ("no more", ["detail", 2])


async def test_id_policies(client: Client) -> None:
    first = await client.start_workflow(Gate.run, id="p", task_queue="q")
    with pytest.raises(WorkflowAlreadyStartedError) as caught:
        await client.start_workflow(Gate.run, id="p", task_queue="q")
    assert caught.value.run_id == first.result_run_id
    same = await client.start_workflow(
        Gate.run, id="p", task_queue="q", id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING
    )
    assert same.result_run_id == first.result_run_id
    signalled = await client.start_workflow(
        Gate.run, id="p", task_queue="q", start_signal="say", start_signal_args=["hello"]
    )
    assert signalled.result_run_id == first.result_run_id and await first.query(Gate.heard) == [
        "hello"
    ]
    second = await client.start_workflow(
        Gate.run,
        id="p",
        task_queue="q",
        id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING,
    )
    assert second.result_run_id != first.result_run_id
    with pytest.raises(WorkflowFailureError) as failed:
        await first.result()
    assert isinstance(failed.value.cause, TerminatedError)
    # The handle of the first start must not touch the later chain.
    with pytest.raises(RPCError) as refused:
        await first.cancel()
    assert refused.value.status == RPCStatusCode.NOT_FOUND
    await second.signal(Gate.finish)
    await second.result()
    with pytest.raises(WorkflowAlreadyStartedError):
        await client.start_workflow(
            Gate.run, id="p", task_queue="q", id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE
        )


async def test_histories(client: Client) -> None:
    handle = await client.start_workflow(Buy.run, Order("a", 1), id="h", task_queue="q")
    seen = [
        event.event_id
        async for event in handle.fetch_history_events(wait_new_event=True, page_size=3)
    ]
    assert seen == list(range(1, len(seen) + 1)) and len(seen) >= 8
    history = await handle.fetch_history()
    assert (
        history.run_id == handle.result_run_id
        and [event.event_id for event in history.events] == seen
    )
    written = history.to_json_dict()
    assert written["events"][0]["eventType"] == "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED"
    assert WorkflowHistory.from_json("h", history.to_json()).to_json_dict() == written


async def test_activity_completed_from_outside(client: Client) -> None:
    handle = await client.start_workflow(Outside.run, id="o", task_queue="q")
    outside = client.get_async_activity_handle(workflow_id="o", activity_id="out")

    async def runs() -> bool:
        description = await handle.describe()
        return any(
            one.activity_id == "out" and one.state == "STARTED"
            for one in description.pending_activities
        )

    await until_async(runs)
    await outside.heartbeat(1)
    await outside.complete("from outside")
    assert await handle.result() == "from outside"


async def test_unknown_ids(client: Client) -> None:
    await client.execute_workflow(Buy.run, Order("a", 1), id="some", task_queue="q")
    for call in (
        client.get_workflow_handle("none").describe(),
        client.get_workflow_handle("none").result(),
        client.get_workflow_handle("none", task_queue="q").signal("s"),
        client.get_workflow_handle(
            "some", run_id="00000000-0000-0000-0000-000000000000", task_queue="q"
        ).query("x"),
    ):
        with pytest.raises(RPCError) as caught:
            await call
        assert caught.value.status == RPCStatusCode.NOT_FOUND
