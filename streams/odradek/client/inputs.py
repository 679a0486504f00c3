"""Inputs of the client's outbound interceptor methods, one dataclass a call. Field names are
Temporal's.

Everything is plain and mutable: an interceptor changes what it likes and hands the input on.
`headers` hold payloads and reach the workflow. `task_queue` at the end of the inputs that act on
an existing workflow is Odradek's own: the queue that the handle knows, None to have it located.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from odradek.wire.payload import Payload

if TYPE_CHECKING:
    from odradek.client.activity_handle import AsyncActivityIDReference
    from odradek.client.history import WorkflowHistoryEventFilterType
    from odradek.client.updates import WorkflowUpdateStage
    from odradek.converter import DataConverter

RPCMetadata = Mapping[str, str | bytes]


@dataclass
class StartWorkflowInput:
    """Input of `OutboundInterceptor.start_workflow`. With `start_signal` it is a
    signal-with-start.
    """

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
    start_signal: str | None
    start_signal_args: Sequence[Any]
    static_summary: str | None
    static_details: str | None
    ret_type: type | None
    rpc_metadata: RPCMetadata
    rpc_timeout: timedelta | None
    request_eager_start: bool
    priority: Priority
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
