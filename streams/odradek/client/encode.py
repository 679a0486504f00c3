"""User values to payloads and the start request, and back: the client's use of the data converter.

Without a codec the converters are called directly: an `await` that never waits costs as much as the conversion.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from odradek.activation.definitions import WorkflowDefinition
from odradek.activation.handlers import QueryDefinition, SignalDefinition, UpdateDefinition
from odradek.client.errors import rpc_error
from odradek.client.interceptor import StartWorkflowInput
from odradek.common import HeaderCodecBehavior, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from odradek.converter import (
    DataConverter,
    DefaultFailureConverter,
    DefaultPayloadConverter,
    WithSerializationContext,
    encode_search_attributes,
)
from odradek.service import RPCStatusCode
from odradek.wire.clean import clean_text
from odradek.wire.events import StartWorkflow
from odradek.wire.limits import DURATION_MAX_MS, NAME_MAX, name_bytes, name_too_long
from odradek.wire.payload import Payload


def seconds_of(duration: Any, name: str) -> float:
    """Seconds of a timeout. ValueError, with its name, for what is no timedelta or negative, as
    in Temporal's client.
    """
    if not isinstance(duration, timedelta):
        raise ValueError(f"{name} must be a timedelta, not {duration!r}")
    if duration < timedelta(0):
        raise ValueError(f"{name} must not be negative, and is {duration}")
    return duration.total_seconds()


workflow_name_and_type: Callable[[str | Callable[..., Any]], tuple[str, Any]] = (
    WorkflowDefinition.name_and_result_type
)
signal_name: Callable[[str | Callable[..., Any]], str] = SignalDefinition.name_of
query_name_and_type: Callable[[str | Callable[..., Any]], tuple[str, Any]] = (
    QueryDefinition.name_and_result_type
)
update_name_and_type: Callable[[str | Callable[..., Any]], tuple[str, Any]] = (
    UpdateDefinition.name_and_result_type
)


_MILLISECOND = timedelta(milliseconds=1)


def milliseconds(duration: timedelta | None, name: str) -> int:
    """Whole milliseconds, rounded up so that a short one does not become 0, which means none.
    INVALID_ARGUMENT when out of range.
    """
    if duration is None:
        return 0
    if duration < timedelta(0):
        raise rpc_error(RPCStatusCode.INVALID_ARGUMENT, f"{name} is negative: {duration}")
    whole, rest = divmod(duration, _MILLISECOND)
    if whole + bool(rest) > DURATION_MAX_MS:
        raise rpc_error(
            RPCStatusCode.INVALID_ARGUMENT, f"{name} is longer than 5,000 years: {duration}"
        )
    return whole + bool(rest)


async def payloads_of(converter: DataConverter, values: Sequence[Any]) -> list[Payload]:
    """Payloads of values, through converter and codec."""
    if not values:
        return []
    if converter.payload_codec is None:
        return converter.payload_converter.to_payloads(values)
    return await converter.encode(values)


async def single_value(
    converter: DataConverter, payloads: list[Payload], hint: Any | None, what: str
) -> Any:
    """The one value of a result; None when there is none, with a warning when there are more."""
    if not payloads:
        return None
    hints = None if hint is None else [hint]
    if converter.payload_codec is None:
        values = converter.payload_converter.from_payloads(payloads, hints)
    else:
        values = await converter.decode(payloads, hints)
    if len(values) > 1:
        warnings.warn(f"Expected single {what}, got {len(values)}", stacklevel=2)
    return values[0] if values else None


async def headers_of(
    converter: DataConverter, headers: Mapping[str, Payload], behavior: HeaderCodecBehavior
) -> dict[str, Payload]:
    """Headers as they travel; through the codec where the client's `header_codec_behavior` says
    so.
    """
    if not headers:
        return {}
    if behavior != HeaderCodecBehavior.CODEC or converter.payload_codec is None:
        return dict(headers)
    return {
        key: (await converter.payload_codec.encode([payload]))[0]
        for key, payload in headers.items()
    }


def check_id(workflow_id: str, task_queue: str) -> None:
    """INVALID_ARGUMENT for an id or queue that no workflow can have."""
    if not workflow_id or not task_queue:
        missing = "WorkflowId" if not workflow_id else "TaskQueue"
        raise rpc_error(RPCStatusCode.INVALID_ARGUMENT, f"{missing} is not set on request")
    for name, text in (("WorkflowId", workflow_id), ("TaskQueue", task_queue)):
        if clean_text(text) != text:
            raise rpc_error(
                RPCStatusCode.INVALID_ARGUMENT, f"{name} {text!r} is no text that UTF-8 can carry"
            )
    if name_too_long(workflow_id):
        raise rpc_error(
            RPCStatusCode.INVALID_ARGUMENT,
            f"WorkflowId length {name_bytes(workflow_id)} exceeds {NAME_MAX} bytes",
        )


async def start_record(
    input: StartWorkflowInput,
    converter: DataConverter,
    *,
    run_id: str,
    header_codec_behavior: HeaderCodecBehavior,
) -> StartWorkflow:
    """The start request of an input. Raises `RPCError` INVALID_ARGUMENT, `ValueError` for a bad
    retry policy, and what the converter raises.
    """
    check_id(input.id, input.task_queue)
    reuse, conflict = _policies(input)
    record = StartWorkflow(
        workflow_id=input.id,
        workflow_type=input.workflow,
        run_id=run_id,
        input=await payloads_of(converter, input.args),
        id_reuse_policy=reuse,
        id_conflict_policy=conflict,
        cron_schedule=input.cron_schedule,
    )
    if input.headers:
        record.headers = await headers_of(converter, input.headers, header_codec_behavior)
    if (
        input.execution_timeout is not None
        or input.run_timeout is not None
        or input.task_timeout is not None
    ):
        record.execution_timeout_ms = milliseconds(input.execution_timeout, "execution_timeout")
        record.run_timeout_ms = milliseconds(input.run_timeout, "run_timeout")
        record.task_timeout_ms = milliseconds(input.task_timeout, "task_timeout")
    if input.retry_policy is not None:
        record.retry_policy = input.retry_policy.to_wire()
    if input.start_delay is not None:
        if input.cron_schedule:
            raise rpc_error(
                RPCStatusCode.INVALID_ARGUMENT,
                "CronSchedule and WorkflowStartDelay may not be used together",
            )
        record.start_delay_ms = milliseconds(input.start_delay, "start_delay")
    if input.memo:
        record.memo = {
            key: await _memo_payload(converter, value) for key, value in input.memo.items()
        }
    if input.search_attributes:
        record.search_attributes = encode_search_attributes(input.search_attributes)
    if input.start_signal is not None:
        record.signal_name = input.start_signal
        record.signal_input = await payloads_of(converter, input.start_signal_args)
        record.signal_headers = record.headers
    if input.static_summary is not None:
        record.static_summary = (await payloads_of(converter, [input.static_summary]))[0]
    if input.static_details is not None:
        record.static_details = (await payloads_of(converter, [input.static_details]))[0]
    return record


NO_FAIL_WITH_SIGNAL = (
    "Invalid WorkflowIDConflictPolicy: WORKFLOW_ID_CONFLICT_POLICY_FAIL is not supported for this"
    " operation."
)


def _policies(input: StartWorkflowInput) -> tuple[str, str]:
    """Reuse and conflict policy with the defaults filled in: FAIL for a plain start, the open
    run for signal-with-start.
    """
    reuse, conflict = input.id_reuse_policy, input.id_conflict_policy
    if reuse == WorkflowIDReusePolicy.TERMINATE_IF_RUNNING:
        if conflict != WorkflowIDConflictPolicy.UNSPECIFIED:
            raise rpc_error(
                RPCStatusCode.INVALID_ARGUMENT,
                "WorkflowIDReusePolicy TERMINATE_IF_RUNNING cannot be used together with a"
                " WorkflowIDConflictPolicy",
            )
        return "ALLOW_DUPLICATE", "TERMINATE_EXISTING"
    if conflict == WorkflowIDConflictPolicy.UNSPECIFIED:
        conflict = (
            WorkflowIDConflictPolicy.FAIL
            if input.start_signal is None
            else WorkflowIDConflictPolicy.USE_EXISTING
        )
    elif conflict == WorkflowIDConflictPolicy.FAIL and input.start_signal is not None:
        raise rpc_error(RPCStatusCode.INVALID_ARGUMENT, NO_FAIL_WITH_SIGNAL)
    return reuse.name, conflict.name


async def _memo_payload(converter: DataConverter, value: Any) -> Payload:
    """A memo value; one that is a payload already (a run's memo handed on) stays as it is."""
    return value if isinstance(value, Payload) else (await payloads_of(converter, [value]))[0]


def takes_context(converter: DataConverter) -> bool:
    """Whether payloads may depend on where they belong. The default ones do not, and asking each
    time costs as much as encoding.
    """
    default = (
        converter.payload_converter_class is DefaultPayloadConverter
        and converter.failure_converter_class is DefaultFailureConverter
    )
    return not default or isinstance(converter.payload_codec, WithSerializationContext)
