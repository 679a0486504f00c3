"""What a schema of another writer could do to its reader. Schemas are fastavro's: full names, a
type defined in place at its first use.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def names_itself(schema: Any, within: tuple[str, ...] = ()) -> bool:
    """Whether a type holds itself, as a failure does by its cause: a record may be nested
    without end.
    """
    if isinstance(schema, str):
        return schema in within
    if isinstance(schema, list):
        return any(names_itself(branch, within) for branch in schema)
    inner = within if "name" not in schema else (*within, schema["name"])
    return any(names_itself(part, inner) for part in _parts(schema))


def has_items_without_bytes(schema: Any) -> bool:
    """Whether a few bytes may claim any number of array items (of nulls, of records without
    fields), and keep a reader busy for ever.
    """
    types = list(_all(schema))
    named = {one["name"]: one for one in types if "name" in one}
    return any(one["type"] == "array" and _takes_no_bytes(one["items"], named, ()) for one in types)


def _takes_no_bytes(schema: Any, named: dict[str, Any], within: tuple[str, ...]) -> bool:
    """A union has the number of its branch, an array and a map their end; what holds itself is
    no type that a record could have.
    """
    if isinstance(schema, str):
        return schema == "null" or (
            schema in named
            and schema not in within
            and _takes_no_bytes(named[schema], named, within)
        )
    if isinstance(schema, list):
        return False
    if schema["type"] == "fixed":
        return bool(schema["size"] == 0)
    if schema["type"] == "record":
        inner = (*within, schema["name"])
        return all(_takes_no_bytes(field["type"], named, inner) for field in schema["fields"])
    return (
        _takes_no_bytes(schema["type"], named, within)
        if schema["type"] not in ("array", "map", "enum")
        else False
    )


def _parts(schema: dict[str, Any]) -> Iterator[Any]:
    yield from (schema[key] for key in ("items", "values") if key in schema)
    yield from (field["type"] for field in schema.get("fields", ()))
    if isinstance(schema["type"], dict | list):
        yield schema["type"]


def _all(schema: Any) -> Iterator[dict[str, Any]]:
    """Every type that is defined in a schema, itself included."""
    if isinstance(schema, list):
        for branch in schema:
            yield from _all(branch)
    elif isinstance(schema, dict):
        yield schema
        for part in _parts(schema):
            yield from _all(part)
