"""What the server asks of others: the read side, the owners of runs, the Kafka beneath. Tests
put their own behind these.

`odradek.visibility`'s store is a `Visibility` as it is; `owner.py` and `kafka/` have the other two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from odradek.wire.events import ActivityReport, Request
from odradek.wire.outcomes import ExecutionSummary, Reply


class RunPage(Protocol):
    """A page of a list."""

    @property
    def executions(self) -> Sequence[ExecutionSummary]: ...
    @property
    def next_page_token(self) -> bytes: ...
    @property
    def previous_page_token(self) -> bytes: ...


class RunGroup(Protocol):
    """A group of a count."""

    @property
    def values(self) -> tuple[Any, ...]: ...
    @property
    def count(self) -> int: ...


class RunCount(Protocol):
    """A count, with groups if the query has GROUP BY."""

    @property
    def count(self) -> int: ...
    @property
    def groups(self) -> Sequence[RunGroup]: ...
    @property
    def complete(self) -> bool: ...


class Window(Protocol):
    """Statistics of one window."""

    start_ms: int
    step_ms: int
    workflow_type: str
    started: int
    completed: int
    failed: int
    timed_out: int
    canceled: int
    terminated: int
    continued_as_new: int
    deleted: int
    open_runs: int
    latency_buckets: dict[int, int]

    @property
    def latency_mean_ms(self) -> float | None: ...
    def latency_ms(self, share: float) -> float | None: ...


class Visibility(Protocol):
    """Lists and counts of runs. All calls block, within `timeout_s`; called in threads."""

    @property
    def windows_complete_since_ms(self) -> int:
        """Windows before this may lack runs that were deleted before the read side could count
        them.
        """
        ...

    def list(
        self,
        query: str = "",
        *,
        page_size: int = 100,
        page_token: bytes = b"",
        timeout_s: float = 10.0,
    ) -> RunPage: ...
    def count(self, query: str = "", *, timeout_s: float = 10.0) -> RunCount: ...
    def get(
        self, workflow_id: str, run_id: str = "", *, timeout_s: float = 10.0
    ) -> ExecutionSummary | None: ...
    def queues_of(
        self, workflow_id: str, run_id: str = "", *, timeout_s: float = 10.0
    ) -> Sequence[str]: ...
    def windows(
        self,
        start_ms: int,
        end_ms: int,
        *,
        step_ms: int = 60_000,
        workflow_types: Sequence[str] | None = None,
        together: bool = False,
        timeout_s: float = 10.0,
    ) -> Sequence[Window]: ...
    def busiest_types(
        self, start_ms: int, end_ms: int, *, limit: int, timeout_s: float = 10.0
    ) -> tuple[Sequence[str], int]: ...
    def values_of(
        self, name: str, prefix: str = "", *, limit: int = 20, timeout_s: float = 1.0
    ) -> Sequence[str]: ...
    def attribute(self, name: str) -> Any: ...
    def attribute_names(self) -> Sequence[str]: ...
    def add_listener(self, listener: Callable[[Any], None]) -> Callable[[], None]: ...


class Owners(Protocol):
    """Requests to the owners of runs. Every call ends within `timeout_s` and a few seconds of
    looking for the queue.

    Raises `RPCError`: UNAVAILABLE with the queue's name when no processor answers, NOT_FOUND,
    FAILED_PRECONDITION when two queues have the id; and what Kafka's client raises.
    """

    async def read(self, record: Request, *, task_queue: str = "", timeout_s: float) -> Reply:
        """A request that changes nothing: the owner's reply, whatever its verdict."""
        ...

    async def change(
        self, record: Request, *, task_queue: str = "", create: bool = False, timeout_s: float
    ) -> Reply | None:
        """A request that changes something: the owner's reply, or None when it lies in the log
        and no owner has answered yet.
        """
        ...

    async def report(self, record: ActivityReport, *, task_queue: str, timeout_s: float) -> None:
        """A report on an activity, to the queue of its workflow. Nobody answers one: it ends
        when Kafka has it.
        """
        ...

    async def queue_of(self, workflow_id: str, run_id: str = "", *, timeout_s: float) -> str:
        """The task queue that a workflow lives in."""
        ...
