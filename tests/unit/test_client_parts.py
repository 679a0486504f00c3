"""Parts of the client by themselves: the timer wheel, what `members` tells, locating."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from odradek.client import RPCError, RPCStatusCode
from odradek.client.readers import SILENCE_S, MembersView
from odradek.client.transport import Owner
from odradek.wire import outcomes
from odradek.wire.events import DescribeWorkflow, SignalWorkflow, StartWorkflow
from odradek.wire.outcomes import LaneStatus, MemberStatus
from tests.support.transport import FakeTransport, closed, connect, reply_to

# --- wheel


@pytest.mark.parametrize("waits", ["for its start", "for its result"])
async def test_what_only_the_loop_runs_is_kept_while_it_waits(waits: str) -> None:
    """asyncio holds tasks weakly; here nobody holds the task that asks, and the client is its
    local variable.
    """
    transport, asked, waiting, got, gone = (
        FakeTransport(),
        list[Any](),
        asyncio.Event(),
        asyncio.Event(),
        asyncio.Event(),
    )

    def answer(_: str, record: Any) -> Any:
        asked[:] = [record]
        if waits == "for its start" or not isinstance(record, StartWorkflow):
            waiting.set()
        return (
            reply_to(record, run_id="r")
            if isinstance(record, StartWorkflow) and waits == "for its result"
            else None
        )

    async def ask() -> None:
        handle = await connect(transport, rpc_timeout=60).start_workflow(
            "W", id="w", task_queue="q"
        )
        if waits == "for its result":
            assert await handle.result() == 42
        got.set()

    transport.serve("q", answer)
    weakref.finalize(asyncio.get_running_loop().create_task(ask()), gone.set)
    await asyncio.wait_for(waiting.wait(), 30)
    gc.collect()
    transport.on_replies(
        [reply_to(asked[0], run_id="r") if waits == "for its start" else closed(asked[0], value=42)]
    )
    await asyncio.wait_for(got.wait(), 30)
    await asyncio.wait_for(gone.wait(), 30)  # without the collector


# --- members


def member(
    queue: str, lanes: dict[int, str], time_ms: int = 0, kind: str = "PROCESSOR"
) -> MemberStatus:
    return MemberStatus(
        "m",
        kind,
        "n",
        queue,
        "i",
        time_ms,
        lanes=[LaneStatus(p, state) for p, state in lanes.items()],
    )


def test_nothing_is_known_before_the_topic_is_read() -> None:
    view = MembersView()
    view.update("m", member("q", {0: "RUNNING"}), 0, 0)
    assert view.owner("q", 0, 0) is Owner.UNKNOWN


def test_owners() -> None:
    view = MembersView()
    view.complete = True
    assert view.owner("q", 0, 0) is Owner.NONE
    view.update("a", member("q", {0: "RUNNING", 1: "STOPPED"}), 0, 0)
    view.update("b", member("other", {2: "RUNNING"}), 0, 0)
    view.update("c", member("q", {3: "RUNNING"}, kind="ACTIVITIES"), 0, 0)
    assert view.owner("q", 0, 1) is Owner.ALIVE
    assert view.owner("q", 1, 1) is Owner.UNKNOWN and view.owner("q", 3, 1) is Owner.UNKNOWN
    assert view.living_queues(1) == {"q", "other"}
    assert (
        view.owner("q", 0, SILENCE_S + 1) is Owner.NONE
        and view.living_queues(SILENCE_S + 1) == set()
    )
    view.update("a", None, 2, 0)
    assert view.owner("q", 0, 2) is Owner.NONE


def test_old_statuses_are_as_old_as_they_say() -> None:
    view = MembersView()
    view.update("a", member("q", {0: "RUNNING"}, time_ms=0), 100.0, 60_000)
    view.update("b", member("r", {0: "RUNNING"}, time_ms=58_000), 100.0, 60_000)
    view.complete = True
    assert view.owner("q", 0, 100.0) is Owner.NONE and view.owner("r", 0, 100.0) is Owner.ALIVE
    # One that comes now is fresh, however wrong its clock is.
    view.update("a", member("q", {0: "RUNNING"}, time_ms=0), 101.0, 61_000)
    assert view.owner("q", 0, 101.0) is Owner.ALIVE


def test_new_owners_are_told() -> None:
    view = MembersView()
    assert view.update("a", member("q", {0: "RUNNING"}, time_ms=1), 0, 1) == set(), (
        "what was there before is no news"
    )
    view.complete = True
    assert view.update("a", member("q", {0: "RUNNING"}), 1, 1) == set()
    assert view.update("b", member("q", {0: "RESTORING"}), 2, 1) == set()
    assert view.update("b", member("q", {0: "RUNNING"}), 3, 1) == {"q"}


# --- locating


def has(*ids: str) -> object:
    def answer(_: str, record: DescribeWorkflow) -> object:
        return reply_to(record, outcomes.OK if record.workflow_id in ids else outcomes.NOT_FOUND)

    return answer


async def status_of(transport: FakeTransport, **options: float) -> tuple[RPCStatusCode, str]:
    with pytest.raises(RPCError) as caught:
        await connect(transport, **options).get_workflow_handle("w").signal("s")
    return caught.value.status, caught.value.message


async def test_located_once_then_remembered() -> None:
    transport = FakeTransport()
    transport.serve("a", has())  # type: ignore[arg-type]
    transport.serve("b", has("w"))  # type: ignore[arg-type]
    client = connect(transport)
    await client.get_workflow_handle("w").signal("s")
    await client.get_workflow_handle("w").signal("s")
    assert (
        len(transport.records(DescribeWorkflow)) == 2
        and len(transport.records(SignalWorkflow)) == 2
    )
    assert [queue for queue, record in transport.sent if isinstance(record, SignalWorkflow)] == [
        "b",
        "b",
    ]


async def test_workflow_whose_description_no_reply_takes_is_located() -> None:
    """The owner says that it cannot tell all of it, so it has it."""
    transport = FakeTransport()
    transport.serve(
        "a",
        lambda _, record: reply_to(
            record,
            outcomes.RESOURCE_EXHAUSTED if isinstance(record, DescribeWorkflow) else outcomes.OK,
        ),
    )
    await connect(transport).get_workflow_handle("w").signal("s")
    assert len(transport.records(SignalWorkflow)) == 1


async def test_remembered_queue_that_lost_it_is_located_anew() -> None:
    transport = FakeTransport()
    transport.serve("a", has("w"))  # type: ignore[arg-type]
    client = connect(transport)
    await client.get_workflow_handle("w").signal("s")
    transport.serve("a", has())  # type: ignore[arg-type]
    transport.serve("b", has("w"))  # type: ignore[arg-type]
    await client.get_workflow_handle("w").signal("s")
    assert transport.sent[-1][0] == "b"


async def test_two_owners_are_an_error_that_names_both() -> None:
    transport = FakeTransport()
    transport.serve("a", has("w"))  # type: ignore[arg-type]
    transport.serve("b", has("w"))  # type: ignore[arg-type]
    status, message = await status_of(transport)
    assert status == RPCStatusCode.FAILED_PRECONDITION and "'a', 'b'" in message
    assert not transport.records(SignalWorkflow)


async def test_silent_queue_is_unavailable_and_nothing_is_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from odradek.client import channel

    monkeypatch.setattr(channel, "NO_OWNER_GRACE_S", 0.1)
    transport = FakeTransport()
    transport.serve("a", has())  # type: ignore[arg-type]
    transport.existing.add("silent")
    status, message = await status_of(transport, rpc_timeout=0.3)
    assert status == RPCStatusCode.UNAVAILABLE and "'silent'" in message
    assert {type(record) for _, record in transport.sent} == {
        DescribeWorkflow
    } and not transport.created


async def test_no_queue_at_all() -> None:
    assert (await status_of(FakeTransport()))[0] == RPCStatusCode.NOT_FOUND


def test_owner_that_restarts_under_its_name_is_new() -> None:
    view = MembersView()
    view.complete = True
    one, two = member("q", {0: "RUNNING"}), member("q", {0: "RUNNING"})
    one.pid, two.pid = 1, 2
    assert view.update("a", one, 0, 0) == {"q"}
    assert view.update("a", two, 1, 0) == {"q"}
    view.update("a", None, 2, 0)
    assert view.update("a", two, 3, 0) == {"q"}, "it left and came back"
    two.lanes[0].state = "RESTORING"
    assert view.update("a", two, 4, 0) == set()
    two.lanes[0].state = "RUNNING"
    assert view.update("a", two, 5, 0) == {"q"}, (
        "it lost the partition in between, and forgot who waits"
    )
