"""Public names of every front door, pinned: one that comes, goes or moves unnoticed fails here.

Meant so? `python tests/unit/test_public_names.py` writes `golden/public_names.txt` anew; say in
the commit what changed.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parent / "golden" / "public_names.txt"

FRONT_DOORS = (
    "odradek.activity",
    "odradek.api.common.v1",
    "odradek.api.failure.v1",
    "odradek.broker",
    "odradek.cli",
    "odradek.client",
    "odradek.common",
    "odradek.config",
    "odradek.contrib.opentelemetry",
    "odradek.contrib.pydantic",
    "odradek.converter",
    "odradek.envconfig",
    "odradek.exceptions",
    "odradek.service",
    "odradek.testing",
    "odradek.worker",
    "odradek.worker.workflow_sandbox",
    "odradek.workflow",
)


def public_names(module: str) -> list[str]:
    """`__all__` of a front door."""
    names = getattr(importlib.import_module(module), "__all__", None)
    assert names is not None, f"{module} has no __all__: what is public must be said"
    return list(names)


def pinned() -> dict[str, set[str]]:
    """What the golden file says, by front door."""
    found: dict[str, set[str]] = {}
    for line in GOLDEN.read_text(encoding="utf-8").split():
        module, _, name = line.partition(":")
        found.setdefault(module, set()).add(name)
    return found


@pytest.mark.parametrize("module", FRONT_DOORS)
def test_names_are_those_that_were_agreed(module: str) -> None:
    now, then = set(public_names(module)), pinned().get(module, set())
    assert now == then, (
        f"{module}: new {sorted(now - then)}, gone {sorted(then - now)}; if meant so: python"
        f" {Path(__file__).name}"
    )


@pytest.mark.parametrize("module", FRONT_DOORS)
def test_names_are_there_and_listed_once(module: str) -> None:
    names = public_names(module)
    loaded = importlib.import_module(module)
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(loaded, name)] == []
    assert [name for name in names if name.startswith("_")] == []


def test_no_front_door_is_forgotten() -> None:
    assert set(pinned()) == set(FRONT_DOORS)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2] / "streams"))
    lines = [f"{module}:{name}" for module in FRONT_DOORS for name in sorted(public_names(module))]
    GOLDEN.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} names in {GOLDEN}")
