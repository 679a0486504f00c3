"""The public names of the vocabulary and their signatures are a promise: a change must be meant, and shows up in the file beside.

After a change that is meant: `UPDATE_PROMISED=1 pytest tests/unit/test_vocabulary_names.py`, and look at the difference.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
from pathlib import Path
from typing import Any

import pytest

PROMISED = Path(__file__).parent / "promised" / "vocabulary_names.json"
MODULES = [
    "odradek.api.common.v1",
    "odradek.api.failure.v1",
    "odradek.common",
    "odradek.config",
    "odradek.contrib.pydantic",
    "odradek.converter",
    "odradek.envconfig",
    "odradek.exceptions",
    "odradek.service",
]
# There only where protobuf is installed.
OPTIONAL = {"BinaryProtoPayloadConverter", "JSONProtoPayloadConverter"}


def signature(function: Any) -> list[str]:
    """Parameters with their kind and whether they have a default; annotations may be spelled anew."""
    parameters = []
    for parameter in inspect.signature(function).parameters.values():
        stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        only = ":keyword" if parameter.kind is inspect.Parameter.KEYWORD_ONLY else ""
        parameters.append(f"{stars}{parameter.name}{only}" + ("" if parameter.default is inspect.Parameter.empty else "=..."))
    return parameters


def shape(value: Any) -> Any:
    if inspect.isfunction(value):
        return signature(value)
    if not inspect.isclass(value):
        return "value"
    members: dict[str, Any] = {}
    for base in reversed(value.__mro__):
        if not base.__module__.startswith("odradek"):
            continue
        for name, member in vars(base).items():
            function = getattr(member, "__func__", member)
            if name == "__init__" or not name.startswith("_"):
                members[name] = signature(function) if inspect.isfunction(function) else "value"
    return dict(sorted(members.items()))


@pytest.mark.parametrize("module", MODULES)
def test_all_names_exist_once(module: str) -> None:
    names = importlib.import_module(module).__all__
    assert len(set(names)) == len(names)
    assert [name for name in names if not hasattr(importlib.import_module(module), name)] == []


def test_names_and_signatures_are_as_promised() -> None:
    found = {}
    for path in MODULES:
        module = importlib.import_module(path)
        found[path] = {name: shape(getattr(module, name)) for name in sorted(module.__all__) if name not in OPTIONAL}
    if os.environ.get("UPDATE_PROMISED"):
        PROMISED.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    promised = json.loads(PROMISED.read_text(encoding="utf-8"))
    for path in MODULES:
        assert found[path] == promised[path], path
    assert set(found) == set(promised)
