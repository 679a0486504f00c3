"""User data on the wire: `Payload` and `Failure`, as in Temporal's `temporal.api.common.v1` / `temporal.api.failure.v1`.

Pure data. Everything that user code hands over travels as `Payload` (so a codec sees bytes only); every error travels
as `Failure`, a chain through `cause`. Each class mirrors the Avro record of the same name under `schemas/`.
"""

from __future__ import annotations

import msgspec


class Payload(msgspec.Struct):
    """Opaque user data. `metadata["encoding"]` says how `data` is written (`json/plain`, `binary/null`, ...)."""

    metadata: dict[str, bytes] = {}
    data: bytes = b""


class RetryPolicy(msgspec.Struct):
    """Retry policy with Temporal's defaults applied by whoever fills it in. 0 means "not set" for the two maxima."""

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


class Failure(msgspec.Struct):
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
    retry_state: str = ""  # IN_PROGRESS, NON_RETRYABLE_FAILURE, TIMEOUT, MAXIMUM_ATTEMPTS_REACHED, RETRY_POLICY_NOT_SET, CANCEL_REQUESTED
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
