"""What workflow code can know about its run: `Info` and its parts, made from the run's started
event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from odradek.activation.errors import NotInWorkflowError
from odradek.activation.loop import WorkflowLoop
from odradek.common import (
    Priority,
    RetryPolicy,
    SearchAttributes,
    TypedSearchAttributes,
    WorkerDeploymentVersion,
)
from odradek.converter import decode_search_attributes, decode_typed_search_attributes
from odradek.wire.history import WorkflowExecutionStarted
from odradek.wire.payload import Payload

if TYPE_CHECKING:
    from odradek.activation.context import WorkflowContext

__all__ = ["Info", "ParentInfo", "RootInfo", "UpdateInfo", "current", "maybe_current"]


def maybe_current() -> WorkflowContext | None:
    """The run whose workflow code is calling, if any."""
    loop = asyncio._get_running_loop()
    return loop.context if type(loop) is WorkflowLoop else None


def current() -> WorkflowContext:
    """The run whose workflow code is calling. `NotInWorkflowError` outside of workflow code."""
    loop = asyncio._get_running_loop()
    if type(loop) is not WorkflowLoop:
        raise NotInWorkflowError
    return loop.context  # type: ignore[no-any-return]


@dataclass(frozen=True)
class ParentInfo:
    """The workflow that started this one as its child."""

    namespace: str
    run_id: str
    workflow_id: str


@dataclass(frozen=True)
class RootInfo:
    """The top of the tree of parents and children that this workflow is in."""

    run_id: str
    workflow_id: str


@dataclass(frozen=True)
class UpdateInfo:
    """The update whose handler is running."""

    id: str
    name: str

    @property
    def _logger_details(self) -> Mapping[str, Any]:
        return {"update_id": self.id, "update_name": self.name}


@dataclass(frozen=True)
class Info:
    """The running workflow. Get it with `workflow.info()`; never make one.

    Immutable, but for `raw_memo` and the search attributes, which follow the upserts.
    """

    attempt: int
    continued_run_id: str | None
    cron_schedule: str | None
    execution_timeout: timedelta | None
    first_execution_run_id: str
    headers: Mapping[str, Payload]
    namespace: str
    original_execution_run_id: str
    """Run id of the `WorkflowExecutionStarted` event."""
    parent: ParentInfo | None
    root: RootInfo | None
    priority: Priority
    raw_memo: Mapping[str, Payload]
    retry_policy: RetryPolicy | None
    run_id: str
    run_timeout: timedelta | None
    search_attributes: SearchAttributes
    """Deprecated: `typed_search_attributes` knows the types."""
    start_time: datetime
    """Time of the first workflow task."""
    task_queue: str
    task_timeout: timedelta
    typed_search_attributes: TypedSearchAttributes
    workflow_id: str
    workflow_start_time: datetime
    """Time at which the run was started."""
    workflow_type: str

    def _logger_details(self) -> Mapping[str, Any]:
        return {
            "attempt": self.attempt,
            "namespace": self.namespace,
            "run_id": self.run_id,
            "task_queue": self.task_queue,
            "workflow_id": self.workflow_id,
            "workflow_type": self.workflow_type,
        }

    def get_current_build_id(self) -> str:
        """Build id of the worker that runs the current task; empty in this version."""
        current()
        return ""

    def get_current_deployment_version(self) -> WorkerDeploymentVersion | None:
        """Deployment version of the worker that runs the current task; None in this version."""
        current()
        return None

    def get_current_history_length(self) -> int:
        """Number of history events up to the current task. May be behind inside a query."""
        return current().activation.history_length

    def get_current_history_size(self) -> int:
        """Size of the history in bytes up to the current task. May be behind inside a query."""
        return current().activation.history_size_bytes

    def is_continue_as_new_suggested(self) -> bool:
        """Whether the history is long enough that the workflow should continue as new."""
        return current().activation.suggest_continue_as_new

    def is_target_worker_deployment_version_changed(self) -> bool:
        """Always false in this version."""
        current()
        return False


def _timedelta(milliseconds: int) -> timedelta | None:
    return timedelta(milliseconds=milliseconds) if milliseconds else None


def _datetime(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def make_info(
    started: WorkflowExecutionStarted,
    *,
    namespace: str,
    start_time_ms: int,
    first_task_time_ms: int,
) -> Info:
    """`Info` from the started event. `first_task_time_ms` is the time of the run's first
    activation.
    """
    parent = started.parent
    return Info(
        attempt=started.attempt,
        continued_run_id=started.continued_execution_run_id or None,
        cron_schedule=started.cron_schedule or None,
        execution_timeout=_timedelta(started.execution_timeout_ms),
        first_execution_run_id=started.first_execution_run_id or started.run_id,
        headers=started.headers,
        namespace=namespace,
        original_execution_run_id=started.run_id,
        parent=ParentInfo(parent.namespace or namespace, parent.run_id, parent.workflow_id)
        if parent and parent.workflow_id
        else None,
        root=RootInfo(started.root_run_id, started.root_workflow_id)
        if started.root_workflow_id
        else None,
        priority=Priority.default,
        raw_memo=dict(started.memo),
        retry_policy=RetryPolicy.from_wire(started.retry_policy) if started.retry_policy else None,
        run_id=started.run_id,
        run_timeout=_timedelta(started.run_timeout_ms),
        search_attributes=dict(decode_search_attributes(started.search_attributes)),
        start_time=_datetime(first_task_time_ms),
        task_queue=started.task_queue,
        task_timeout=timedelta(milliseconds=started.task_timeout_ms or 10_000),
        typed_search_attributes=decode_typed_search_attributes(started.search_attributes),
        workflow_id=started.workflow_id,
        workflow_start_time=_datetime(start_time_ms),
        workflow_type=started.workflow_type,
    )
