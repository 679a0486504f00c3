"""The task token: names one attempt to whoever completes it from outside. Its bytes are stable:
they outlive processes and versions.

JSON, UTF-8, with the fields below. Never holds user data or secrets; opaque to user code.
"""

from __future__ import annotations

import msgspec


class TaskToken(msgspec.Struct, frozen=True):
    """One attempt of an activity. `queue` is the task queue of the *workflow*: its `events`
    topic takes the answer.
    """

    namespace: str
    queue: str
    workflow_id: str
    run_id: str
    scheduled_event_id: int
    activity_id: str
    attempt: int

    def encode(self) -> bytes:
        """The bytes that `activity.info().task_token` shows."""
        return _ENCODER.encode(self)

    @staticmethod
    def decode(token: bytes) -> TaskToken:
        """Inverse of `encode`. `ValueError` for bytes that are no task token."""
        try:
            return _DECODER.decode(token)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(
                f"not a task token of Odradek: {error}. Pass the bytes of"
                " activity.info().task_token unchanged"
            ) from error


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(TaskToken)
