"""Lists and counts of workflows. They are answered by the read side (`odradek server`), never by the owners of workflows.

This version's client cannot reach one yet: every call says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from odradek.client.description import WorkflowExecution
from odradek.client.history import WorkflowHistory, WorkflowHistoryEventFilterType
from odradek.client.inputs import ListWorkflowsInput
from odradek.client.verdicts import rpc_error
from odradek.common import SearchAttributeValue
from odradek.service import RPCError, RPCStatusCode

if TYPE_CHECKING:
    from odradek.client.client import Client


def needs_server(what: str) -> RPCError:
    """The error of a call that the read side answers."""
    return rpc_error(
        RPCStatusCode.UNAVAILABLE,
        f"{what} is answered by the read side, and this client has none: the setting `server_address` is not supported by this version. "
        f"The topic `executions` holds the latest summary of every run",
    )


@dataclass
class WorkflowExecutionCountAggregationGroup:
    """One group of a count."""

    count: int
    group_values: Sequence[SearchAttributeValue]


@dataclass
class WorkflowExecutionCount:
    """A count of workflows; `groups` is empty without a GROUP BY."""

    count: int
    groups: Sequence[WorkflowExecutionCountAggregationGroup]


class WorkflowExecutionAsyncIterator:
    """Workflows of a query, page by page. Nothing is asked before the first `__anext__`."""

    def __init__(self, client: Client, input: ListWorkflowsInput) -> None:
        self._client = client
        self._input = input
        self._next_page_token = input.next_page_token
        self._current_page: Sequence[WorkflowExecution] | None = None
        self._current_page_index = 0

    @property
    def current_page_index(self) -> int:
        """Index in the current page of what comes next."""
        return self._current_page_index

    @property
    def current_page(self) -> Sequence[WorkflowExecution] | None:
        """The current page, if one was fetched."""
        return self._current_page

    @property
    def next_page_token(self) -> bytes | None:
        """Token of the next page, if there is one."""
        return self._next_page_token

    async def fetch_next_page(self, *, page_size: int | None = None) -> None:
        """Needs the read side."""
        raise needs_server("list_workflows")

    def __aiter__(self) -> WorkflowExecutionAsyncIterator:
        return self

    async def __anext__(self) -> WorkflowExecution:
        while True:
            page = self._current_page
            if page is not None and self._current_page_index < len(page):
                self._current_page_index += 1
                return page[self._current_page_index - 1]
            if page is not None and self._next_page_token is None:
                raise StopAsyncIteration
            await self.fetch_next_page()

    async def map_histories(
        self,
        *,
        event_filter_type: WorkflowHistoryEventFilterType = WorkflowHistoryEventFilterType.ALL_EVENT,
        skip_archival: bool = False,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> AsyncIterator[WorkflowHistory]:
        """The history of each workflow."""
        async for execution in self:
            yield await self._client.get_workflow_handle(
                execution.id, run_id=execution.run_id, task_queue=execution.task_queue
            ).fetch_history(
                event_filter_type=event_filter_type, skip_archival=skip_archival, rpc_metadata=rpc_metadata, rpc_timeout=rpc_timeout
            )
