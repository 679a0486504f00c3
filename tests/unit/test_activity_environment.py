"""`odradek.activity` inside `ActivityEnvironment`, and outside of any activity."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import threading
import time

import pytest

from odradek import activity
from odradek.common import MetricMeter
from odradek.converter import DataConverter
from odradek.exceptions import CancelledError
from odradek.testing import ActivityEnvironment


def test_outside_of_an_activity() -> None:
    assert not activity.in_activity()
    for call in (
        activity.info,
        activity.heartbeat,
        activity.is_cancelled,
        activity.payload_converter,
        activity.cancellation_details,
    ):
        with pytest.raises(RuntimeError, match="Not in activity context"):
            call()


def test_sync_function_sees_its_context() -> None:
    environment = ActivityEnvironment()
    environment.info = dataclasses.replace(
        environment.info, activity_id="7", workflow_run_id="run", attempt=3
    )
    beats: list[tuple[object, ...]] = []
    environment.on_heartbeat = lambda *details: beats.append(details)

    def work(value: int) -> tuple[object, ...]:
        activity.heartbeat(1, "two")
        with pytest.raises(RuntimeError, match="No client available"):
            activity.client()
        assert activity.payload_converter() is DataConverter.default.payload_converter
        assert activity.metric_meter() is MetricMeter.noop
        return (
            value,
            activity.info().attempt,
            activity.info().idempotency_key,
            activity.in_activity(),
        )

    assert environment.run(work, 5) == (5, 3, "run/7/0", True)
    assert beats == [(1, "two")]
    assert not activity.in_activity()


def test_idempotency_key_is_the_same_for_every_attempt() -> None:
    info = ActivityEnvironment.default_info()
    assert (
        dataclasses.replace(info, attempt=2, task_token=b"other").idempotency_key
        == info.idempotency_key
    )
    assert dataclasses.replace(info, activity_id="8").idempotency_key != info.idempotency_key
    assert dataclasses.replace(info, scheduled_event_id=8).idempotency_key != info.idempotency_key


async def test_async_function_is_cancelled_and_told_why() -> None:
    environment = ActivityEnvironment()
    waiting = asyncio.Event()

    async def work() -> str:
        waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            details = activity.cancellation_details()
            assert details is not None and details.cancel_requested and activity.is_cancelled()
            return "cancelled"
        raise AssertionError

    running = asyncio.ensure_future(environment.run(work))
    await waiting.wait()
    environment.cancel()
    assert await running == "cancelled"


async def test_context_follows_tasks_and_wait_functions() -> None:
    environment = ActivityEnvironment()

    async def inner() -> str:
        await activity.wait_for_worker_shutdown()
        return activity.info().activity_id

    async def work() -> str:
        return await asyncio.create_task(inner())

    running = asyncio.ensure_future(environment.run(work))
    await asyncio.sleep(0)
    environment.worker_shutdown()
    assert await running == "test"


def test_sync_function_is_interrupted_and_shield_delays_it() -> None:
    environment = ActivityEnvironment()
    steps: list[str] = []
    shielded = threading.Event()

    def work() -> None:
        with activity.shield_thread_cancel_exception():
            shielded.set()
            activity.wait_for_cancelled_sync(10)
            steps.append("shielded")
        steps.append("never")

    def cancel() -> None:
        assert shielded.wait(10)
        environment.cancel()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(CancelledError):
        environment.run(work)
    canceller.join()
    assert steps == ["shielded"]


def test_no_thread_cancel_exception_only_sets_the_event() -> None:
    environment = ActivityEnvironment()

    @activity.defn(no_thread_cancel_exception=True)
    def work() -> bool:
        deadline = time.monotonic() + 10
        while not activity.is_cancelled() and time.monotonic() < deadline:
            time.sleep(0.001)
        return activity.is_cancelled()

    canceller = threading.Timer(0.02, environment.cancel)
    canceller.start()
    assert environment.run(work)


def test_logger_adds_the_activity(caplog: pytest.LogCaptureFixture) -> None:
    def work() -> None:
        activity.logger.info("hello", extra={"mine": 1})

    with caplog.at_level(logging.INFO, "odradek.activity"):
        ActivityEnvironment().run(work)
        activity.logger.info("outside")
    inside, outside = caplog.records
    assert "'activity_id': 'test'" in inside.getMessage() and outside.getMessage() == "outside"
    assert inside.temporal_activity["workflow_id"] == "test" and inside.mine == 1  # type: ignore[attr-defined]
    assert not hasattr(outside, "temporal_activity")


def test_raise_complete_async_is_no_exception() -> None:
    with pytest.raises(activity.CompleteAsyncError):
        activity.raise_complete_async()
    assert not issubclass(activity.CompleteAsyncError, Exception)
