"""Dead letters: a record as it came (key, value, headers), with headers that say why it lies
there and where it stood.

Nothing is lost by it: whoever repairs the cause can write the same key and value to the topic
named in the headers again.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable

import msgspec

from odradek.wire.headers import Headers, header

REASON = "odradek-dead-letter-reason"
MESSAGE = "odradek-dead-letter-message"
TOPIC = "odradek-dead-letter-topic"
PARTITION = "odradek-dead-letter-partition"
OFFSET = "odradek-dead-letter-offset"
TIME_MS = "odradek-dead-letter-time-ms"
ERROR_TYPE = "odradek-dead-letter-error-type"
STACK_TRACE = "odradek-dead-letter-stack-trace"

# Reasons, for programs; the message is for people.
UNDECODABLE = "UNDECODABLE"  # value is no record, or a damaged one
UNKNOWN_SCHEMA = "UNKNOWN_SCHEMA"  # nobody published its schema in time
INVALID_JSON = "INVALID_JSON"  # a plain JSON event that is wrong
UNEXPECTED_RECORD = "UNEXPECTED_RECORD"  # a sound record that does not belong on this topic
WRONG_PARTITION = (
    "WRONG_PARTITION"  # lay on a wrong partition although it had been forwarded already
)
UNROUTABLE = "UNROUTABLE"  # names a workflow or topic that cannot be had
NOT_APPLIED = "NOT_APPLIED"  # a defect met while it was applied; its run is quarantined
# a sound request that was refused (no such workflow, a policy, an argument), and nobody waits for
# the answer
REJECTED = "REJECTED"
REFUSED = "REFUSED"  # an output that the broker refuses, such as one too large

#: What an input can become a dead letter for at a stream processor.
INPUT_REASONS = (
    UNDECODABLE,
    UNKNOWN_SCHEMA,
    INVALID_JSON,
    UNEXPECTED_RECORD,
    WRONG_PARTITION,
    NOT_APPLIED,
    REJECTED,
)
#: What a service writes: commands that it cannot read, answers that have nowhere to go.
SERVICE_REASONS = (UNDECODABLE, UNKNOWN_SCHEMA, UNEXPECTED_RECORD, UNROUTABLE)

_STACK_TRACE_CHARACTERS = 8_192
_OWN = frozenset({REASON, MESSAGE, TOPIC, PARTITION, OFFSET, TIME_MS, ERROR_TYPE, STACK_TRACE})


class DeadLetter(msgspec.Struct, frozen=True):
    """What the headers of a dead letter say. `partition` and `offset` are -1 for an output that
    never stood anywhere.
    """

    reason: str
    message: str
    topic: str
    partition: int = -1
    offset: int = -1
    time_ms: int = 0
    error_type: str = ""
    stack_trace: str = ""


def dead_letter_headers(
    reason: str,
    *,
    topic: str,
    partition: int = -1,
    offset: int = -1,
    time_ms: int,
    message: str = "",
    error: BaseException | None = None,
    original: Iterable[tuple[str, bytes | str | None]] | None = None,
) -> Headers:
    """Headers of a dead letter: those it came with, then ours.

    reason: one of the constants above.  topic, partition, offset: where it stood.  message: for
    a person; the error's text if left out.  error: gives type and stack trace (the last 8,192
    characters).
    """
    kept = [
        (name, raw.encode() if isinstance(raw, str) else raw or b"")
        for name, raw in original or ()
        if name not in _OWN
    ]
    own = {REASON: reason, MESSAGE: message or (str(error) if error else ""), TOPIC: topic}
    own |= {PARTITION: str(partition), OFFSET: str(offset), TIME_MS: str(time_ms)}
    if error is not None:
        own[ERROR_TYPE] = type(error).__name__
        own[STACK_TRACE] = "".join(traceback.format_exception(error))[-_STACK_TRACE_CHARACTERS:]
    return kept + [(name, text.encode("utf-8", "replace")) for name, text in own.items()]


def parse_dead_letter(headers: Iterable[tuple[str, bytes | str | None]] | None) -> DeadLetter:
    """Read them back, for tools. What is missing or damaged is "" or -1."""
    found = list(headers or ())
    return DeadLetter(
        reason=header(found, REASON),
        message=header(found, MESSAGE),
        topic=header(found, TOPIC),
        partition=_number(header(found, PARTITION)),
        offset=_number(header(found, OFFSET)),
        time_ms=max(0, _number(header(found, TIME_MS))),
        error_type=header(found, ERROR_TYPE),
        stack_trace=header(found, STACK_TRACE),
    )


def original_headers(headers: Iterable[tuple[str, bytes | str | None]] | None) -> Headers:
    """The headers that a dead letter came with, to write it again."""
    return [
        (name, raw.encode() if isinstance(raw, str) else raw or b"")
        for name, raw in headers or ()
        if name not in _OWN
    ]


def _number(text: str) -> int:
    return (
        int(text)
        if text.removeprefix("-").isdecimal() and text.isascii() and len(text) < 20
        else -1
    )
