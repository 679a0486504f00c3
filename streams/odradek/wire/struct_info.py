"""What msgspec finds out about a Struct before it can convert to it: here, at import, which is
one thread's.

It does so at the first conversion, and keeps it with the class before it is whole (a Struct may
hold itself). Another thread that converts to the same Struct meanwhile ends the process: SIGSEGV
in msgspec 0.22. Two lanes that read rows of an older version did.
"""

from __future__ import annotations

import msgspec


def find_out(*types: type[msgspec.Struct]) -> None:
    """About these, and all that they hold."""
    for each in types:
        msgspec.msgpack.Decoder(each)
