"""Requests and replies over a scripted transport: verdicts, asking again, no owner, deadlines,
misuse.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from odradek.client import Client, ClientMisuseError, RPCError, RPCStatusCode
from odradek.client import channel as channel_module
from odradek.client.connection import Connection
from odradek.client.transport import Owner
from odradek.common import WorkflowIDConflictPolicy
from odradek.config import Settings
from odradek.exceptions import (
    BrokerUnreachableError,
    TopicMissingError,
    WorkflowAlreadyStartedError,
)
from odradek.wire import outcomes
from odradek.wire.events import (
    AwaitResult,
    CancelWorkflow,
    QueryWorkflow,
    Request,
    SignalWorkflow,
    StartWorkflow,
    TerminateWorkflow,
)
from tests.support.transport import FakeTransport, closed, connect, reply_to, started
from tests.support.until import until_async


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asks again after tenths of a second."""
    monkeypatch.setattr(channel_module, "FIRST_MIN_S", 0.1)
    monkeypatch.setattr(channel_module, "POLL_FIRST_S", 0.15)
    monkeypatch.setattr(channel_module, "INTERVAL_MAX_S", 0.4)
    monkeypatch.setattr(channel_module, "NO_OWNER_GRACE_S", 0.2)


async def test_execute_is_one_request() -> None:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: [started(r), closed(r, value={"total": 3})])
    assert await connect(transport).execute_workflow("W", {"a": 1}, id="w", task_queue="q") == {
        "total": 3
    }
    (record,) = [r for _, r in transport.sent]
    assert isinstance(record, StartWorkflow) and record.await_result
    assert (
        record.reply_to == transport.client_id
        and record.request_id
        and record.run_id
        and record.identity == "me"
    )
    assert record.id_conflict_policy == "FAIL" and record.id_reuse_policy == "ALLOW_DUPLICATE"


async def test_outcome_alone_is_enough() -> None:
    """The verdict of an await_result start was lost: its outcome says the same."""
    transport = FakeTransport()
    transport.serve("q", lambda _, r: closed(r, value=1))
    assert await connect(transport).execute_workflow("W", id="w", task_queue="q") == 1


async def test_start_returns_on_the_verdict() -> None:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: started(r))
    handle = await connect(transport).start_workflow("W", id="w", task_queue="q")
    (record,) = transport.records(StartWorkflow)
    assert not record.await_result
    assert (handle.id, handle.run_id, handle.result_run_id, handle.first_execution_run_id) == (
        "w",
        None,
        record.run_id,
        record.run_id,
    )


async def test_already_started() -> None:
    transport = FakeTransport()
    transport.serve(
        "q",
        lambda _, r: reply_to(
            r, outcomes.ALREADY_EXISTS, run_id="other", first_execution_run_id="first"
        ),
    )
    client = connect(transport)
    for call in (client.start_workflow, client.execute_workflow):
        with pytest.raises(WorkflowAlreadyStartedError) as caught:
            await call("W", id="w", task_queue="q")
        assert (caught.value.workflow_id, caught.value.workflow_type) == ("w", "W")
        assert (caught.value.run_id, caught.value.first_run_id) == ("other", "first")


async def test_lost_reply_is_asked_again_under_the_same_id(fast: None) -> None:
    transport = FakeTransport()
    asked: list[str] = []

    def answer(_: str, record: SignalWorkflow) -> object:
        asked.append(record.request_id)
        return reply_to(record) if len(asked) == 3 else None

    transport.serve("q", answer)  # type: ignore[arg-type]
    client = connect(transport, rpc_timeout=60)
    await client.get_workflow_handle("w", task_queue="q").signal("s")
    assert len(asked) == 3 and len(set(asked)) == 1
    assert client.statistics().retried == 2 and client.statistics().waiting == 0


async def test_start_without_owner_is_accepted_and_its_result_comes_later(fast: None) -> None:
    transport = FakeTransport()
    client = connect(transport, rpc_timeout=0.3)
    handle = await client.start_workflow("W", id="w", task_queue="q")
    assert transport.created == ["q"]
    (record,) = transport.records(StartWorkflow)
    assert handle.result_run_id == record.run_id and handle.first_execution_run_id is None
    # A worker comes: the result asks with the very start, since its verdict is not known.
    transport.serve("q", lambda _, r: [started(r), closed(r, value="done")])
    assert await handle.result() == "done"
    again = transport.records(StartWorkflow)[-1]
    assert (
        again.request_id == record.request_id
        and again.run_id == record.run_id
        and again.await_result
    )


async def test_refusal_of_an_accepted_start_comes_from_result(fast: None) -> None:
    transport = FakeTransport()
    handle = await connect(transport, rpc_timeout=0.2).start_workflow("W", id="w", task_queue="q")
    transport.serve("q", lambda _, r: reply_to(r, outcomes.ALREADY_EXISTS, run_id="other"))
    with pytest.raises(WorkflowAlreadyStartedError) as caught:
        await handle.result()
    assert caught.value.run_id == "other" and caught.value.workflow_type == "W"
    transport.serve(
        "q", lambda _, r: [started(r), closed(r, value="done")]
    )  # the other one has closed: asked again, it would start
    sent = len(transport.sent)
    with pytest.raises(WorkflowAlreadyStartedError) as again:
        await handle.result()
    assert (
        again.value.run_id == "other"
        and again.value.workflow_type == "W"
        and len(transport.sent) == sent
    )


async def test_an_accepted_start_that_found_another_run_is_a_handle_of_that_run(fast: None) -> None:
    transport = FakeTransport()
    handle = await connect(transport, rpc_timeout=0.2).start_workflow(
        "W", id="w", task_queue="q", id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING
    )

    def answer(_: str, record: Any) -> Any:
        found = closed(record, value="done")
        found.result.run_id, found.result.first_execution_run_id = "other", "first"  # type: ignore[union-attr]
        if isinstance(record, StartWorkflow):
            return [reply_to(record, run_id="other"), found]
        return found if record.run_id == "other" else reply_to(record, outcomes.NOT_FOUND)

    transport.serve("q", answer)
    assert [await handle.result() for _ in range(2)] == ["done", "done"]
    assert (handle.run_id, handle.result_run_id, handle.first_execution_run_id) == (
        None,
        "other",
        "first",
    )


async def test_a_long_poll_that_goes_wrong_is_no_verdict_on_the_accepted_start_before_it(
    fast: None,
) -> None:
    """Its record was set aside, say. The handle kept that as the refusal of its start, and never
    told the result.
    """
    transport = FakeTransport()
    handle = await connect(transport, rpc_timeout=0.2).start_workflow(
        "W", id="w", task_queue="q", id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING
    )

    def set_aside(_: str, record: Any) -> Any:
        if isinstance(record, StartWorkflow):
            return reply_to(record, run_id="other")
        return reply_to(record, outcomes.INTERNAL, message="set aside")

    transport.serve("q", set_aside)
    with pytest.raises(RPCError, match="set aside"):
        await handle.result()
    assert handle.result_run_id == "other"
    transport.serve("q", lambda _, r: closed(r, value="done"))
    assert await handle.result() == "done"
    assert transport.sent[-1][1].run_id == "other" and isinstance(
        transport.sent[-1][1], AwaitResult
    )


async def test_own_deadline_with_a_living_owner_is_deadline_exceeded() -> None:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: None)
    client = connect(transport)
    with pytest.raises(RPCError) as caught:
        await client.start_workflow("W", id="w", task_queue="q", rpc_timeout=timedelta(seconds=0.1))
    assert caught.value.status == RPCStatusCode.DEADLINE_EXCEEDED and "'q'" in caught.value.message
    # Without one of his own the caller gets on: the request is durable.
    await client.start_workflow("W", id="w", task_queue="q")


@pytest.mark.parametrize(
    ("given", "told"), [(timedelta(seconds=-1), "must not be negative"), (5, "must be a timedelta")]
)
async def test_timeout_that_is_none_is_refused_before_anything_is_sent(
    given: Any, told: str
) -> None:
    """As in Temporal's client, which raises ValueError for a negative one."""
    transport = FakeTransport()
    transport.serve("q", lambda _, r: reply_to(r, outcomes.OK, run_id="r"))
    client = connect(transport)
    handle = client.get_workflow_handle("w", task_queue="q")
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: client.start_workflow("W", id="w", task_queue="q", rpc_timeout=given),
        lambda: client.execute_workflow("W", id="w", task_queue="q", rpc_timeout=given),
        lambda: handle.signal("s", rpc_timeout=given),
        lambda: handle.query("s", rpc_timeout=given),
        lambda: handle.cancel(rpc_timeout=given),
        lambda: handle.terminate(rpc_timeout=given),
        lambda: handle.describe(rpc_timeout=given),
        lambda: handle.result(rpc_timeout=given),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=f"^rpc_timeout {told}"):
            await call()
    with pytest.raises(ValueError, match=f"^connect_timeout {told}"):
        await Client.connect("localhost:1", connect_timeout=given)
    assert not transport.sent


@pytest.mark.parametrize("call", ["signal", "cancel", "terminate"])
async def test_changes_without_owner_are_accepted(call: str) -> None:
    transport = FakeTransport()
    transport.existing.add("q")
    handle = connect(transport, rpc_timeout=0.15).get_workflow_handle("w", task_queue="q")
    await (handle.signal("s") if call == "signal" else getattr(handle, call)())
    assert len(transport.sent) == 1


@pytest.mark.parametrize("call", ["query", "describe", "fetch_history"])
async def test_reads_without_owner_are_unavailable_and_name_the_queue(
    call: str, fast: None
) -> None:
    transport = FakeTransport()
    transport.existing.add("orders")
    handle = connect(transport, rpc_timeout=120).get_workflow_handle("w", task_queue="orders")
    began = time.monotonic()
    with pytest.raises(RPCError) as caught:
        await (handle.query("s") if call == "query" else getattr(handle, call)())
    assert caught.value.status == RPCStatusCode.UNAVAILABLE and "'orders'" in caught.value.message
    assert time.monotonic() - began < 60, (
        "it waited for its whole deadline although nobody lives there"
    )


async def test_read_of_a_slow_owner_is_deadline_exceeded() -> None:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: None)
    began_ms = time.time() * 1000
    with pytest.raises(RPCError) as caught:
        await (
            connect(transport, rpc_timeout=0.2).get_workflow_handle("w", task_queue="q").query("s")
        )
    assert caught.value.status == RPCStatusCode.DEADLINE_EXCEEDED
    (record,) = transport.records(QueryWorkflow)
    said = "a query carries its deadline, or it may run long after"
    assert began_ms - 5_000 < record.deadline_ms < time.time() * 1000 + 5_000, said


async def test_broker_that_takes_nothing_is_unavailable() -> None:
    transport = FakeTransport()
    transport.deliver = False
    with pytest.raises(RPCError) as caught:
        await connect(transport, rpc_timeout=0.1).start_workflow("W", id="w", task_queue="q")
    assert caught.value.status == RPCStatusCode.UNAVAILABLE and "fake:9092" in caught.value.message
    transport.deliver = BrokerUnreachableError("fake:9092")
    client = connect(transport, rpc_timeout=5)
    for call in (client.start_workflow, client.execute_workflow):
        with pytest.raises(RPCError) as caught:
            await call("W", id="w", task_queue="q")
        assert (
            caught.value.status == RPCStatusCode.UNAVAILABLE and "fake:9092" in caught.value.message
        )


async def test_full_producer_is_tried_again() -> None:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: [started(r), closed(r, value=1)])
    transport.full = 2
    client = connect(transport, rpc_timeout=5)
    assert await client.execute_workflow("W", id="w", task_queue="q") == 1
    transport.full = 1
    await client.start_workflow("W", id="w", task_queue="q")


async def test_request_for_patience_is_asked_again(fast: None) -> None:
    transport = FakeTransport()
    answers = iter([outcomes.UNAVAILABLE, outcomes.UNAVAILABLE, outcomes.OK])
    transport.serve("q", lambda _, r: reply_to(r, next(answers), message="wait"))
    await connect(transport, rpc_timeout=5).get_workflow_handle("w", task_queue="q").signal("s")
    assert len(transport.sent) == 3
    transport.serve("q", lambda _, r: reply_to(r, outcomes.UNAVAILABLE, message="still restoring"))
    with pytest.raises(RPCError) as caught:
        await (
            connect(transport, rpc_timeout=0.3).get_workflow_handle("w", task_queue="q").signal("s")
        )
    assert (
        caught.value.status == RPCStatusCode.UNAVAILABLE
        and caught.value.message == "still restoring"
    )


async def test_result_too_large_for_a_reply_is_not_waited_for() -> None:
    transport = FakeTransport()
    transport.serve(
        "q",
        lambda _, r: [
            started(r),
            reply_to(r, outcomes.RESOURCE_EXHAUSTED, kind="AwaitResult", message="too large"),
        ],
    )
    with pytest.raises(RPCError, match="too large") as caught:
        await connect(transport).execute_workflow("W", id="w", task_queue="q")
    assert caught.value.status == RPCStatusCode.RESOURCE_EXHAUSTED


async def test_result_is_polled_over_restarts(fast: None) -> None:
    """Owners forget who waits: the poll is asked again until somebody answers."""
    transport = FakeTransport()
    polls: list[AwaitResult] = []

    def answer(_: str, record: object) -> object:
        if isinstance(record, StartWorkflow):
            return started(record)
        assert isinstance(record, AwaitResult)
        assert not record.deadline_ms, (
            "an owner whose clock is ahead would drop it, and nobody would ever be told"
        )
        polls.append(record)
        if len(polls) == 1:
            return None  # the owner dies
        return (
            reply_to(record, outcomes.DEADLINE_EXCEEDED)
            if len(polls) == 2
            else closed(record, value=7)
        )

    transport.serve("q", answer)  # type: ignore[arg-type]
    assert await connect(transport).execute_workflow("W", id="w", task_queue="q") == 7
    assert (
        len({poll.request_id for poll in polls}) == 1 and len(transport.records(StartWorkflow)) == 1
    )
    assert polls[0].run_id == transport.records(StartWorkflow)[0].run_id


async def test_new_owner_is_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the hint the next poll would come much later."""
    monkeypatch.setattr(channel_module, "POLL_FIRST_S", 600.0)
    monkeypatch.setattr(channel_module, "INTERVAL_MAX_S", 600.0)
    transport = FakeTransport()
    transport.serve(
        "q", lambda _, r: started(r) if isinstance(r, StartWorkflow) else closed(r, value=1)
    )
    client = connect(transport)
    waiting = asyncio.create_task(client.execute_workflow("W", id="w", task_queue="q"))
    await asyncio.sleep(0.6)
    assert not transport.records(AwaitResult)
    await until_async(waiting.done, step=lambda: transport.on_owners({"q"}))
    assert await waiting == 1


async def test_start_is_not_repeated_into_a_log_that_nobody_reads(fast: None) -> None:
    transport = FakeTransport()
    await connect(transport, rpc_timeout=1.0).start_workflow("W", id="w", task_queue="q")
    assert len(transport.records(StartWorkflow)) == 1
    transport.owners["q"] = Owner.UNKNOWN
    asking = asyncio.create_task(
        connect(transport, rpc_timeout=600).start_workflow("W", id="w2", task_queue="q")
    )
    await until_async(
        lambda: len(transport.records(StartWorkflow)) > 2
    )  # an owner that is not known of may be there
    asking.cancel()


async def test_result_timeout() -> None:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: None)
    with pytest.raises(RPCError) as caught:
        await (
            connect(transport)
            .get_workflow_handle("w", task_queue="q")
            .result(rpc_timeout=timedelta(seconds=0.1))
        )
    assert caught.value.status == RPCStatusCode.DEADLINE_EXCEEDED


async def test_cancelled_caller_leaves_nothing_behind() -> None:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: None)
    client = connect(transport)
    calls = [
        asyncio.create_task(client.execute_workflow("W", id="w", task_queue="q")),
        asyncio.create_task(client.get_workflow_handle("w", task_queue="q").signal("s")),
    ]
    await until_async(lambda: client.statistics().waiting == 2)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert client.statistics().waiting == 0
    record = transport.records(StartWorkflow)[0]
    transport.reply(started(record), closed(record))  # too late: no error
    assert client.statistics().unmatched_replies == 2


async def test_missing_topics() -> None:
    transport = FakeTransport()
    client = connect(transport)
    with pytest.raises(RPCError) as caught:
        await client.get_workflow_handle("w", task_queue="nowhere").signal("s")
    assert caught.value.status == RPCStatusCode.NOT_FOUND
    with pytest.raises(RPCError) as caught:
        await client.get_workflow_handle("w", task_queue="nowhere").query("s")
    assert caught.value.status == RPCStatusCode.NOT_FOUND and "'nowhere'" in caught.value.message
    assert not transport.created and not transport.sent

    async def refuse(task_queue: str, *, create: bool) -> None:
        raise TopicMissingError(task_queue)

    transport.prepare = refuse  # type: ignore[method-assign]
    with pytest.raises(TopicMissingError):
        await client.start_workflow("W", id="w", task_queue="q")


# --- misuse


async def test_close_is_idempotent_and_ends_what_waits() -> None:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: None)
    client = connect(transport)
    waiting = asyncio.create_task(client.execute_workflow("W", id="w", task_queue="q"))
    await until_async(lambda: client.statistics().waiting == 1)
    client.close()
    client.close()
    with pytest.raises(ClientMisuseError, match="closed"):
        await waiting
    with pytest.raises(ClientMisuseError, match="closed"):
        await client.start_workflow("W", id="w", task_queue="q")
    assert transport.closed


def test_another_event_loop_is_a_clear_error() -> None:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: [started(r), closed(r, value=1)])
    client = connect(transport)

    async def use() -> int:
        return await client.execute_workflow("W", id="w", task_queue="q")  # type: ignore[no-any-return]

    assert asyncio.run(use()) == 1
    with pytest.raises(ClientMisuseError, match="event loop"):
        asyncio.run(use())


async def test_fork_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: started(r))
    client = connect(transport)
    await client.start_workflow("W", id="w", task_queue="q")
    pid = os.getpid()
    monkeypatch.setattr(os, "getpid", lambda: pid + 1)
    with pytest.raises(ClientMisuseError, match="fork"):
        await client.start_workflow("W", id="w", task_queue="q")


async def test_failed_open_is_tried_again() -> None:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: started(r))
    opened = transport.open
    failures = [BrokerUnreachableError("fake:9092")]

    async def flaky(*arguments: object) -> None:
        if failures:
            raise failures.pop()
        await opened(*arguments)  # type: ignore[arg-type]

    transport.open = flaky  # type: ignore[method-assign]
    client = connect(transport)
    with pytest.raises(BrokerUnreachableError):
        await client.start_workflow("W", id="w", task_queue="q")
    await client.start_workflow("W", id="w", task_queue="q")


# --- what is sent


async def test_records_of_the_calls() -> None:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: reply_to(r))
    client = connect(transport)
    handle = client.get_workflow_handle("w", run_id="r", first_execution_run_id="f", task_queue="q")
    await handle.signal("s", args=[1, None])
    await handle.cancel(reason="why")
    await handle.terminate("detail", reason="because")
    signal, cancel, terminate = (record for _, record in transport.sent)
    assert isinstance(signal, SignalWorkflow) and (
        signal.signal_name,
        signal.run_id,
        len(signal.input),
    ) == ("s", "r", 2)
    assert isinstance(cancel, CancelWorkflow)
    assert (cancel.run_id, cancel.first_execution_run_id, cancel.reason) == ("r", "f", "why")
    assert isinstance(terminate, TerminateWorkflow)
    assert (
        terminate.run_id,
        terminate.first_execution_run_id,
        terminate.reason,
        len(terminate.details),
    ) == ("r", "f", "because", 1)
    assert len({signal.request_id, cancel.request_id, terminate.request_id}) == 3


async def test_statuses_become_rpc_errors() -> None:
    transport = FakeTransport()
    client = connect(transport)
    for status in ("NOT_FOUND", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "INTERNAL"):
        transport.serve(
            "q", lambda _, r, status=status: reply_to(r, status, message=f"it is {status}")
        )  # type: ignore[misc]
        with pytest.raises(RPCError, match=f"it is {status}") as caught:
            await client.get_workflow_handle("w", task_queue="q").signal("s")
        assert caught.value.status == RPCStatusCode[status]


async def test_many_at_once() -> None:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: [started(r), closed(r, value=r.workflow_id)])
    client = connect(transport)
    results = await asyncio.gather(
        *(client.execute_workflow("W", id=f"w{n}", task_queue="q") for n in range(500))
    )
    assert results == [f"w{n}" for n in range(500)]
    assert client.statistics().waiting == 0 and client.statistics().retried == 0


# --- ids that callers give: one for several requests

SAME = "same"


def _different() -> list[tuple[str, Request]]:
    """Task queue and request; all under one id, each another request."""
    return [
        ("q", SignalWorkflow("w", "s", request_id=SAME)),
        ("q", SignalWorkflow("other", "s", request_id=SAME)),
        ("q", CancelWorkflow("w", request_id=SAME)),
        ("q", StartWorkflow("w", "W", run_id="run-2", request_id=SAME)),
        ("p", SignalWorkflow("w", "s", request_id=SAME)),
    ]


@pytest.mark.parametrize("told", [True, False], ids=["queue in the reply", "no queue"])
async def test_one_id_for_requests_that_differ_gets_each_its_own_answer(told: bool) -> None:
    """Answered in reverse order, as they become sendable: an answer reaches the one that it is
    of, and nobody else.
    """
    transport = FakeTransport()
    for queue in ("q", "p") if told else ("q",):
        transport.serve(queue, lambda _, record: None)
    channel = Connection(Settings(), make_transport=lambda _: transport).channel("default")
    requests = [(queue, record) for queue, record in _different() if queue in transport.existing]
    for queue in transport.existing:
        await channel.prepare(queue, create=False)
    calls = [asyncio.ensure_future(channel.ask(queue, record, 30.0)) for queue, record in requests]
    answered = 0
    async with asyncio.timeout(10):
        while answered < len(requests):
            await asyncio.sleep(0)
            asked, answered = transport.sent[answered:], len(transport.sent)
            for queue, record in reversed(asked):
                transport.reply(
                    reply_to(record, message=_name(queue, record), task_queue=queue if told else "")
                )
    assert [(await call).message for call in calls] == [
        _name(queue, record) for queue, record in requests
    ]
    assert channel.statistics().waiting == channel.statistics().unmatched_replies == 0


def _name(queue: str, record: Any) -> str:
    return (
        f"{type(record).__name__} {queue} {record.workflow_id} {record.run_id}"
        f" {getattr(record, 'signal_name', '')}"
    )
