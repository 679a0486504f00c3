"""The matrix of promises and tests: `python -m tests.promises` prints it as Markdown.

Promises are the rows of docs/guarantees.md that begin with a name in `code`. A test shows one by
`@pytest.mark.promise("name")`.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "docs" / "guarantees.md"


def promises() -> list[str]:
    """Names of all promises, in the order of the page."""
    return re.findall(r"^\| `([a-z-]+)` ", PAGE.read_text(), flags=re.MULTILINE)


def shown() -> dict[str, list[str]]:
    """Tests by the promise that they show, as `file::test`."""
    found: dict[str, list[str]] = {}
    for file in sorted((REPOSITORY / "tests").rglob("test_*.py")):
        text = file.read_text()
        if "mark.promise(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.promise":
                    test = f"{file.relative_to(REPOSITORY)}::{node.name}"
                    for name in mark.args:
                        found.setdefault(ast.literal_eval(name), []).append(test)
    return found


def matrix() -> str:
    """A table of promises and the tests that show them."""
    tests = shown()
    rows = [f"| `{name}` | {'<br>'.join(tests.get(name, ['none']))} |" for name in promises()]
    return "\n".join(["| promise | shown by |", "|---|---|", *rows])


if __name__ == "__main__":
    print(matrix())
