"""What every public name takes and has is a promise: a change must be meant, and shows up in the
file beside, a line a name.

Parameters with their kinds and whether they have a default; a class's public methods, properties
and attributes; members of enums. Which names are public is pinned by `test_public_names.py`.
After a change that is meant: `UPDATE_PROMISED=1 pytest tests/unit/test_public_signatures.py`,
and look at the difference.
"""

from __future__ import annotations

import ast
import enum
import functools
import importlib
import inspect
import os
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_overloads

import pytest
from pydantic import BaseModel

from tests.unit.test_public_names import FRONT_DOORS, public_names

PROMISED = Path(__file__).parent / "promised" / "public_signatures.txt"
# There only where protobuf is installed.
OPTIONAL = {"BinaryProtoPayloadConverter", "JSONProtoPayloadConverter"}
#: What a language construct calls: `async with client`, `async for run in …`, `await handle`.
CALLED_BY_PYTHON = frozenset(
    "__aenter__ __aexit__ __aiter__ __anext__ __await__ __call__ __enter__ __exit__ __getitem__"
    " __init__ __iter__ __len__ __next__".split()
)


class _Some:
    """Stands for any default."""

    def __repr__(self) -> str:
        return "..."


def signature(function: Any) -> str:
    """As it is called; one that takes any keyword says in its overloads which."""
    any_keyword = inspect.Parameter.VAR_KEYWORD in {
        parameter.kind for parameter in inspect.signature(function).parameters.values()
    }
    said = sorted({_taken(one) for one in get_overloads(function)}) if any_keyword else []
    return " | ".join([_taken(function), *said])


def _taken(function: Any) -> str:
    """Parameters with their kind and whether they have a default; annotations may be spelled anew."""
    taken = inspect.signature(function)
    none = inspect.Parameter.empty
    parameters = [
        parameter.replace(annotation=none, default=none if parameter.default is none else _Some())
        for parameter in taken.parameters.values()
    ]
    spoken = "async " if inspect.iscoroutinefunction(function) else ""
    return (
        f"{spoken}{taken.replace(parameters=parameters, return_annotation=inspect.Signature.empty)}"
    )


def kind(member: Any) -> str:
    """What stands behind a name of a class: how it is called, or that it is not."""
    if isinstance(member, staticmethod | classmethod):
        return f"{type(member).__name__} {kind(member.__func__)}"
    if isinstance(member, property):
        return "property, can be set" if member.fset else "property"
    if isinstance(member, functools.cached_property):
        return "property"
    if inspect.isclass(member):
        return "class"
    return signature(member) if inspect.isfunction(member) else "attribute"


def members(value: type) -> dict[str, str]:
    """Public names of a class, its own and those of bases of ours."""
    if issubclass(value, enum.Enum):
        return {name: f"= {member.value!r}" for name, member in value.__members__.items()}
    found: dict[str, str] = {}
    for base in reversed(value.__mro__):
        if not base.__module__.startswith("odradek"):
            continue
        fields = inspect.get_annotations(base)  # also those without a value, which are nowhere else
        own = dict.fromkeys(fields | dict.fromkeys(set_on_self(base)), "attribute") | {
            name: kind(member) for name, member in vars(base).items()
        }
        found |= {
            name: said
            for name, said in own.items()
            if not name.startswith("_") or name in CALLED_BY_PYTHON
        }
    if getattr(value, "_is_protocol", False):
        del found["__init__"]  # Python's own, and another one in each version
    if issubclass(value, BaseModel):
        found |= {
            name: "field, required" if field.is_required() else "field"
            for name, field in value.model_fields.items()
        }
    return found


@functools.cache
def set_on_self(value: type) -> set[str]:
    """Public attributes that the code of a class gives its instances."""
    targets: list[ast.AST] = []
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(value)))):
        targets += (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
    names = {
        target.attr
        for target in targets
        if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self"
    }
    return {name for name in names if not name.startswith("_")}


def lines(module: str) -> Iterator[str]:
    """A line for each public name of a front door, and for each name of its classes."""
    loaded = importlib.import_module(module)
    for name in sorted(public_names(module)):
        value = getattr(loaded, name)
        if name in OPTIONAL:
            continue
        yield f"{module}:{name} {kind(value)}"
        if inspect.isclass(value):
            yield from sorted(
                f"{module}:{name}.{member} {said}" for member, said in members(value).items()
            )


def promised() -> list[str]:
    """The file beside."""
    return PROMISED.read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module", autouse=True)
def renewed() -> None:
    """Write it anew, if that was asked for."""
    if os.environ.get("UPDATE_PROMISED"):
        PROMISED.write_text(
            "".join(f"{line}\n" for module in FRONT_DOORS for line in lines(module)),
            encoding="utf-8",
        )


@pytest.mark.parametrize("module", FRONT_DOORS)
def test_signatures_are_as_promised(module: str) -> None:
    now, then = (
        list(lines(module)),
        [line for line in promised() if line.partition(":")[0] == module],
    )
    new, gone = (
        [line for line in now if line not in then],
        [line for line in then if line not in now],
    )
    assert (new, gone) == ([], []), f"if meant so: UPDATE_PROMISED=1 pytest {Path(__file__).name}"
    assert now == then


def test_no_module_is_promised_that_is_no_front_door() -> None:
    assert {line.partition(":")[0] for line in promised()} == set(FRONT_DOORS)
