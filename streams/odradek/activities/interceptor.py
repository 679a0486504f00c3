"""Interceptors around activities: the one seam for tracing, tests and context. Names and order
are Temporal's.

A worker interceptor's `intercept_activity(next)` wraps the inbound chain, the first interceptor
outermost; `init` hands the outbound chain inwards. Without interceptors none of this runs: the
host calls the activity itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol

from odradek.activities.context import Info
from odradek.wire.payload import Payload


@dataclass
class ExecuteActivityInput:
    """Input of `ActivityInboundInterceptor.execute_activity`. `executor` is `None` for async
    activities.
    """

    fn: Callable[..., Any]
    args: Sequence[Any]
    executor: Executor | None
    headers: Mapping[str, Payload]


class ActivityInboundInterceptor:
    """Wraps the running of an activity. Extend it; every method delegates to the next one."""

    def __init__(self, next: ActivityInboundInterceptor) -> None:
        self.next = next

    def init(self, outbound: ActivityOutboundInterceptor) -> None:
        """Take the outbound interceptor; wrap it before passing it on to intercept what the
        activity calls.
        """
        self.next.init(outbound)

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        """Run the activity; what it returns or raises is the outcome."""
        return await self.next.execute_activity(input)


class ActivityOutboundInterceptor:
    """Wraps what an activity calls. Extend it; every method delegates to the next one."""

    def __init__(self, next: ActivityOutboundInterceptor) -> None:
        self.next = next

    def info(self) -> Info:
        """Every `activity.info()`."""
        return self.next.info()

    def heartbeat(self, *details: Any) -> None:
        """Every `activity.heartbeat()`."""
        self.next.heartbeat(*details)


class ActivityInterceptor(Protocol):
    """What the host needs of a worker interceptor (`odradek.worker.Interceptor` has it)."""

    def intercept_activity(
        self, next: ActivityInboundInterceptor
    ) -> ActivityInboundInterceptor: ...
