"""`ActivityEnvironment`: runs an activity, or any function, inside an activity context, in memory.

Knows no worker and no Kafka: what the activity would hear from them (cancellation, shutdown) is
said by the test.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar

from odradek.activities.context import (
    ActivityCancellationDetails,
    CompositeEvent,
    Context,
    Info,
    current,
)
from odradek.activities.definition import ActivityDefinition, is_async_callable
from odradek.activities.thread_cancel import ThreadCanceller
from odradek.client import Client
from odradek.common import MetricMeter, Priority
from odradek.converter import DataConverter, PayloadConverter

_Params = ParamSpec("_Params")
_Return = TypeVar("_Return")

_CANCEL_REQUESTED = ActivityCancellationDetails(cancel_requested=True)


class ActivityEnvironment:
    """Set what the activity shall see, then `run` it.

    Attributes:
        info: What `activity.info()` gives. Change it with
        `dataclasses.replace(ActivityEnvironment.default_info(), …)`. on_heartbeat: Called with
        the details of each heartbeat. payload_converter: What `activity.payload_converter()`
        gives. metric_meter: What `activity.metric_meter()` gives.
    """

    def __init__(self, client: Client | None = None) -> None:
        """`client`: what `activity.client()` gives to async activities."""
        self.info = ActivityEnvironment.default_info()
        self.on_heartbeat: Callable[..., None] = lambda *details: None
        self.payload_converter: PayloadConverter = DataConverter.default.payload_converter
        self.metric_meter: MetricMeter = MetricMeter.noop
        self._client = client
        self._cancelled = False
        self._worker_shutdown = False
        self._cancellation_details: ActivityCancellationDetails | None = None
        self._running: set[_Running] = set()

    @staticmethod
    def default_info() -> Info:
        """An `Info` to start from, a new one each time."""
        epoch = datetime.fromtimestamp(0, UTC)
        return Info(
            activity_id="test",
            activity_type="unknown",
            attempt=1,
            current_attempt_scheduled_time=epoch,
            heartbeat_details=[],
            heartbeat_timeout=None,
            is_local=False,
            namespace="default",
            schedule_to_close_timeout=timedelta(seconds=1),
            scheduled_time=epoch,
            start_to_close_timeout=timedelta(seconds=1),
            started_time=epoch,
            task_queue="test",
            task_token=b"test",
            workflow_id="test",
            workflow_namespace="default",
            workflow_run_id="test-run",
            workflow_type="test",
            priority=Priority.default,
            retry_policy=None,
        )

    def cancel(self, cancellation_details: ActivityCancellationDetails = _CANCEL_REQUESTED) -> None:
        """Cancel what runs, and what will be run. Only the first call counts."""
        if self._cancelled:
            return
        self._cancelled = True
        self._cancellation_details = cancellation_details
        for running in list(self._running):
            running.cancel()

    def worker_shutdown(self) -> None:
        """Tell what runs, and what will be run, that the worker is shutting down. Only the first
        call counts.
        """
        if self._worker_shutdown:
            return
        self._worker_shutdown = True
        for running in list(self._running):
            running.context.worker_shutdown_event.set()

    def run(
        self, fn: Callable[_Params, _Return], *args: _Params.args, **kwargs: _Params.kwargs
    ) -> _Return:
        """Call `fn` in an activity context. A sync one runs here and now; an async one gives a
        coroutine to await.

        A sync activity is cancelled from another thread, by `CancelledError` raised into this
        call; not if its definition says `no_thread_cancel_exception`.
        """
        running = _Running(self, fn)
        result: Any = (
            running.run_async(args, kwargs) if running.is_async else running.run_sync(args, kwargs)
        )
        return result  # type: ignore[no-any-return] # of an async function: the coroutine, which is its return type


class _Running:
    """One call of `ActivityEnvironment.run`."""

    def __init__(self, environment: ActivityEnvironment, fn: Callable[..., Any]) -> None:
        self._environment = environment
        self._fn = fn
        self.is_async = is_async_callable(fn)
        definition = ActivityDefinition.of(fn)
        interruptible = not self.is_async and not (
            definition is not None and definition.no_thread_cancel_exception
        )
        self._canceller = ThreadCanceller() if interruptible else None
        self._task: asyncio.Task[Any] | None = None
        self._loop_thread = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self.context = Context(
            info=lambda: environment.info,
            heartbeat=self._heartbeat,
            cancelled_event=CompositeEvent(has_async=self.is_async),
            worker_shutdown_event=CompositeEvent(has_async=self.is_async),
            shield_thread_cancel_exception=self._canceller.shielded
            if self._canceller is not None
            else None,
            payload_converter=environment.payload_converter,
            metric_meter=environment.metric_meter,
            client=environment._client if self.is_async else None,
        )

    def _heartbeat(self, *details: Any) -> None:
        self._environment.on_heartbeat(*details)  # looked up now: a test may set it late

    def _enter(self) -> None:
        environment = self._environment
        environment._running.add(self)
        if environment._cancelled:
            self.context.cancellation_details = environment._cancellation_details
            self.context.cancelled_event.set()
        if environment._worker_shutdown:
            self.context.worker_shutdown_event.set()

    def run_sync(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        token = current.set(self.context)
        self._enter()
        try:
            if self._canceller is None:
                return self._fn(*args, **kwargs)
            return self._canceller.run(lambda: self._fn(*args, **kwargs))
        finally:
            self._environment._running.discard(self)
            current.reset(token)

    def run_async(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Coroutine[Any, Any, Any]:
        async def run() -> Any:
            self._loop, self._loop_thread = asyncio.get_running_loop(), threading.get_ident()
            token = current.set(self.context)
            self._enter()
            try:
                self._task = asyncio.create_task(self._fn(*args, **kwargs))
                if self._environment._cancelled:
                    self._task.cancel()
                return await self._task
            finally:
                self._environment._running.discard(self)
                current.reset(token)

        return run()

    def cancel(self) -> None:
        if self._loop is not None and threading.get_ident() != self._loop_thread:
            self._loop.call_soon_threadsafe(self._cancel)
        else:
            self._cancel()

    def _cancel(self) -> None:
        self.context.cancellation_details = self._environment._cancellation_details
        self.context.cancelled_event.set()
        if self._canceller is not None:
            self._canceller.cancel()
        if self._task is not None and not self._task.done():
            self._task.cancel()
