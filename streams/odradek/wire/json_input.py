"""Plain JSON on `events`, for shells and for people: start, signal and cancel, told from Avro by
the first byte `{`.

    {"kind": "StartWorkflow", "workflow_id": "order-1", "workflow_type": "OrderWorkflow",
    "input": [{"amount": 12.5}]} {"kind": "SignalWorkflow", "workflow_id": "order-1",
    "signal_name": "cancel-order", "input": ["too late"]} {"kind": "CancelWorkflow",
    "workflow_id": "order-1", "reason": "asked by phone"}

Field names are those of the Avro records of the same name; arguments are plain JSON values and
become `json/plain` payloads. Nothing is guessed: an unknown field, one given twice or a value of
the wrong type is an error that names the field, and the record goes to dead letters with it; so
does one that is not UTF-8, wherever.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Annotated, Any, Literal

import msgspec

from odradek.wire.errors import JsonInputError
from odradek.wire.events import CancelWorkflow, SignalWorkflow, StartWorkflow
from odradek.wire.payload import Payload, RetryPolicy

FIRST_BYTE = b"{"

_Name = Annotated[str, msgspec.Meta(min_length=1)]
_Milliseconds = Annotated[int, msgspec.Meta(ge=0)]
_Arguments = list[msgspec.Raw]


class _RetryPolicy(msgspec.Struct, forbid_unknown_fields=True):
    initial_interval_ms: Annotated[int, msgspec.Meta(gt=0)] = 1_000
    backoff_coefficient: Annotated[float, msgspec.Meta(ge=1)] = 2.0
    maximum_interval_ms: _Milliseconds = 0
    maximum_attempts: Annotated[int, msgspec.Meta(ge=0)] = 0
    non_retryable_error_types: list[str] = []


class _Start(msgspec.Struct, tag_field="kind", tag="StartWorkflow", forbid_unknown_fields=True):
    workflow_type: _Name
    workflow_id: str = ""
    request_id: str = ""
    run_id: str = ""
    reply_to: str = ""
    deadline_ms: _Milliseconds = 0
    identity: str = ""
    input: _Arguments = []
    memo: dict[str, msgspec.Raw] = {}
    execution_timeout_ms: _Milliseconds = 0
    run_timeout_ms: _Milliseconds = 0
    task_timeout_ms: _Milliseconds = 0
    start_delay_ms: _Milliseconds = 0
    cron_schedule: str = ""
    retry_policy: _RetryPolicy | None = None
    id_reuse_policy: Literal[
        "ALLOW_DUPLICATE", "ALLOW_DUPLICATE_FAILED_ONLY", "REJECT_DUPLICATE", "TERMINATE_IF_RUNNING"
    ] = "ALLOW_DUPLICATE"
    id_conflict_policy: Literal["FAIL", "USE_EXISTING", "TERMINATE_EXISTING"] = "FAIL"
    signal_name: str = ""
    signal_input: _Arguments = []


class _Signal(msgspec.Struct, tag_field="kind", tag="SignalWorkflow", forbid_unknown_fields=True):
    signal_name: _Name
    workflow_id: str = ""
    run_id: str = ""
    request_id: str = ""
    reply_to: str = ""
    deadline_ms: _Milliseconds = 0
    identity: str = ""
    input: _Arguments = []


class _Cancel(msgspec.Struct, tag_field="kind", tag="CancelWorkflow", forbid_unknown_fields=True):
    workflow_id: str = ""
    run_id: str = ""
    first_execution_run_id: str = ""
    request_id: str = ""
    reply_to: str = ""
    deadline_ms: _Milliseconds = 0
    identity: str = ""
    reason: str = ""


_decoder = msgspec.json.Decoder(_Start | _Signal | _Cancel)
_FIELDS = {"kind"}.union(
    *(struct.__struct_fields__ for struct in (_Start, _Signal, _Cancel, _RetryPolicy))
)
_DIGITS_MAX = sys.int_info.default_max_str_digits
_LONG_NUMBER = re.compile(rb"\d{%d}" % (_DIGITS_MAX + 1))
_QUOTED_FIELDS = [f'"{name}"'.encode() for name in sorted(_FIELDS)]
# What reads the fields in their order, those given twice too. Numbers stay text: Python limits
# their digits.
_pairs = json.JSONDecoder(object_pairs_hook=list, parse_int=str, parse_float=str)


def is_json(data: bytes) -> bool:
    """Whether a value of `events` is plain JSON: Avro's framings begin with c3 or 00."""
    return data[:1] == FIRST_BYTE


def decode_json(data: bytes, key: bytes | None) -> StartWorkflow | SignalWorkflow | CancelWorkflow:
    """The record that a JSON event stands for.

    key: the Kafka key, which is the workflow id; it fills in a `workflow_id` that the text
    leaves out, and must not differ from one that it gives.  Raises JsonInputError, whose text
    names the field.
    """
    try:
        if not data.isascii():
            # arguments travel unread: their owner's code would meet what stands in them, with
            # nobody left to tell
            data.decode()
        parsed = _decoder.decode(data)
    except msgspec.DecodeError as error:  # malformed JSON and, as ValidationError, wrong fields
        raise JsonInputError(f"JSON event: {error}") from error
    except UnicodeDecodeError as error:
        raise JsonInputError(f"JSON event: not UTF-8: {error}") from error
    except (
        RecursionError
    ) as error:  # some thousand brackets; msgspec has no error of its own for it
        raise JsonInputError(f"JSON event: nested too deeply: {error}") from error
    _check_given_once(data)
    if len(data) > _DIGITS_MAX and _LONG_NUMBER.search(data):
        _check_numbers(data)
    workflow_id = _workflow_id(parsed.workflow_id, key)
    if isinstance(parsed, _Start):
        return _start(parsed, workflow_id)
    fields = {name: getattr(parsed, name) for name in parsed.__struct_fields__} | {
        "workflow_id": workflow_id
    }
    if isinstance(parsed, _Signal):
        return SignalWorkflow(**fields | {"input": _payloads(parsed.input)})
    return CancelWorkflow(**fields)


def _check_numbers(data: bytes) -> None:
    """JsonInputError for an integer of more digits than Python reads: no workflow could decode
    its arguments.
    """
    try:
        json.loads(data)
    except ValueError as error:
        raise JsonInputError(f"JSON event: {error}") from error


def _check_given_once(data: bytes) -> None:
    """JsonInputError for a field that is given twice: which of them is meant nobody can say.
    `data` is known to decode.

    Read once more is only what may have one: a name that occurs twice in the bytes (in an
    argument, mostly), an escape, a memo.
    """
    if (
        b"\\u" not in data
        and b'"memo"' not in data
        and all(data.count(name) < 2 for name in _QUOTED_FIELDS)
    ):
        return
    try:
        fields = _pairs.decode(data.decode())
    except (
        RecursionError
    ) as error:  # its limit is lower than msgspec's inside arguments, which are not read above
        raise JsonInputError(f"JSON event: nested too deeply: {error}") from error
    _check_names(fields, "$")
    for name, value in fields:
        if name in ("memo", "retry_policy") and value:
            _check_names(value, f"$.{name}")


def _check_names(fields: list[tuple[str, Any]], path: str) -> None:
    seen: set[str] = set()
    for name, _ in fields:
        if name in seen:
            raise JsonInputError(
                f"JSON event: `{name}` is given twice{f' - at `{path}`' if path != '$' else ''}"
            )
        seen.add(name)


def _start(parsed: _Start, workflow_id: str) -> StartWorkflow:
    if parsed.signal_input and not parsed.signal_name:
        raise JsonInputError("JSON event: `signal_input` without `signal_name`")
    fields = {name: getattr(parsed, name) for name in parsed.__struct_fields__}
    policy = parsed.retry_policy
    fields |= {
        "workflow_id": workflow_id,
        "input": _payloads(parsed.input),
        "signal_input": _payloads(parsed.signal_input),
        "memo": {name: _payload(value) for name, value in parsed.memo.items()},
        "retry_policy": None if policy is None else RetryPolicy(**msgspec.structs.asdict(policy)),
    }
    return StartWorkflow(**fields)


def _workflow_id(given: str, key: bytes | None) -> str:
    try:
        key_text = key.decode() if key is not None else ""
    except UnicodeDecodeError as error:
        raise JsonInputError(
            f"JSON event: the record's key {key!r} is not UTF-8; it is the workflow id"
        ) from error
    if not (given or key_text):
        raise JsonInputError(
            "JSON event: `workflow_id` is missing, and the record has no key to take it from"
        )
    if given and key_text and given != key_text:
        raise JsonInputError(
            f"JSON event: `workflow_id` is {given!r}, the record's key is {key_text!r}; they must"
            " be the same"
        )
    return given or key_text


def _payloads(values: _Arguments) -> list[Payload]:
    return [_payload(value) for value in values]


def _payload(value: msgspec.Raw) -> Payload:
    return Payload({"encoding": b"json/plain"}, bytes(value))
