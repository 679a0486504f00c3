"""A record that says nothing: no value, and `odradek-kind: Nothing`. Readers skip it.

A lane writes one where readers of committed records stand still before a transaction that Kafka
calls complete and whose end it never wrote there: the end of the transaction that this record
belongs to is the end of that one too. See `odradek.processor.unended`.
"""

from __future__ import annotations

from collections.abc import Iterable

from odradek.wire.headers import KIND, Headers, header

#: No workflow id: every other key of `executions` has a `/`, and on the others a key is nothing
#: without its value.
KEY = b"nothing"
HEADERS: Headers = [(KIND, b"Nothing")]


def says_nothing(
    value: bytes | None, headers: Iterable[tuple[str, bytes | str | None]] | None
) -> bool:
    """Whether to skip a record."""
    return value is None and header(headers, KIND) == "Nothing"
