"""What a command must hold so that its events, rows and outputs can be written: text that UTF-8
carries, 64-bit numbers, names and durations within limits.

Looked at before anything of a workflow task counts. A command that fails here fails the *task*,
as in Temporal, where the SDK or the server refuses it: its inputs stay in the history, and
repaired code takes them up. What got further would be met when the step is encoded, too late to
say whose fault it was.

Failures are different: their texts only describe an error, so they are cleaned
(`odradek.wire.clean`) and the workflow fails as intended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from odradek.engine.activation import (
    CancelWorkflowExecution,
    CompleteWorkflow,
    ContinueAsNew,
    FailWorkflow,
    ScheduleActivity,
    SetPatchMarker,
    StartTimer,
    UpsertMemo,
    UpsertSearchAttributes,
)
from odradek.wire.clean import clean_failure, clean_text
from odradek.wire.generated import JSON_METADATA
from odradek.wire.limits import DURATION_MAX_MS, NAME_MAX
from odradek.wire.payload import Failure, Payload, RetryPolicy
from odradek.wire.search_attributes import reserved_problem, values_problem

_INT64 = 1 << 63

#: Says why a value cannot be written, "" when it can.
Check = Callable[[Any], str]


# ---------------------------------------------------------------- values


def text_problem(value: Any) -> str:
    """Why this is no text that can be written."""
    if type(value) is str and value.isascii():
        return ""
    if not isinstance(value, str):
        return f"text is expected, not {type(value).__name__}"
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return f"{_shown(value)} is no text that UTF-8 can carry ({error.reason} at {error.start})"
    return ""


def name_problem(value: Any) -> str:
    """The same for an id, a type or the name of a task queue."""
    problem = text_problem(value)
    if not problem and len(value) > NAME_MAX:
        return f"{len(value)} characters, at most {NAME_MAX} are allowed"
    return problem


def number_problem(value: Any) -> str:
    """Why this is no number that can be written."""
    if not isinstance(value, int):
        return f"a whole number is expected, not {type(value).__name__}"
    return "" if -_INT64 <= value < _INT64 else f"{_shown(value)} does not fit 64 bits"


def duration_problem(value: Any) -> str:
    """The same for milliseconds. Negative ones are somebody else's matter."""
    if type(value) is int and 0 <= value <= DURATION_MAX_MS:
        return ""
    problem = number_problem(value)
    if not problem and value > DURATION_MAX_MS:
        return f"{value} ms, at most {DURATION_MAX_MS} ms (5,000 years) are allowed"
    return problem


def payload_problem(value: Any) -> str:
    """Why this is no payload that can be written. Converters and interceptors of the user's make
    them.
    """
    if not isinstance(value, Payload):
        return f"a Payload is expected, not {type(value).__name__}"
    if type(value.data) is not bytes and not isinstance(value.data, bytes | bytearray):
        return f"data of a payload: bytes are expected, not {type(value.data).__name__}"
    if value.metadata == JSON_METADATA:  # most are
        return ""
    for key, item in value.metadata.items():
        if type(item) is not bytes and not isinstance(item, bytes | bytearray):
            return f"metadata of a payload: bytes are expected, not {type(item).__name__}"
        if problem := text_problem(key):
            return f"metadata of a payload: {problem}"
    return ""


def payloads_problem(values: Any) -> str:
    """The same for a list of payloads."""
    for value in values:
        if problem := payload_problem(value):
            return problem
    return ""


def map_problem(values: Any) -> str:
    """The same for named payloads."""
    for key, value in values.items():
        if problem := text_problem(key) or payload_problem(value):
            return problem
    return ""


def search_attributes_problem(values: Any) -> str:
    """The same for search attributes, whose names are not the system's, and whose values are of
    their types.
    """
    return reserved_problem(values) or map_problem(values) or values_problem(values)


def retry_policy_problem(policy: RetryPolicy) -> str:
    """Why this policy cannot be written. Whether it makes sense is asked by
    `odradek.engine.retry`.
    """
    coefficient, attempts = policy.backoff_coefficient, policy.maximum_attempts
    if (
        type(coefficient) is float
        and type(attempts) is int
        and 0 <= attempts < _INT64
        and not policy.non_retryable_error_types
        and not duration_problem(policy.initial_interval_ms)
        and not number_problem(
            policy.maximum_interval_ms
        )  # 100 times the initial one by default; what is waited has its own bound
    ):  # most are
        return ""
    if not isinstance(coefficient, int | float):
        return f"backoff_coefficient: a number is expected, not {type(coefficient).__name__}"
    checks = (
        ("initial_interval", duration_problem(policy.initial_interval_ms)),
        ("maximum_interval", number_problem(policy.maximum_interval_ms)),
        ("maximum_attempts", number_problem(attempts)),
        (
            "non_retryable_error_types",
            next(filter(None, map(text_problem, policy.non_retryable_error_types)), ""),
        ),
    )
    return next((f"{name}: {problem}" for name, problem in checks if problem), "")


def failure_problem(failure: Failure) -> str:
    """Clean a failure's texts, in place, and say why it cannot be written even so: its payloads
    and numbers.
    """
    clean_failure(failure)
    link: Failure | None = failure
    while link is not None:
        problem = payloads_problem(link.details)
        if not problem and link.encoded_attributes is not None:
            problem = payload_problem(link.encoded_attributes)
        if not problem and link.next_retry_delay_ms is not None:
            problem = number_problem(link.next_retry_delay_ms)
        if problem:
            return problem
        link = link.cause
    return ""


def _shown(value: Any) -> str:
    """A value as part of a message: short, ASCII."""
    if isinstance(value, int):
        return str(value) if value.bit_length() < 256 else f"a number of {value.bit_length()} bits"
    return ascii(value[:80]) + ("…" if len(value) > 80 else "")


# ---------------------------------------------------------------- commands


class _Rule:
    """How one type of command is looked at: `cause` is Temporal's WorkflowTaskFailedCause,
    `fields` those that are written.
    """

    __slots__ = ("cause", "fields")

    def __init__(self, cause: str, **fields: Check) -> None:
        self.cause = cause
        self.fields = tuple(fields.items())


_RULES: dict[type, _Rule] = {
    ScheduleActivity: _Rule(
        "BAD_SCHEDULE_ACTIVITY_ATTRIBUTES",
        activity_id=name_problem,
        activity_type=name_problem,
        task_queue=name_problem,
        input=payloads_problem,
        headers=map_problem,
        schedule_to_close_timeout_ms=duration_problem,
        schedule_to_start_timeout_ms=duration_problem,
        start_to_close_timeout_ms=duration_problem,
        heartbeat_timeout_ms=duration_problem,
        retry_policy=retry_policy_problem,
        cancellation_type=text_problem,
        summary=payload_problem,
    ),
    StartTimer: _Rule(
        "BAD_START_TIMER_ATTRIBUTES",
        timer_id=name_problem,
        duration_ms=duration_problem,
        summary=payload_problem,
    ),
    CompleteWorkflow: _Rule("BAD_COMPLETE_WORKFLOW_EXECUTION_ATTRIBUTES", result=payloads_problem),
    FailWorkflow: _Rule("BAD_FAIL_WORKFLOW_EXECUTION_ATTRIBUTES", failure=failure_problem),
    CancelWorkflowExecution: _Rule(
        "BAD_CANCEL_WORKFLOW_EXECUTION_ATTRIBUTES", details=payloads_problem
    ),
    ContinueAsNew: _Rule(
        "BAD_CONTINUE_AS_NEW_ATTRIBUTES",
        workflow_type=name_problem,
        task_queue=name_problem,
        input=payloads_problem,
        headers=map_problem,
        memo=map_problem,
        search_attributes=search_attributes_problem,
        run_timeout_ms=duration_problem,
        task_timeout_ms=duration_problem,
        backoff_start_interval_ms=duration_problem,
        retry_policy=retry_policy_problem,
    ),
    SetPatchMarker: _Rule("BAD_RECORD_MARKER_ATTRIBUTES", patch_id=text_problem),
    UpsertMemo: _Rule("BAD_MODIFY_WORKFLOW_PROPERTIES_ATTRIBUTES", memo=map_problem),
    UpsertSearchAttributes: _Rule(
        "BAD_SEARCH_ATTRIBUTES", search_attributes=search_attributes_problem
    ),
}
_RULE_OF = _RULES.get


def command_problem(command: Any) -> tuple[str, str] | None:
    """(cause of the failed task, message that names command and field) for a command that cannot
    be written; None for any other.
    """
    rule = _RULE_OF(type(command))
    if rule is None:
        return None
    for name, check in rule.fields:
        value = getattr(command, name)
        if value and (problem := check(value)):  # what is not set can be written
            return rule.cause, f"{_named(command)}: {name}: {problem}"
    return None


def _named(command: Any) -> str:
    """The command in a message: an activity with its type and id."""
    name = type(command).__name__
    if isinstance(command, ScheduleActivity):
        return (
            f"{name} {clean_text(command.activity_type)[:80]} (id"
            f" {clean_text(command.activity_id)[:80]})"
        )
    return name
