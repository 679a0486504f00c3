"""What fails the workflow, what fails its task, and what the failure says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from odradek import workflow
from odradek.activation import PythonActivator
from odradek.common import RawValue, RetryPolicy
from odradek.engine.activation import ContinueAsNew, FailWorkflow
from odradek.exceptions import ApplicationError, TemporalError
from odradek.wire.payload import Failure, Payload
from tests.engine.activation_driver import (
    CONVERTER,
    Driver,
    activator,
    failure_of,
    kinds,
    result_of,
    signal,
)


class Listed(Exception):
    """Listed on one of the definitions below."""


class ListedWithWorker(Exception):
    """Listed with the activator."""


RAISES: dict[str, Any] = {
    "application": lambda: ApplicationError("no", "detail", type="Nope", non_retryable=True),
    "timeout": asyncio.TimeoutError,
    "value": lambda: ValueError("plain"),
    "assertion": lambda: AssertionError("wrong"),
    "listed": lambda: Listed("yes"),
    "with worker": lambda: ListedWithWorker("yes"),
    "temporal": lambda: TemporalError("no failure error"),
    "exit": lambda: SystemExit(3),
    "generator exit": GeneratorExit,
}


@workflow.defn
class Raiser:
    @workflow.run
    async def run(self, what: str) -> None:
        if what != "nothing":
            raise RAISES[what]()
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def plain(self, what: str) -> None:
        raise RAISES[what]()

    @workflow.signal
    async def waiting(self, what: str) -> None:
        await asyncio.sleep(0)
        raise RAISES[what]()


@workflow.defn(failure_exception_types=[Listed])
class ListingRaiser:
    @workflow.run
    async def run(self, what: str) -> None:
        raise RAISES[what]()


@workflow.defn(failure_exception_types=[Exception])
class AllFail:
    @workflow.run
    async def run(self, what: str) -> None:
        raise RAISES[what]()


@pytest.mark.parametrize(
    ("what", "type_"),
    [("application", "Nope"), ("timeout", "TimeoutError"), ("with worker", "ListedWithWorker")],
)
def test_fails_the_workflow(what: str, type_: str) -> None:
    made_by = activator(Raiser, workflow_failure_exception_types=[ListedWithWorker])
    failure = failure_of(Driver(made_by, "Raiser", what).start())
    assert failure.type == type_
    assert "raise RAISES[what]()" in failure.stack_trace


@pytest.mark.parametrize(
    "what", ["value", "assertion", "listed", "temporal", "exit", "generator exit"]
)
def test_fails_the_task(what: str) -> None:
    run = Driver(Raiser, "", what)
    failed = run.task_failure(run.initialize())
    assert failed.failure.type == type(RAISES[what]()).__name__
    assert failed.cause == "WORKFLOW_WORKER_UNHANDLED_FAILURE"
    assert not failed.crashed
    run.instance.close()


@pytest.mark.parametrize("handler", ["plain", "waiting"])
def test_handlers_fail_like_the_run_method(handler: str) -> None:
    run = Driver(Raiser, "", "nothing")
    run.start()
    assert failure_of(run.step(signal(handler, "application"))).type == "Nope"
    run = Driver(Raiser, "", "nothing")
    run.start()
    assert run.task_failure(signal(handler, "value")).failure.message == "plain"
    run = Driver(Raiser, "", "nothing")
    run.start()
    assert run.task_failure(signal(handler, "generator exit")).failure.type == "GeneratorExit"


def test_listed_types_fail_the_workflow() -> None:
    assert failure_of(Driver(ListingRaiser, "", "listed").start()).type == "Listed"
    assert failure_of(Driver(AllFail, "", "value").start()).type == "ValueError"


@workflow.defn
class Grouped:
    @workflow.run
    async def run(self, *what: str) -> None:
        async with asyncio.TaskGroup() as group:
            for name in what:
                group.create_task(self.fail(name))

    async def fail(self, what: str) -> None:
        raise RAISES[what]()


def test_a_group_of_failure_errors_fails_the_workflow_and_shows_the_first() -> None:
    failure = failure_of(Driver(Grouped, "", "application", "timeout").start())
    assert failure.type == "ExceptionGroup"
    assert failure.cause is not None and failure.cause.type == "Nope"
    run = Driver(Grouped, "", "application", "value")
    assert run.task_failure(run.initialize()).failure.type == "ExceptionGroup"


def test_nondeterminism_fails_the_workflow_where_the_definition_says_so() -> None:
    failure = Failure(message="different")
    assert Driver(AllFail, "", "value").instance.nondeterminism(failure) == FailWorkflow(
        failure=failure
    )
    assert Driver(ListingRaiser, "", "value").instance.nondeterminism(failure) is None


@pytest.mark.parametrize(
    "call",
    [
        lambda loop: loop.run_in_executor(None, print),
        lambda loop: loop.add_reader(0, print),
        lambda loop: loop.create_connection(object, "localhost", 1),
        lambda loop: loop.call_soon_threadsafe(print),
        lambda loop: loop.stop(),
        lambda loop: asyncio.to_thread(print),
        lambda loop: asyncio.open_connection("localhost", 1),
        lambda loop: asyncio.create_subprocess_exec("ls"),
        lambda loop: loop.run_until_complete(loop.create_future()),
    ],
)
def test_the_loop_refuses_what_cannot_replay(call: Any) -> None:
    LoopSins.call = staticmethod(call)
    run = Driver(LoopSins)
    failed = run.task_failure(run.initialize())
    # As in Temporal, whose loop lacks the methods. RuntimeError is asyncio's own, of a loop that
    # runs.
    assert failed.failure.type in ("NotImplementedError", "RuntimeError")
    if failed.failure.type == "NotImplementedError":
        assert failed.cause == "WORKFLOW_WORKER_UNHANDLED_FAILURE"
        assert "cannot be used in workflow code" in failed.failure.message
    run.instance.close()


@workflow.defn(failure_exception_types=[workflow.NondeterminismError])
class FailsWhenNondeterministic:
    @workflow.run
    async def run(self) -> None:
        await asyncio.to_thread(print)


def test_what_the_loop_refuses_is_no_nondeterminism() -> None:
    """It fails the task, which a new deployment mends, also where nondeterminism ends the
    workflow.
    """
    run = Driver(FailsWhenNondeterministic)
    failed = run.task_failure(run.initialize())
    assert (
        failed.failure.type == "NotImplementedError"
        and "loop.run_in_executor" in failed.failure.message
    )
    run.instance.close()


@workflow.defn
class LoopSins:
    call: Any = None

    @workflow.run
    async def run(self) -> None:
        result = type(self).call(asyncio.get_running_loop())
        if hasattr(result, "__await__"):
            await result


def test_an_unregistered_type_says_what_is_registered() -> None:
    run = Driver(activator(Raiser, AllFail), "Unknown")
    failed = run.task_failure(run.initialize())
    assert (
        failed.failure.message
        == "Workflow class Unknown is not registered on this worker, available workflows: AllFail,"
        " Raiser"
    )
    assert failed.failure.type == "NotFoundError"
    run.instance.close()


@workflow.defn
class Typed:
    @workflow.run
    async def run(self, number: int, text: str = "default") -> str:
        return f"{number} {text}"


def test_start_arguments() -> None:
    assert result_of(Driver(Typed, "", 1, "x").start()) == "1 x"
    assert result_of(Driver(Typed, "", 1).start()) == "1 default"
    for wrong in ([], [1, "x", "too many"], ["not a number"]):
        run = Driver(Typed, "", *wrong)
        assert run.task_failure(run.initialize()).failure.type in ("TypeError", "RuntimeError")
    run = Driver(Typed, "", 1)
    run.started.input = [Payload({"encoding": b"json/plain"}, b"{")]
    assert (
        "Failed decoding arguments of workflow Typed"
        in run.task_failure(run.initialize()).failure.message
    )


@workflow.defn
class BadInit:
    def __init__(self) -> None:
        raise ApplicationError("from init")

    @workflow.run
    async def run(self) -> None:
        pass


def test_init_may_fail_the_workflow() -> None:
    assert failure_of(Driver(BadInit).start()).message == "from init"


@workflow.defn
class WithInit:
    @workflow.init
    def __init__(self, number: int) -> None:
        self.number = number
        self.workflow_id = workflow.info().workflow_id

    @workflow.run
    async def run(self, number: int) -> list[Any]:
        return [self.number, number, self.workflow_id]


def test_init_takes_the_arguments_of_run() -> None:
    assert result_of(Driver(WithInit, "", 5).start()) == [5, 5, "wf"]


@workflow.defn
class Unconvertible:
    @workflow.run
    async def run(self) -> object:
        return object()


def test_a_result_that_does_not_convert_fails_the_task() -> None:
    run = Driver(Unconvertible)
    assert run.task_failure(run.initialize()).failure.type == "TypeError"


@workflow.defn(dynamic=True)
class Dynamic:
    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> list[Any]:
        values = [workflow.payload_converter().from_payload(arg.payload) for arg in args]
        if values == ["fail"]:
            raise Listed("by configuration")
        return [workflow.info().workflow_type, *values]

    @workflow.dynamic_config
    def config(self) -> workflow.DynamicWorkflowConfig:
        assert workflow.unsafe.is_read_only()
        return workflow.DynamicWorkflowConfig(failure_exception_types=[Listed])


def test_the_dynamic_workflow_takes_every_other_type() -> None:
    made_by = activator(Typed, Dynamic)
    assert result_of(Driver(made_by, "Whatever", 1, "x").start()) == ["Whatever", 1, "x"]
    assert result_of(Driver(made_by, "Typed", 1).start()) == "1 default"
    assert failure_of(Driver(made_by, "Whatever", "fail").start()).type == "Listed"


@workflow.defn
class Again:
    @workflow.run
    async def run(self, number: int) -> None:
        if number == 0:
            workflow.continue_as_new(
                1,
                memo={"m": 2},
                run_timeout=timedelta(seconds=3),
                retry_policy=RetryPolicy(maximum_attempts=2),
            )
        if number == 1:
            workflow.continue_as_new(args=[1, "x"], workflow=Typed.run, task_queue="elsewhere")
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    async def again(self) -> None:
        try:
            workflow.continue_as_new(workflow="Other")
        except Exception:  # it is no Exception
            raise AssertionError("caught") from None


def test_continue_as_new() -> None:
    (command,) = Driver(Again, "", 0).start()
    assert isinstance(command, ContinueAsNew)
    assert (command.workflow_type, command.task_queue) == ("", "")
    assert CONVERTER.from_payloads(command.input) == [1]
    assert command.memo is not None and CONVERTER.from_payload(command.memo["m"]) == 2
    assert (command.run_timeout_ms, command.task_timeout_ms, command.search_attributes) == (
        3000,
        None,
        None,
    )
    assert command.retry_policy is not None and command.retry_policy.maximum_attempts == 2
    (command,) = Driver(Again, "", 1).start()
    assert isinstance(command, ContinueAsNew)
    assert (command.workflow_type, command.task_queue, len(command.input)) == (
        "Typed",
        "elsewhere",
        2,
    )
    run = Driver(Again, "", 2)
    run.start()
    (command,) = run.step(signal("again"))
    assert isinstance(command, ContinueAsNew) and command.workflow_type == "Other"


@workflow.defn
class NotYet:
    @workflow.run
    async def run(self) -> list[str]:
        texts = []
        for call in (
            lambda: workflow.execute_child_workflow("Child"),
            lambda: workflow.start_child_workflow("Child", id="x"),
            lambda: workflow.execute_local_activity("a", start_to_close_timeout=timedelta(1)),
            lambda: workflow.get_external_workflow_handle("other"),
        ):
            try:
                result = call()
                if hasattr(result, "__await__"):
                    await result
            except NotImplementedError as error:
                texts.append(str(error))
        return texts


def test_what_is_missing_says_so() -> None:
    texts = result_of(Driver(NotYet).start())
    assert len(texts) == 4
    assert all("not supported yet" in text for text in texts)


@workflow.defn
class Activities:
    @workflow.run
    async def run(self, case: str) -> None:
        if case == "no timeout":
            await workflow.execute_activity("a")
        if case == "negative":
            await workflow.execute_activity("a", start_to_close_timeout=timedelta(seconds=-1))
        if case == "not decorated":
            await workflow.execute_activity(print, "x", start_to_close_timeout=timedelta(seconds=1))


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("no timeout", "must have start_to_close_timeout or schedule_to_close_timeout"),
        ("negative", "must not be negative"),
        ("not decorated", "decorated with @activity.defn"),
    ],
)
def test_activity_calls_are_checked(case: str, text: str) -> None:
    run = Driver(Activities, "", case)
    assert text in run.task_failure(run.initialize()).failure.message


def test_registration_is_checked() -> None:
    with pytest.raises(ValueError, match="More than one workflow named Typed"):
        activator(Typed, Typed)
    with pytest.raises(ValueError, match=r"decorated with @workflow\.defn"):
        PythonActivator([str], namespace="n", task_queue="q")


def test_jobs_of_unknown_things_fail_the_task() -> None:
    from tests.engine.activation_driver import completed

    run = Driver(Raiser, "", "nothing")
    run.start()
    assert "sequence number 9" in run.task_failure(completed(9)).failure.message
    fresh = Driver(Raiser, "", "nothing")
    assert "must initialize" in fresh.task_failure(signal("plain", "value")).failure.message
    assert kinds(Driver(Raiser, "", "nothing").start()) == []
