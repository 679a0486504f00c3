"""Schemas: files and Structs agree, nothing changes unnoticed, every version of a schema reads
every other.
"""

from __future__ import annotations

import gc
import io
import json
from pathlib import Path
from typing import Any

import fastavro
import msgspec
import pytest
from fastavro.schema import parse_schema

from odradek.wire import schema_files
from odradek.wire.codec import Codec, encode
from odradek.wire.schema import (
    RECORD_TYPES,
    RECORDS_BY_NAME,
    RecordType,
    avro_schema,
    fingerprint,
    schema_fingerprint,
)
from tests.unit.wire_samples import GOLDEN, golden_path, plain, sample, without_docs

SCHEMAS = Path(__file__).parents[2] / "schemas"
GOLDENS = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(GOLDEN.glob("*.json"))]


def _id(golden: dict[str, Any]) -> str:
    return f"{golden['record']}-{golden['fingerprint']}"


def test_files_hold_what_the_structs_say() -> None:
    assert schema_files.differences(SCHEMAS) == [], "run: python -m odradek.wire.schema_files"


def test_a_file_that_differs_is_named(tmp_path: Path) -> None:
    schema_files.write(tmp_path)
    (tmp_path / "StartWorkflow.avsc").write_text("{}")
    (tmp_path / "Gone.avsc").write_text("{}")
    (tmp_path / "Reply.avsc").unlink()
    assert schema_files.differences(tmp_path) == ["Gone.avsc", "Reply.avsc", "StartWorkflow.avsc"]
    assert schema_files.write(tmp_path) == ["Gone.avsc", "Reply.avsc", "StartWorkflow.avsc"]
    assert schema_files.differences(tmp_path) == []


def test_fingerprint_of_the_specification() -> None:
    # Avro's test vectors (share/test/data/schema-tests.txt): "null" is 7195948357588979594 as a
    # signed long.
    assert int.from_bytes(schema_fingerprint("null"), "little", signed=True) == 7195948357588979594  # type: ignore[arg-type]
    assert int.from_bytes(schema_fingerprint("int"), "little", signed=True) == 8247732601305521295  # type: ignore[arg-type]


@pytest.mark.parametrize("record_type", RECORD_TYPES)
def test_each_schema_stands_alone_and_keeps_defaults(record_type: RecordType) -> None:
    parse_schema(
        json.loads((SCHEMAS / schema_files.file_name(record_type)).read_text(encoding="utf-8"))
    )
    fields = {field["name"]: field for field in avro_schema(record_type)["fields"]}
    for field in msgspec.structs.fields(record_type):
        assert ("default" in fields[field.name]) is not field.required, field.name


@pytest.mark.parametrize("record_type", RECORD_TYPES)
def test_no_schema_changes_unnoticed(record_type: RecordType) -> None:
    assert golden_path(record_type).exists(), (
        f"the schema of {record_type.__name__} changed. If that is meant: old and new code must"
        " read each other (a new field needs a default, none may go or change its type); then"
        " python tests/unit/wire_samples.py, and commit the new golden file beside the old one"
    )


@pytest.mark.parametrize("record_type", RECORD_TYPES, ids=lambda record_type: record_type.__name__)
def test_the_garbage_collector_has_nothing_to_track(record_type: RecordType) -> None:
    left: list[Any] = [sample(record_type)]
    while left:
        value = left.pop()
        if isinstance(value, msgspec.Struct):
            assert not gc.is_tracked(value), type(value)
            left.extend(getattr(value, name) for name in value.__struct_fields__)
        elif isinstance(value, dict | list):
            left.extend(value.values() if isinstance(value, dict) else value)


def test_published_schema_never_changes() -> None:
    # A reader learns foreign schemas from records of this type: it has nobody to ask about this
    # one.
    assert fingerprint(RECORDS_BY_NAME["PublishedSchema"]).hex() == "e7d71687eb875c2b"


@pytest.mark.parametrize("golden", GOLDENS, ids=_id)
def test_what_older_code_wrote_is_read(golden: dict[str, Any]) -> None:
    class Published:
        def find(self, fingerprint: bytes) -> str | None:
            return (
                json.dumps(golden["schema"]) if fingerprint.hex() == golden["fingerprint"] else None
            )

    record = Codec(lookup=Published()).decode(bytes.fromhex(golden["hex"]))
    assert type(record) is RECORDS_BY_NAME[golden["record"]]
    assert _contains(plain(record), golden["json"])


@pytest.mark.parametrize("golden", GOLDENS, ids=_id)
def test_older_code_reads_what_we_write(golden: dict[str, Any]) -> None:
    record_type = RECORDS_BY_NAME[golden["record"]]
    body = io.BytesIO(encode(sample(record_type))[10:])
    older = fastavro.schemaless_reader(
        body, parse_schema(without_docs(avro_schema(record_type))), parse_schema(golden["schema"])
    )
    assert isinstance(older, dict)
    assert older.keys() == {field["name"] for field in golden["schema"]["fields"]}


@pytest.mark.parametrize("record_type", RECORD_TYPES)
def test_golden_bytes(record_type: RecordType) -> None:
    golden = json.loads(golden_path(record_type).read_text(encoding="utf-8"))
    assert encode(sample(record_type)).hex() == golden["hex"]
    assert plain(sample(record_type)) == golden["json"]


def _contains(whole: Any, part: Any) -> bool:
    """Whether everything in `part` is in `whole`; a newer record may have more fields."""
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and _contains(whole[key], value) for key, value in part.items()
        )
    if isinstance(part, list):
        return (
            isinstance(whole, list) and len(whole) == len(part) and all(map(_contains, whole, part))
        )
    return bool(whole == part)
