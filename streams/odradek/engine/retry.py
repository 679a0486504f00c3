"""Retry policy: whether another attempt follows, and when. Temporal's server rules, for
activities and for workflows.

Order of the checks (server, `getBackoffInterval`): is the failure retryable at all; are attempts
left; would the next attempt begin before the expiration. The outcome is a RetryState name;
IN_PROGRESS means "again, after the interval".
"""

from __future__ import annotations

from odradek.engine.failures import TIMEOUT_NAMES
from odradek.wire.limits import DURATION_MAX_MS
from odradek.wire.payload import (
    APPLICATION,
    CANCELED,
    SERVER,
    TERMINATED,
    TIMEOUT,
    Failure,
    RetryPolicy,
)

IN_PROGRESS = "IN_PROGRESS"
NON_RETRYABLE_FAILURE = "NON_RETRYABLE_FAILURE"
MAXIMUM_ATTEMPTS_REACHED = "MAXIMUM_ATTEMPTS_REACHED"
RETRY_POLICY_NOT_SET = "RETRY_POLICY_NOT_SET"
CANCEL_REQUESTED = "CANCEL_REQUESTED"
EXPIRED = "TIMEOUT"

# Timeouts after which no attempt follows: schedule-to-close has no time for one, schedule-to-start
# would only wait again.
FINAL_TIMEOUTS = ("SCHEDULE_TO_START", "SCHEDULE_TO_CLOSE")

# How policies name the others. A failure that names no type that is known is not tried again, as on
# Temporal's server.
_RETRYABLE_TIMEOUTS = {
    name: f"TemporalTimeout:{TIMEOUT_NAMES[name]}" for name in ("START_TO_CLOSE", "HEARTBEAT")
}

# An interval never grows beyond this, whatever the coefficient: 100 years.
INTERVAL_MAX_MS = 100 * 365 * 86_400_000

DEFAULT_POLICY = RetryPolicy(
    initial_interval_ms=1_000, backoff_coefficient=2.0, maximum_interval_ms=100_000
)


def normalized(policy: RetryPolicy | None) -> RetryPolicy:
    """The policy with every unset part replaced by the server's default: 1 s, 2.0, 100 times the
    initial interval, unlimited attempts.
    """
    if policy is None:
        return DEFAULT_POLICY
    initial = policy.initial_interval_ms or 1_000
    return RetryPolicy(
        initial_interval_ms=initial,
        backoff_coefficient=policy.backoff_coefficient or 2.0,
        maximum_interval_ms=policy.maximum_interval_ms or 100 * initial,
        maximum_attempts=policy.maximum_attempts,
        non_retryable_error_types=policy.non_retryable_error_types,
    )


def problem_of(policy: RetryPolicy | None) -> str:
    """Why a policy is not valid, else ""."""
    if policy is None:
        return ""
    if policy.initial_interval_ms < 0:
        return "retry policy: initial_interval must not be negative"
    if policy.backoff_coefficient != 0 and not policy.backoff_coefficient >= 1:  # NaN is not
        return "retry policy: backoff_coefficient must be at least 1"
    if policy.maximum_interval_ms < 0 or (
        policy.maximum_interval_ms and policy.maximum_interval_ms < policy.initial_interval_ms
    ):
        return "retry policy: maximum_interval must not be below initial_interval"
    if policy.initial_interval_ms > DURATION_MAX_MS:
        return f"retry policy: initial_interval is longer than {DURATION_MAX_MS} ms (5,000 years)"
    if policy.maximum_attempts < 0:
        return "retry policy: maximum_attempts must not be negative"
    return ""


def is_retryable(failure: Failure, policy: RetryPolicy) -> bool:
    """Whether this failure may be retried under the policy: of timeouts start-to-close and
    heartbeat alone. Unknown kinds may.
    """
    kind = failure.kind
    if kind == APPLICATION:
        return not failure.non_retryable and failure.type not in policy.non_retryable_error_types
    if kind in (CANCELED, TERMINATED):
        return False
    if kind == TIMEOUT:
        named = _RETRYABLE_TIMEOUTS.get(failure.timeout_type)
        return named is not None and named not in policy.non_retryable_error_types
    if kind == SERVER:
        return not failure.non_retryable
    return True


def interval_ms(policy: RetryPolicy, attempt: int) -> int:
    """Wait after attempt number `attempt` (1 = the first) of a normalized policy."""
    try:
        interval = policy.initial_interval_ms * policy.backoff_coefficient ** (attempt - 1)
    except OverflowError:
        interval = INTERVAL_MAX_MS
    return int(
        min(policy.maximum_interval_ms, INTERVAL_MAX_MS, interval)
    )  # in this order: an interval that is NaN is none


def decide(
    policy: RetryPolicy | None, failure: Failure, *, attempt: int, now_ms: int, expiration_ms: int
) -> tuple[str, int]:
    """RetryState and, for IN_PROGRESS, the wait in ms. `policy` normalized or None;
    `expiration_ms` 0 for none.
    """
    if policy is None:
        return RETRY_POLICY_NOT_SET, 0
    if not is_retryable(failure, policy):
        return NON_RETRYABLE_FAILURE, 0
    if 0 < policy.maximum_attempts <= attempt:
        return MAXIMUM_ATTEMPTS_REACHED, 0
    delay = failure.next_retry_delay_ms
    wait = interval_ms(policy, attempt) if delay is None else min(max(delay, 0), INTERVAL_MAX_MS)
    if expiration_ms and now_ms + wait > expiration_ms:
        return EXPIRED, 0
    return IN_PROGRESS, wait
