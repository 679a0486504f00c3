"""How the command line writes: forms, tables, cells, confirmation, batches' filters; what is not
its own is told in one line.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from odradek.cli import batch, confirm, output, times
from odradek.cli.status import (
    CommandFailedError,
    UsageError,
)
from odradek.cli.workflow.start import search_attributes


def options(form: str = "text", **more: Any) -> argparse.Namespace:
    return argparse.Namespace(output=form, **more)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("text", "A   B\n1   x\n22  -\n"),
        ("table", "A   B\n1   x\n22  -\n"),
        ("jsonl", '{"a": 1}\n{"a": 22}\n'),
        ("json", '[\n  {\n    "a": 1\n  },\n  {\n    "a": 22\n  }\n]\n'),
    ],
)
def test_many_in_each_form(form: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.print_many(options(form), ["A", "B"], [[1, "x"], [22, None]], [{"a": 1}, {"a": 22}])
    assert capsys.readouterr().out == text


@pytest.mark.parametrize(
    ("form", "text"), [("text", "Name  x\n"), ("jsonl", '{"n": 1}\n'), ("json", '{\n  "n": 1\n}\n')]
)
def test_one_in_each_form(form: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.print_one(options(form), {"Name": "x", "Empty": None}, {"n": 1})
    assert capsys.readouterr().out == text


def test_times_and_ages() -> None:
    at = round(datetime(2026, 11, 24, 18, 30, 0, 500_000, UTC).timestamp() * 1000)
    assert times.time_text(at) == "2026-11-24T18:30:00.500Z" and times.time_text(0) == "-"
    ages = [
        (5, "5 ms"),
        (1_500, "1.5 s"),
        (90_000, "1.5 min"),
        (5_400_000, "1.5 h"),
        (129_600_000, "1.5 d"),
    ]
    assert [times.age_text(ms) for ms, _ in ages] == [text for _, text in ages]


# --- confirmation


@pytest.mark.parametrize(
    ("answer", "goes"), [("y", True), ("YES", True), ("", False), ("n", False), ("yep", False)]
)
def test_confirmation(
    answer: str, goes: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{answer}\n"))
    if goes:
        confirm.confirm(options(yes=False), "delete all?")
    else:
        with pytest.raises(CommandFailedError, match="nothing was changed"):
            confirm.confirm(options(yes=False), "delete all?")
    said = capsys.readouterr()
    assert "delete all? [y/N]" in said.err and said.out == ""


def test_nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    with pytest.raises(CommandFailedError):
        confirm.confirm(options(yes=False), "?")
    with pytest.raises(UsageError, match="--yes"):
        confirm.check_may_ask(options("json", yes=False))
    confirm.check_may_ask(options("json", yes=True))
    confirm.confirm(options("json", yes=True), "?")


# --- batches


@pytest.mark.parametrize(
    ("query", "restrict", "listed", "counted"),
    [
        ("A = 1 OR B = 2", batch.OPEN, "(A = 1 OR B = 2) AND ExecutionStatus = 'Running'", None),
        (
            "A = 'x ORDER BY y' ORDER BY B DESC",
            "C = 1",
            "(A = 'x ORDER BY y') AND C = 1 ORDER BY B DESC",
            "(A = 'x ORDER BY y') AND C = 1",
        ),
        ("ORDER BY B", "C = 1", "C = 1 ORDER BY B", "C = 1"),
        ("A = 1", "", "A = 1", None),
    ],
)
def test_the_filter_of_a_batch(query: str, restrict: str, listed: str, counted: str | None) -> None:
    assert batch.narrowed(query, restrict) == (listed, counted or listed)


# --- search attributes


def test_search_attributes_by_value_and_by_type() -> None:
    texts = [
        'A="x"',
        "B=1",
        "C=1.5",
        "D=true",
        'E=["x"]',
        'F:Datetime="2026-11-24T18:30:00Z"',
        'G:Text="a b"',
        "H:Double=2",
    ]
    found = search_attributes(texts)
    assert found is not None
    kinds = {pair.key.name: (pair.key.indexed_value_type.name, pair.value) for pair in found}
    assert kinds["F"] == ("DATETIME", datetime(2026, 11, 24, 18, 30, tzinfo=UTC)) and kinds[
        "H"
    ] == ("DOUBLE", 2.0)
    assert [kinds[name][0] for name in "ABCDEG"] == [
        "KEYWORD",
        "INT",
        "DOUBLE",
        "BOOL",
        "KEYWORD_LIST",
        "TEXT",
    ]
    assert search_attributes(None) is None


# --- records, statuses, pipes


def test_a_reader_that_has_gone() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "odradek.cli", "completion", "bash"]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "streams")}
        done = subprocess.run(
            command, stdout=writing, stderr=subprocess.PIPE, text=True, env=environment, check=False
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_line() -> None:
    """What did not fit is not tried again when the process ends."""
    command = [sys.executable, "-m", "odradek.cli", "completion", "bash"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "streams")}
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "odradek: the output cannot be written: No space left on device\n"
