"""Retry policy and the policies on workflow and activity ids. Enum values are Temporal's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum

from odradek.wire import payload as wire

_MILLISECOND = timedelta(milliseconds=1)


def _whole_milliseconds(duration: timedelta) -> int:
    """Rounded up; also of the longest one, which has no negative."""
    whole, rest = divmod(duration, _MILLISECOND)
    return whole + bool(rest)


@dataclass
class RetryPolicy:
    """How an activity or workflow is retried.

    The delay before retry n is `initial_interval * backoff_coefficient ** (n - 1)`, at most
    `maximum_interval`.
    """

    initial_interval: timedelta = timedelta(seconds=1)
    """Delay before the first retry."""

    backoff_coefficient: float = 2.0
    """Factor from one delay to the next, at least 1."""

    maximum_interval: timedelta | None = None
    """Longest delay. `None`: 100 times `initial_interval`."""

    maximum_attempts: int = 0
    """Attempts in all, the first included. 0: no limit; 1: no retries."""

    non_retryable_error_types: Sequence[str] | None = None
    """`ApplicationError.type` values that end retries; for a plain exception that is its class
    name.
    """

    def validate(self) -> None:
        """Raise `ValueError` where Temporal's server would refuse the policy. One attempt needs
        no valid intervals.
        """
        if self.maximum_attempts == 1:
            return
        if self.maximum_attempts < 0:
            raise ValueError("Maximum attempts cannot be negative")
        if self.initial_interval < timedelta(0):
            raise ValueError("Initial interval cannot be negative")
        if not self.backoff_coefficient >= 1:  # NaN is not
            raise ValueError("Backoff coefficient cannot be less than 1")
        if self.maximum_interval:
            if self.maximum_interval < timedelta(0):
                raise ValueError("Maximum interval cannot be negative")
            if self.maximum_interval < self.initial_interval:
                raise ValueError("Maximum interval cannot be less than initial interval")

    def to_wire(self) -> wire.RetryPolicy:
        """The wire record, after validation. Intervals become whole milliseconds, rounded up so
        that a short one does not become 0.
        """
        self.validate()
        initial_ms = _whole_milliseconds(self.initial_interval)
        return wire.RetryPolicy(
            initial_interval_ms=initial_ms,
            backoff_coefficient=float(self.backoff_coefficient),
            maximum_interval_ms=(
                100 * initial_ms
                if self.maximum_interval is None
                else _whole_milliseconds(self.maximum_interval)
            ),
            maximum_attempts=self.maximum_attempts,
            non_retryable_error_types=list(self.non_retryable_error_types or ()),
        )

    @staticmethod
    def from_wire(record: wire.RetryPolicy) -> RetryPolicy:
        """The policy of a wire record."""
        return RetryPolicy(
            initial_interval=record.initial_interval_ms * _MILLISECOND,
            backoff_coefficient=record.backoff_coefficient,
            maximum_interval=(
                record.maximum_interval_ms * _MILLISECOND if record.maximum_interval_ms else None
            ),
            maximum_attempts=record.maximum_attempts,
            non_retryable_error_types=list(record.non_retryable_error_types) or None,
        )


class WorkflowIDReusePolicy(IntEnum):
    """Whether a workflow id may be used again once its run is closed."""

    ALLOW_DUPLICATE = 1
    ALLOW_DUPLICATE_FAILED_ONLY = 2
    """Only when the last run did not complete."""
    REJECT_DUPLICATE = 3
    TERMINATE_IF_RUNNING = 4
    """Older spelling of ALLOW_DUPLICATE with `WorkflowIDConflictPolicy.TERMINATE_EXISTING`."""


class WorkflowIDConflictPolicy(IntEnum):
    """What a start does when the workflow id has an open run."""

    UNSPECIFIED = 0
    """FAIL for a plain start, USE_EXISTING for signal-with-start."""
    FAIL = 1
    USE_EXISTING = 2
    TERMINATE_EXISTING = 3


class ActivityIDReusePolicy(IntEnum):
    """Whether the id of an activity started without a workflow may be used again once it is
    closed.
    """

    UNSPECIFIED = 0
    ALLOW_DUPLICATE = 1
    ALLOW_DUPLICATE_FAILED_ONLY = 2
    REJECT_DUPLICATE = 3


class ActivityIDConflictPolicy(IntEnum):
    """What the start of an activity without a workflow does when its id is running."""

    UNSPECIFIED = 0
    FAIL = 1
    USE_EXISTING = 2


class QueryRejectCondition(IntEnum):
    """When a query is refused because of the run's status."""

    NONE = 1
    NOT_OPEN = 2
    NOT_COMPLETED_CLEANLY = 3


class HeaderCodecBehavior(IntEnum):
    """Whether the payload codec is applied to headers."""

    NO_CODEC = 1
    CODEC = 2
    WORKFLOW_ONLY_CODEC = 3
    """Only to those that enter or leave workflow code."""
