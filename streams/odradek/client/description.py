"""What is known of a workflow run without asking its code: `WorkflowExecution` (of lists) and
`WorkflowExecutionDescription` (of `describe`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any, Self

from odradek.common import SearchAttributes, TypedSearchAttributes, _arg_unset
from odradek.converter import (
    DataConverter,
    decode_search_attributes,
    decode_typed_search_attributes,
)
from odradek.wire.outcomes import (
    ExecutionSummary,
    PendingActivity,
    PendingTimer,
    WorkflowDescription,
)
from odradek.wire.payload import Payload
from odradek.wire.problems import shown_search_attributes

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class WorkflowExecutionStatus(IntEnum):
    """Status of a run. Temporal's numbers."""

    RUNNING = 1
    COMPLETED = 2
    FAILED = 3
    CANCELED = 4
    TERMINATED = 5
    CONTINUED_AS_NEW = 6
    TIMED_OUT = 7


def status_of(name: str) -> WorkflowExecutionStatus | None:
    """The status of that name on the wire; None for one that this version does not know."""
    return WorkflowExecutionStatus.__members__.get(name)


def time_of(milliseconds: int) -> datetime:
    """UTC time of milliseconds since the epoch, exactly."""
    return _EPOCH + timedelta(milliseconds=milliseconds)


@dataclass
class WorkflowExecution:
    """One run, as lists and `describe` show it. Times are UTC. `raw_info` is the record it was
    made from.
    """

    close_time: datetime | None
    execution_time: datetime | None
    history_length: int
    id: str
    namespace: str
    parent_id: str | None
    parent_run_id: str | None
    root_id: str | None
    root_run_id: str | None
    raw_info: ExecutionSummary
    run_id: str
    search_attributes: SearchAttributes
    start_time: datetime
    status: WorkflowExecutionStatus | None
    task_queue: str
    typed_search_attributes: TypedSearchAttributes
    workflow_type: str
    data_converter: DataConverter = field(repr=False)

    @classmethod
    def _from_summary(
        cls, summary: ExecutionSummary, converter: DataConverter, **more: Any
    ) -> Self:
        shown = shown_search_attributes(summary)
        return cls(
            close_time=time_of(summary.close_time_ms) if summary.close_time_ms else None,
            execution_time=time_of(summary.execution_time_ms)
            if summary.execution_time_ms
            else None,
            history_length=summary.history_length,
            id=summary.workflow_id,
            namespace=summary.namespace,
            parent_id=summary.parent_workflow_id or None,
            parent_run_id=summary.parent_run_id or None,
            root_id=summary.root_workflow_id or None,
            root_run_id=summary.root_run_id or None,
            raw_info=summary,
            run_id=summary.run_id,
            search_attributes=decode_search_attributes(shown),
            start_time=time_of(summary.start_time_ms),
            status=status_of(summary.status),
            task_queue=summary.task_queue,
            typed_search_attributes=decode_typed_search_attributes(shown),
            workflow_type=summary.workflow_type,
            data_converter=converter,
            **more,
        )

    async def memo(self) -> Mapping[str, Any]:
        """The memo, its values decoded without type hints."""
        return {
            key: (await self.data_converter.decode([payload]))[0]
            for key, payload in self.raw_info.memo.items()
        }

    async def memo_value(
        self, key: str, default: Any = _arg_unset, *, type_hint: type | None = None
    ) -> Any:
        """One value of the memo, decoded as `type_hint` if given. Without it: `default`, or
        `KeyError` when there is none.
        """
        payload = self.raw_info.memo.get(key)
        if payload is None:
            if default is _arg_unset:
                raise KeyError(f"Memo does not have a value for key {key}")
            return default
        return (
            await self.data_converter.decode(
                [payload], [type_hint] if type_hint is not None else None
            )
        )[0]


@dataclass
class WorkflowExecutionDescription(WorkflowExecution):
    """What `describe` says of a run. `raw_description` is the owner's answer, with what waits
    and what keeps failing.
    """

    raw_description: WorkflowDescription

    @staticmethod
    def _from_description(
        description: WorkflowDescription, converter: DataConverter
    ) -> WorkflowExecutionDescription:
        return WorkflowExecutionDescription._from_summary(
            description.summary, converter, raw_description=description
        )

    @property
    def pending_activities(self) -> list[PendingActivity]:
        """Activities that are scheduled, running or between two attempts."""
        return self.raw_description.pending_activities

    @property
    def pending_timers(self) -> list[PendingTimer]:
        """Timers that have not fired."""
        return self.raw_description.pending_timers

    @property
    def quarantine_reason(self) -> str:
        """Why the run is parked, "" when it is not. A parked run takes inputs and runs no code
        until it is tried again: by its back-off
        (`raw_description.pending_task_next_attempt_time_ms`), by a worker that starts anew, or
        by `unpark`.
        """
        return self.raw_description.summary.quarantine_reason

    async def static_summary(self) -> str | None:
        """The summary given at the start, if any."""
        return await self._text(self.raw_description.static_summary)

    async def static_details(self) -> str | None:
        """The details given at the start, if any."""
        return await self._text(self.raw_description.static_details)

    async def _text(self, payload: Payload | None) -> str | None:
        return (
            None
            if payload is None
            else str((await self.data_converter.decode([payload], [str]))[0])
        )
