"""Other workflows, and this one anew: continue-as-new; child workflows and external handles,
which are importable and refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from enum import IntEnum
from typing import Any, Concatenate, Generic, NoReturn, ParamSpec, TypedDict, TypeVar, overload

from odradek.activation.continue_as_new import continue_as_new as _continue_as_new
from odradek.activation.errors import not_supported
from odradek.activation.info import current
from odradek.common import (
    Priority,
    RetryPolicy,
    SearchAttributes,
    TypedSearchAttributes,
    VersioningOverride,
    WorkflowIDReusePolicy,
    _arg_or_args,
    _warn_on_deprecated_search_attributes,
)
from odradek.common import _arg_unset as unset
from odradek.workflow._event_groups import EventGroup
from odradek.workflow._exceptions import ContinueAsNewVersioningBehavior, VersioningIntent

__all__ = [
    "ChildWorkflowCancellationType",
    "ChildWorkflowConfig",
    "ChildWorkflowHandle",
    "ExternalWorkflowHandle",
    "NexusClient",
    "NexusOperationCancellationType",
    "NexusOperationHandle",
    "ParentClosePolicy",
    "continue_as_new",
    "create_nexus_client",
    "execute_child_workflow",
    "get_external_workflow_handle",
    "get_external_workflow_handle_for",
    "signal_with_start_workflow",
    "start_child_workflow",
]

P = ParamSpec("P")
A = TypeVar("A")
R = TypeVar("R")
S = TypeVar("S")


@overload
def continue_as_new(
    *,
    task_queue: str | None = None,
    run_timeout: timedelta | None = None,
    task_timeout: timedelta | None = None,
    backoff_start_interval: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    memo: Mapping[str, Any] | None = None,
    search_attributes: SearchAttributes | TypedSearchAttributes | None = None,
    versioning_intent: VersioningIntent | None = None,
    initial_versioning_behavior: ContinueAsNewVersioningBehavior | None = None,
    event_groups: Sequence[EventGroup] | None = None,
) -> NoReturn: ...
@overload
def continue_as_new(
    arg: Any,
    *,
    workflow: Callable[[S, A], Awaitable[Any]] | None = None,
    task_queue: str | None = None,
    run_timeout: timedelta | None = None,
    task_timeout: timedelta | None = None,
    backoff_start_interval: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    memo: Mapping[str, Any] | None = None,
    search_attributes: SearchAttributes | TypedSearchAttributes | None = None,
    versioning_intent: VersioningIntent | None = None,
    initial_versioning_behavior: ContinueAsNewVersioningBehavior | None = None,
    event_groups: Sequence[EventGroup] | None = None,
) -> NoReturn: ...
@overload
def continue_as_new(
    arg: Any = ...,
    *,
    args: Sequence[Any] = (),
    workflow: Callable[Concatenate[S, P], Awaitable[Any]] | str | None = None,
    task_queue: str | None = None,
    run_timeout: timedelta | None = None,
    task_timeout: timedelta | None = None,
    backoff_start_interval: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    memo: Mapping[str, Any] | None = None,
    search_attributes: SearchAttributes | TypedSearchAttributes | None = None,
    versioning_intent: VersioningIntent | None = None,
    initial_versioning_behavior: ContinueAsNewVersioningBehavior | None = None,
    event_groups: Sequence[EventGroup] | None = None,
) -> NoReturn: ...
def continue_as_new(
    arg: Any = unset,
    *,
    args: Sequence[Any] = (),
    workflow: Callable[..., Any] | str | None = None,
    task_queue: str | None = None,
    run_timeout: timedelta | None = None,
    task_timeout: timedelta | None = None,
    backoff_start_interval: timedelta | None = None,
    retry_policy: RetryPolicy | None = None,
    memo: Mapping[str, Any] | None = None,
    search_attributes: SearchAttributes | TypedSearchAttributes | None = None,
    versioning_intent: VersioningIntent | None = None,
    initial_versioning_behavior: ContinueAsNewVersioningBehavior | None = None,
    event_groups: Sequence[EventGroup] | None = None,
) -> NoReturn:
    """End this run and start the workflow anew, under the same id, with an empty history. What
    is not given is inherited.

    Args:
        arg: Single argument of the new run.
        args: Its arguments, when there are several.
        workflow: Another workflow, by run method or name.
        task_queue: Another queue.
        run_timeout: Limit of the new run.
        task_timeout: Limit of one workflow task.
        backoff_start_interval: Delay before its first task.
        retry_policy: Its retry policy.
        memo: Its memo.
        search_attributes: Its search attributes.
        versioning_intent: Without effect.
        initial_versioning_behavior: Without effect.
        event_groups: Without effect.

    Raises:
        ContinueAsNewError: Always. Let it go up to the top of the run method or handler.
    """
    _warn_on_deprecated_search_attributes(search_attributes)
    options = {
        "task_queue": task_queue,
        "run_timeout": run_timeout,
        "task_timeout": task_timeout,
        "backoff_start_interval": backoff_start_interval,
        "retry_policy": retry_policy,
        "memo": memo,
        "search_attributes": search_attributes,
        "versioning_intent": versioning_intent,
        "initial_versioning_behavior": initial_versioning_behavior,
        "event_groups": event_groups,
    }
    _continue_as_new(current(), workflow, _arg_or_args(arg, args), options)


# ---------------------------------------------------------------- child workflows: later


class ChildWorkflowCancellationType(IntEnum):
    """What cancelling a child means for the parent that awaits it."""

    ABANDON = 0
    TRY_CANCEL = 1
    WAIT_CANCELLATION_COMPLETED = 2
    WAIT_CANCELLATION_REQUESTED = 3


class ParentClosePolicy(IntEnum):
    """What happens to a child when its parent closes."""

    UNSPECIFIED = 0
    TERMINATE = 1
    ABANDON = 2
    REQUEST_CANCEL = 3


class ChildWorkflowConfig(TypedDict, total=False):
    """Options of `start_child_workflow` and `execute_child_workflow`."""

    id: str | None
    task_queue: str | None
    cancellation_type: ChildWorkflowCancellationType
    parent_close_policy: ParentClosePolicy
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    id_reuse_policy: WorkflowIDReusePolicy
    retry_policy: RetryPolicy | None
    cron_schedule: str
    memo: Mapping[str, Any] | None
    search_attributes: SearchAttributes | TypedSearchAttributes | None
    versioning_intent: VersioningIntent | None
    static_summary: str | None
    static_details: str | None
    versioning_override: VersioningOverride | None
    event_groups: Sequence[EventGroup] | None
    priority: Priority


class ChildWorkflowHandle(asyncio.Task[R], Generic[S, R]):
    """Handle of a child workflow. None is made yet: child workflows come later."""

    @property
    def id(self) -> str:
        """Workflow id of the child."""
        not_supported("child workflows are")

    @property
    def first_execution_run_id(self) -> str | None:
        """Run id of the child."""
        not_supported("child workflows are")

    async def signal(
        self, signal: Any, arg: Any = unset, *, args: Sequence[Any] = (), **options: Any
    ) -> None:
        """Signal the child."""
        not_supported("child workflows are")


async def start_child_workflow(
    workflow: Any, arg: Any = unset, *, args: Sequence[Any] = (), **options: Any
) -> ChildWorkflowHandle[Any, Any]:
    """Refused: not supported yet."""
    not_supported("child workflows are")


async def execute_child_workflow(
    workflow: Any, arg: Any = unset, *, args: Sequence[Any] = (), **options: Any
) -> Any:
    """Refused: not supported yet."""
    not_supported("child workflows are")


# ---------------------------------------------------------------- external workflows, Nexus: later


class ExternalWorkflowHandle(Generic[S]):
    """Handle of another workflow. None is made yet: external workflow handles come later."""

    @property
    def id(self) -> str:
        """Workflow id."""
        not_supported("external workflow handles are")

    @property
    def run_id(self) -> str | None:
        """Run id, if given."""
        not_supported("external workflow handles are")

    async def signal(
        self, signal: Any, arg: Any = unset, *, args: Sequence[Any] = (), **options: Any
    ) -> None:
        """Signal it."""
        not_supported("external workflow handles are")

    async def cancel(
        self, *, reason: str = "", event_groups: Sequence[EventGroup] | None = None
    ) -> None:
        """Ask for its cancellation."""
        not_supported("external workflow handles are")


def get_external_workflow_handle(
    workflow_id: str, *, run_id: str | None = None
) -> ExternalWorkflowHandle[Any]:
    """Refused: not supported yet."""
    not_supported("external workflow handles are")


def get_external_workflow_handle_for(
    workflow: Any, workflow_id: str, *, run_id: str | None = None
) -> ExternalWorkflowHandle[Any]:
    """Refused: not supported yet."""
    not_supported("external workflow handles are")


async def signal_with_start_workflow(*args: Any, **options: Any) -> Any:
    """Refused: not supported yet."""
    not_supported("signal-with-start from a workflow is")


class NexusOperationCancellationType(IntEnum):
    """Taken for code written for Temporal."""

    ABANDON = 0
    TRY_CANCEL = 1
    WAIT_REQUESTED = 2
    WAIT_COMPLETED = 3


class NexusOperationHandle(Generic[R]):
    """None is made: Nexus is not supported."""


class NexusClient(Generic[S]):
    """None is made: Nexus is not supported."""


def create_nexus_client(*, service: Any, endpoint: str) -> NexusClient[Any]:
    """Refused: not supported yet."""
    not_supported("Nexus operations are")
