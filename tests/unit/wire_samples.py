"""Records for the wire tests: one sample a record type with every field filled, and Hypothesis
strategies, both derived from the Structs.

`python tests/unit/wire_samples.py` writes the golden file of each record whose schema has none
yet. Golden files are never changed and never deleted: they are what older versions wrote, and
every later version must read it. (Before the first release nobody has written anything:
`--replace` also removes those of schemas that are no more.)
"""

from __future__ import annotations

import itertools
import json
import sys
import typing
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st

from odradek.wire.codec import encode
from odradek.wire.schema import (
    RECORD_TYPES,
    RecordType,
    avro_schema,
    field_type,
    fingerprint,
    is_union,
)

GOLDEN = Path(__file__).parent / "golden"


def sample(record_type: RecordType) -> Any:
    """A record with no field at its default, every arm of every union present; the same each time."""
    return _Filler().record(record_type)


class _Filler:
    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def record(self, record_type: RecordType, depth: int = 0) -> Any:
        fields = msgspec.structs.fields(record_type)
        return record_type(
            **{f.name: self.value(f.type, f.name, record_type, depth) for f in fields}
        )

    def value(self, hint: Any, name: str, owner: RecordType, depth: int) -> Any:
        hint, nullable = field_type(hint)
        number = next(self._numbers)
        if nullable and depth > 4:
            return None
        if name == "format":
            return 1
        if hint is str:
            return f"{name} é {number}"
        if hint is int:
            return (
                -number
                if number % 5 == 0
                else 1_700_000_000_000 + number
                if name.endswith("_ms")
                else number * 37
            )
        if hint is float:
            return number + 0.25
        if hint is bool:
            return True
        if hint is bytes:
            return bytes([number % 256, 0, 255])
        if is_union(hint):
            return self.record(
                typing.get_args(hint)[number % len(typing.get_args(hint))], depth + 1
            )
        if typing.get_origin(hint) is list:
            item = typing.get_args(hint)[0]
            if getattr(item, "__name__", "") == "HistoryEvent":
                return [
                    item(number, 1_700_000_000_000, self.record(arm, depth + 2), number)
                    for arm in typing.get_args(typing.get_type_hints(item)["attributes"])
                ]
            return [self.value(item, name, owner, depth + 1) for _ in range(2)]
        if typing.get_origin(hint) is dict:
            return {
                key: self.value(typing.get_args(hint)[1], name, owner, depth + 1)
                for key in ("encoding", "x-ü")
            }
        return self.record(hint, depth + 1)


def records(record_type: RecordType, depth: int = 0) -> st.SearchStrategy[Any]:
    """Any record of this type."""
    return st.builds(
        record_type,
        **{
            f.name: _values(f.type, depth)
            for f in msgspec.structs.fields(record_type)
            if f.name != "format"
        },
    )


def _values(hint: Any, depth: int) -> st.SearchStrategy[Any]:
    hint, nullable = field_type(hint)
    if nullable:
        return st.none() if depth > 2 else st.none() | _values(hint, depth)
    scalars: dict[Any, st.SearchStrategy[Any]] = {
        str: st.text(max_size=100),
        int: (
            st.integers(-(2**63), 2**63 - 1)
            | st.integers(0, 300)
            | st.integers(1_600_000_000_000, 1_800_000_000_000)
        ),
        float: st.floats(allow_nan=False),
        bool: st.booleans(),
        bytes: st.binary(max_size=200),
    }
    if hint in scalars:
        return scalars[hint]
    if is_union(hint):
        return st.sampled_from(typing.get_args(hint)).flatmap(lambda arm: records(arm, depth + 2))
    many = 0 if depth > 2 else 3
    if typing.get_origin(hint) is list:
        return st.lists(_values(typing.get_args(hint)[0], depth + 1), max_size=many)
    if typing.get_origin(hint) is dict:
        keys = st.text(max_size=20) | st.just("encoding")
        return st.dictionaries(keys, _values(typing.get_args(hint)[1], depth + 1), max_size=many)
    return records(hint, depth + 1)


def plain(record: msgspec.Struct) -> Any:
    """A record as JSON types (bytes as base64), to compare and to store."""
    return json.loads(msgspec.json.encode(record))


def without_docs(schema: Any) -> Any:
    """A schema without its texts."""
    if isinstance(schema, dict):
        return {key: without_docs(part) for key, part in schema.items() if key != "doc"}
    return [without_docs(part) for part in schema] if isinstance(schema, list) else schema


def golden_path(record_type: RecordType) -> Path:
    """The golden file of a record's present schema."""
    return GOLDEN / f"{record_type.__name__}-{fingerprint(record_type).hex()}.json"


def write_golden(replace: bool = False) -> None:
    GOLDEN.mkdir(exist_ok=True)
    if replace:
        for old in set(GOLDEN.glob("*.json")) - {
            golden_path(record_type) for record_type in RECORD_TYPES
        }:
            old.unlink()
    for record_type in RECORD_TYPES:
        path = golden_path(record_type)
        if not path.exists():
            record = sample(record_type)
            golden = {
                "record": record_type.__name__,
                "fingerprint": fingerprint(record_type).hex(),
                "json": plain(record),
                "hex": encode(record).hex(),
                "schema": without_docs(avro_schema(record_type)),
            }
            path.write_text(json.dumps(golden, ensure_ascii=False) + "\n", encoding="utf-8")
            print(f"wrote {path.name}")


if __name__ == "__main__":
    write_golden("--replace" in sys.argv)
