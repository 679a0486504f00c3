"""Avro schemas of the records, derived from their Structs, so that the two cannot differ.

Duties: Struct -> Avro schema (namespace `odradek`, nested types inline at first use, every
default kept, so that older and newer readers work), the parsing canonical form and its
CRC-64-AVRO fingerprint, and the list of the records that travel by themselves. Must never read a
file: `schemas/*.avsc` are written from here (`python -m odradek.wire.schema_files`), not the
other way round.

The Structs are `gc=False`: records are trees, so their reference counts free them, and millions
of short-lived ones are nothing that the garbage collector would have to track (a tenth of the
engine's time: `benchmarks/engine.py`). Never put one into a cycle.

Type map: str string, int long, float double, bool boolean, bytes bytes, list array, dict map, `T
| None` ["null", T], enums string.
"""

from __future__ import annotations

import inspect
import types
import typing
from functools import cache
from typing import Any

import msgspec
from fastavro.schema import fingerprint as fastavro_fingerprint
from fastavro.schema import to_parsing_canonical_form

from odradek.wire import events, outcomes, state, tasks

NAMESPACE = "odradek"

RecordType = type[msgspec.Struct]

#: Records of `events`.
EVENT_TYPES: tuple[RecordType, ...] = typing.get_args(events.Event)
#: Records of `commands` and `control`.
TASK_TYPES: tuple[RecordType, ...] = (tasks.ActivityTask, tasks.CancelActivityTask)
#: Records of `results`, `executions`, `replies`, `members`, `schemas`.
OUTCOME_TYPES: tuple[RecordType, ...] = (
    outcomes.WorkflowResult,
    outcomes.ExecutionSummary,
    outcomes.Reply,
    outcomes.MemberStatus,
    outcomes.PublishedSchema,
)
#: Rows of `state`.
ROW_TYPES: tuple[RecordType, ...] = typing.get_args(state.Row)
#: Everything that is a record value by itself; each has a file under `schemas/`.
RECORD_TYPES: tuple[RecordType, ...] = EVENT_TYPES + TASK_TYPES + OUTCOME_TYPES + ROW_TYPES
RECORDS_BY_NAME: dict[str, RecordType] = {
    record_type.__name__: record_type for record_type in RECORD_TYPES
}

_PRIMITIVES = {str: "string", int: "long", float: "double", bool: "boolean", bytes: "bytes"}


@cache
def avro_schema(record_type: RecordType) -> dict[str, Any]:
    """The self-contained Avro schema of a record, as JSON types. Treat the answer as read-only:
    it is shared.
    """
    schema = _avro_type(record_type, set())
    assert isinstance(schema, dict)
    return schema


def schema_json(record_type: RecordType) -> str:
    """`avro_schema` as JSON text, the form that travels in `schemas` and to a registry."""
    return msgspec.json.encode(avro_schema(record_type)).decode()


def schema_fingerprint(schema: dict[str, Any]) -> bytes:
    """CRC-64-AVRO of the parsing canonical form, 8 bytes little endian, as single-object framing
    wants it.

    Source: Avro 1.11 specification, "Schema Fingerprints" and "Single-object encoding".
    fastavro's hex is little endian already.
    """
    text = fastavro_fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")
    return bytes.fromhex(text)


@cache
def fingerprint(record_type: RecordType) -> bytes:
    """Fingerprint of a record's own schema, 8 bytes little endian."""
    return schema_fingerprint(avro_schema(record_type))


def record_doc(record_type: RecordType) -> str:
    """The class docstring; msgspec's generated signature text does not count."""
    doc = record_type.__dict__.get("__doc__")
    return inspect.cleandoc(doc) if doc else ""


def field_type(hint: Any) -> tuple[Any, bool]:
    """Split `T | None` into (T, True); a union of several Structs stays a union; anything else
    is (hint, False).
    """
    if not is_union(hint):
        return hint, False
    arms = typing.get_args(hint)
    rest = tuple(arm for arm in arms if arm is not types.NoneType)
    nullable = len(rest) != len(arms)
    if len(rest) == 1:
        return rest[0], nullable
    if nullable:
        raise TypeError(
            f"{hint}: a nullable union of several records is not part of the wire contract"
        )
    return hint, False


def is_union(hint: Any) -> bool:
    """Whether a type hint is a union, in either spelling."""
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _avro_type(hint: Any, seen: set[RecordType]) -> Any:
    hint, nullable = field_type(hint)
    if nullable:
        return ["null", _avro_type(hint, seen)]
    if hint in _PRIMITIVES:
        return _PRIMITIVES[hint]
    if is_union(hint):
        return [_avro_type(arm, seen) for arm in typing.get_args(hint)]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        return {"type": "array", "items": _avro_type(arguments[0], seen)}
    if origin is dict and arguments[0] is str:
        return {"type": "map", "values": _avro_type(arguments[1], seen)}
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return _record(hint, seen)
    raise TypeError(f"{hint} has no place in the wire contract")


def _record(record_type: RecordType, seen: set[RecordType]) -> Any:
    name = f"{NAMESPACE}.{record_type.__name__}"
    if record_type in seen:
        return name
    seen.add(record_type)
    schema: dict[str, Any] = {
        "type": "record",
        "name": record_type.__name__,
        "namespace": NAMESPACE,
    }
    if doc := record_doc(record_type):
        schema["doc"] = doc
    schema["fields"] = [_field(field, seen) for field in msgspec.structs.fields(record_type)]
    return schema


def _field(field: msgspec.structs.FieldInfo, seen: set[RecordType]) -> dict[str, Any]:
    schema: dict[str, Any] = {"name": field.name, "type": _avro_type(field.type, seen)}
    if field.default is not msgspec.NODEFAULT:
        # Avro writes the default of a bytes field as a string of code points.
        schema["default"] = (
            field.default.decode("latin-1") if isinstance(field.default, bytes) else field.default
        )
    elif field.default_factory is not msgspec.NODEFAULT:
        schema["default"] = field.default_factory()
    return schema
