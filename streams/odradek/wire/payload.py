"""User data on the wire: `Payload` and `Failure`, as in Temporal's `temporal.api.common.v1` /
`temporal.api.failure.v1`.

Pure data. Everything that user code hands over travels as `Payload` (so a codec sees bytes
only); every error travels as `Failure`, a chain through `cause`. Each class mirrors the Avro
record of the same name under `schemas/`.
"""

from __future__ import annotations

from typing import Self

import msgspec

from odradek.wire.protobuf import fields, length_delimited


class ProtobufMethods:
    """The methods of a protobuf message that code written for Temporal calls on payloads.
    Subclasses give the two primitives.

    Kept apart from the fields: a record stays a plain Struct, and nothing here runs unless it is
    called.
    """

    __slots__ = ()

    def SerializeToString(self, *, deterministic: bool = True) -> bytes:
        """Protobuf bytes. Always deterministic: map entries stand in key order."""
        raise NotImplementedError

    def MergeFromString(self, serialized: bytes) -> int:
        """Merge protobuf bytes into this message, by protobuf's rules. Returns the number of
        bytes. `ValueError` when they are damaged.
        """
        raise NotImplementedError

    def Clear(self) -> None:
        """Empty every field."""
        raise NotImplementedError

    @classmethod
    def FromString(cls, serialized: bytes) -> Self:
        """A new message from protobuf bytes. `ValueError` when they are damaged."""
        message = cls()
        message.MergeFromString(serialized)
        return message

    def ParseFromString(self, serialized: bytes) -> int:
        """Replace the content by that of protobuf bytes. Returns the number of bytes."""
        self.Clear()
        return self.MergeFromString(serialized)

    def ByteSize(self) -> int:
        """Size of the protobuf bytes."""
        return len(self.SerializeToString())

    def MergeFrom(self, other_msg: Self) -> None:
        """Merge another message in: maps are updated, lists extended, other fields replaced
        unless empty there.
        """
        self.MergeFromString(other_msg.SerializeToString())

    def CopyFrom(self, other_msg: Self) -> None:
        """Become equal to another message, sharing no mutable part with it."""
        if other_msg is not self:
            self.Clear()
            self.MergeFrom(other_msg)


class Payload(msgspec.Struct, ProtobufMethods, gc=False):
    """Opaque user data. `metadata["encoding"]` says how `data` is written (`json/plain`,
    `binary/null`, ...).

    Temporal's `temporal.api.common.v1.Payload`, also in its protobuf form: `map<string, bytes>
    metadata = 1; bytes data = 2`.
    """

    metadata: dict[str, bytes] = {}
    data: bytes = b""

    def SerializeToString(self, *, deterministic: bool = True) -> bytes:
        """Protobuf bytes. Always deterministic: map entries stand in key order."""
        entries = (
            length_delimited(1, key.encode()) + length_delimited(2, value)
            for key, value in sorted(self.metadata.items())
        )
        parts = [length_delimited(1, entry) for entry in entries]
        if self.data:
            parts.append(length_delimited(2, self.data))
        return b"".join(parts)

    def MergeFromString(self, serialized: bytes) -> int:
        """Merge protobuf bytes into this payload. Unknown fields are skipped. `ValueError` when
        the bytes are damaged.
        """
        for number, content in fields(bytes(serialized)):
            if number == 1:
                entry = dict(fields(content))
                self.metadata[entry.get(1, b"").decode()] = entry.get(2, b"")
            elif number == 2:
                self.data = content
        return len(serialized)

    def MergeFrom(self, other_msg: Payload) -> None:
        """Merge another payload in: its metadata over this one's, its data if it has any."""
        self.metadata.update(other_msg.metadata)
        if other_msg.data:
            self.data = other_msg.data

    def Clear(self) -> None:
        """Empty metadata and data."""
        self.metadata = {}
        self.data = b""


class Payloads(msgspec.Struct, ProtobufMethods, gc=False):
    """A list of payloads as one message: arguments of a call, details of a failure. `repeated
    Payload payloads = 1`.
    """

    payloads: list[Payload] = []

    def __post_init__(self) -> None:
        if not isinstance(self.payloads, list):  # protobuf takes any sequence
            self.payloads = list(self.payloads)

    def SerializeToString(self, *, deterministic: bool = True) -> bytes:
        """Protobuf bytes."""
        return b"".join(
            length_delimited(1, payload.SerializeToString()) for payload in self.payloads
        )

    def MergeFromString(self, serialized: bytes) -> int:
        """Append the payloads found in protobuf bytes. `ValueError` when the bytes are damaged."""
        self.payloads.extend(
            Payload.FromString(content)
            for number, content in fields(bytes(serialized))
            if number == 1
        )
        return len(serialized)

    def Clear(self) -> None:
        """Drop all payloads."""
        self.payloads = []


class RetryPolicy(msgspec.Struct, gc=False):
    """Retry policy with Temporal's defaults applied by whoever fills it in. 0 means "not set"
    for the two maxima.
    """

    initial_interval_ms: int = 1_000
    backoff_coefficient: float = 2.0
    maximum_interval_ms: int = 0  # 0: 100 times the initial interval
    maximum_attempts: int = 0  # 0: unlimited
    non_retryable_error_types: list[str] = []


# Failure.kind, one of Temporal's failure_info variants.
APPLICATION = "APPLICATION"
TIMEOUT = "TIMEOUT"
CANCELED = "CANCELED"
TERMINATED = "TERMINATED"
SERVER = "SERVER"
ACTIVITY = "ACTIVITY"
CHILD_WORKFLOW = "CHILD_WORKFLOW"


class Failure(msgspec.Struct, gc=False):
    """One link of a failure chain. `kind` says which of the fields below the line are meaningful."""

    message: str = ""
    kind: str = APPLICATION
    source: str = "PythonSDK"
    stack_trace: str = ""
    encoded_attributes: Payload | None = None
    cause: Failure | None = None
    # APPLICATION
    type: str = ""
    non_retryable: bool = False  # also SERVER
    details: list[Payload] = []  # also CANCELED, TERMINATED; TIMEOUT: last heartbeat details
    next_retry_delay_ms: int | None = None
    category: str = ""  # "" or "BENIGN"
    # TIMEOUT: START_TO_CLOSE, SCHEDULE_TO_START, SCHEDULE_TO_CLOSE, HEARTBEAT
    timeout_type: str = ""
    # ACTIVITY, CHILD_WORKFLOW
    # IN_PROGRESS, NON_RETRYABLE_FAILURE, TIMEOUT, MAXIMUM_ATTEMPTS_REACHED, RETRY_POLICY_NOT_SET,
    # CANCEL_REQUESTED
    retry_state: str = ""
    identity: str = ""
    activity_type: str = ""
    activity_id: str = ""
    scheduled_event_id: int = 0
    started_event_id: int = 0
    namespace: str = ""
    workflow_id: str = ""
    run_id: str = ""
    workflow_type: str = ""
    initiated_event_id: int = 0
