"""Reading one run through its owner: describe, pages of history in both directions, long polls,
queries. Shared by both APIs.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from odradek.service import RPCError, RPCStatusCode
from odradek.web.errors import ApiError, unavailable
from odradek.web.ports import Owners
from odradek.wire.events import DescribeWorkflow, FetchHistory
from odradek.wire.history import HistoryEvent, WorkflowTask
from odradek.wire.outcomes import DEADLINE_EXCEEDED, OK, RUNNING, Reply, WorkflowDescription

#: Replies that one page may take: events are cut by size on the way.
_REPLIES_MAX = 50
#: A page smaller than this was not cut for its bytes, whatever the owner's limit of a reply: none
#: is as small.
_UNCUT_BYTES = 128 * 1024


@dataclass(frozen=True, slots=True)
class Page:
    """Events of a run. `next_event_id`: where to go on; 0 when there is nothing more. `open`:
    the run had not closed.
    """

    run_id: str
    events: list[HistoryEvent]
    next_event_id: int
    open: bool


def check_reply(reply: Reply, task_queue: str = "") -> Reply:
    """The reply if its verdict is OK, else the error that it is."""
    if reply.status == OK:
        return reply
    status = RPCStatusCode.__members__.get(reply.status, RPCStatusCode.UNKNOWN)
    raise ApiError(
        status, reply.message or f"{reply.kind} of workflow {reply.workflow_id!r}: {reply.status}"
    )


class RunReader:
    """One run of one workflow. `task_queue` "" has it found, and is known after the first answer."""

    def __init__(
        self,
        owners: Owners,
        workflow_id: str,
        run_id: str = "",
        *,
        task_queue: str = "",
        timeout_s: float = 10.0,
    ) -> None:
        self._owners = owners
        self._workflow_id = workflow_id
        self._run_id = run_id
        self.task_queue = task_queue
        self._timeout_s = timeout_s

    async def describe(self) -> WorkflowDescription:
        """What its owner says of it. Fixes the run that later calls read."""
        record = DescribeWorkflow(workflow_id=self._workflow_id, run_id=self._run_id)
        reply = check_reply(
            await self._owners.read(record, task_queue=self.task_queue, timeout_s=self._timeout_s)
        )
        if reply.description is None:
            raise unavailable(
                f"the description of workflow {self._workflow_id!r} came without its record"
            )
        self._run_id = reply.description.summary.run_id
        self.task_queue = self.task_queue or reply.description.summary.task_queue
        return reply.description

    async def page(self, first: int, size: int) -> Page:
        """Events from `first` on, as many as a reply takes, at most `size`."""
        reply = check_reply(await self._fetch(first, size, wait=False, timeout_s=self._timeout_s))
        return self._page(reply)

    async def wait(self, first: int, size: int, timeout_s: float) -> Page:
        """As `page`, waiting for an event at or after `first`; an empty page when none came in
        time.
        """
        try:
            reply = await self._fetch(first, size, wait=True, timeout_s=timeout_s)
        except RPCError as error:
            if (
                error.status is RPCStatusCode.DEADLINE_EXCEEDED
            ):  # its owner lives and had nothing to say
                return Page(self._run_id, [], first, True)
            raise
        if reply.status == DEADLINE_EXCEEDED:
            return Page(reply.run_id or self._run_id, [], first, True)
        return self._page(check_reply(reply))

    async def has_more(self, page: Page, size: int) -> bool:
        """Whether events lie behind a page. An open run's last page ends as one does that was
        cut, with the id of the next event; so one that may have been cut for its bytes is asked
        behind.
        """
        if page.next_event_id == 0 or not page.events:
            return False
        if not page.open or len(page.events) >= size:
            return True
        if len(msgspec.msgpack.encode(page.events)) < _UNCUT_BYTES:
            return False
        return bool((await self.page(page.next_event_id, 1)).events)

    async def last_event(self) -> Page:
        """The last event there is; of a closed run the one that closed it."""
        summary = (await self.describe()).summary
        page = await self.page(max(1, summary.history_length - 2), 3)
        return Page(page.run_id, page.events[-1:], page.next_event_id, page.open)

    async def page_before(self, last: int, size: int) -> list[HistoryEvent]:
        """Up to `size` events with ids up to `last`, newest first, each a wire event: a
        WorkflowTask counts once, the first may end behind `last`.
        """
        # A shorthand event has three ids: begin two earlier, so that one that reaches into the
        # stretch is met.
        first = max(1, last - size - 2)
        found: list[HistoryEvent] = []
        for _ in range(_REPLIES_MAX):
            page = await self.page(first, size + 3)
            found += [event for event in page.events if event.event_id <= last]
            if page.next_event_id == 0 or page.next_event_id > last or not page.events:
                break
            first = page.next_event_id
        return found[::-1][:size]

    async def _fetch(self, first: int, size: int, *, wait: bool, timeout_s: float) -> Reply:
        record = FetchHistory(
            workflow_id=self._workflow_id,
            run_id=self._run_id,
            from_event_id=first,
            max_events=size,
            wait_new_event=wait,
        )
        return await self._owners.read(record, task_queue=self.task_queue, timeout_s=timeout_s)

    def _page(self, reply: Reply) -> Page:
        self._run_id = reply.run_id or self._run_id
        self.task_queue = self.task_queue or reply.task_queue
        return Page(
            self._run_id,
            list(reply.history),
            reply.next_event_id,
            reply.workflow_status in ("", RUNNING),
        )


def last_id(event: HistoryEvent) -> int:
    """The last id that an event stands for."""
    return event.event_id + 2 if isinstance(event.attributes, WorkflowTask) else event.event_id
