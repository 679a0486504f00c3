"""Interceptors around workflow code: classes and inputs as in Temporal's `worker.Interceptor`.

Inbound ones wrap what comes to a workflow (its run, signals, queries, updates), outbound ones
what it asks for. A worker without interceptors skips the chain, but nothing else: tasks, their
numbers and the ticks of the loop are the same, so that interceptors can be turned on and off
under open runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from odradek.activation.activity_calls import ActivityCancellationType, ActivityHandle
from odradek.activation.info import Info
from odradek.common import Priority, RetryPolicy, SearchAttributes, TypedSearchAttributes
from odradek.wire.payload import Payload

if TYPE_CHECKING:
    from odradek.activation.instance import PythonWorkflowInstance

__all__ = [
    "ContinueAsNewInput",
    "ExecuteWorkflowInput",
    "HandleQueryInput",
    "HandleSignalInput",
    "HandleUpdateInput",
    "Interceptor",
    "StartActivityInput",
    "WorkflowInboundInterceptor",
    "WorkflowInterceptorClassInput",
    "WorkflowOutboundInterceptor",
]


@dataclass(frozen=True)
class WorkflowInterceptorClassInput:
    """What `Interceptor.workflow_interceptor_class` gets, and may change."""

    unsafe_extern_functions: MutableMapping[str, Callable[..., Any]]
    """Functions that workflow code reaches through `workflow.extern_functions()`."""


class Interceptor:
    """Base of a worker's interceptors. Every method passes through unless overridden."""

    def intercept_activity(self, next: Any) -> Any:
        """Wrap an `ActivityInboundInterceptor`."""
        return next

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor] | None:
        """Class of which one object is made for each run, with the next interceptor as its
        argument; None for none.
        """
        return None


@dataclass
class ExecuteWorkflowInput:
    """Input of `WorkflowInboundInterceptor.execute_workflow`. `run_fn` is not bound."""

    type: type
    run_fn: Callable[..., Awaitable[Any]]
    args: Sequence[Any]
    headers: Mapping[str, Payload]


@dataclass
class HandleSignalInput:
    """Input of `WorkflowInboundInterceptor.handle_signal`."""

    signal: str
    args: Sequence[Any]
    headers: Mapping[str, Payload]


@dataclass
class HandleQueryInput:
    """Input of `WorkflowInboundInterceptor.handle_query`."""

    id: str
    query: str
    args: Sequence[Any]
    headers: Mapping[str, Payload]


@dataclass
class HandleUpdateInput:
    """Input of `WorkflowInboundInterceptor.handle_update_validator` and `handle_update_handler`."""

    id: str
    update: str
    args: Sequence[Any]
    headers: Mapping[str, Payload]


@dataclass
class StartActivityInput:
    """Input of `WorkflowOutboundInterceptor.start_activity`."""

    activity: str
    args: Sequence[Any]
    activity_id: str | None
    task_queue: str | None
    schedule_to_close_timeout: timedelta | None
    schedule_to_start_timeout: timedelta | None
    start_to_close_timeout: timedelta | None
    heartbeat_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    cancellation_type: ActivityCancellationType
    headers: Mapping[str, Payload]
    disable_eager_execution: bool
    versioning_intent: Any | None
    summary: str | None
    event_groups: Sequence[Any] | None = field(default=None, kw_only=True)
    priority: Priority
    arg_types: list[Any] | None
    ret_type: Any | None


@dataclass
class ContinueAsNewInput:
    """Input of `WorkflowOutboundInterceptor.continue_as_new`."""

    workflow: str | None
    args: Sequence[Any]
    task_queue: str | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    backoff_start_interval: timedelta | None
    retry_policy: RetryPolicy | None
    memo: Mapping[str, Any] | None
    search_attributes: SearchAttributes | TypedSearchAttributes | None
    headers: Mapping[str, Payload]
    versioning_intent: Any | None
    initial_versioning_behavior: Any | None
    event_groups: Sequence[Any] | None = None
    arg_types: list[Any] | None = None


class WorkflowInboundInterceptor:
    """Wraps what comes to one run. Subclasses override what they want and call `self.next`."""

    def __init__(self, next: WorkflowInboundInterceptor) -> None:
        self.next = next

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        """Called once with the outbound interceptor; pass a wrapped one on to intercept what the
        workflow asks for.
        """
        self.next.init(outbound)

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        """The run method."""
        return await self.next.execute_workflow(input)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        """A signal handler."""
        return await self.next.handle_signal(input)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        """A query handler."""
        return await self.next.handle_query(input)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        """An update's validator."""
        self.next.handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        """An update handler."""
        return await self.next.handle_update_handler(input)


class WorkflowOutboundInterceptor:
    """Wraps what one run asks for. Subclasses override what they want and call `self.next`."""

    def __init__(self, next: WorkflowOutboundInterceptor) -> None:
        self.next = next

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        """Every `workflow.continue_as_new`."""
        self.next.continue_as_new(input)

    def info(self) -> Info:
        """Every `workflow.info`."""
        return self.next.info()

    def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        """Every `workflow.start_activity` and `workflow.execute_activity`."""
        return self.next.start_activity(input)

    async def signal_child_workflow(self, input: Any) -> None:
        """Every `ChildWorkflowHandle.signal`."""
        return await self.next.signal_child_workflow(input)

    async def signal_external_workflow(self, input: Any) -> None:
        """Every `ExternalWorkflowHandle.signal`."""
        return await self.next.signal_external_workflow(input)

    async def start_child_workflow(self, input: Any) -> Any:
        """Every `workflow.start_child_workflow` and `workflow.execute_child_workflow`."""
        return await self.next.start_child_workflow(input)

    def start_local_activity(self, input: Any) -> ActivityHandle[Any]:
        """Every `workflow.start_local_activity` and `workflow.execute_local_activity`."""
        return self.next.start_local_activity(input)


class InboundEnd(WorkflowInboundInterceptor):
    """Last of the inbound chain: calls the user's code."""

    def __init__(self, instance: PythonWorkflowInstance) -> None:
        self._instance = instance

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        self._instance.context.outbound = outbound

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        return await input.run_fn(self._instance.context.instance, *input.args)

    async def handle_signal(self, input: HandleSignalInput) -> None:
        await self._instance.context.handlers.run_signal(input.signal, input.args)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        handlers = self._instance.context.handlers
        definition = handlers.find(handlers.queries, input.query)
        assert definition is not None
        result = definition.bind(self._instance.context.instance)(*input.args)
        return await result if definition.is_coroutine else result

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        handlers = self._instance.context.handlers
        definition = handlers.find(handlers.updates, input.update)
        if definition is not None and definition.validator is not None:
            instance = self._instance.context.instance
            validator = definition.validator
            (validator.__get__(instance) if definition.is_method else validator)(*input.args)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        handlers = self._instance.context.handlers
        definition = handlers.find(handlers.updates, input.update)
        assert definition is not None
        result = definition.bind(self._instance.context.instance)(*input.args)
        return await result if definition.is_coroutine else result


class OutboundEnd(WorkflowOutboundInterceptor):
    """Last of the outbound chain: carries the request out."""

    def __init__(self, instance: PythonWorkflowInstance) -> None:
        self._instance = instance

    def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
        from odradek.activation.continue_as_new import raise_continue_as_new

        raise_continue_as_new(self._instance.context, input)

    def info(self) -> Info:
        return self._instance.context.started_info

    def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:
        from odradek.activation.activity_calls import schedule_activity

        result = schedule_activity(
            self._instance.context,
            input.activity,
            input.args,
            input.ret_type,
            input.task_queue,
            input.schedule_to_close_timeout,
            input.schedule_to_start_timeout,
            input.start_to_close_timeout,
            input.heartbeat_timeout,
            input.retry_policy,
            input.cancellation_type,
            input.activity_id,
            input.summary,
            input.headers,
        )
        return ActivityHandle(result)
