"""How the command line writes: forms, tables, cells, confirmation, batches' filters; what is not
its own is told in one line.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from odradek import cli
from odradek.cli import batch, confirm, output, times, topic
from odradek.cli.status import (
    MEANINGS,
    CommandFailedError,
    Status,
    UsageError,
    status_of,
    statuses_text,
)
from odradek.cli.width import cut, width_of
from odradek.cli.workflow import start
from odradek.cli.workflow.start import search_attributes
from odradek.client import RPCError, RPCStatusCode
from odradek.web.kafka.facts import RecordView


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


class Executed:
    """A client and a handle of what was executed."""

    id, result_run_id, namespace = "w", "r", "default"

    async def start_workflow(self, *_: Any, **__: Any) -> Executed:
        return self

    async def result(self) -> int:
        return 7


def test_execute_without_output_tells_no_progress_either(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        start, "with_client", lambda options, use, **_: asyncio.run(use(Executed()))
    )
    assert (
        cli.main(["workflow", "execute", "--type", "T", "-t", "q", "-o", "none", "--detailed"]) == 0
    )
    assert capsys.readouterr() == ("", "")


def test_more_rows_keep_the_columns(capsys: pytest.CaptureFixture[str]) -> None:
    widths = output.print_table(["ID", "TYPE"], [["wide-one", "T"]])
    output.print_table(["ID", "TYPE"], [["b", "T"]], widths=widths, headed=False)
    assert capsys.readouterr().out.splitlines() == ["ID        TYPE", "wide-one  T", "b         T"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (True, "yes"),
        (False, "no"),
        (1.25, "1.2"),
        ([1, None], "1, -"),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        ([], "-"),
        ("a\n b", "a b"),
        (0, "0"),
    ],
)
def test_cells(value: Any, text: str) -> None:
    assert output.text_of(value) == text


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


@pytest.mark.parametrize(
    "text", ["A=null", "A:Nothing=1", 'A:Int="x"', 'A:Datetime="soon"', ':Int="x"', "A"]
)
def test_search_attributes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--search-attribute"):
        search_attributes([text])


# --- records, statuses, pipes


def test_a_record_in_a_few_words() -> None:
    def record(value: Any, error: str = "") -> RecordView:
        return RecordView("t", "events", 0, 1, 2, "w", "K", {}, value, 3, error)

    assert (
        topic.what(record({"signal_name": "go", "attempt": 0, "failure": {"message": "a\nb"}}))
        == "signal_name=go failure=a b"
    )
    assert (
        topic.what(record(None)) == ""
        and topic.what(record("xx", "no schema")) == "cannot be decoded: no schema"
    )


def test_one_long_cell_does_not_widen_all_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """It stands whole, and moves the rest of its own row alone."""
    long = "x" * 1_000
    widths = output.print_table(["ID", "TYPE"], [["a", "T"], [long, "T"], ["wide-one", "T"]])
    assert capsys.readouterr().out.splitlines() == [
        "ID        TYPE",
        "a         T",
        f"{long}  T",
        "wide-one  T",
    ] and widths == [8, 4]
    assert output.print_table(["ID", "TYPE"], [[long, "T"]], widths=widths, headed=False) == [8, 4]
    all_long = [[f"{long}{number}", "T"] for number in (1, 10, 100)]
    assert output.print_table(["ID", "TYPE"], all_long) == [1_003, 4], (
        "where all are long it is no exception"
    )


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("", 0),
        ("order", 5),
        ("注文-1", 6),
        ("Zoe\u0308", 3),
        ("café", 4),
        ("😀", 2),
        ("ＡＢ", 4),
        ("한글", 4),
        ("שלום", 4),
    ],
)
def test_widths_on_a_terminal(text: str, width: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert width_of(text) == width
    output.print_table(["ID", "TYPE"], [[text, "T"], ["order-1", "T"]])
    _, row, _ = capsys.readouterr().out.splitlines()
    assert width_of(row) == 10 and row.endswith("  T"), (
        "the second column begins where it does in other rows"
    )
    output.print_fields({text or "-": 1, "a long name": 2})
    row, _ = capsys.readouterr().out.splitlines()
    assert width_of(row) == 14


def test_what_is_cut_to_its_columns() -> None:
    assert [cut("注文書-1", width) for width in (8, 7, 6, 5, 2, 1, 0)] == [
        "注文書-1",
        "注文書…",
        "注文…",
        "注文…",
        "…",
        "…",
        "",
    ]
    assert cut("order", 5) == "order" and cut("order", 4) == "ord…"


def test_topics_of_two_queues_look_different() -> None:
    def named(name: str, kind: str) -> str:
        return topic.topic_text(RecordView(name, kind, 0, 1, 2, "w", "K", {}, None, 3))

    assert [
        named(f"odradek.n.{queue}.events", "events") for queue in ("orders", "stock", "a_2eb")
    ] == [
        "orders.events",
        "stock.events",
        "a.b.events",
    ]
    assert named("any.prefix.n.orders.dead-letters", "dead-letters") == "orders.dead-letters"
    assert named("odradek.n.results", "results") == "results"


def test_each_status_has_a_meaning() -> None:
    assert set(MEANINGS) == set(Status) and all(
        str(status.value) in statuses_text() for status in Status
    )


@pytest.mark.parametrize("code", [RPCStatusCode.UNAUTHENTICATED, RPCStatusCode.PERMISSION_DENIED])
def test_tokens_that_are_not_taken_are_settings(code: RPCStatusCode) -> None:
    assert status_of(RPCError("x", code))[0] is Status.USAGE
    assert status_of(CommandFailedError("x", Status.NOT_FOUND)) == (Status.NOT_FOUND, "x")


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


def test_json_of_what_json_does_not_know() -> None:
    assert json.loads(
        json.dumps(
            output.plain({"at": datetime(2026, 1, 1, tzinfo=UTC), "path": Path("x"), 1: (None,)})
        )
    ) == {
        "at": "2026-01-01T00:00:00+00:00",
        "path": "x",
        "1": [None],
    }


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
