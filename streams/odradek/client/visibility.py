"""Lists and counts of workflows. They are answered by the read side (`odradek server`, setting
`server_address`), which may be a moment behind the owners of workflows; the language of queries
is in `docs/query.md`.

Asked are Temporal's own paths of the HTTP API, in Temporal's JSON.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, cast
from urllib.parse import quote

from odradek.client.description import WorkflowExecution
from odradek.client.errors import rpc_error
from odradek.client.handle import Root, WorkflowHandle
from odradek.client.history import PageIterator, WorkflowHistory, WorkflowHistoryEventFilterType
from odradek.client.interceptor import CountWorkflowsInput, ListWorkflowsInput
from odradek.common import SearchAttributeValue
from odradek.converter import DataConverter, decode_search_attributes
from odradek.engine.json_fields import FIELDS, INDEXED_FIELDS, INT64, NAME, TIME, Json, read_payload
from odradek.service import RPCStatusCode
from odradek.wire.outcomes import ExecutionSummary
from odradek.wire.problems import take_problems

#: A call of the HTTP API below the namespace: path, parameters, the call's name, the caller's
#: metadata and timeout.
Ask = Callable[
    [str, Mapping[str, str], str, Mapping[str, str | bytes], timedelta | None],
    Awaitable[dict[str, Any]],
]

_STATUS_PREFIX = "WORKFLOW_EXECUTION_STATUS_"


@dataclass
class WorkflowExecutionCountAggregationGroup:
    """One group of a count. `group_values` has a value for each column of GROUP BY, None for
    runs that have none.
    """

    count: int
    group_values: Sequence[SearchAttributeValue]


@dataclass
class WorkflowExecutionCount:
    """A count of workflows; `groups` is empty without a GROUP BY. The server gives the 1,000
    largest: with more, their counts sum to less than `count`.
    """

    count: int
    groups: Sequence[WorkflowExecutionCountAggregationGroup]


class ListRoot(Root, Protocol):
    """What lists need of their client."""

    namespace: str
    converter: DataConverter


class WorkflowExecutionAsyncIterator(PageIterator[WorkflowExecution]):
    """Workflows of a query, page by page. Nothing is asked before the first `__anext__`."""

    def __init__(self, root: ListRoot, input: ListWorkflowsInput, ask: Ask) -> None:
        super().__init__(input.next_page_token, limit=input.limit)
        self._root = root
        self._input = input
        self._ask = ask

    async def fetch_next_page(self, *, page_size: int | None = None) -> None:
        """Fetch the next page, of `page_size` workflows at most (the server gives 1,000 at a time).

        Raises `RPCError`: UNAVAILABLE without a server, INVALID_ARGUMENT for a wrong query, with
        the column at which it is wrong.
        """
        input = self._input
        parameters = {
            "query": input.query or "",
            "pageSize": str(self._size(page_size or input.page_size)),
        }
        if self._next_page_token:
            parameters["nextPageToken"] = base64.b64encode(self._next_page_token).decode()
        answer = await self._ask(
            "/workflows", parameters, "list_workflows", input.rpc_metadata, input.rpc_timeout
        )
        with _understood("list_workflows"):
            summaries = [
                summary_of(info, self._root.namespace) for info in answer.get("executions", [])
            ]
            token = base64.b64decode(answer.get("nextPageToken") or "") or None
        converter = self._root.converter
        self._took_page(
            [WorkflowExecution._from_summary(summary, converter) for summary in summaries], token
        )

    async def map_histories(
        self,
        *,
        event_filter_type: WorkflowHistoryEventFilterType = WorkflowHistoryEventFilterType.ALL_EVENT,
        skip_archival: bool = False,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> AsyncIterator[WorkflowHistory]:
        """The history of each workflow, asked of its owner: for replaying them, for instance."""
        async for execution in self:
            handle = WorkflowHandle[Any, Any](
                self._root,
                execution.id,
                run_id=execution.run_id,
                result_run_id=execution.run_id,
                task_queue=execution.task_queue or None,
            )
            yield await handle.fetch_history(
                event_filter_type=event_filter_type,
                skip_archival=skip_archival,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
            )


async def count_workflows(input: CountWorkflowsInput, ask: Ask) -> WorkflowExecutionCount:
    """Ask for a count."""
    answer = await ask(
        "/workflow-count",
        {"query": input.query or ""},
        "count_workflows",
        input.rpc_metadata,
        input.rpc_timeout,
    )
    with _understood("count_workflows"):
        groups = [
            WorkflowExecutionCountAggregationGroup(
                int(group.get("count") or 0),
                [
                    cast(SearchAttributeValue, _group_value(value))
                    for value in group.get("groupValues", [])
                ],
            )
            for group in answer.get("groups", [])
        ]
        return WorkflowExecutionCount(int(answer.get("count") or 0), groups)


def namespace_path(namespace: str) -> str:
    """Where the HTTP API has a namespace."""
    return f"/api/v1/namespaces/{quote(namespace, safe='')}"


def summary_of(info: Json, namespace: str) -> ExecutionSummary:
    """A WorkflowExecutionInfo of the HTTP API as our record of it. Raises KeyError, TypeError or
    ValueError for something else.
    """
    execution, parent, root = (
        info["execution"],
        info.get("parentExecution") or {},
        info.get("rootExecution") or {},
    )

    def read(kind: Any, name: str, default: Any) -> Any:
        return kind.read(info[name]) if name in info else default

    attributes = read(INDEXED_FIELDS, "searchAttributes", {})
    return ExecutionSummary(
        namespace=namespace,
        task_queue=str(info.get("taskQueue", "")),
        workflow_id=execution["workflowId"],
        run_id=execution["runId"],
        workflow_type=NAME.read(info["type"]),
        status=str(info["status"]).removeprefix(_STATUS_PREFIX),
        start_time_ms=read(TIME, "startTime", 0),
        execution_time_ms=read(TIME, "executionTime", 0),
        close_time_ms=read(TIME, "closeTime", 0),
        history_length=read(INT64, "historyLength", 0),
        history_size_bytes=read(INT64, "historySizeBytes", 0),
        first_execution_run_id=info.get("firstRunId", ""),
        parent_workflow_id=parent.get("workflowId", ""),
        parent_run_id=parent.get("runId", ""),
        root_workflow_id=root.get("workflowId", ""),
        root_run_id=root.get("runId", ""),
        memo=read(FIELDS, "memo", {}),
        reported_problems=take_problems(attributes),
        search_attributes=attributes,
        state_transition_count=read(INT64, "stateTransitionCount", 0),
    )


def _group_value(payload: Json) -> Any:
    values = decode_search_attributes({"value": read_payload(payload)})["value"]
    return values[0] if len(values) == 1 else values


class _understood:
    """Turns an answer that is not what the API promises into an `RPCError`."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, KeyError | TypeError | ValueError | AttributeError | binascii.Error):
            message = (
                f"{self._what}: the server's answer cannot be read ({error!r}). Is it of this"
                " version?"
            )
            raise rpc_error(RPCStatusCode.INTERNAL, message) from error
