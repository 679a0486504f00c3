"""`Worker` with a real client on real Kafka: whole workflows, its life, and its ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from odradek import activity, workflow
from odradek.client import Client, WorkflowFailureError
from odradek.common import RetryPolicy
from odradek.config import Settings
from odradek.exceptions import (
    ActivityError,
    ApplicationError,
    BrokerUnreachableError,
    CancelledError,
    RetryState,
)
from odradek.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    Interceptor,
    Worker,
)
from tests.support.until import until_async

SHORT = timedelta(seconds=20)


@activity.defn
async def add(a: int, b: int) -> int:
    return a + b


@activity.defn
def add_in_thread(a: int, b: int) -> int:
    return a + b


@activity.defn
async def third_time() -> int:
    attempt = activity.info().attempt
    if attempt < 3:
        raise ApplicationError(f"attempt {attempt}", type="NotYet")
    return attempt


tokens: list[bytes] = []


@activity.defn
async def from_outside() -> str:
    tokens.append(activity.info().task_token)
    activity.raise_complete_async()


@activity.defn
async def ask_client() -> str:
    return activity.client().namespace


@workflow.defn
class Sum:
    @workflow.run
    async def run(self, name: str, queue: str, count: int) -> int:
        total = 0
        for number in range(count):
            total = await workflow.execute_activity(
                name,
                args=[total, number],
                task_queue=queue,
                start_to_close_timeout=SHORT,
                result_type=int,
            )
        return total


@workflow.defn
class One:
    @workflow.run
    async def run(self, name: str, attempts: int) -> Any:
        return await workflow.execute_activity(
            name,
            start_to_close_timeout=SHORT,
            retry_policy=RetryPolicy(
                initial_interval=timedelta(milliseconds=10), maximum_attempts=attempts
            ),
        )


@workflow.defn
class Begins:
    @workflow.run
    async def run(self, name: str, seconds: int) -> int:
        limit = timedelta(seconds=seconds)
        return await workflow.execute_activity(
            "begin", name, task_queue="late", schedule_to_close_timeout=limit, result_type=int
        )


@activity.defn
async def talkative(text: str) -> tuple[int, int]:
    """Its first attempt leaves as much behind as it was given, and fails."""
    info = activity.info()
    if info.attempt == 1:
        activity.heartbeat(text)
        raise RuntimeError("again")
    return info.attempt, len(info.heartbeat_details)


@workflow.defn
class Talks:
    @workflow.run
    async def run(self, size: int) -> list[int]:
        policy = RetryPolicy(initial_interval=timedelta(milliseconds=10))
        return list(
            await workflow.execute_activity(
                talkative, "x" * size, start_to_close_timeout=SHORT, retry_policy=policy
            )
        )


class BigError(Exception):
    pass


@activity.defn
async def overflows(what: str) -> int:
    if what == "details" and activity.info().attempt == 1:
        activity.heartbeat("x" * 1_500_000)
        raise RuntimeError("again")
    if what == "text":
        raise BigError("x" * 1_500_000)
    return activity.info().attempt


@workflow.defn
class Overflows:
    @workflow.run
    async def run(self, what: str) -> int:
        policy = RetryPolicy(initial_interval=timedelta(milliseconds=10), maximum_attempts=2)
        return await workflow.execute_activity(
            overflows, what, start_to_close_timeout=SHORT, retry_policy=policy
        )


@pytest_asyncio.fixture
async def client(bootstrap: str, namespace: str, tmp_path: Path) -> AsyncIterator[Client]:
    tokens.clear()
    settings = Settings(
        address=bootstrap,
        namespace=namespace,
        state_dir=tmp_path,
        partitions=2,
        replication_factor=1,
    )
    client = await Client.connect(settings=settings)
    yield client
    client.close()


async def test_workflow_with_activities_in_one_worker(client: Client) -> None:
    worker = Worker(client, task_queue="q", workflows=[Sum], activities=[add])
    async with worker:
        assert (
            await client.execute_workflow(Sum.run, args=["add", "q", 4], id="one", task_queue="q")
            == 6
        )
        assert worker.is_running
    assert worker.is_shutdown and not worker.is_running


async def test_two_workers_in_one_process_on_two_queues_started_after_the_workflow(
    client: Client,
) -> None:
    handle = await client.start_workflow(
        Sum.run,
        args=["add_in_thread", "activities", 3],
        id="early",
        task_queue="flows",
        rpc_timeout=timedelta(seconds=5),
    )
    with ThreadPoolExecutor(4) as pool:
        async with (
            Worker(client, task_queue="flows", workflows=[Sum]),
            Worker(
                client,
                task_queue="activities",
                activities=[add_in_thread],
                activity_executor=pool,
                max_concurrent_activities=2,
            ),
        ):
            assert await handle.result() == 3


async def test_details_too_large_beside_the_input_cost_no_attempt(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """Together they are more than `commands` takes (1 MiB): the next attempt goes without them,
    and the log says so.
    """
    async with Worker(client, task_queue="q", workflows=[Talks], activities=[talkative]):
        assert await client.execute_workflow(Talks.run, 300_000, id="small", task_queue="q") == [
            2,
            1,
        ]
        assert await client.execute_workflow(Talks.run, 600_000, id="large", task_queue="q") == [
            2,
            0,
        ]
    said = [
        record.getMessage()
        for record in caplog.records
        if "without the last heartbeat details" in record.getMessage()
    ]
    assert len(said) == 1 and "ID large" in said[0] and "max.message.bytes" in said[0]


@pytest.mark.promise("too-large")
async def test_a_failure_that_does_not_fit_is_cut_and_retried(client: Client) -> None:
    """`events` takes 1 MiB: neither a long text nor large details beside a short one make a
    failure final.
    """
    async with Worker(client, task_queue="q", workflows=[Overflows], activities=[overflows]):
        assert (
            await client.execute_workflow(Overflows.run, "details", id="details", task_queue="q")
            == 2
        )
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(Overflows.run, "text", id="text", task_queue="q")
    failed = caught.value.cause
    assert (
        isinstance(failed, ActivityError)
        and failed.retry_state == RetryState.MAXIMUM_ATTEMPTS_REACHED
    )
    assert (
        isinstance(failed.cause, ApplicationError)
        and failed.cause.type == "BigError"
        and not failed.cause.non_retryable
    )
    assert (
        failed.cause.message.startswith("xxx")
        and "[cut, of 1500000 characters]" in failed.cause.message
    )


async def test_activities_that_nobody_waits_for_any_more_do_not_begin(client: Client) -> None:
    """Their service was away while runs were terminated, cancelled, and timed out: it comes up
    to a topic full of their commands.
    """
    begun: list[str] = []

    @activity.defn(name="begin")
    async def begin(name: str) -> int:
        begun.append(name)
        return 1

    async with Worker(client, task_queue="flows", workflows=[Begins]):
        ids = [
            f"{what}-{number}"
            for what in ("terminated", "cancelled", "timed-out", "awaited")
            for number in range(4)
        ]
        handles = {
            id: await client.start_workflow(
                Begins.run,
                args=[id, 2 if id.startswith("timed") else 60],
                id=id,
                task_queue="flows",
            )
            for id in ids
        }
        for id, handle in handles.items():
            if id.startswith("terminated"):
                await handle.terminate()
            elif id.startswith("cancelled"):
                await handle.cancel()
        for id in ids:
            if not id.startswith("awaited"):
                with pytest.raises(WorkflowFailureError):
                    await handles[id].result()
        async with Worker(client, task_queue="late", activities=[begin]):
            for id in ids:
                if id.startswith("awaited"):
                    assert await handles[id].result() == 1
    assert sorted(begun) == [id for id in ids if id.startswith("awaited")]


async def test_cache_of_zero_replays_every_task(client: Client) -> None:
    async with Worker(
        client, task_queue="q", workflows=[Sum], activities=[add], max_cached_workflows=0
    ):
        assert (
            await client.execute_workflow(Sum.run, args=["add", "q", 4], id="one", task_queue="q")
            == 6
        )


async def test_failing_activity_is_retried_and_then_fails_the_workflow(client: Client) -> None:
    async with Worker(client, task_queue="q", workflows=[One], activities=[third_time]):
        assert (
            await client.execute_workflow(
                One.run, args=["third_time", 3], id="third", task_queue="q"
            )
            == 3
        )
        with pytest.raises(WorkflowFailureError) as caught:
            await client.execute_workflow(
                One.run, args=["third_time", 2], id="second", task_queue="q"
            )
    error = caught.value.cause
    assert isinstance(error, ActivityError) and isinstance(error.cause, ApplicationError)
    assert (error.activity_type, error.cause.type, error.cause.message) == (
        "third_time",
        "NotYet",
        "attempt 2",
    )


async def test_activity_is_completed_from_outside_by_its_token(client: Client) -> None:
    async with Worker(client, task_queue="q", workflows=[One], activities=[from_outside]):
        handle = await client.start_workflow(
            One.run, args=["from_outside", 1], id="outside", task_queue="q"
        )
        await until_async(lambda: bool(tokens))
        outside = client.get_async_activity_handle(task_token=tokens[0])
        deadline = time.monotonic() + 60
        while True:  # until its Started was applied
            try:
                await outside.complete("from afar")
                break
            except Exception:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.05)
        assert await handle.result() == "from afar"


async def test_activity_has_the_client(client: Client, namespace: str) -> None:
    async with Worker(client, task_queue="q", workflows=[One], activities=[ask_client]):
        assert (
            await client.execute_workflow(One.run, args=["ask_client", 1], id="ask", task_queue="q")
            == namespace
        )


async def test_interceptor_around_an_activity(client: Client) -> None:
    class Doubles(ActivityInboundInterceptor):
        async def execute_activity(self, input: ExecuteActivityInput) -> Any:
            return 2 * await super().execute_activity(input)

    class Doubling(Interceptor):
        def intercept_activity(
            self, next: ActivityInboundInterceptor
        ) -> ActivityInboundInterceptor:
            return Doubles(next)

    async with Worker(
        client, task_queue="q", workflows=[Sum], activities=[add], interceptors=[Doubling()]
    ):
        assert (
            await client.execute_workflow(Sum.run, args=["add", "q", 2], id="one", task_queue="q")
            == 2
        )


async def test_fatal_error_cancels_the_block_and_is_raised_from_it(client: Client) -> None:
    told: list[BaseException] = []

    async def tell(error: BaseException) -> None:
        told.append(error)

    worker = Worker(client, task_queue="q", activities=[add], on_fatal_error=tell)
    with pytest.raises(RuntimeError, match="broken beyond repair"):
        async with worker:
            host = worker._activity_host
            assert host is not None
            await until_async(lambda: host.is_assigned)
            host._fail(RuntimeError("broken beyond repair"))
            await asyncio.Event().wait()
    assert worker.is_shutdown and [str(error) for error in told] == ["broken beyond repair"]


async def test_unreachable_broker_ends_the_worker_with_its_address(
    client: Client, impatient: None
) -> None:
    elsewhere = client.settings.replace(address="127.0.0.1:1")
    worker = Worker(client, task_queue="q", activities=[add], workflows=[Sum])
    assert worker._activity_host is not None and worker._processor is not None
    for host in (worker._activity_host, worker._processor):
        host._settings = elsewhere
    from odradek.kafka.admin import ClusterAdmin

    worker._activity_host._admin = ClusterAdmin(elsewhere)
    with pytest.raises(BrokerUnreachableError, match=r"127\.0\.0\.1:1"):
        await worker.run()
    assert worker.is_shutdown


async def test_cancelling_run_shuts_down(client: Client) -> None:
    worker = Worker(client, task_queue="q", workflows=[Sum], activities=[add])
    running = asyncio.create_task(worker.run())
    await until_async(
        lambda: worker._activity_host is not None and worker._activity_host.is_assigned
    )
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert worker.is_shutdown


async def test_a_worker_runs_once(client: Client) -> None:
    worker = Worker(client, task_queue="q", activities=[add])
    async with worker:
        await until_async(
            lambda: worker._activity_host is not None and worker._activity_host.is_assigned
        )
        with pytest.raises(RuntimeError, match="Already started"):
            await worker.run()
        with pytest.raises(RuntimeError, match="Already started"):
            await worker.__aenter__()


async def test_shutdown_may_be_called_twice(client: Client) -> None:
    worker = Worker(client, task_queue="q", activities=[add])
    running = asyncio.create_task(worker.run())
    await asyncio.gather(worker.shutdown(), worker.shutdown())
    await running
    assert worker.is_shutdown


cleaned: list[str] = []


@activity.defn
def beats_in_thread() -> None:
    cleaned.append("began")
    try:
        while True:
            activity.heartbeat("alive")
            time.sleep(0.02)
    except CancelledError:
        cleaned.append("activity")
        raise


@activity.defn
async def clean_up() -> None:
    cleaned.append("workflow")


@workflow.defn
class Cancelled:
    @workflow.run
    async def run(self) -> None:
        try:
            await workflow.execute_activity(
                beats_in_thread,
                start_to_close_timeout=timedelta(minutes=5),
                heartbeat_timeout=timedelta(seconds=60),
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
        finally:
            await workflow.execute_activity(clean_up, start_to_close_timeout=SHORT)


async def test_cancelling_a_workflow_interrupts_its_threaded_activity(client: Client) -> None:
    cleaned.clear()
    with ThreadPoolExecutor(2) as pool:
        async with Worker(
            client,
            task_queue="q",
            workflows=[Cancelled],
            activities=[beats_in_thread, clean_up],
            activity_executor=pool,
            max_concurrent_activities=2,
        ):
            handle = await client.start_workflow(Cancelled.run, id="cancelled", task_queue="q")

            await until_async(lambda: "began" in cleaned)
            await handle.cancel()
            with pytest.raises(WorkflowFailureError) as caught:
                await handle.result()
    assert isinstance(caught.value.cause, CancelledError)
    assert cleaned == ["began", "activity", "workflow"]


@activity.defn
async def goes_silent() -> list[Any]:
    info = activity.info()
    if info.attempt == 1:
        activity.heartbeat("one")
        activity.heartbeat("two")
        await asyncio.sleep(60)
    return list(info.heartbeat_details)


@workflow.defn
class Silent:
    @workflow.run
    async def run(self) -> list[Any]:
        return await workflow.execute_activity(
            goes_silent,
            start_to_close_timeout=timedelta(minutes=5),
            heartbeat_timeout=timedelta(seconds=1),
            retry_policy=RetryPolicy(initial_interval=timedelta(milliseconds=10)),
        )


async def test_missed_heartbeat_starts_the_next_attempt_with_the_last_details(
    client: Client,
) -> None:
    """The last may be held back yet when its time is over: it goes 200 ms before, which a busy
    machine needs for other things at times.
    """
    async with Worker(client, task_queue="q", workflows=[Silent], activities=[goes_silent]):
        for number in range(5):
            last = await client.execute_workflow(Silent.run, id=f"silent-{number}", task_queue="q")
            if last == ["two"]:
                return
            assert last == ["one"]
    pytest.fail("what was held back never came in time")
