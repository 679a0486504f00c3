"""Client interceptors and plugins: the inputs of each call, one dataclass a verb, and the chain that
they pass through.

Everything is plain and mutable: an interceptor changes what it likes and hands the input on. `headers` hold
payloads and reach the workflow. `task_queue` of inputs that act on an existing workflow is Odradek's own: the
queue that the handle knows, None to have it located.
"""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from odradek.common import (
    Priority,
    QueryRejectCondition,
    RetryPolicy,
    SearchAttributes,
    TypedSearchAttributes,
    VersioningOverride,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from odradek.converter import DataConverter
from odradek.wire.payload import Payload

if TYPE_CHECKING:
    from odradek.client.description import WorkflowExecutionDescription
    from odradek.client.handle import WorkflowHandle
    from odradek.client.history import (
        WorkflowHistoryEventAsyncIterator,
        WorkflowHistoryEventFilterType,
    )
    from odradek.client.unsupported import WorkflowUpdateHandle, WorkflowUpdateStage
    from odradek.client.visibility import WorkflowExecutionAsyncIterator, WorkflowExecutionCount

RPCMetadata = Mapping[str, str | bytes]


@dataclass(frozen=True)
class AsyncActivityIDReference:
    """An activity by its ids. `run_id` None: the latest run."""

    workflow_id: str | None
    run_id: str | None
    activity_id: str


@dataclass
class StartWorkflowInput:
    """Input of `OutboundInterceptor.start_workflow`. With `start_signal` it is a
    signal-with-start.
    """

    workflow: str
    args: Sequence[Any]
    id: str
    task_queue: str
    execution_timeout: timedelta | None = None
    run_timeout: timedelta | None = None
    task_timeout: timedelta | None = None
    id_reuse_policy: WorkflowIDReusePolicy = WorkflowIDReusePolicy.ALLOW_DUPLICATE
    id_conflict_policy: WorkflowIDConflictPolicy = WorkflowIDConflictPolicy.UNSPECIFIED
    retry_policy: RetryPolicy | None = None
    cron_schedule: str = ""
    memo: Mapping[str, Any] | None = None
    search_attributes: SearchAttributes | TypedSearchAttributes | None = None
    start_delay: timedelta | None = None
    headers: Mapping[str, Payload] = field(default_factory=dict)
    start_signal: str | None = None
    start_signal_args: Sequence[Any] = ()
    static_summary: str | None = None
    static_details: str | None = None
    ret_type: type | None = None
    rpc_metadata: RPCMetadata = field(default_factory=dict)
    rpc_timeout: timedelta | None = None
    request_eager_start: bool = False
    priority: Priority = Priority.default
    versioning_override: VersioningOverride | None = None


@dataclass
class CancelWorkflowInput:
    """Input of `OutboundInterceptor.cancel_workflow`."""

    id: str
    run_id: str | None
    first_execution_run_id: str | None
    reason: str
    rpc_metadata: RPCMetadata
    rpc_timeout: timedelta | None
    task_queue: str | None = None


@dataclass
class DescribeWorkflowInput:
    """Input of `OutboundInterceptor.describe_workflow`."""

    id: str
    run_id: str | None
    rpc_metadata: RPCMetadata
    rpc_timeout: timedelta | None
    task_queue: str | None = None


@dataclass
class FetchWorkflowHistoryEventsInput:
    """Input of `OutboundInterceptor.fetch_workflow_history_events`."""

    id: str
    run_id: str | None
    page_size: int | None
    next_page_token: bytes | None
    wait_new_event: bool
    event_filter_type: WorkflowHistoryEventFilterType
    skip_archival: bool
    rpc_metadata: RPCMetadata
    rpc_timeout: timedelta | None
    task_queue: str | None = None


@dataclass
class ListWorkflowsInput:
    """Input of `OutboundInterceptor.list_workflows`."""

    query: str | None
    page_size: int
    next_page_token: bytes | None
    rpc_metadata: RPCMetadata
    rpc_timeout: timedelta | None
    limit: int | None


@dataclass
class CountWorkflowsInput:
    """Input of `OutboundInterceptor.count_workflows`."""

    query: str | None
    rpc_metadata: RPCMetadata
    rpc_timeout: timedelta | None


@dataclass
class QueryWorkflowInput:
    """Input of `OutboundInterceptor.query_workflow`."""

    id: str
    run_id: str | None
    query: str
    args: Sequence[Any]
    reject_condition: QueryRejectCondition | None
    headers: Mapping[str, Payload]
    ret_type: type | None
    rpc_metadata: RPCMetadata
    rpc_timeout: timedelta | None
    task_queue: str | None = None


@dataclass
class SignalWorkflowInput:
    """Input of `OutboundInterceptor.signal_workflow`."""

    id: str
    run_id: str | None
    signal: str
    args: Sequence[Any]
    headers: Mapping[str, Payload]
    rpc_metadata: RPCMetadata
    rpc_timeout: timedelta | None
    task_queue: str | None = None


@dataclass
class TerminateWorkflowInput:
    """Input of `OutboundInterceptor.terminate_workflow`."""

    id: str
    run_id: str | None
    first_execution_run_id: str | None
    args: Sequence[Any]
    reason: str | None
    rpc_metadata: RPCMetadata
    rpc_timeout: timedelta | None
    task_queue: str | None = None


@dataclass
class StartWorkflowUpdateInput:
    """Input of `OutboundInterceptor.start_workflow_update`."""

    id: str
    run_id: str | None
    first_execution_run_id: str | None
    update_id: str | None
    update: str
    args: Sequence[Any]
    wait_for_stage: WorkflowUpdateStage
    headers: Mapping[str, Payload]
    ret_type: type | None
    rpc_metadata: RPCMetadata
    rpc_timeout: timedelta | None
    task_queue: str | None = None


@dataclass
class UpdateWithStartUpdateWorkflowInput:
    """The update of `StartWorkflowUpdateWithStartInput`."""

    update_id: str | None
    update: str
    args: Sequence[Any]
    wait_for_stage: WorkflowUpdateStage
    headers: Mapping[str, Payload]
    ret_type: type | None


@dataclass
class UpdateWithStartStartWorkflowInput:
    """The start of `StartWorkflowUpdateWithStartInput`."""

    workflow: str
    args: Sequence[Any]
    id: str
    task_queue: str
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    id_reuse_policy: WorkflowIDReusePolicy
    id_conflict_policy: WorkflowIDConflictPolicy
    retry_policy: RetryPolicy | None
    cron_schedule: str
    memo: Mapping[str, Any] | None
    search_attributes: SearchAttributes | TypedSearchAttributes | None
    start_delay: timedelta | None
    headers: Mapping[str, Payload]
    static_summary: str | None
    static_details: str | None
    ret_type: type | None
    priority: Priority
    versioning_override: VersioningOverride | None = None


@dataclass
class StartWorkflowUpdateWithStartInput:
    """Input of `OutboundInterceptor.start_update_with_start_workflow`."""

    start_workflow_input: UpdateWithStartStartWorkflowInput
    update_workflow_input: UpdateWithStartUpdateWorkflowInput
    rpc_metadata: RPCMetadata
    rpc_timeout: timedelta | None
    _on_start: Callable[[Any], None]
    _on_start_error: Callable[[BaseException], None]


@dataclass
class HeartbeatAsyncActivityInput:
    """Input of `OutboundInterceptor.heartbeat_async_activity`."""

    id_or_token: AsyncActivityIDReference | bytes
    details: Sequence[Any]
    rpc_metadata: RPCMetadata
    rpc_timeout: timedelta | None
    data_converter_override: DataConverter | None = None


@dataclass
class CompleteAsyncActivityInput:
    """Input of `OutboundInterceptor.complete_async_activity`. `result` is the unset marker when
    none was given.
    """

    id_or_token: AsyncActivityIDReference | bytes
    result: Any | None
    rpc_metadata: RPCMetadata
    rpc_timeout: timedelta | None
    data_converter_override: DataConverter | None = None


@dataclass
class FailAsyncActivityInput:
    """Input of `OutboundInterceptor.fail_async_activity`."""

    id_or_token: AsyncActivityIDReference | bytes
    error: Exception
    last_heartbeat_details: Sequence[Any]
    rpc_metadata: RPCMetadata
    rpc_timeout: timedelta | None
    data_converter_override: DataConverter | None = None


@dataclass
class ReportCancellationAsyncActivityInput:
    """Input of `OutboundInterceptor.report_cancellation_async_activity`."""

    id_or_token: AsyncActivityIDReference | bytes
    details: Sequence[Any]
    rpc_metadata: RPCMetadata
    rpc_timeout: timedelta | None
    data_converter_override: DataConverter | None = None


class Interceptor:
    """Makes the outbound interceptor of each client. One that is also a `worker.Interceptor` is
    used by that client's workers too.
    """

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        """Wrap `next`, the outbound interceptor after this one."""
        return next


class OutboundInterceptor:
    """Calls of the client on their way out. Override what is wanted and call `super()` or
    `self.next`.
    """

    def __init__(self, next: OutboundInterceptor) -> None:
        self.next = next

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        """`Client.start_workflow` and `execute_workflow`."""
        return await self.next.start_workflow(input)

    async def cancel_workflow(self, input: CancelWorkflowInput) -> None:
        """`WorkflowHandle.cancel`."""
        await self.next.cancel_workflow(input)

    async def describe_workflow(self, input: DescribeWorkflowInput) -> WorkflowExecutionDescription:
        """`WorkflowHandle.describe`."""
        return await self.next.describe_workflow(input)

    def fetch_workflow_history_events(
        self, input: FetchWorkflowHistoryEventsInput
    ) -> WorkflowHistoryEventAsyncIterator:
        """`WorkflowHandle.fetch_history_events`."""
        return self.next.fetch_workflow_history_events(input)

    def list_workflows(self, input: ListWorkflowsInput) -> WorkflowExecutionAsyncIterator:
        """`Client.list_workflows`."""
        return self.next.list_workflows(input)

    async def count_workflows(self, input: CountWorkflowsInput) -> WorkflowExecutionCount:
        """`Client.count_workflows`."""
        return await self.next.count_workflows(input)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        """`WorkflowHandle.query`."""
        return await self.next.query_workflow(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        """`WorkflowHandle.signal`."""
        await self.next.signal_workflow(input)

    async def terminate_workflow(self, input: TerminateWorkflowInput) -> None:
        """`WorkflowHandle.terminate`."""
        await self.next.terminate_workflow(input)

    async def start_workflow_update(
        self, input: StartWorkflowUpdateInput
    ) -> WorkflowUpdateHandle[Any]:
        """`WorkflowHandle.start_update` and `execute_update`."""
        return await self.next.start_workflow_update(input)

    async def start_update_with_start_workflow(
        self, input: StartWorkflowUpdateWithStartInput
    ) -> WorkflowUpdateHandle[Any]:
        """`Client.start_update_with_start_workflow` and `execute_update_with_start_workflow`."""
        return await self.next.start_update_with_start_workflow(input)

    async def heartbeat_async_activity(self, input: HeartbeatAsyncActivityInput) -> None:
        """`AsyncActivityHandle.heartbeat`."""
        await self.next.heartbeat_async_activity(input)

    async def complete_async_activity(self, input: CompleteAsyncActivityInput) -> None:
        """`AsyncActivityHandle.complete`."""
        await self.next.complete_async_activity(input)

    async def fail_async_activity(self, input: FailAsyncActivityInput) -> None:
        """`AsyncActivityHandle.fail`."""
        await self.next.fail_async_activity(input)

    async def report_cancellation_async_activity(
        self, input: ReportCancellationAsyncActivityInput
    ) -> None:
        """`AsyncActivityHandle.report_cancellation`."""
        await self.next.report_cancellation_async_activity(input)


class Plugin(abc.ABC):
    """Base of client plugins. One that is also a `worker.Plugin` is used by that client's
    workers too.
    """

    def name(self) -> str:
        """Qualified name of the plugin."""
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @abc.abstractmethod
    def configure_client(self, config: Any) -> Any:
        """Change the `ClientConfig` of a client that is being made, and return it."""

    @abc.abstractmethod
    async def connect_service_client(
        self, config: Any, next: Callable[[Any], Awaitable[Any]]
    ) -> Any:
        """Connect: change `config` (the `Connection`, not yet open), call `next(config)`, and
        return what it returns.
        """
