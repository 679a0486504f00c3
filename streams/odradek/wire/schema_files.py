"""Writes `schemas/*.avsc` from the Structs: `python -m odradek.wire.schema_files [DIRECTORY]`;
`--check` only compares.

A file holds what `avro_schema` says plus a `doc` a field, taken from the comment at the field's
line in the source, so that somebody who reads the files alone has the same words. Docs are not
part of a fingerprint.
"""

from __future__ import annotations

import copy
import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

from odradek.wire import events, history, outcomes, payload, state, tasks
from odradek.wire.schema import RECORD_TYPES, RecordType, avro_schema

_COMMENTED_FIELD = re.compile(r"^    (\w+): .*?  # (.+)$", re.MULTILINE)
_MODULES = (payload, events, tasks, history, outcomes, state)


def file_name(record_type: RecordType) -> str:
    """`StartWorkflow` -> `StartWorkflow.avsc`."""
    return f"{record_type.__name__}.avsc"


def file_text(record_type: RecordType) -> str:
    """What the file of a record must hold."""
    schema = copy.deepcopy(avro_schema(record_type))
    _add_field_docs(schema)
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def differences(directory: Path) -> list[str]:
    """Names of files that are missing, differ from the Structs, or belong to no record."""
    wanted = {file_name(record_type): file_text(record_type) for record_type in RECORD_TYPES}
    found = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.avsc")}
    return sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )


def write(directory: Path) -> list[str]:
    """Bring the directory in line with the Structs; the names that changed."""
    changed = differences(directory)
    wanted = {file_name(record_type): record_type for record_type in RECORD_TYPES}
    directory.mkdir(parents=True, exist_ok=True)
    for name in changed:
        if name in wanted:
            (directory / name).write_text(file_text(wanted[name]), encoding="utf-8")
        else:
            (directory / name).unlink()
    return changed


def _add_field_docs(schema: Any) -> None:
    if isinstance(schema, list):
        for part in schema:
            _add_field_docs(part)
    elif isinstance(schema, dict):
        if schema.get("type") == "record":
            docs = _field_docs(schema["name"])
            for field in schema["fields"]:
                if field["name"] in docs:
                    field["doc"] = docs[field["name"]]
        for part in (
            schema.get("fields"),
            schema.get("type"),
            schema.get("items"),
            schema.get("values"),
        ):
            _add_field_docs(part)


def _field_docs(name: str) -> dict[str, str]:
    for module in _MODULES:
        if found := getattr(module, name, None):
            return dict(_COMMENTED_FIELD.findall(inspect.getsource(found)))
    raise LookupError(name)


def main(arguments: list[str]) -> int:
    check = "--check" in arguments
    directory = Path(next((a for a in arguments if not a.startswith("-")), "schemas"))
    changed = differences(directory) if check else write(directory)
    for name in changed:
        print(f"{'differs' if check else 'wrote'}: {directory / name}")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
