"""Histories of workflows: fetched page by page, kept as a value, written to and read from Temporal's JSON."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Generic, Self, TypeVar

from odradek.client.errors import rpc_error
from odradek.client.interceptor import FetchWorkflowHistoryEventsInput
from odradek.engine import history_json
from odradek.service import RPCStatusCode
from odradek.wire import history as events
from odradek.wire.events import FetchHistory
from odradek.wire.history import HistoryEvent
from odradek.wire.outcomes import Reply

T = TypeVar("T")


class PageIterator(ABC, Generic[T]):
    """Items of pages, in order. A subclass fetches: it calls `_took_page` with what came and the
    token of what follows.

    limit: how many items are given at most, over all pages.
    """

    def __init__(self, next_page_token: bytes | None, *, limit: int | None = None) -> None:
        self._next_page_token = next_page_token
        self._current_page: Sequence[T] | None = None
        self._current_page_index = 0
        self._limit = limit
        self._given = 0

    @property
    def current_page_index(self) -> int:
        """Index in the current page of what comes next."""
        return self._current_page_index

    @property
    def current_page(self) -> Sequence[T] | None:
        """The current page, if one was fetched."""
        return self._current_page

    @property
    def next_page_token(self) -> bytes | None:
        """Token of the next page, if there may be one."""
        return self._next_page_token

    @abstractmethod
    async def fetch_next_page(self, *, page_size: int | None = None) -> None:
        """Fetch the next page and begin at its first item, whatever was left of the present one."""

    def _took_page(self, page: Sequence[T], next_page_token: bytes | None) -> None:
        self._current_page = page
        self._current_page_index = 0
        self._next_page_token = next_page_token

    def _size(self, page_size: int) -> int:
        """A page's size, no larger than what the limit leaves."""
        return (
            page_size if self._limit is None else max(1, min(page_size, self._limit - self._given))
        )

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while self._limit is None or self._given < self._limit:
            page = self._current_page
            if page is not None and self._current_page_index < len(page):
                self._current_page_index += 1
                self._given += 1
                return page[self._current_page_index - 1]
            if page is not None and self._next_page_token is None:
                break
            await self.fetch_next_page()
        raise StopAsyncIteration


PAGE_SIZE = 1000

_CLOSING = (
    events.WorkflowExecutionCompleted,
    events.WorkflowExecutionFailed,
    events.WorkflowExecutionTimedOut,
    events.WorkflowExecutionCanceled,
    events.WorkflowExecutionTerminated,
    events.WorkflowExecutionContinuedAsNew,
)


class WorkflowHistoryEventFilterType(IntEnum):
    """Which events of a history are wanted. Temporal's numbers."""

    ALL_EVENT = 1
    CLOSE_EVENT = 2
    """Only the event that closed the run."""


@dataclass(frozen=True)
class WorkflowHistory:
    """A workflow's id and the events of one run. `to_json` is Temporal's JSON form: its own
    tools read it.
    """

    workflow_id: str
    events: Sequence[HistoryEvent]
    # What an imported history holds beyond our records, by event id: it is written out again.
    _extras: Mapping[int, dict[str, Any]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def run_id(self) -> str:
        """Run id, from the first event."""
        if not self.events:
            raise RuntimeError("No events")
        started = self.events[0].attributes
        if not isinstance(started, events.WorkflowExecutionStarted):
            raise RuntimeError("First event is not workflow start")
        return started.run_id

    @staticmethod
    def from_json(workflow_id: str, history: str | dict[str, Any]) -> WorkflowHistory:
        """A history from JSON text or the dict of it: ours, or one exported by Temporal's tools.
        `ValueError` when it is none.
        """
        try:
            parsed = json.loads(history) if isinstance(history, str) else history
        except RecursionError as error:
            raise ValueError("JSON history nested too deeply") from error
        if not isinstance(parsed, dict):
            raise ValueError("JSON history not a dictionary")
        read = history_json.from_json(parsed, workflow_id=workflow_id)
        return WorkflowHistory(workflow_id, read.events, read.extras)

    def to_json(self) -> str:
        """JSON text, without the workflow id."""
        return json.dumps(self.to_json_dict(), indent=2)

    def to_json_dict(self) -> dict[str, Any]:
        """The value of that JSON: `{"events": [{"eventId": "1", "eventType": …}, …]}`."""
        return history_json.to_json_dict(
            history_json.JsonHistory(list(self.events), dict(self._extras))
        )


class WorkflowHistoryEventAsyncIterator(PageIterator[HistoryEvent]):
    """Events of a run, page by page. Nothing is asked before the first `__anext__`. The first
    page fixes the run.
    """

    def __init__(
        self,
        input: FetchWorkflowHistoryEventsInput,
        fetch: Callable[[FetchHistory, FetchWorkflowHistoryEventsInput], Awaitable[Reply]],
    ) -> None:
        super().__init__(input.next_page_token)
        self._input = input
        self._fetch = fetch

    async def fetch_next_page(self, *, page_size: int | None = None) -> None:
        """Fetch the next page. With `wait_new_event` this waits until the run goes on or closes,
        or for the rpc timeout.
        """
        input = self._input
        run_id, first = (
            _read_token(self._next_page_token) if self._next_page_token else (input.run_id or "", 1)
        )
        only_close = input.event_filter_type == WorkflowHistoryEventFilterType.CLOSE_EVENT
        size = PAGE_SIZE if only_close else page_size or input.page_size or PAGE_SIZE
        record = FetchHistory(
            workflow_id=input.id,
            run_id=run_id,
            from_event_id=first,
            max_events=size,
            wait_new_event=input.wait_new_event,
        )
        reply = await self._fetch(record, input)
        page = history_json.expand(reply.history)
        closed = reply.next_event_id == 0
        if only_close:
            # Of an open run that is not waited for, Temporal gives the last event there is.
            page = [event for event in page if isinstance(event.attributes, _CLOSING)] or (
                [] if input.wait_new_event else page[-1:]
            )
        more = not closed and (input.wait_new_event or bool(reply.history))
        self._took_page(
            page, page_token(reply.run_id or run_id, reply.next_event_id) if more else None
        )


def page_token(run_id: str, event_id: int) -> bytes:
    """Of the page of a run's history that begins with this event."""
    return json.dumps([run_id, event_id]).encode()


def _read_token(token: bytes) -> tuple[str, int]:
    try:
        run_id, event_id = json.loads(token)
        return str(run_id), int(event_id)
    except (ValueError, TypeError, RecursionError) as error:
        raise rpc_error(
            RPCStatusCode.INVALID_ARGUMENT, f"not a page token of a history: {token!r}"
        ) from error
