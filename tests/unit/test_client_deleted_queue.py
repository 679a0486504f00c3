"""A task queue that was deleted, or was never there: what each call on a workflow of it says,
and where it looks else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from odradek.activities.token import TaskToken
from odradek.client import Client, RPCError, RPCStatusCode, WorkflowHandle
from odradek.client import impl as impl_module
from odradek.converter import DataConverter
from odradek.exceptions import BrokerUnreachableError, TopicMissingError
from odradek.wire import history as events
from odradek.wire import outcomes
from odradek.wire.events import (
    AwaitResult,
    DescribeWorkflow,
    FetchHistory,
    QueryWorkflow,
    StartWorkflow,
)
from odradek.wire.outcomes import ExecutionSummary, PendingActivity, Reply, WorkflowDescription
from tests.support.transport import FakeTransport, closed, connect, reply_to, started
from tests.support.until import until_async


async def follow(handle: WorkflowHandle[Any, Any]) -> None:
    async for _ in handle.fetch_history_events(wait_new_event=True):
        pass


CALLS: dict[str, Callable[[WorkflowHandle[Any, Any]], Awaitable[Any]]] = {
    "signal": lambda handle: handle.signal("s"),
    "cancel": lambda handle: handle.cancel(),
    "terminate": lambda handle: handle.terminate(),
    "delete": lambda handle: handle.delete(),
    "unpark": lambda handle: handle.unpark(),
    "query": lambda handle: handle.query("q"),
    "describe": lambda handle: handle.describe(),
    "fetch_history": lambda handle: handle.fetch_history(),
    "follow": follow,
    "result": lambda handle: handle.result(),
}


SOON = timedelta(seconds=0.1)
SUMMARY = ExecutionSummary(
    namespace="default",
    task_queue="orders",
    workflow_id="w",
    run_id="run",
    workflow_type="W",
    status=outcomes.RUNNING,
    start_time_ms=0,
    first_execution_run_id="run",
)


def answer(_: str, record: Any) -> Any:
    """An owner that has every workflow."""
    if isinstance(record, StartWorkflow):
        return started(record)
    if isinstance(record, DescribeWorkflow):
        return reply_to(record, run_id="run", description=WorkflowDescription(SUMMARY))
    if isinstance(record, FetchHistory):
        page = [
            events.HistoryEvent(1, 0, events.WorkflowExecutionStarted("w", "run", "W", "orders"))
        ]
        return reply_to(record, run_id="run", history=page, next_event_id=0)
    if isinstance(record, QueryWorkflow):
        return reply_to(record, payloads=DataConverter.default.payload_converter.to_payloads([1]))
    return closed(record) if isinstance(record, AwaitResult) else reply_to(record)


@pytest.mark.parametrize("call", CALLS)
async def test_remembered_queue_that_was_deleted_is_forgotten(call: str) -> None:
    """And the workflow is looked for, as where the queue does not know it."""
    transport = FakeTransport()
    transport.serve("a", answer)
    client = connect(transport, rpc_timeout=5)
    await client.start_workflow("W", id="w", task_queue="a")
    transport.delete("a")
    transport.serve("b", answer)
    for _ in range(2):
        await asyncio.wait_for(CALLS[call](client.get_workflow_handle("w")), 30)
    assert client._root.channel.remembered_queue("w") == "b" and not transport.created[1:]


@pytest.mark.promise("reads")
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("named", [True, False])
async def test_workflow_of_a_queue_without_topics_is_not_found(call: str, named: bool) -> None:
    transport = FakeTransport()
    transport.serve("orders", answer)
    client = connect(transport, rpc_timeout=5)
    await client.start_workflow("W", id="w", task_queue="orders")
    transport.delete("orders")
    with pytest.raises(RPCError) as caught:
        await asyncio.wait_for(
            CALLS[call](client.get_workflow_handle("w", task_queue="orders" if named else None)), 30
        )
    assert (
        caught.value.status is RPCStatusCode.NOT_FOUND
        and "workflow not found for ID: w" in caught.value.message
    )
    assert ("task queue 'orders' was never used" in caught.value.message) is named
    assert transport.created == [] and client.statistics().waiting == 0


async def test_handle_of_a_start_whose_queue_was_deleted() -> None:
    transport = FakeTransport()
    transport.serve("orders", answer)
    client = connect(transport)
    handle = await client.start_workflow("W", id="w", task_queue="orders")
    transport.delete("orders")
    with pytest.raises(RPCError, match="'orders' was never used"):
        await handle.result()


async def open_run(transport: FakeTransport, client: Client, **options: Any) -> asyncio.Task[Any]:
    """Executes a workflow that is started and stays open."""
    transport.serve(
        "orders", lambda _, record: started(record) if isinstance(record, StartWorkflow) else None
    )
    executing = asyncio.ensure_future(
        client.execute_workflow("W", id="w", task_queue="orders", **options)
    )
    await until_async(
        lambda: any(isinstance(r.record, AwaitResult) for r in client._root.channel._pending())
    )
    return executing


@pytest.mark.parametrize("may_create", [True, False])
async def test_execute_of_a_run_whose_queue_is_deleted_is_not_found(may_create: bool) -> None:
    transport = FakeTransport()
    executing = await open_run(transport, connect(transport))
    transport.delete("orders")
    transport.refuses = not may_create
    _poll_now(transport)
    with pytest.raises(
        RPCError, match="workflow not found for ID: w: task queue 'orders' was never used"
    ) as caught:
        await asyncio.wait_for(executing, 30)
    assert caught.value.status is RPCStatusCode.NOT_FOUND and transport.created == []


def not_found(record: Any) -> Reply:
    return reply_to(record, outcomes.NOT_FOUND, message="workflow not found for ID: w")


async def test_execute_of_a_run_whose_queue_is_made_anew_starts_nothing_there() -> None:
    """Also when the time for the verdict, which came, has passed long since."""
    transport = FakeTransport()
    executing = await open_run(transport, connect(transport), rpc_timeout=SOON)
    transport.delete("orders")
    transport.serve(
        "orders",
        lambda _, record: (
            transport.loop.call_later(0.1, transport.reply, not_found(record)) and None
        ),
    )
    _poll_now(transport)
    with pytest.raises(RPCError, match=r"^workflow not found for ID: w$"):
        await asyncio.wait_for(executing, 30)
    assert len(transport.records(StartWorkflow)) == 1


@pytest.mark.parametrize("refuses", [False, True])
async def test_execute_that_nobody_answered_makes_the_queue_again_or_says_that_it_may_not(
    refuses: bool,
) -> None:
    transport = FakeTransport()
    transport.existing.add("orders")
    executing = asyncio.ensure_future(
        connect(transport).execute_workflow("W", id="w", task_queue="orders", rpc_timeout=SOON)
    )
    await until_async(
        lambda: len(transport.records(StartWorkflow)) == 2
    )  # accepted, and sent again
    transport.delete("orders")
    transport.answers["orders"] = lambda _, record: [started(record), closed(record, value=7)]
    transport.refuses = refuses
    _poll_now(transport)
    if refuses:
        with pytest.raises(TopicMissingError):
            await asyncio.wait_for(executing, 30)
    else:
        assert await asyncio.wait_for(executing, 30) == 7 and transport.created == ["orders"]


def _poll_now(transport: FakeTransport) -> None:
    transport.loop.call_later(
        0.6, transport.on_owners, None
    )  # what was sent half a second ago is asked again


async def test_broker_that_goes_after_a_start_was_accepted_is_unavailable() -> None:
    transport = FakeTransport()
    transport.existing.add("orders")
    client = connect(transport, rpc_timeout=0.1)
    executing = asyncio.ensure_future(
        client.execute_workflow("W", id="w", task_queue="orders", rpc_timeout=SOON)
    )
    await until_async(lambda: bool(transport.sent))
    transport.deliver = BrokerUnreachableError("fake:9092")
    with pytest.raises(RPCError) as caught:
        await asyncio.wait_for(executing, 30)
    assert caught.value.status is RPCStatusCode.UNAVAILABLE and "fake:9092" in caught.value.message


async def test_broker_that_does_not_tell_the_queues_is_unavailable() -> None:
    transport = FakeTransport()

    async def queues() -> dict[str, bool]:
        raise BrokerUnreachableError("fake:9092")

    transport.queues = queues  # type: ignore[method-assign]
    for call in CALLS.values():
        if call is follow:
            continue  # it waits
        with pytest.raises(RPCError) as caught:
            await call(connect(transport).get_workflow_handle("w"))
        assert (
            caught.value.status is RPCStatusCode.UNAVAILABLE and "fake:9092" in caught.value.message
        )


async def test_follower_asks_again_with_growing_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impl_module, "FOLLOW_PAUSE_MIN_S", 0.05)
    monkeypatch.setattr(impl_module, "FOLLOW_PAUSE_MAX_S", 0.2)
    transport = FakeTransport()
    transport.existing.add("orders")
    transport.deliver = BrokerUnreachableError("fake:9092")
    loop = asyncio.get_running_loop()
    began = loop.time()
    following = asyncio.ensure_future(
        follow(connect(transport).get_workflow_handle("w", task_queue="orders"))
    )
    await until_async(lambda: len(transport.sent) == 5)
    assert loop.time() - began >= 0.05 + 0.1 + 0.2 + 0.2
    transport.deliver = True
    transport.serve("orders", answer)
    await asyncio.wait_for(following, 30)


async def test_report_on_an_activity_whose_queue_is_deleted_is_not_found() -> None:
    transport = FakeTransport()
    pending = PendingActivity("1", "pay", "pay-queue", "STARTED", 1, scheduled_event_id=5)

    def describe(_: str, record: Any) -> Any:
        transport.delete("orders")  # behind the look whether it still waits
        return reply_to(
            record,
            run_id="run",
            description=WorkflowDescription(SUMMARY, pending_activities=[pending]),
        )

    transport.serve("orders", describe)
    token = TaskToken(
        namespace="default",
        queue="orders",
        workflow_id="w",
        run_id="run",
        scheduled_event_id=5,
        activity_id="1",
        attempt=1,
    )
    with pytest.raises(RPCError, match="'orders' was never used") as caught:
        await connect(transport).get_async_activity_handle(task_token=token.encode()).complete(1)
    assert caught.value.status is RPCStatusCode.NOT_FOUND
