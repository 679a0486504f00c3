"""Odradek's records for a service that does not import odradek: `docs/wire.md` and the `.avsc` files, nothing else.

Avro single-object encoding: C3 01, the CRC-64-AVRO fingerprint of the writer's schema (little endian), the Avro body.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

MARKER = b"\xc3\x01"


class NotReadable(Exception):
    """The bytes are no record that these schemas can read."""


class Schemas:
    """All `.avsc` files of a folder, by record name and by fingerprint."""

    def __init__(self, folder: Path) -> None:
        self._by_name: dict[str, Any] = {}
        self._prefix_of: dict[str, bytes] = {}
        self._by_prefix: dict[bytes, Any] = {}
        for file in sorted(folder.glob("*.avsc")):
            raw = json.loads(file.read_text())
            canonical = to_parsing_canonical_form(raw)
            parsed: Any = fastavro.parse_schema(raw)
            name = parsed["name"].rpartition(".")[2]
            prefix = MARKER + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))  # little endian, as the encoding wants it
            self._by_name[name] = parsed
            self._prefix_of[name] = prefix
            self._by_prefix[prefix] = parsed
        if not self._by_name:
            raise FileNotFoundError(f"no .avsc files in {folder}")

    def decode(self, data: bytes) -> tuple[str, dict[str, Any]]:
        """`(record name, fields)`. Raises NotReadable for anything else than a record of these schemas."""
        schema = self._by_prefix.get(data[:10])
        if schema is None:
            raise NotReadable(f"unknown schema: record begins with {data[:10].hex()}")
        try:
            record: Any = fastavro.schemaless_reader(io.BytesIO(data[10:]), schema, None)
        except Exception as error:
            raise NotReadable(f"not an Avro body of {schema['name']}: {error}") from error
        return schema["name"].rpartition(".")[2], record

    def encode(self, name: str, fields: dict[str, Any]) -> bytes:
        """One record; fields left out take the schema's defaults."""
        out = io.BytesIO(self._prefix_of[name])
        out.seek(0, io.SEEK_END)
        fastavro.schemaless_writer(out, self._by_name[name], fields)
        return out.getvalue()


def schemas_folder() -> Path:
    """Where this checkout keeps the contract."""
    return Path(__file__).resolve().parent.parent / "schemas"
