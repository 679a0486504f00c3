"""Records to bytes and back: Avro single-object framing, or Confluent's when a schema registry
is configured. Readers accept both.

    single object   C3 01, CRC-64-AVRO fingerprint of the writer's schema (8 bytes little
    endian), Avro body Confluent       00, schema id of the registry (4 bytes big endian), Avro
    body

Bodies written with our own schemas take the generated functions of `encoders.py` and
`decoders.py`. Any other schema is asked of a port (`SchemaLookup` for fingerprints, `Framing`
for registry ids), read by fastavro and resolved by Avro's rules: fields by name, unknown ones
skipped, missing ones by their default. A history event of a type that this version does not know
becomes an `OtherEvent`, so that the history can still be read and shown; only its replay fails.

Must never do IO itself: the ports may, and what they raise passes through.
"""

from __future__ import annotations

import io
import json
import threading
import typing
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import fastavro
import msgspec
from fastavro._read_py import schemaless_reader as careful_reader

from odradek.wire import history
from odradek.wire.decoders import DECODE_ERRORS, Decoder, decoder
from odradek.wire.encoders import ENCODE_ERRORS, encoder
from odradek.wire.errors import (
    NewerFormatError,
    UndecodableRecord,
    UnencodableRecord,
    UnknownSchemaError,
)
from odradek.wire.foreign_schema import has_items_without_bytes, names_itself
from odradek.wire.schema import (
    RECORD_TYPES,
    RECORDS_BY_NAME,
    RecordType,
    fingerprint,
    schema_fingerprint,
)
from odradek.wire.state import FORMAT, PositionRow, Row
from odradek.wire.struct_info import find_out

SINGLE_OBJECT_MARKER = b"\xc3\x01"
CONFLUENT_MARKER = b"\x00"
_SINGLE_OBJECT_HEAD = 10
_CONFLUENT_HEAD = 5
_AT_ONCE = 8  # ids that a registry is asked for
_ROWS = frozenset(typing.get_args(Row))
_ATTRIBUTE_TYPES = frozenset(arm.__name__ for arm in typing.get_args(history.Attributes))

find_out(*RECORD_TYPES)  # records of other versions are converted, by any thread


class SchemaLookup(Protocol):
    """Where schemas of foreign writers are found; the Kafka host feeds it from the `schemas`
    topic.
    """

    def find(self, fingerprint: bytes) -> str | None:
        """The schema (JSON) of a fingerprint (8 bytes little endian), None while it is not
        known. Answers at once: lanes call it, and again for a record that they put back. A
        schema that was found is not asked for again.
        """
        ...


class Framing(Protocol):
    """A schema registry, as the codec needs it."""

    def schema_id(self, record_type: RecordType) -> int:
        """The id under which the registry holds our schema of this record. Called once a record
        type, on several threads at once.
        """
        ...

    def find_by_id(self, schema_id: int) -> str | None:
        """The schema (JSON) of an id, or None when the registry does not have it, or had not
        lately. Called once an id that is found.
        """
        ...

    def ask_again(self, schema_id: int) -> None:
        """The next `find_by_id` asks, however lately the registry did not have it."""
        ...


@dataclass(frozen=True, slots=True)
class _Foreign:
    """A schema that is not ours, and our record of the same name."""

    schema: Any
    record_type: RecordType
    read: Callable[..., Any]


class Codec:
    """Encodes with one framing, decodes both. Safe to use from several threads.

    framing: a registry; None for single-object framing.  lookup: schemas of foreign
    fingerprints; None knows only our own.
    """

    def __init__(self, framing: Framing | None = None, lookup: SchemaLookup | None = None) -> None:
        self._framing = framing
        self._lookup = lookup
        self._heads: dict[type, tuple[Any, bytes]] = {}
        self._own: dict[bytes, Decoder] | None = None  # fingerprint -> decoder
        self._foreign: dict[bytes, _Foreign] = {}  # head bytes -> schema
        self._own_by_id: dict[
            bytes, Decoder
        ] = {}  # registry head -> decoder, when the id holds our very schema
        self._lock = threading.Lock()

    # --- writing

    def encode(self, record: msgspec.Struct) -> bytes:
        """A framed record. Raises UnencodableRecord, with the field, when a value is not of its
        field's type.
        """
        record_type = type(record)
        try:
            write, head = self._heads[record_type]
        except KeyError:
            write, head = self._prepare(record_type)
        try:
            return typing.cast(bytes, write(record, head))
        except ENCODE_ERRORS as error:
            raise UnencodableRecord(_explain(record, error)) from error

    def prepare(self, record_types: Iterable[RecordType]) -> None:
        """Have what `encode` needs for these, a registry's ids above all: one that refuses or is
        away says so now, not in the middle.
        """
        missing = [record_type for record_type in record_types if record_type not in self._heads]
        if self._framing is None or not missing:
            for record_type in missing:
                self._prepare(record_type)
            return
        with ThreadPoolExecutor(
            _AT_ONCE, "odradek-schemas"
        ) as asking:  # one after the other a slow one takes a minute
            list(asking.map(self._prepare, missing))

    def _prepare(self, record_type: type[msgspec.Struct]) -> tuple[Any, bytes]:
        if record_type not in RECORD_TYPES:
            raise UnencodableRecord(
                f"{record_type.__name__} is no record of the wire contract by itself"
            )
        if self._framing is None:
            head = SINGLE_OBJECT_MARKER + fingerprint(record_type)
        else:
            head = CONFLUENT_MARKER + self._framing.schema_id(record_type).to_bytes(4, "big")
            self._own_by_id[head] = decoder(
                record_type
            )  # read without asking, also while the registry is away
        self._heads[record_type] = prepared = (encoder(record_type), head)
        return prepared

    # --- reading

    def decode(self, data: bytes) -> Any:
        """The record in `data`, one of the Structs of the wire contract.

        Raises UnknownSchemaError when nobody knows its schema, UndecodableRecord for everything
        else that is wrong with it.
        """
        own = self._own
        if own is None:
            own = self._own_decoders()
        read = own.get(data[2:10]) if data[:2] == SINGLE_OBJECT_MARKER else None
        if read is None:
            return self._decode_other(data)
        return _read(read, data, _SINGLE_OBJECT_HEAD)

    def learn(self, data: bytes) -> None:
        """Have what `decode` needs for this record, so that it asks no port: one may block.
        Raises what it would raise over the schema.
        """
        head = _head(data)
        if head[2:] not in self._own_decoders():
            self._decoder_of(head)

    def ask_again(self, data: bytes) -> None:
        """The next `decode` of this record asks for its schema, however lately nobody had it:
        before it is given up.
        """
        head = _head(data)
        if head[:1] == CONFLUENT_MARKER and self._framing is not None:
            self._framing.ask_again(int.from_bytes(head[1:], "big"))

    def _own_decoders(self) -> dict[bytes, Decoder]:
        with self._lock:
            if self._own is None:
                self._own = {
                    fingerprint(record_type): decoder(record_type) for record_type in RECORD_TYPES
                }
            return self._own

    def _decode_other(self, data: bytes) -> Any:
        """Confluent framing, foreign schemas, garbage."""
        head = _head(data)
        found = self._decoder_of(head)
        if isinstance(found, _Foreign):
            return _read_foreign(found, data, len(head))
        return _read(found, data, len(head))

    def _decoder_of(self, head: bytes) -> _Foreign | Decoder:
        found = self._own_by_id.get(head) or self._foreign.get(head)
        if found is None:
            found = self._find(head)
            if isinstance(found, _Foreign):
                self._foreign[head] = found
            else:
                self._own_by_id[head] = found
        return found

    def _find(self, head: bytes) -> _Foreign | Decoder:
        if head[:1] == CONFLUENT_MARKER:
            schema_id = int.from_bytes(head[1:], "big")
            looks = self._framing is not None
            text = self._framing.find_by_id(schema_id) if self._framing is not None else None
            name = f"id {schema_id}"
            where = (
                "the schema registry" if looks else "this process (it has no `schema_registry_url`)"
            )
        else:
            looks = self._lookup is not None
            text = self._lookup.find(head[2:]) if self._lookup is not None else None
            name = f"fingerprint {head[2:].hex()}"
            where = "the schemas topic" if looks else "this process"
        if text is None:
            raise UnknownSchemaError(name, where, may_come=looks)
        return self._prepare_foreign(text, name)

    def _prepare_foreign(self, text: str, name: str) -> _Foreign | Decoder:
        try:
            plain = json.loads(text)
            schema = fastavro.parse_schema(plain)
            record_name = schema["name"] if isinstance(schema, dict) else ""
            found = schema_fingerprint(plain)
        except (
            Exception
        ) as error:  # of many kinds, RecursionError among them; all mean that the schema is none
            raise UndecodableRecord(
                f"the schema published under {name} is no Avro schema: {error}"
            ) from error
        record_type = RECORDS_BY_NAME.get(str(record_name).rpartition(".")[2])
        if record_type is None:
            raise UndecodableRecord(
                f"schema {name} is of {record_name or 'no record'}, which is no record of ours"
            )
        if has_items_without_bytes(schema):
            raise UndecodableRecord(
                f"schema {name} has an array whose items take no bytes: a few bytes could claim any"
                " number of them"
            )
        own = self._own_decoders().get(found)
        # fastavro's C reader recurses without a limit: a record nested often enough ends the
        # process. Its Python reader raises.
        read = careful_reader if names_itself(schema) else fastavro.schemaless_reader
        return own if own is not None else _Foreign(schema, record_type, read)

    # --- state rows

    def encode_row(self, row: Row) -> bytes:
        """A row of `state`."""
        return self.encode(row)

    def decode_row(self, data: bytes) -> Row:
        """A row of `state`. Raises NewerFormatError for the position row of newer code: its
        partition is not acquired.
        """
        row = self.decode(data)
        if type(row) not in _ROWS:
            raise UndecodableRecord(f"{type(row).__name__} is no row of the state topic")
        if isinstance(row, PositionRow) and row.format > FORMAT:
            raise NewerFormatError("position", row.format, FORMAT)
        return typing.cast(Row, row)


def _head(data: bytes) -> bytes:
    """What stands before the body and names its schema."""
    if data[:2] == SINGLE_OBJECT_MARKER and len(data) >= _SINGLE_OBJECT_HEAD:
        return data[:_SINGLE_OBJECT_HEAD]
    if data[:1] == CONFLUENT_MARKER and len(data) >= _CONFLUENT_HEAD:
        return data[:_CONFLUENT_HEAD]
    begin = data[:8].hex(" ") or "nothing"
    raise UndecodableRecord(
        f"neither Avro single-object framing (c3 01) nor Confluent's (00): begins with {begin}"
    )


def _read(read: Decoder, data: bytes, start: int) -> Any:
    try:
        record, end = read(data, start)
    except DECODE_ERRORS as error:
        raise UndecodableRecord(
            f"damaged record, {len(data)} bytes: {type(error).__name__}: {error}"
        ) from error
    if end != len(data):
        raise UndecodableRecord(f"damaged record: {len(data)} bytes, its schema accounts for {end}")
    return record


def _read_foreign(foreign: _Foreign, data: bytes, start: int) -> Any:
    body = io.BytesIO(data)
    body.seek(start)
    try:
        plain = foreign.read(
            body, foreign.schema, None, return_record_name=True, return_record_name_override=True
        )
        # By name: what our Struct lacks is skipped, what the writer lacked takes our default.
        record = msgspec.convert(_untag(plain), foreign.record_type)
    # of many kinds: what fastavro meets in a damaged body, and what msgspec finds wrong with it
    except Exception as error:
        name = foreign.record_type.__name__
        raise UndecodableRecord(
            f"{name} of another version cannot be read: {type(error).__name__}: {error}"
        ) from error
    if body.tell() != len(data):
        raise UndecodableRecord(
            f"damaged record: {len(data)} bytes, its schema accounts for {body.tell()}"
        )
    return record


def _untag(value: Any) -> Any:
    """fastavro's ("odradek.TimerFired", {...}) of a union of records -> what msgspec reads as
    our tagged Struct.
    """
    if isinstance(value, dict):
        return {key: _untag(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_untag(part) for part in value]
    if isinstance(value, tuple):
        name, fields = value
        name = name.rpartition(".")[2]
        if name in _ATTRIBUTE_TYPES:
            return {"-type": name, **_untag(fields)}
        text = msgspec.json.encode(_untag(fields)).decode()
        return {"-type": history.OtherEvent.__name__, "event_type": name, "json": text}
    return value


def _explain(record: msgspec.Struct, error: Exception) -> str:
    """The field that is wrong, found by msgspec's validation of the whole record."""
    name = type(record).__name__
    try:
        msgspec.convert(msgspec.to_builtins(record, builtin_types=(bytes,)), type(record))
    except (msgspec.ValidationError, TypeError, ValueError, RecursionError) as found:
        return f"{name} cannot be written: {found}"
    return f"{name} cannot be written: {error}"


_default = Codec()


# Single-object framing, own schemas: what code needs that has neither registry nor `schemas` topic.
encode = _default.encode
decode = _default.decode
encode_row = _default.encode_row
decode_row = _default.decode_row
