"""Updates and schedules: their values, so that code which builds them imports and runs. Calling one says
that this version does not have them.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, Generic, TypeVar

from odradek.client.encode import workflow_name_and_type
from odradek.client.errors import rpc_error
from odradek.common import (
    Priority,
    RetryPolicy,
    SearchAttributes,
    TypedSearchAttributes,
    _arg_or_args,
    _arg_unset,
)
from odradek.service import RPCError, RPCStatusCode
from odradek.wire.payload import Payload

Result = TypeVar("Result")


class WorkflowUpdateStage(IntEnum):
    """How far an update has come. Temporal's numbers."""

    ADMITTED = 1
    ACCEPTED = 2
    COMPLETED = 3


def updates_not_supported() -> RPCError:
    """The error of every call about updates."""
    return rpc_error(
        RPCStatusCode.UNIMPLEMENTED,
        "workflow updates are not supported yet in this version of Odradek: send a signal and query"
        " for its effect",
    )


class WorkflowUpdateHandle(Generic[Result]):
    """An update of a workflow."""

    def __init__(
        self,
        id: str,
        workflow_id: str,
        *,
        workflow_run_id: str | None = None,
        result_type: type | None = None,
    ) -> None:
        self._id = id
        self._workflow_id = workflow_id
        self._workflow_run_id = workflow_run_id
        self._result_type = result_type

    @property
    def id(self) -> str:
        """Id of the update."""
        return self._id

    @property
    def workflow_id(self) -> str:
        """Id of the workflow."""
        return self._workflow_id

    @property
    def workflow_run_id(self) -> str | None:
        """The run it is bound to, if any."""
        return self._workflow_run_id

    async def result(
        self, *, rpc_metadata: Mapping[str, str | bytes] = {}, rpc_timeout: timedelta | None = None
    ) -> Result:
        """Not supported yet: `RPCError` UNIMPLEMENTED."""
        raise updates_not_supported()


class WithStartWorkflowOperation(Generic[Result]):
    """The start half of an update-with-start."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise updates_not_supported()


def schedules_not_supported() -> RPCError:
    """The error of every call about schedules."""
    return rpc_error(
        RPCStatusCode.UNIMPLEMENTED,
        "schedules are not supported yet in this version of Odradek: start the workflow with"
        " `cron_schedule`, or start it from a scheduler of yours",
    )


class ScheduleOverlapPolicy(IntEnum):
    """What happens when an action is due while the last one still runs. Temporal's numbers."""

    SKIP = 1
    BUFFER_ONE = 2
    BUFFER_ALL = 3
    CANCEL_OTHER = 4
    TERMINATE_OTHER = 5
    ALLOW_ALL = 6


@dataclass(frozen=True)
class ScheduleRange:
    """Numbers from `start` to `end`, both included, every `step`. `end` below `start` means
    `start` alone.
    """

    start: int
    end: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        if self.end < self.start:
            object.__setattr__(self, "end", self.start)
        if self.step == 0:
            object.__setattr__(self, "step", 1)


@dataclass
class ScheduleCalendarSpec:
    """Times whose parts are all within these ranges; an empty `year` means every year."""

    second: Sequence[ScheduleRange] = (ScheduleRange(0),)
    minute: Sequence[ScheduleRange] = (ScheduleRange(0),)
    hour: Sequence[ScheduleRange] = (ScheduleRange(0),)
    day_of_month: Sequence[ScheduleRange] = (ScheduleRange(1, 31),)
    month: Sequence[ScheduleRange] = (ScheduleRange(1, 12),)
    year: Sequence[ScheduleRange] = ()
    day_of_week: Sequence[ScheduleRange] = (ScheduleRange(0, 6),)
    comment: str | None = None


@dataclass
class ScheduleIntervalSpec:
    """Times `offset` after each multiple of `every` since the epoch."""

    every: timedelta
    offset: timedelta | None = None


@dataclass
class ScheduleSpec:
    """When a schedule acts: at any of these times, but for those to skip."""

    calendars: Sequence[ScheduleCalendarSpec] = field(default_factory=list)
    intervals: Sequence[ScheduleIntervalSpec] = field(default_factory=list)
    cron_expressions: Sequence[str] = field(default_factory=list)
    skip: Sequence[ScheduleCalendarSpec] = field(default_factory=list)
    start_at: datetime | None = None
    end_at: datetime | None = None
    jitter: timedelta | None = None
    time_zone_name: str | None = None


class ScheduleAction(ABC):  # noqa: B024 - a marker, as in Temporal
    """What a schedule does."""


@dataclass(init=False)
class ScheduleActionStartWorkflow(ScheduleAction):
    """Start a workflow; its id is `id`, a dash, and the time."""

    workflow: str
    args: Sequence[Any]
    id: str
    task_queue: str
    execution_timeout: timedelta | None
    run_timeout: timedelta | None
    task_timeout: timedelta | None
    retry_policy: RetryPolicy | None
    memo: Mapping[str, Any] | None
    typed_search_attributes: TypedSearchAttributes
    untyped_search_attributes: SearchAttributes
    static_summary: str | None
    static_details: str | None
    priority: Priority
    headers: Mapping[str, Payload] | None

    def __init__(
        self,
        workflow: str | Callable[..., Awaitable[Any]],
        arg: Any = _arg_unset,
        *,
        args: Sequence[Any] = [],
        id: str | None = None,
        task_queue: str | None = None,
        execution_timeout: timedelta | None = None,
        run_timeout: timedelta | None = None,
        task_timeout: timedelta | None = None,
        retry_policy: RetryPolicy | None = None,
        memo: Mapping[str, Any] | None = None,
        typed_search_attributes: TypedSearchAttributes = TypedSearchAttributes.empty,
        untyped_search_attributes: SearchAttributes = {},  # noqa: B006 - Temporal's default; nobody changes it
        static_summary: str | None = None,
        static_details: str | None = None,
        headers: Mapping[str, Payload] | None = None,
        priority: Priority = Priority.default,
    ) -> None:
        if not id:
            raise ValueError("ID required")
        if not task_queue:
            raise ValueError("Task queue required")
        self.workflow = workflow_name_and_type(workflow)[0]
        self.args = _arg_or_args(arg, args)
        self.id = id
        self.task_queue = task_queue
        self.execution_timeout = execution_timeout
        self.run_timeout = run_timeout
        self.task_timeout = task_timeout
        self.retry_policy = retry_policy
        self.memo = memo
        self.typed_search_attributes = typed_search_attributes
        self.untyped_search_attributes = untyped_search_attributes
        self.static_summary = static_summary
        self.static_details = static_details
        self.priority = priority
        self.headers = headers


@dataclass
class SchedulePolicy:
    """How a schedule behaves. `catchup_window` None: a year."""

    overlap: ScheduleOverlapPolicy = ScheduleOverlapPolicy.SKIP
    catchup_window: timedelta | None = None
    pause_on_failure: bool = False


@dataclass
class ScheduleState:
    """State of a schedule."""

    note: str | None = None
    paused: bool = False
    limited_actions: bool = False
    remaining_actions: int = 0


@dataclass
class Schedule:
    """What, when, how, and in which state."""

    action: ScheduleAction
    spec: ScheduleSpec
    policy: SchedulePolicy = field(default_factory=SchedulePolicy)
    state: ScheduleState = field(default_factory=ScheduleState)


@dataclass
class ScheduleBackfill:
    """Act for all times between two as if they were now."""

    start_at: datetime
    end_at: datetime
    overlap: ScheduleOverlapPolicy | None = None


@dataclass
class ScheduleUpdate:
    """What an updater returns."""

    schedule: Schedule
    search_attributes: TypedSearchAttributes | None = None


@dataclass
class ScheduleUpdateInput:
    """What an updater gets."""

    description: Any


class ScheduleAsyncIterator:
    """Schedules, page by page. Not supported yet."""

    def __aiter__(self) -> ScheduleAsyncIterator:
        return self

    async def __anext__(self) -> Any:
        raise schedules_not_supported()


class ScheduleHandle:
    """Acts on a schedule. Not supported yet: every call raises `RPCError` UNIMPLEMENTED."""

    def __init__(self, id: str) -> None:
        self.id = id

    async def backfill(
        self,
        *backfill: ScheduleBackfill,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Not supported yet."""
        raise schedules_not_supported()

    async def delete(
        self, *, rpc_metadata: Mapping[str, str | bytes] = {}, rpc_timeout: timedelta | None = None
    ) -> None:
        """Not supported yet."""
        raise schedules_not_supported()

    async def describe(
        self, *, rpc_metadata: Mapping[str, str | bytes] = {}, rpc_timeout: timedelta | None = None
    ) -> Any:
        """Not supported yet."""
        raise schedules_not_supported()

    async def pause(
        self,
        *,
        note: str | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Not supported yet."""
        raise schedules_not_supported()

    async def trigger(
        self,
        *,
        overlap: ScheduleOverlapPolicy | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Not supported yet."""
        raise schedules_not_supported()

    async def unpause(
        self,
        *,
        note: str | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Not supported yet."""
        raise schedules_not_supported()

    async def update(
        self,
        updater: Callable[
            [ScheduleUpdateInput], ScheduleUpdate | Awaitable[ScheduleUpdate | None] | None
        ],
        *,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Not supported yet."""
        raise schedules_not_supported()
