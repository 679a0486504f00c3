"""Values that a browser keeps for the server and cannot change: JSON with an end and a
signature. The browser can read what they hold.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from typing import Any


def sign(value: dict[str, Any], secret: str, purpose: str, *, seconds: float) -> str:
    """A text that `open_signed` takes for so long. purpose: a value signed for one is none for
    another.
    """
    body = _base64(
        json.dumps({**value, "end": int(time.time() + seconds)}, separators=(",", ":")).encode()
    )
    return f"{body}.{_signature(body, secret, purpose)}"


def open_signed(text: str, secret: str, purpose: str) -> dict[str, Any] | None:
    """What was signed; None when it was not, was changed, or has ended."""
    body, _, signature = text.partition(".")
    if not hmac.compare_digest(_signature(body, secret, purpose).encode(), signature.encode()):
        return None
    try:
        value: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (binascii.Error, ValueError):
        return None
    return value if value["end"] >= time.time() else None


def _signature(body: str, secret: str, purpose: str) -> str:
    return _base64(
        hmac.new(secret.encode(), f"odradek {purpose} 1 {body}".encode(), hashlib.sha256).digest()
    )


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
