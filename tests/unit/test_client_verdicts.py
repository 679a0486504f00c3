"""What an answer that does not come means: accepted and told so, which queues may have an
unknown id, how long was waited, who is dead.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest

from odradek.client import RPCError, RPCStatusCode
from odradek.client import channel as channel_module
from odradek.client.readers import MembersView
from odradek.client.responses import noting_pending
from odradek.client.transport import QUIET_S, Owner
from odradek.wire import outcomes
from odradek.wire.events import DescribeWorkflow
from odradek.wire.outcomes import LaneStatus, MemberStatus
from tests.support.transport import FakeTransport, connect, reply_to

CHANGES = ("signal", "cancel", "terminate", "delete", "unpark")


async def change(client: Any, call: str, queue: str) -> None:
    handle = client.get_workflow_handle("w", task_queue=queue)
    await (handle.signal("s") if call == "signal" else getattr(handle, call)())


@pytest.mark.parametrize("call", [*CHANGES, "start"])
async def test_requests_without_a_verdict_are_noted(
    call: str, caplog: pytest.LogCaptureFixture
) -> None:
    transport = FakeTransport()
    transport.existing.add("nobody")
    transport.serve("q", lambda _, r: reply_to(r))
    client = connect(transport, rpc_timeout=0.1)

    async def ask(queue: str) -> None:
        if call == "start":
            await client.start_workflow("W", id="w", task_queue=queue)
        else:
            await change(client, call, queue)

    with noting_pending() as noted:
        await ask("q")
        assert noted == []
        await ask("nobody")
        assert noted == ["nobody"] and not [
            one for one in caplog.records if one.levelno >= logging.WARNING
        ]
    await ask("nobody")
    assert noted == ["nobody"] and "'nobody' answered within 0.1 s" in caplog.text, (
        "without it the library warns"
    )


async def test_requests_side_by_side_note_their_own() -> None:
    transport = FakeTransport()
    transport.existing.add("nobody")
    transport.serve("q", lambda _, r: reply_to(r))
    client = connect(transport, rpc_timeout=0.1)

    async def noted(queue: str) -> list[str]:
        with noting_pending() as found:
            await change(client, "cancel", queue)
        return found

    assert await asyncio.gather(*(noted(queue) for queue in ("q", "nobody", "q"))) == [
        [],
        ["nobody"],
        [],
    ]


# --- which queues may have an id


async def unknown(transport: FakeTransport, *, rpc_timeout: float = 60) -> tuple[RPCError, float]:
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(RPCError) as caught:
        await connect(transport, rpc_timeout=rpc_timeout).get_workflow_handle("w").describe()
    return caught.value, loop.time() - began


async def test_a_queue_that_was_never_served_has_no_workflows() -> None:
    transport = FakeTransport()
    transport.serve("a", lambda _, r: reply_to(r, outcomes.NOT_FOUND))
    transport.existing |= {"mistyped", "unrelated"}
    transport.never_served |= {"mistyped", "unrelated"}
    error, took_s = await unknown(transport)
    assert error.status is RPCStatusCode.NOT_FOUND and took_s < 20, "it waited for its deadline"
    assert error.message == "workflow not found for ID: w"
    assert {queue for queue, _ in transport.sent} == {"a"}


async def test_a_queue_that_was_served_before_may_have_it() -> None:
    transport = FakeTransport()
    transport.serve("a", lambda _, r: reply_to(r, outcomes.NOT_FOUND))
    transport.existing |= {"away", "mistyped"}
    transport.never_served.add("mistyped")
    error, took_s = await unknown(transport)
    assert error.status is RPCStatusCode.UNAVAILABLE and took_s < 20, "it waited for its deadline"
    assert (
        "'away'" in error.message
        and "mistyped" not in error.message
        and "`task_queue`" in error.message
    )


@pytest.mark.parametrize(
    ("workflow_id", "run_id", "told"),
    [("", None, "WorkflowId is not set on request."), ("w", "a/b", "Invalid RunId.")],
)
async def test_what_no_queue_can_have_is_not_looked_for(
    workflow_id: str, run_id: str | None, told: str
) -> None:
    """Nor is it UNAVAILABLE while a queue is silent."""
    transport = FakeTransport()
    transport.serve("a", lambda _, r: reply_to(r, outcomes.NOT_FOUND))
    transport.existing.add("away")
    handle = connect(transport).get_workflow_handle(workflow_id, run_id=run_id)
    for call in (
        handle.describe,
        handle.cancel,
        handle.terminate,
        handle.result,
        handle.fetch_history,
        lambda: handle.signal("s"),
    ):
        with pytest.raises(RPCError) as caught:
            await call()
        assert (caught.value.status, caught.value.message) == (RPCStatusCode.INVALID_ARGUMENT, told)
    assert transport.sent == []


async def test_found_among_the_living_no_other_queue_is_looked_at() -> None:
    transport = FakeTransport()
    transport.serve("a", lambda _, r: reply_to(r, message="it is here"))
    transport.existing.add("away")

    async def served(_: object) -> set[str]:
        raise AssertionError("not needed")

    transport.served = served  # type: ignore[method-assign,assignment]
    await connect(transport).get_workflow_handle("w").cancel()
    assert len(transport.records(DescribeWorkflow)) == 1


# --- how long, and who is dead


async def test_messages_tell_how_long_was_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "NO_OWNER_GRACE_S", 0.1)
    monkeypatch.setattr(channel_module, "FIRST_MIN_S", 0.1)
    transport = FakeTransport()
    transport.existing.add("q")
    transport.deliver = False
    with pytest.raises(RPCError, match=r"did not take the request within \d\d?\.\d+ s") as caught:
        await (
            connect(transport, rpc_timeout=600).get_workflow_handle("w", task_queue="q").query("s")
        )
    assert caught.value.status is RPCStatusCode.UNAVAILABLE
    transport.serve("q", lambda _, r: None)
    transport.deliver = True
    with pytest.raises(RPCError, match=r"did not answer within 0\.2 s"):
        await (
            connect(transport, rpc_timeout=0.2).get_workflow_handle("w", task_queue="q").query("s")
        )


async def test_a_read_waits_as_long_as_its_caller_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is there for a moment, as while the only worker is started anew."""
    monkeypatch.setattr(channel_module, "NO_OWNER_GRACE_S", 0.1)
    transport = FakeTransport()
    transport.existing.add("q")
    handle = connect(transport, rpc_timeout=600).get_workflow_handle("w", task_queue="q")
    with pytest.raises(RPCError):
        await asyncio.wait_for(handle.query("s"), 60)
    patient = asyncio.ensure_future(handle.query("s", rpc_timeout=timedelta(seconds=90)))
    await asyncio.sleep(0.6)
    transport.serve("q", lambda _, record: reply_to(record, outcomes.OK))
    transport.on_owners({"q"})
    await asyncio.wait_for(patient, 30)


@pytest.mark.parametrize("call", ["query", "cancel"])
async def test_an_owner_that_was_killed_just_now_is_none(call: str) -> None:
    """Members count as living for 15 s; one that has been silent in every way all the while is
    dead before.
    """
    transport = FakeTransport()
    transport.serve("q", lambda _, r: None)
    transport.quiet.add("q")
    handle = connect(transport, rpc_timeout=0.2).get_workflow_handle("w", task_queue="q")
    if call == "cancel":
        await handle.cancel(rpc_timeout=timedelta(seconds=0.2))  # accepted
        return
    with pytest.raises(RPCError) as caught:
        await handle.query("s")
    assert caught.value.status is RPCStatusCode.UNAVAILABLE and "'q'" in caught.value.message


def test_silence_of_members() -> None:
    view = MembersView()
    view.complete = True
    view.update(
        "a",
        MemberStatus("m", "PROCESSOR", "n", "q", "i", 0, lanes=[LaneStatus(0, "RUNNING")]),
        0,
        0,
    )
    assert (
        view.owner("q", 0, QUIET_S + 1) is Owner.ALIVE
        and view.owner("q", 0, QUIET_S + 1, QUIET_S) is Owner.NONE
    )
    assert view.owner("q", 0, QUIET_S - 1, QUIET_S) is Owner.ALIVE
