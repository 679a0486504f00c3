"""Signals and queries: buffering, dynamic and run-time handlers, bad arguments, read-only
contexts, unfinished handlers.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from odradek import workflow
from odradek.common import RawValue, SearchAttributeKey
from odradek.engine.activation import CancelJob, RespondToQuery, TaskFailed
from odradek.exceptions import ApplicationError
from odradek.wire.payload import Payload
from tests.engine.activation_driver import (
    Driver,
    activator,
    completed,
    kinds,
    query,
    result_of,
    signal,
)


@workflow.defn
class Handlers:
    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.finish = False

    @workflow.run
    async def run(self, set_at_run_time: bool) -> list[Any]:
        if set_at_run_time:
            await asyncio.sleep(1)
            workflow.set_signal_handler("late", lambda text: self.seen.append(f"late {text}"))
            await asyncio.sleep(1)
            workflow.set_dynamic_signal_handler(self.on_any)
            assert workflow.get_signal_handler("late") is not None
            assert workflow.get_signal_handler("other") is None
            assert workflow.get_dynamic_signal_handler() is not None
            workflow.set_query_handler("added", lambda: len(self.seen))
            workflow.set_query_handler("seen", None)
        await workflow.wait_condition(lambda: self.finish)
        return self.seen

    def on_any(self, name: str, args: Sequence[RawValue]) -> None:
        self.seen.append(
            f"any {name} {[workflow.payload_converter().from_payload(arg.payload) for arg in args]}"
        )

    @workflow.signal(name="renamed")
    def number(self, value: int) -> None:
        self.seen.append(value)

    @workflow.signal
    def end(self) -> None:
        self.finish = True

    @workflow.query(name="seen", description="what was seen")
    def what_was_seen(self) -> list[Any]:
        return self.seen


def test_signals_wait_for_their_handler() -> None:
    from tests.engine.activation_driver import FireTimer

    run = Driver(Handlers, "", True)
    run.start(signal("late", "a"), signal("other", 1), signal("late", "b"))
    assert run.answer("seen") == []
    run.step(FireTimer(1))
    assert run.answer("seen") == ["late a", "late b"]
    run.step(FireTimer(2))
    assert run.answer("added") == 3
    assert run.refusal("seen").message.startswith(
        "Query handler for 'seen' expected but not found, known queries: [__enhanced_stack_trace "
    )
    assert run.refusal("seen").message.endswith("__temporal_workflow_metadata added]")
    assert result_of(run.step(signal("end"), signal("another", "x"))) == [
        "late a",
        "late b",
        "any other [1]",
        "any another ['x']",
    ]
    run.replay()


def test_a_signal_whose_arguments_do_not_decode_is_logged_and_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = Driver(Handlers, "", False)
    run.start()
    with caplog.at_level(logging.ERROR):
        assert run.step(signal("renamed", "not a number"), signal("renamed", 5)) == []
    assert (
        "Failed deserializing signal input for renamed on workflow Handlers with ID wf and run ID"
        " run, dropping the signal" in caplog.text
    )
    assert result_of(run.step(signal("end"))) == [5]


@workflow.defn
class DynamicHandlers:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal(dynamic=True)
    async def on_signal(self, name: str, args: Sequence[RawValue]) -> None:
        self.seen.append([name, len(args)])

    @workflow.query(dynamic=True)
    def on_query(self, name: str, args: Sequence[RawValue]) -> list[Any]:
        return [
            name,
            self.seen,
            *(workflow.payload_converter().from_payload(arg.payload) for arg in args),
        ]


def test_dynamic_handlers() -> None:
    run = Driver(DynamicHandlers)
    run.start(signal("x", 1, 2))
    assert run.answer("y", "arg") == ["y", [["x", 2]], "arg"]
    assert "DynamicHandlers" in run.answer("__stack_trace") or "run" in run.answer("__stack_trace")


# ---------------------------------------------------------------- read-only


async def _aside() -> None:
    pass


SINS: dict[str, Callable[[Any], Any]] = {
    "start activity": lambda self: workflow.start_activity(
        "a", start_to_close_timeout=timedelta(1)
    ),
    "create task": lambda self: asyncio.create_task(_aside()),
    "schedule timer": lambda self: asyncio.get_running_loop().call_later(1, print),
    "random": lambda self: workflow.random(),
    "uuid": lambda self: workflow.uuid4(),
    "patch": lambda self: workflow.patched("x"),
    "set signal handler": lambda self: workflow.set_signal_handler("s", None),
    "set query handler": lambda self: workflow.set_query_handler("s", None),
    "upsert memo": lambda self: workflow.upsert_memo({"a": 1}),
    "upsert search attributes": lambda self: workflow.upsert_search_attributes(
        [SearchAttributeKey.for_int("n").value_set(1)]
    ),
    "continue as new": lambda self: workflow.continue_as_new(),
    "set current details": lambda self: workflow.set_current_details("x"),
    "cancel activity handle": lambda self: self.handle.cancel(),
}


@workflow.defn
class Sinner:
    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.handle: Any = None

    @workflow.run
    async def run(self) -> str:
        self.handle = workflow.start_activity("a", start_to_close_timeout=timedelta(1))
        await self.event.wait()
        return "woken"

    @workflow.signal
    def wake(self) -> None:
        self.event.set()

    @workflow.query
    def sin(self, which: str) -> Any:
        return SINS[which](self)

    @workflow.query
    def set_event(self) -> None:
        self.event.set()

    @workflow.query
    def raises(self) -> None:
        raise ApplicationError("asked too much", type="TooMuch")

    @workflow.query
    def unconvertible(self) -> Any:
        return object()

    @workflow.query
    def looks(self) -> list[Any]:
        return [
            workflow.unsafe.is_read_only(),
            workflow.info().run_id,
            workflow.now().year,
            workflow.unsafe.is_replaying_history_events(),
        ]


@pytest.mark.parametrize("which", list(SINS))
def test_queries_cannot_change_anything(which: str) -> None:
    run = Driver(Sinner)
    assert kinds(run.start()) == ["ScheduleActivity 1"]
    run.step(signal("nothing"))
    failure = run.refusal("sin", which)
    assert failure.type == "ReadOnlyContextError"
    assert failure.message.startswith("While in read-only function, action attempted: ")
    assert result_of(run.step(signal("wake"))) == "woken", "and the run goes on"


def test_a_query_that_wakes_a_task_spoils_the_instance_but_not_the_run() -> None:
    """Its future is set and cannot be unset: the activation fails, and the engine replays into a
    new instance.
    """
    run = Driver(Sinner)
    run.start()
    failed = run.completion(query("set_event"))
    assert isinstance(failed, TaskFailed)
    assert failed.failure.type == "ReadOnlyContextError"
    assert failed.failure.message == "While in read-only function, action attempted: schedule task"
    run.replay()
    assert result_of(run.step(signal("wake"))) == "woken"


def test_failing_queries_fail_alone() -> None:
    run = Driver(Sinner)
    run.start()
    assert run.refusal("raises").type == "TooMuch"
    assert run.refusal("unconvertible").type == "TypeError"
    (command,) = run.step(query("sin"))
    assert (
        isinstance(command, RespondToQuery)
        and command.failure is not None
        and command.failure.type == "TypeError"
    )
    run.completion(replaying=True)
    assert run.answer("looks")[0] is True
    assert run.answer("looks")[3] is False


def test_built_in_queries() -> None:
    run = Driver(Handlers, "", False)
    run.start()
    trace = run.answer("__stack_trace")
    assert "wait_condition" in trace and "test_activation_handlers.py" in trace
    metadata = run.answer("__temporal_workflow_metadata")
    assert metadata["definition"]["type"] == "Handlers"
    assert {"name": "seen", "description": "what was seen"} in metadata["definition"][
        "queryDefinitions"
    ]
    assert [entry["name"] for entry in metadata["definition"]["signalDefinitions"]] == [
        "end",
        "renamed",
    ]
    locations = [
        place["functionName"]
        for stack in run.answer("__enhanced_stack_trace")["stacks"]
        for place in stack["locations"]
    ]
    assert "run" in locations


def test_queries_come_last_and_see_the_signals_of_their_activation() -> None:
    run = Driver(Handlers, "", False)
    commands = run.step(query("seen"), run.initialize(), signal("renamed", 7))
    assert isinstance(commands[-1], RespondToQuery) and commands[-1].result[0].data == b"[7]"
    run.step(signal("end"))
    assert run.answer("seen") == [7], "also on a completed run"


def test_async_queries_work_as_long_as_they_wait_for_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        run = Driver(AsyncQuery)
        run.start()
        assert run.answer("quick") == 5
        assert "wait for something" in run.refusal("slow").message


with pytest.warns(DeprecationWarning, match="Queries as async def"):

    @workflow.defn
    class AsyncQuery:
        def __init__(self) -> None:
            self.done = asyncio.get_running_loop().create_future()

        @workflow.run
        async def run(self) -> None:
            await self.done

        @workflow.query
        async def quick(self) -> int:
            await asyncio.sleep(0)
            return 5

        @workflow.query
        async def slow(self) -> None:
            await self.done


# ---------------------------------------------------------------- unfinished handlers


@workflow.defn
class Unfinished:
    def __init__(self) -> None:
        self.finish = ""

    @workflow.run
    async def run(self) -> bool:
        await workflow.wait_condition(lambda: bool(self.finish))
        if self.finish == "wait":
            await workflow.wait_condition(workflow.all_handlers_finished)
        if self.finish == "fail":
            raise ApplicationError("failed")
        if self.finish == "again":
            workflow.continue_as_new()
        return workflow.all_handlers_finished()

    @workflow.signal
    async def slow(self) -> None:
        await workflow.execute_activity("slow", start_to_close_timeout=timedelta(minutes=1))

    @workflow.signal(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def abandoned(self) -> None:
        await asyncio.Event().wait()

    @workflow.signal
    def end(self, how: str) -> None:
        self.finish = how


@pytest.mark.parametrize("how", ["return", "fail", "again", "cancel"])
def test_unfinished_handlers_are_warned_of(how: str) -> None:
    run = Driver(Unfinished)
    run.start(signal("slow"), signal("slow"), signal("abandoned"))
    with pytest.warns(
        workflow.UnfinishedSignalHandlersWarning,
        match=r"\[TMPRL1102\].*\"name\": \"slow\", \"count\": 2",
    ) as caught:
        run.step(CancelJob() if how == "cancel" else signal("end", how))
    caught_here = [
        one for one in caught if one.category is workflow.UnfinishedSignalHandlersWarning
    ]  # the collector warns of others'
    assert len(caught_here) == 1 and "abandoned" not in str(caught_here[0].message)


def test_finished_or_abandoned_handlers_are_not() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = Driver(Unfinished)
        run.start(signal("abandoned"))
        assert result_of(run.step(signal("end", "return"))) is False
        run = Driver(Unfinished)
        run.start(signal("slow"))
        assert run.step(signal("end", "wait")) == []
        assert result_of(run.step(completed(1))) is True


def test_a_warning_made_an_error_fails_the_task() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = Driver(Unfinished)
        run.start(signal("slow"))
        assert (
            run.task_failure(signal("end", "return")).failure.type
            == "UnfinishedSignalHandlersWarning"
        )


# ---------------------------------------------------------------- memo, search attributes, the rest
# of the context


@workflow.defn
class Attributes:
    @workflow.run
    async def run(self) -> list[Any]:
        number = SearchAttributeKey.for_int("Number")
        out: list[Any] = [
            dict(workflow.memo()),
            workflow.memo_value("a"),
            workflow.memo_value("none", "default"),
        ]
        workflow.upsert_memo({"b": [1], "a": None})
        out += [dict(workflow.memo()), workflow.memo_value("b", type_hint=list[int])]
        try:
            workflow.memo_value("a")
        except KeyError as error:
            out.append(str(error))
        workflow.upsert_search_attributes([number.value_set(5)])
        out.append(workflow.info().typed_search_attributes[number])
        workflow.upsert_search_attributes([number.value_unset()])
        out.append(workflow.info().typed_search_attributes.get(number))
        workflow.set_current_details("details")
        out.append(workflow.get_current_details())
        out += [
            workflow.has_last_completion_result(),
            workflow.get_last_completion_result(),
            workflow.get_last_failure(),
        ]
        out.append(workflow.instance() is self)
        return out


def test_memo_and_search_attributes() -> None:
    run = Driver(
        activator(Attributes), "Attributes", memo={"a": Payload({"encoding": b"json/plain"}, b"1")}
    )
    commands = run.start()
    assert kinds(commands) == [
        "UpsertMemo",
        "UpsertSearchAttributes",
        "UpsertSearchAttributes",
        "CompleteWorkflow",
    ]
    assert result_of(commands) == [
        {"a": 1}, 1, "default", {"b": [1]}, [1], "'Memo does not have a value for key a'", 5, None, "details", False, None, None, True,
    ]  # fmt: skip
    run.replay()
