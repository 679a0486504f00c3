"""Bad input in workflow code and in what is asked of it. The run that is at fault shows why; its
neighbours do not notice.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from odradek import activity, workflow
from odradek.client import (
    Client,
    RPCError,
    RPCStatusCode,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowQueryFailedError,
)
from odradek.common import RetryPolicy
from odradek.config import Settings
from odradek.exceptions import ActivityError, ApplicationError
from odradek.telemetry.logs import JsonFormatter
from odradek.worker import Worker
from tests.kafka.bad_input import PATIENT, described, sent, task_failure
from tests.support.client import connected
from tests.support.settings import settings_for
from tests.support.until import until_async
from tests.support.worker import QUEUE, SECOND, Doubles, Waits, double, neighbours_complete


@pytest.fixture
def settings(bootstrap: str, namespace: str, tmp_path: Path) -> Settings:
    return settings_for(bootstrap, namespace, tmp_path, deadlock_timeout=timedelta(seconds=0.5))


@workflow.defn(name="Late")
class Late:
    """A type that the first worker does not know."""

    @workflow.run
    async def run(self) -> str:
        return "here at last"


@pytest.mark.promise("failing-task")
async def test_unregistered_workflow_type(client: Client) -> None:
    """The run stays open and says what is registered; a worker that knows the type takes it up."""
    async with Worker(client, task_queue=QUEUE, workflows=[Doubles, Waits], activities=[double]):
        handle = await client.start_workflow("Late", id="late", task_queue=QUEUE, result_type=str)
        failure = (await task_failure(handle)).failure
        assert failure is not None
        assert (
            failure.message
            == "Workflow class Late is not registered on this worker, available workflows: Doubles,"
            " Waits"
        )
        await neighbours_complete(client)
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    async with Worker(client, task_queue=QUEUE, workflows=[Late, Doubles], activities=[double]):
        assert await asyncio.wait_for(handle.result(), 30) == "here at last"


@workflow.defn
class CallsByName:
    """One activity by name, a number of attempts."""

    @workflow.run
    async def run(self, name: str, argument: Any, attempts: int, queue: str) -> Any:
        retry = RetryPolicy(
            initial_interval=timedelta(milliseconds=100),
            backoff_coefficient=1.0,
            maximum_attempts=attempts,
        )
        return await workflow.execute_activity(
            name, argument, task_queue=queue, start_to_close_timeout=10 * SECOND, retry_policy=retry
        )


@pytest.mark.promise("commands")
async def test_unregistered_activity_type(client: Client) -> None:
    """The attempt fails, retryably, with the list of what is registered; a service that knows it
    takes the next one.
    """
    async with Worker(client, task_queue=QUEUE, workflows=[CallsByName]):
        async with Worker(client, task_queue="services", activities=[double]):
            with pytest.raises(WorkflowFailureError) as caught:
                await client.execute_workflow(
                    CallsByName.run,
                    args=["triple", 1, 2, "services"],
                    id="gives-up",
                    task_queue=QUEUE,
                )
            error = caught.value.cause
            assert isinstance(error, ActivityError) and isinstance(error.cause, ApplicationError)
            assert (
                "triple" in str(error.cause)
                and "double" in str(error.cause)
                and "not registered" in str(error.cause)
            )
            handle = await client.start_workflow(
                CallsByName.run, args=["triple", 2, 0, "services"], id="goes-on", task_queue=QUEUE
            )
            await described(
                handle, lambda it: it.pending_activities and it.pending_activities[0].attempt > 2
            )

        @activity.defn
        async def triple(number: int) -> int:
            return 3 * number

        async with Worker(client, task_queue="services", activities=[triple]):
            assert await asyncio.wait_for(handle.result(), 30) == 6


@pytest.mark.promise("failing-task")
async def test_workflow_argument_that_does_not_decode(client: Client) -> None:
    """The task fails with the reason; the run stays open until it is terminated; neighbours
    complete.
    """
    async with Worker(client, task_queue=QUEUE, workflows=[Doubles], activities=[double]):
        handle = await client.start_workflow(
            "Doubles", {"not": "a number"}, id="bad", task_queue=QUEUE
        )
        failure = (await task_failure(handle)).failure
        assert failure is not None and "Failed decoding arguments" in failure.message
        await neighbours_complete(client)
        await handle.terminate("it was a mistake")
        with pytest.raises(WorkflowFailureError):
            await handle.result()


async def test_activity_argument_that_does_not_decode(client: Client) -> None:
    async with Worker(
        client, task_queue=QUEUE, workflows=[CallsByName, Doubles], activities=[double]
    ):
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(
                CallsByName.run,
                args=["double", {"not": "a number"}, 1, QUEUE],
                id="bad",
                task_queue=QUEUE,
            )
        error = caught.value.cause
        assert isinstance(error, ActivityError) and "Failed decoding arguments" in str(error.cause)
        await neighbours_complete(client)


async def test_signal_and_query_arguments_that_do_not_decode(client: Client) -> None:
    """A query fails to its caller. A signal is dropped with a log line, as in Temporal: nobody
    could ever apply it.
    """
    async with Worker(client, task_queue=QUEUE, workflows=[Waits]):
        handle = await client.start_workflow(Waits.run, id="waits", task_queue=QUEUE)
        await handle.signal("go", {"not": "a number"})
        with pytest.raises(WorkflowQueryFailedError, match="unknown-query"):
            await handle.query("unknown-query")
        await handle.signal(Waits.go, 0)
        assert await asyncio.wait_for(handle.result(), 30) == [0]


@workflow.defn
class Raises:
    """Raises what is asked for."""

    @workflow.run
    async def run(self, what: str) -> None:
        if what == "failure":
            raise ApplicationError("out of tea", "cup 3", type="NoTea")
        raise KeyError("a bug")


@pytest.mark.promise("failing-task")
async def test_workflow_code_that_raises(client: Client) -> None:
    """A failure error fails the workflow. Any other exception is a bug: the task is retried, the
    run waits for better code.
    """
    async with Worker(client, task_queue=QUEUE, workflows=[Raises, Doubles], activities=[double]):
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(Raises.run, "failure", id="fails", task_queue=QUEUE)
        assert isinstance(caught.value.cause, ApplicationError)
        assert (
            caught.value.cause.message,
            caught.value.cause.type,
            caught.value.cause.details,
        ) == ("out of tea", "NoTea", ("cup 3",))
        handle = await client.start_workflow(Raises.run, "bug", id="bug", task_queue=QUEUE)
        failure = (await task_failure(handle)).failure
        assert (
            failure is not None
            and failure.type == "KeyError"
            and "a bug" in failure.message
            and __file__ in failure.stack_trace
        )
        await neighbours_complete(client)
        description = await handle.describe()
        assert description.status is WorkflowExecutionStatus.RUNNING
    async with Worker(
        client, task_queue=QUEUE, workflows=[Raises], workflow_failure_exception_types=[KeyError]
    ):
        with pytest.raises(WorkflowFailureError):
            await asyncio.wait_for(handle.result(), 40)


#: Workflow ids whose code has been repaired.
repaired: set[str] = set()
paid: list[str] = []


@activity.defn
async def pay(workflow_id: str) -> str:
    paid.append(workflow_id)
    return "bad-\udcff"  # a file name, say


@workflow.defn
class Unwritable:
    """Makes of an activity's result, or at a signal, what no record can hold."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.run
    async def run(self, how: str) -> list[str]:
        name: str = await workflow.execute_activity(
            pay, workflow.info().workflow_id, start_to_close_timeout=30 * SECOND
        )
        if workflow.info().workflow_id not in repaired:
            await self._make(how, name)
        await workflow.wait_condition(lambda: "end" in self.told)
        return self.told

    async def _make(self, how: str, name: str) -> None:
        match how:
            case "timer":
                await asyncio.wait_for(asyncio.Event().wait(), sys.maxsize)
            case "error":
                raise ValueError(f"cannot use {name}")
            case "activity":
                await workflow.execute_activity(name, start_to_close_timeout=30 * SECOND)
            case "memo":
                workflow.upsert_memo({name: 1})

    @workflow.signal
    async def tell(self, text: str) -> None:
        self.told.append(text)
        if text == "far" and workflow.info().workflow_id not in repaired:
            await asyncio.sleep(1e18)


CAUSES = {
    "timer": "BAD_START_TIMER_ATTRIBUTES",
    "error": "WORKFLOW_WORKER_UNHANDLED_FAILURE",
    "activity": "BAD_SCHEDULE_ACTIVITY_ATTRIBUTES",
    "memo": "BAD_MODIFY_WORKFLOW_PROPERTIES_ATTRIBUTES",
    "signal": "BAD_START_TIMER_ATTRIBUTES",
}


@pytest.mark.promise("failing-task")
async def test_workflow_code_that_makes_what_cannot_be_written(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """The task fails, whatever it was; the activity's result and the signals stay, and repaired
    code completes without paying again.
    """
    caplog.set_level(
        logging.CRITICAL, logger="odradek"
    )  # xdist cannot carry such texts in what a test logged
    handles = {}
    async with Worker(
        client, task_queue=QUEUE, workflows=[Unwritable, Doubles], activities=[pay, double]
    ):
        for how, cause in CAUSES.items():
            handle = handles[how] = await client.start_workflow(
                Unwritable.run, how, id=how, task_queue=QUEUE
            )
            if how == "signal":
                await described(
                    handle,
                    lambda description: (
                        not description.pending_activities and paid[-1:] == ["signal"]
                    ),
                )
                await handle.signal(Unwritable.tell, "far")
            failed = await task_failure(handle)
            assert failed.cause == cause
            await handle.signal(Unwritable.tell, "more")
            description = await handle.describe()
            assert (description.status, description.quarantine_reason) == (
                WorkflowExecutionStatus.RUNNING,
                "",
            )
            kinds = [
                type(event.attributes).__name__ async for event in handle.fetch_history_events()
            ]
            assert "ActivityTaskCompletedEvent" in kinds and "WorkflowExecutionSignaled" in kinds, (
                how,
                kinds,
            )
        await neighbours_complete(client)
    repaired.update(handles)
    async with Worker(client, task_queue=QUEUE, workflows=[Unwritable], activities=[pay]):
        for how, handle in handles.items():
            await handle.signal(Unwritable.tell, "end")
            assert await asyncio.wait_for(handle.result(), 40) == [
                *(["far"] if how == "signal" else []),
                "more",
                "end",
            ]
    assert sorted(paid) == sorted(handles)


async def test_requests_that_cannot_be_written(client: Client) -> None:
    """The caller learns it, and nothing is sent."""
    async with Worker(client, task_queue=QUEUE, workflows=[Waits, Doubles], activities=[double]):
        with pytest.raises(RPCError, match="no text that UTF-8 can carry"):
            await client.start_workflow(Waits.run, id="bad-\udcff", task_queue=QUEUE)
        with pytest.raises(ValueError, match="cannot be sent"):
            await client.start_workflow("bad-\udcff", id="w", task_queue=QUEUE)
        with pytest.raises(ValueError, match="cannot be sent"):
            await client.start_workflow(Waits.run, id="w", task_queue=QUEUE, memo={"bad-\udcff": 1})
        handle = await client.start_workflow(Waits.run, id="w", task_queue=QUEUE)
        with pytest.raises(ValueError, match="cannot be sent"):
            await handle.signal("bad-\udcff")
        with pytest.raises(ValueError):
            await client.get_workflow_handle("bad-\udcff").signal("x")
        await neighbours_complete(client)
        await handle.terminate()


@workflow.defn
class Blocks:
    """Keeps its thread: asleep, or busy."""

    @workflow.run
    async def run(self, how: str) -> str:
        if how == "sleeps":
            time.sleep(1.5)  # noqa: ASYNC251  # the mistake under test
        while how == "spins":
            pass
        return how


@pytest.mark.promise("quarantine")
@pytest.mark.parametrize("how", ["sleeps", "spins"])
async def test_workflow_code_that_keeps_its_thread(client: Client, how: str) -> None:
    """The watchdog parks that run only, with the line where it was; signals to it are kept;
    neighbours complete.
    """
    async with Worker(client, task_queue=QUEUE, workflows=[Blocks, Doubles], activities=[double]):
        handle = await client.start_workflow(Blocks.run, how, id=how, task_queue=QUEUE)
        await neighbours_complete(client)
        description = await described(handle, lambda it: it.quarantine_reason)
        assert "Potential deadlock detected" in description.quarantine_reason
        assert description.status is WorkflowExecutionStatus.RUNNING
        await neighbours_complete(client, name="later")
        await handle.signal("anything")
        await handle.terminate("enough")
    assert (await _status_after_restart(client, handle.id)) is WorkflowExecutionStatus.TERMINATED


async def _status_after_restart(client: Client, workflow_id: str) -> WorkflowExecutionStatus | None:
    async with Worker(client, task_queue=QUEUE, workflows=[Doubles]):
        return (
            await client.get_workflow_handle(workflow_id, task_queue=QUEUE).describe(
                rpc_timeout=PATIENT
            )
        ).status


@workflow.defn(name="Changing")
class Before:
    """The code that started the run."""

    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity("double", 1, start_to_close_timeout=10 * SECOND)
        await workflow.wait_condition(lambda: False, timeout=timedelta(hours=1))
        return "never"


@workflow.defn(name="Changing")
class After:
    """The code of the next deploy: another first step."""

    def __init__(self) -> None:
        self.went = False

    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity("other", 1, start_to_close_timeout=10 * SECOND)
        return "never"

    @workflow.signal
    def poke(self) -> None:
        self.went = True


@pytest.mark.promise("determinism")
async def test_workflow_code_that_is_nondeterministic(client: Client) -> None:
    """Says event, command and line of code; the run stays open, and goes on with the code it was
    started with.
    """
    async with Worker(client, task_queue=QUEUE, workflows=[Before], activities=[double]):
        handle = await client.start_workflow(Before.run, id="changing", task_queue=QUEUE)
        await described(handle, lambda it: it.pending_timers)
    async with Worker(client, task_queue=QUEUE, workflows=[After, Doubles], activities=[double]):
        await handle.signal("poke")
        failed = await task_failure(handle)
        assert failed.failure is not None and failed.cause == "NON_DETERMINISTIC_ERROR"
        assert (
            "activity 'double'" in failed.failure.message
            and "activity 'other'" in failed.failure.message
        )
        assert (
            f"{__file__}:{After.run.__code__.co_firstlineno + 2} in run" in failed.failure.message
        )
        await neighbours_complete(client)
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    async with Worker(client, task_queue=QUEUE, workflows=[Before], activities=[double]):

        async def replays() -> bool:
            try:
                await handle.query("__stack_trace", rpc_timeout=PATIENT)
            except RPCError as error:
                assert (
                    error.status is RPCStatusCode.FAILED_PRECONDITION
                    and "Workflow Task in failed state" in error.message
                )
                return False
            return True

        await until_async(replays, what="a query replays the history with the old code")


@pytest.mark.promise("reads")
@pytest.mark.parametrize("known", [True, False], ids=["queue is told", "queue must be found"])
async def test_unknown_workflow_id(client: Client, known: bool) -> None:
    """NOT_FOUND, and only because every owner that could know it has answered; the id stands in
    the message.
    """
    async with Worker(client, task_queue=QUEUE, workflows=[Waits]):
        await client.start_workflow(Waits.run, id="somebody", task_queue=QUEUE)
        handle = client.get_workflow_handle("nobody", **({"task_queue": QUEUE} if known else {}))
        for ask in (
            handle.describe,
            lambda: handle.query("given"),
            lambda: handle.signal("go", 1),
            handle.cancel,
            handle.terminate,
            handle.result,
            handle.fetch_history,
        ):
            with pytest.raises(RPCError) as caught:
                await asyncio.wait_for(ask(), 30)
            assert caught.value.status is RPCStatusCode.NOT_FOUND, ask
            assert "nobody" in str(caught.value)


@pytest.mark.promise("reads")
async def test_unknown_workflow_id_while_an_owner_is_away(settings: Settings) -> None:
    """As long as a queue has not answered it is UNAVAILABLE, not NOT_FOUND: the run may be there."""
    async with connected(settings.replace(rpc_timeout=SECOND)) as client:
        async with Worker(client, task_queue="asleep", workflows=[Waits]):
            await client.start_workflow(
                Waits.run, id="hidden", task_queue="asleep", rpc_timeout=30 * SECOND
            )
        other = await Client.connect(settings=client.settings)

        async def named() -> bool:
            with pytest.raises(RPCError) as caught:
                await other.get_workflow_handle("hidden").describe()
            assert caught.value.status is RPCStatusCode.UNAVAILABLE
            return "asleep" in str(caught.value)  # the other one too has a second to answer

        async with Worker(client, task_queue=QUEUE, workflows=[Waits]):
            await until_async(named)
        other.close()


@pytest.mark.promise("reads")
async def test_unknown_workflow_id_while_a_queue_was_never_served(settings: Settings) -> None:
    """It has no runs, only requests that nobody has applied: it is named, and keeps nobody
    waiting.
    """
    async with connected(settings.replace(rpc_timeout=SECOND)) as client:
        await sent(client.start_workflow(Waits.run, id="early", task_queue="mistyped"))
        other = await Client.connect(settings=client.settings)

        async def told() -> str:
            with pytest.raises(RPCError) as caught:
                await other.get_workflow_handle("early").describe()
            return (
                str(caught.value) if caught.value.status is RPCStatusCode.NOT_FOUND else ""
            )  # the other queue has a second to answer

        async with Worker(client, task_queue=QUEUE, workflows=[Waits]):
            assert "'mistyped' was never served" in await until_async(told)
        other.close()


@pytest.mark.promise("reads")
async def test_signal_to_a_closed_run(client: Client) -> None:
    """Refused to the caller; the result stays what it was; a query goes on to work."""
    async with Worker(client, task_queue=QUEUE, workflows=[Waits]):
        handle = await client.start_workflow(Waits.run, id="closed", task_queue=QUEUE)
        await handle.signal(Waits.go, 0)
        assert await handle.result() == [0]
        events = len((await handle.fetch_history()).events)
        await handle.cancel()  # what it asks for is so
        for ask in (lambda: handle.signal(Waits.go, 1), handle.terminate):
            with pytest.raises(RPCError) as caught:
                await ask()
            assert caught.value.status is RPCStatusCode.NOT_FOUND
            assert "already completed" in str(caught.value)
        assert await handle.query(Waits.given) == [0]
        assert await handle.result() == [0]
        assert len((await handle.fetch_history()).events) == events


@workflow.defn
class TooMany:
    """More pending activities than its settings allow."""

    @workflow.run
    async def run(self) -> None:
        await asyncio.gather(
            *(
                workflow.execute_activity(double, n, start_to_close_timeout=10 * SECOND)
                for n in range(4)
            )
        )


async def test_failed_task_that_no_code_raised_is_in_the_log(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """At WARNING, as an exception of workflow code is, and with the ids: the owner finds these,
    the history alone has them otherwise.
    """
    few = settings.replace(pending_activities_max=3)
    async with (
        connected(few) as client,
        Worker(client, task_queue=QUEUE, workflows=[TooMany, Doubles], activities=[double]),
    ):
        many = await client.start_workflow(TooMany.run, id="many", task_queue=QUEUE)
        await client.start_workflow("Unheard", id="unheard", task_queue=QUEUE)
        assert (await task_failure(many)).cause == "PENDING_ACTIVITIES_LIMIT_EXCEEDED"

        async def lines() -> dict[str, str]:
            records = [
                record
                for record in caplog.records
                if record.name == "odradek.workflow" and record.levelname == "WARNING"
            ]
            found = {
                json.loads(JsonFormatter().format(record))["workflow_id"]: record.getMessage()
                for record in records
            }
            return found if {"many", "unheard"} <= set(found) else {}

        found = await until_async(lines)
        assert (
            "PENDING_ACTIVITIES_LIMIT_EXCEEDED" in found["many"] and "limit is 3" in found["many"]
        )
        assert "Unheard is not registered" in found["unheard"]
        await neighbours_complete(client)
