"""Arguments that people type: JSON values one after the other, as payloads. `"a" 1 {"x": 2}` are
three, `[1, 2]` is one.
"""

from __future__ import annotations

import json
from typing import Any

from odradek.web.errors import invalid
from odradek.wire import standard_json
from odradek.wire.payload import Payload

_DECODER = standard_json.decoder()


def payloads_of(text: str, what: str = "arguments") -> list[Payload]:
    """Payloads of a text. INVALID_ARGUMENT says where it is no JSON."""
    payloads: list[Payload] = []
    position = _skip(text, 0)
    while position < len(text):
        try:
            value, end = _DECODER.raw_decode(text, position)
        except RecursionError:
            raise invalid(f"{what}: nested too deeply") from None
        except json.JSONDecodeError as error:
            raise invalid(
                f"{what}: no JSON at line {error.lineno}, column {error.colno}: {error.msg}"
            ) from None
        except ValueError as error:
            raise invalid(f"{what}: {error}") from None
        payloads.append(payload_of(value))
        position = _skip(text, end)
    return payloads


def payload_of(value: Any) -> Payload:
    """A value as the default converter writes it."""
    if value is None:
        return Payload({"encoding": b"binary/null"})
    data = json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return Payload({"encoding": b"json/plain"}, data.encode("utf-8", "surrogatepass"))


def _skip(text: str, position: int) -> int:
    while position < len(text) and (text[position].isspace() or text[position] == ","):
        position += 1
    return position
