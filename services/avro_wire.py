"""Odradek's records for a service that does not import odradek: `docs/wire.md` and the `.avsc`
files, nothing else.

Avro single-object encoding: C3 01, the CRC-64-AVRO fingerprint of the writer's schema (little
endian), the Avro body. Or, where a schema registry is configured, Confluent's framing: 00, the
schema's id in the registry (4 bytes, big endian), the Avro body. Both are read.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fastavro
from fastavro._read_py import schemaless_reader
from fastavro.schema import fingerprint, to_parsing_canonical_form

from services.registry import Registry

MARKER, MARKED_BYTES = b"\xc3\x01", 10
REGISTERED, REGISTERED_BYTES = b"\x00", 5


class NotReadable(Exception):
    """The bytes are no record that these schemas can read."""


class UnknownSchema(NotReadable):
    """Its writer's schema is not known. `prefix`: the first bytes, which name it. `number`: that
    of a registry; None for a fingerprint.
    """

    def __init__(self, prefix: bytes) -> None:
        super().__init__(f"unknown schema: record begins with {prefix.hex()}")
        self.prefix = prefix
        self.number = int.from_bytes(prefix[1:]) if prefix[:1] == REGISTERED else None


class Schemas:
    """All `.avsc` files of a folder, by record name and by fingerprint; and those that are
    learnt later.

    `registry`: with one, ids can be read, and what was registered is written with them.
    """

    def __init__(self, folder: Path, registry: Registry | None = None) -> None:
        self.registry = registry
        self._raw: dict[str, Any] = {}
        self._by_name: dict[str, Any] = {}
        self._prefix_of: dict[str, bytes] = {}
        self._by_prefix: dict[bytes, Any] = {}
        for file in sorted(folder.glob("*.avsc")):
            raw = json.loads(file.read_text())
            prefix, parsed = self.learn(raw)
            name = _name(parsed)
            self._raw[name] = raw
            self._by_name[name] = parsed
            self._prefix_of[name] = prefix
        if not self._by_name:
            raise FileNotFoundError(f"no .avsc files in {folder}")

    def learn(self, raw: Any, number: int | None = None) -> tuple[bytes, Any]:
        """Be able to read what was written with this schema, under its fingerprint or `number`,
        its id in the registry.

        Its prefix, and the schema as fastavro has it. ValueError: it is none.
        """
        try:
            prefix = _prefix(number) if number is not None else _fingerprinted(raw)
            parsed: Any = fastavro.parse_schema(raw)
        except Exception as error:
            raise ValueError(f"not an Avro schema: {error!r}") from error
        self._by_prefix[prefix] = parsed
        return prefix, parsed

    def register(self, names: Iterable[str]) -> None:
        """With a registry: write these records with its ids from now on. Blocks. Raises
        RegistryAway, RegistryRefuses.
        """
        if self.registry is not None:
            for name in names:
                raw = self._raw[name]
                number = self.registry.number_of(f"{raw['namespace']}.{name}", raw)
                self._prefix_of[name], _ = self.learn(raw, number)

    def prefix_of(self, name: str) -> bytes:
        """How a record begins that is written with our schema of that name."""
        return self._prefix_of[name]

    def knows(self, prefix: bytes) -> bool:
        """Whether a record that begins so can be read."""
        return prefix in self._by_prefix

    def decode(self, data: bytes) -> tuple[str, dict[str, Any]]:
        """`(record name, fields)`, as our schema of that name has them: unknown fields are
        skipped, missing ones have their default.

        Raises UnknownSchema, or NotReadable for anything else than a record of these schemas.
        """
        if data[:1] == REGISTERED and len(data) >= REGISTERED_BYTES and self.registry is not None:
            prefix = data[:REGISTERED_BYTES]
        elif data[:2] == MARKER:
            prefix = data[:MARKED_BYTES]
        else:
            hint = (
                "; a schema registry's id, perhaps, and no `schema_registry_url` is set"
                if data[:1] == REGISTERED
                else ""
            )
            raise NotReadable(
                f"not single-object encoding: record begins with {data[:MARKED_BYTES].hex()}{hint}"
            )
        written = self._by_prefix.get(prefix)
        if written is None:
            raise UnknownSchema(prefix)
        name = _name(written)
        ours = self._by_name.get(name, written)
        try:
            # Not fastavro's C reader: it follows a chain of failures without a limit, and one that
            # is long enough ends the process.
            record: Any = schemaless_reader(
                io.BytesIO(data[len(prefix) :]), written, None if ours is written else ours
            )
        except Exception as error:
            raise NotReadable(f"not an Avro body of {name}: {error}") from error
        return name, record

    def encode(self, name: str, fields: dict[str, Any]) -> bytes:
        """One record; fields left out take the schema's defaults."""
        out = io.BytesIO(self._prefix_of[name])
        out.seek(0, io.SEEK_END)
        fastavro.schemaless_writer(out, self._by_name[name], fields)
        return out.getvalue()


def says_nothing(value: bytes | None, headers: Any) -> bool:
    """Whether a record is to be skipped. headers: pairs, or a mapping."""
    return value is None and dict(headers or ()).get("odradek-kind") == b"Nothing"


def _fingerprinted(raw: Any) -> bytes:
    return MARKER + bytes.fromhex(
        fingerprint(to_parsing_canonical_form(raw), "CRC-64-AVRO")
    )  # little endian already


def _prefix(number: int) -> bytes:
    return REGISTERED + number.to_bytes(REGISTERED_BYTES - 1)


def _name(parsed: Any) -> str:
    """Without the namespace."""
    return str(parsed["name"]).rpartition(".")[2]


def schemas_folder() -> Path:
    """Where this checkout keeps the contract."""
    return Path(__file__).resolve().parent.parent / "schemas"
