"""What a request is one of: its kind, and how far its id reaches."""

from __future__ import annotations

import re

from odradek.wire.events import Request, StartWorkflow

#: The kind of a `StartWorkflow` with a `signal_name`.
SIGNAL_WITH_START = "SignalWithStart"

#: What the id of a request begins with that had none and was a dead letter: a UUID of which letter
#: follows.
REDRIVEN = "redriven-"

_CLIENT = "[0-9a-f]{20}-[0-9a-f]+"
# Versions 1, 4, 6 and 7: of a place and a time, or random. Those of 3 and 5 are made of a text,
# which somebody may have twice.
_UUID = "[0-9a-f]{8}(-?)[0-9a-f]{4}\\1[1467][0-9a-f]{3}\\1[89ab][0-9a-f]{3}\\1[0-9a-f]{12}"
_MADE_ONCE = re.compile(f"(?:{_CLIENT}|{_UUID}|{REDRIVEN}[0-9a-f-]{{36}})", re.IGNORECASE)


def request_kind(request: Request) -> str:
    """The kind of a request: its record's name, but for a signal with start. Ids of different
    kinds have nothing to do with each other.
    """
    if isinstance(request, StartWorkflow) and request.signal_name:
        return SIGNAL_WITH_START
    return type(request).__name__


def is_made_once(request_id: str) -> bool:
    """Whether nobody makes an id like that a second time: one of our client (a random part and a
    number), a UUID that was drawn, or one of a dead letter that was put back.
    """
    return _MADE_ONCE.fullmatch(request_id) is not None
