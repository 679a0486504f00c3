"""`RawValue`: a payload that passes through unconverted."""

from __future__ import annotations

from dataclasses import dataclass

from odradek.wire.payload import Payload


@dataclass(frozen=True)
class RawValue:
    """A payload handed over as it is, as an argument or as a result. The payload codec still
    applies; the payload converter does not.
    """

    payload: Payload

    def __getstate__(self) -> bytes:
        # First byte: version of the pickled form.
        return b"1" + self.payload.SerializeToString()

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, bytes):
            raise TypeError(f"a pickled RawValue holds bytes, got {type(state).__name__}")
        if state[:1] != b"1":
            raise ValueError(
                f"a pickled RawValue has version {state[:1]!r}, this version reads b'1'"
            )
        object.__setattr__(self, "payload", Payload.FromString(state[1:]))
