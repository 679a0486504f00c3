"""What the generated encoders and decoders share: the scope their text runs in, and the bytes of
the most frequent metadata.
"""

from __future__ import annotations

from typing import Any

from odradek.wire.schema import RecordType

# entries of a memory; then it begins anew. The same ids, names and times fill the records of one
# batch.
CACHE_LIMIT = 8_192

# The metadata of almost every payload, {"encoding": b"json/plain"}: one entry, "encoding", 10
# bytes, end.
JSON_ENCODING = b"json/plain"
JSON_METADATA = {"encoding": JSON_ENCODING}
JSON_METADATA_BYTES = b"\x02\x10encoding\x14json/plain\x00"


class Scope(dict[str, Any]):
    """The names a generated function sees."""

    def add(self, value: Any) -> str:
        """A name for a helper."""
        name = f"h{len(self)}"
        self[name] = value
        return name

    def define(self, name: str, lines: list[str], record_type: RecordType) -> Any:
        exec(compile("\n".join(lines), f"<{name} {record_type.__name__}>", "exec"), self)
        return self[name]
