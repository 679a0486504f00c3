"""Runs one attempt: arguments in, the user's function called, its outcome as a record. On the
event loop; sync activities in the executor.

Knows nothing of Kafka. The steps: find the activity, convert its arguments, set the context, go
through the interceptors if there are any, call it, convert what it gives. Whatever goes wrong is
an outcome too.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor
from typing import Any

from odradek.activities.attempt import Attempt
from odradek.activities.context import CompositeEvent, Context, Info, current
from odradek.activities.definition import ActivityDefinition, ActivityRegistry, is_async_callable
from odradek.activities.interceptor import (
    ActivityInboundInterceptor,
    ActivityInterceptor,
    ActivityOutboundInterceptor,
    ExecuteActivityInput,
)
from odradek.activities.outcome import CompleteAsyncError, completed, outcome_of
from odradek.activities.thread_cancel import ThreadCanceller
from odradek.common import MetricMeter, RawValue
from odradek.converter import ActivitySerializationContext, DataConverter
from odradek.exceptions import ApplicationError, CancelledError
from odradek.telemetry.metrics import UNKNOWN
from odradek.wire.events import ActivityOutcome
from odradek.wire.tasks import ActivityTask

#: How long a thread waits until the loop has taken its heartbeat, when interceptors have to see it
#: there (Temporal's figure).
HEARTBEAT_ACCEPT_TIMEOUT = 10.0


class ActivityRunner:
    """What all attempts of a service share."""

    def __init__(
        self,
        registry: ActivityRegistry,
        *,
        executor: Executor | None,
        data_converter: DataConverter,
        interceptors: Sequence[ActivityInterceptor],
        identity: str,
        client: Any,  # an odradek.client.Client, which this room must not know
        worker_shutdown: CompositeEvent,
        metric_meter: MetricMeter = MetricMeter.noop,
        on_broken_executor: Callable[[BaseException], None],
    ) -> None:
        self.client = client
        self._registry = registry
        self._executor = executor
        self._converter = data_converter
        self._interceptors = list(interceptors)
        self._identity = identity
        self._worker_shutdown = worker_shutdown
        self._metric_meter = metric_meter
        self._meters: dict[str, MetricMeter] = {}
        self._on_broken_executor = on_broken_executor
        probe = ActivitySerializationContext(
            namespace="",
            workflow_id="",
            workflow_type="",
            activity_type="",
            activity_id="",
            activity_task_queue="",
            is_local=False,
        )
        self._contextual = data_converter.with_context(probe) is not data_converter

    @property
    def activity_types(self) -> list[str]:
        """Those that are registered, without the dynamic one."""
        return self._registry.names

    async def run(self, attempt: Attempt) -> ActivityOutcome | None:
        """Run it to its end. `None`: the outcome comes from outside. Raises GeneratorExit alone,
        also that of user code.
        """
        attempt.entered = True
        if attempt.cancel_details is not None:  # before it began
            attempt.done = attempt.heard_cancel = True
            return await outcome_of(CancelledError(), attempt, self._converter, self._identity)
        converter = self._converter_for(attempt.task)
        try:
            try:
                result = await self._call(attempt, converter)
            finally:
                attempt.done = True  # the code has ended: what follows must not be interrupted
            if converter.payload_codec is None:
                payloads = converter.payload_converter.to_payloads((result,))
            else:
                payloads = await converter.encode((result,))
            return completed(attempt, payloads, self._identity)
        except CompleteAsyncError:
            return None
        except GeneratorExit:
            raise
        except BaseException as error:
            if isinstance(error, BrokenExecutor):
                self._on_broken_executor(error)
            return await self.raised(error, attempt)

    async def raised(self, error: BaseException, attempt: Attempt) -> ActivityOutcome:
        """The outcome of an attempt that raised this."""
        if attempt.heartbeat_encoder is not None:
            await attempt.heartbeat_encoder  # its details go with the failure
        return await outcome_of(error, attempt, self._converter_for(attempt.task), self._identity)

    def _converter_for(self, task: ActivityTask) -> DataConverter:
        if not self._contextual:
            return self._converter
        return self._converter.with_context(
            ActivitySerializationContext(
                namespace=task.namespace,
                workflow_id=task.workflow_id,
                workflow_type=task.workflow_type,
                activity_type=task.activity_type,
                activity_id=task.activity_id,
                activity_task_queue=task.task_queue,
                is_local=False,
            )
        )

    async def _call(self, attempt: Attempt, converter: DataConverter) -> Any:
        task = attempt.task
        definition = self._registry.get(task.activity_type)
        if definition is None:
            raise ApplicationError(
                f"Activity function {task.activity_type} for workflow {task.workflow_id} is not"
                " registered on this worker, available activities:"
                f" {', '.join(self._registry.names)}",
                type="NotFoundError",
            )
        attempt.is_async = definition.is_async
        if not definition.is_async and not definition.no_thread_cancel_exception:
            attempt.canceller = ThreadCanceller()
        attempt.context = Context(
            info=attempt.info,
            heartbeat=attempt.on_heartbeat,
            cancelled_event=CompositeEvent(has_async=definition.is_async),
            worker_shutdown_event=self._worker_shutdown,
            shield_thread_cancel_exception=(
                attempt.canceller.shielded if attempt.canceller is not None else None
            ),
            payload_converter=converter.payload_converter,
            metric_meter=self._meter_for(definition),
            client=self.client if definition.is_async else None,
        )
        current.set(
            attempt.context
        )  # early: so that the logger knows the activity in every failure below
        arguments = await self._arguments(definition, task, converter)
        if task.heartbeat_details:
            attempt.started_values = await self._heartbeat_details(task, converter)
        if self._interceptors:
            return await self._call_through_interceptors(attempt, definition, arguments)
        if definition.is_async:
            return await definition.fn(*arguments)
        return await self._call_in_executor(attempt, definition.fn, arguments, self._executor)

    def _meter_for(self, definition: ActivityDefinition) -> MetricMeter:
        name = definition.name or UNKNOWN  # a dynamic activity has as many types as somebody writes
        meter = self._meters.get(name)
        if meter is None:
            meter = self._meters[name] = self._metric_meter.with_additional_attributes(
                {"activity_type": name}
            )
        return meter

    async def _arguments(
        self, definition: ActivityDefinition, task: ActivityTask, converter: DataConverter
    ) -> Sequence[Any]:
        payloads = task.input
        if definition.name is None:
            hints: list[Any] | None = [RawValue] * len(payloads)
        else:
            hints = definition.arg_types
            if hints is not None and len(hints) != len(payloads):
                hints = None
        if not payloads:
            return [[]] if definition.name is None else []
        try:
            if converter.payload_codec is None:
                arguments = converter.payload_converter.from_payloads(payloads, hints)
            else:
                arguments = await converter.decode(payloads, hints)
        except Exception as error:
            raise ApplicationError("Failed decoding arguments") from error
        return [arguments] if definition.name is None else arguments

    @staticmethod
    async def _heartbeat_details(task: ActivityTask, converter: DataConverter) -> Sequence[Any]:
        try:
            return await converter.decode(task.heartbeat_details)
        except Exception as error:
            raise ApplicationError(
                "Failed decoding heartbeat details", non_retryable=True
            ) from error

    async def _call_in_executor(
        self,
        attempt: Attempt,
        fn: Callable[..., Any],
        arguments: Sequence[Any],
        executor: Executor | None,
    ) -> Any:
        run = contextvars.copy_context().run  # run_in_executor does not carry the context over
        loop = asyncio.get_running_loop()
        name = attempt.task.activity_type
        if attempt.canceller is not None:
            return await loop.run_in_executor(
                executor, run, _without_stop_iteration, name, attempt.canceller.run, fn, *arguments
            )
        return await loop.run_in_executor(
            executor, run, _without_stop_iteration, name, fn, *arguments
        )

    async def _call_through_interceptors(
        self, attempt: Attempt, definition: ActivityDefinition, arguments: Sequence[Any]
    ) -> Any:
        assert attempt.context is not None
        attempt.context.heartbeat = None  # not before every interceptor was initialised
        inbound: ActivityInboundInterceptor = _InnermostInbound(self, attempt)
        for interceptor in reversed(self._interceptors):
            inbound = interceptor.intercept_activity(inbound)
        inbound.init(_InnermostOutbound(attempt))
        executor = None if definition.is_async else self._executor
        return await inbound.execute_activity(
            ExecuteActivityInput(definition.fn, arguments, executor, attempt.task.headers)
        )


def _without_stop_iteration(name: str, call: Callable[..., Any], *arguments: Any) -> Any:
    """PEP 479 for a thread: asyncio cannot put StopIteration into a future, and who awaits that
    one would wait for ever.
    """
    try:
        return call(*arguments)
    except StopIteration as error:
        raise RuntimeError(f"activity {name} raised StopIteration") from error


class _InnermostInbound(ActivityInboundInterceptor):
    """End of the inbound chain: calls the activity."""

    def __init__(self, runner: ActivityRunner, attempt: Attempt) -> None:
        self._runner = runner
        self._attempt = attempt

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        context = self._attempt.context
        assert context is not None
        context.info = outbound.info
        context.heartbeat = outbound.heartbeat

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        if is_async_callable(input.fn):
            return await input.fn(*input.args)
        context = self._attempt.context
        assert context is not None and context.heartbeat is not None
        # Interceptors see heartbeats on the loop, in the activity's context, wherever the activity
        # runs.
        loop, on_loop = asyncio.get_running_loop(), context.heartbeat

        async def heartbeat_on_loop(*details: Any) -> None:
            current.set(context)
            on_loop(*details)

        def heartbeat(*details: Any) -> None:
            asyncio.run_coroutine_threadsafe(heartbeat_on_loop(*details), loop).result(
                HEARTBEAT_ACCEPT_TIMEOUT
            )

        context.heartbeat = heartbeat
        return await self._runner._call_in_executor(
            self._attempt, input.fn, input.args, input.executor
        )


class _InnermostOutbound(ActivityOutboundInterceptor):
    """End of the outbound chain: what the host answers."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt

    def info(self) -> Info:
        return self._attempt.info()

    def heartbeat(self, *details: Any) -> None:
        on_heartbeat = self._attempt.on_heartbeat
        if (
            on_heartbeat is not None
        ):  # else its activity has ended: a thread that it left behind beats on
            on_heartbeat(*details)
