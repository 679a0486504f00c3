"""What surrounds a running activity: its `Info`, its events, how it heartbeats. Found through
one context variable.

The host (or the test environment) makes a `Context` for each attempt; `odradek.activity` reads
it. Nothing here talks to Kafka.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from odradek.common import MetricMeter, Priority, RetryPolicy
from odradek.converter import PayloadConverter


@dataclass(frozen=True)
class Info:
    """The running activity. Do not construct it: tests use `ActivityEnvironment.default_info()`
    with `dataclasses.replace`.

    Times are timezone-aware UTC. The workflow fields are `None` for an activity that no workflow
    started.
    """

    activity_id: str
    activity_type: str
    attempt: int
    current_attempt_scheduled_time: datetime
    heartbeat_details: Sequence[Any]
    heartbeat_timeout: timedelta | None
    is_local: bool
    namespace: str
    schedule_to_close_timeout: timedelta | None
    scheduled_time: datetime
    start_to_close_timeout: timedelta | None
    started_time: datetime
    task_queue: str
    task_token: bytes
    workflow_id: str | None
    workflow_namespace: str | None
    workflow_run_id: str | None
    workflow_type: str | None
    priority: Priority
    retry_policy: RetryPolicy | None
    activity_run_id: str | None = None
    #: Of the event that scheduled it. Odradek's addition.
    scheduled_event_id: int = 0

    @property
    def in_workflow(self) -> bool:
        """Whether a workflow started this activity."""
        return self.workflow_id is not None

    @property
    def idempotency_key(self) -> str:
        """`{run id}/{activity id}/{scheduled event id}`: the same for every attempt and every
        redelivery of this activity, and for no other one, also if the run gives the same id to a
        later activity.

        Give it to whatever the activity changes (a unique column, a payment provider's
        idempotency key), so that a repeated attempt finds its own effect. Odradek's addition.
        """
        return f"{self.workflow_run_id or self.activity_run_id or ''}/{self.activity_id}/{self.scheduled_event_id}"

    def _logger_details(self) -> Mapping[str, Any]:
        return {
            "activity_id": self.activity_id,
            "activity_type": self.activity_type,
            "attempt": self.attempt,
            "namespace": self.namespace,
            "task_queue": self.task_queue,
            "workflow_id": self.workflow_id,
            "workflow_run_id": self.workflow_run_id,
            "workflow_type": self.workflow_type,
        }


@dataclass(frozen=True)
class ActivityCancellationDetails:
    """Why an activity was cancelled. Set once, with the cancellation."""

    not_found: bool = False
    cancel_requested: bool = False
    paused: bool = False
    reset: bool = False
    timed_out: bool = False
    worker_shutdown: bool = False


class CompositeEvent:
    """An event that threads and coroutines can wait for. Set on the loop; the asyncio part
    exists for async activities only.

    Both parts are made when first waited for: most activities never do.
    """

    __slots__ = ("_async", "_flag", "_has_async", "_lock", "_thread")
    _lock_of_all = threading.Lock()

    def __init__(self, *, has_async: bool) -> None:
        self._flag = False
        self._has_async = has_async
        self._async: asyncio.Event | None = None
        self._thread: threading.Event | None = None

    def set(self) -> None:
        """Set it. Called on the event loop's thread."""
        with self._lock_of_all:
            self._flag = True
            thread_event = self._thread
        if thread_event is not None:
            thread_event.set()
        if self._async is not None:
            self._async.set()

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._flag

    async def wait(self) -> None:
        """Wait on the event loop. `RuntimeError` in a sync activity."""
        if not self._has_async:
            raise RuntimeError("not in async activity")
        if self._flag:
            return
        if self._async is None:
            self._async = asyncio.Event()
        await self._async.wait()

    def wait_sync(self, timeout: float | None = None) -> None:
        """Block the thread until it is set, or for `timeout` seconds."""
        with self._lock_of_all:
            if self._flag:
                return
            if self._thread is None:
                self._thread = threading.Event()
            event = self._thread
        event.wait(timeout)


@dataclass
class Context:
    """Everything that `odradek.activity` offers to one running activity."""

    info: Callable[[], Info]
    #: `None` while interceptors are being set up.
    heartbeat: Callable[..., None] | None
    cancelled_event: CompositeEvent
    worker_shutdown_event: CompositeEvent
    #: Only for activities that run in a thread and can be interrupted there.
    shield_thread_cancel_exception: Callable[[], AbstractContextManager[None]] | None
    payload_converter: PayloadConverter
    metric_meter: MetricMeter
    #: `odradek.client.Client`, which this room must not know; only for async activities.
    client: Any
    cancellation_details: ActivityCancellationDetails | None = None
    logger_details_cache: Mapping[str, Any] | None = None

    @property
    def logger_details(self) -> Mapping[str, Any]:
        """Identity of the activity for log records."""
        if self.logger_details_cache is None:
            self.logger_details_cache = self.info()._logger_details()
        return self.logger_details_cache


#: The running activity of this task or thread.
current: contextvars.ContextVar[Context] = contextvars.ContextVar("odradek_activity")


def current_context() -> Context:
    """The running activity. `RuntimeError` outside of one."""
    context = current.get(None)
    if context is None:
        raise RuntimeError("Not in activity context")
    return context
