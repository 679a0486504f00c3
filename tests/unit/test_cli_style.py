"""`--color` and `--time-format`: what they do to tables, fields and lines, and that programs
never see them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from odradek import cli
from odradek.cli import output, style, times
from odradek.cli.status import CommandFailedError
from odradek.cli.style import BLUE, GREEN, RED, YELLOW, Painted, Style, event_type_text, status_text
from odradek.cli.workflow import lists
from odradek.client import WorkflowExecution
from odradek.converter import DataConverter
from tests.unit.web_server import START_MS, summary

ESCAPE = re.compile(r"\x1b\[\d*m")


Take = Callable[..., Style]


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def take() -> Iterator[Take]:
    """Options of a command, for the rest of the test."""
    with contextlib.ExitStack() as stack:

        def taken(
            color: str | None = None, *, form: str = "text", time_format: str | None = None
        ) -> Style:
            stack.enter_context(
                style.styled(argparse.Namespace(color=color, output=form, time_format=time_format))
            )
            return style.style()

        yield taken


# --- colors


@pytest.mark.parametrize(
    ("color", "form", "environment", "terminal", "wanted"),
    [
        (None, "text", {}, True, True),
        ("auto", "text", {}, True, True),
        ("auto", "text", {}, False, False),
        ("auto", "text", {"NO_COLOR": "1"}, True, False),
        ("auto", "text", {"NO_COLOR": ""}, True, True),
        ("auto", "text", {"TERM": "dumb"}, True, False),
        ("always", "text", {"NO_COLOR": "1", "TERM": "dumb"}, False, True),
        ("always", "table", {}, False, True),
        ("never", "text", {}, True, False),
        ("always", "json", {}, True, False),
        ("always", "jsonl", {}, True, False),
    ],
)
def test_where_there_are_colors(
    color: str | None,
    form: str,
    environment: dict[str, str],
    terminal: bool,
    wanted: bool,
    take: Take,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", Terminal() if terminal else io.StringIO())
    assert take(color, form=form).color is wanted


def test_a_table_has_the_same_text_with_colors(
    take: Take, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        [status_text("FAILED", "Failed"), "b\x1b[2J", "-"],
        [status_text("COMPLETED", "Completed"), "long-one", Painted("x", YELLOW)],
    ]
    output.print_table(["STATUS", "ID", "LAST"], rows)
    plain = capsys.readouterr().out
    take("always")
    output.print_table(["STATUS", "ID", "LAST"], rows)
    colored = capsys.readouterr().out
    assert ESCAPE.sub("", colored) == plain and "\x1b" not in plain
    assert (
        colored.startswith("\x1b[35mSTATUS\x1b[0m     \x1b[35mID\x1b[0m")
        and f"\x1b[{RED}mFailed\x1b[0m     b\\x1b[2J" in colored
    )
    assert f"\x1b[{GREEN}mCompleted\x1b[0m  long-one  \x1b[{YELLOW}mx\x1b[0m\n" in colored


def test_a_table_on_a_narrow_terminal_is_cut_by_what_is_seen(
    take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_, **__: os.terminal_size((40, 24)))
    take("always")
    output.print_table(
        ["STATUS", "MESSAGE"], [[status_text("FAILED"), Painted("word " * 20, RED)], ["-", "short"]]
    )
    lines = [ESCAPE.sub("", line) for line in terminal.getvalue().splitlines()]
    assert (
        [len(line) for line in lines[:2]] == [15, 40]
        and lines[1].endswith("…")
        and lines[2] == "-       short"
    )


def test_fields_and_cells_keep_their_color(take: Take, capsys: pytest.CaptureFixture[str]) -> None:
    take("always")
    output.print_fields({"Status": status_text("RUNNING"), "Other": "x"})
    assert capsys.readouterr().out == f"Status  \x1b[{BLUE}mRUNNING\x1b[0m\nOther   x\n"
    cell = output.text_of(status_text("RUNNING"))
    assert isinstance(cell, Painted) and cell.color == BLUE


@pytest.mark.parametrize(
    ("name", "color"),
    [("RUNNING", BLUE), ("COMPLETED", GREEN), ("CONTINUED_AS_NEW", GREEN), ("CANCELED", YELLOW)]
    + [(name, RED) for name in ("FAILED", "TERMINATED", "TIMED_OUT")],
)
def test_statuses(name: str, color: int) -> None:
    assert (status_text(name), status_text(name).color) == (name, color)


@pytest.mark.parametrize(
    ("name", "color"),
    [
        ("WorkflowExecutionStarted", BLUE),
        ("WorkflowExecutionCompleted", GREEN),
        ("ActivityTaskFailed", RED),
        ("ActivityTaskTimedOut", YELLOW),
        ("TimerCanceled", style.MAGENTA),
        ("ActivityTaskCompleted", 0),
        ("ActivityTaskStarted", 0),
    ],
)
def test_types_of_events(name: str, color: int) -> None:
    assert event_type_text(name).color == color


@pytest.mark.parametrize(("problems", "color"), [([], BLUE), (["category=Parked"], RED)])
def test_a_run_that_does_not_get_on_is_red(problems: list[str], color: int) -> None:
    run = WorkflowExecution._from_summary(
        summary("order-1", reported_problems=problems), DataConverter.default
    )
    cell = lists._row(run)[0]
    assert isinstance(cell, Painted) and cell.color == color


def test_a_command_leaves_no_style_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Style] = []

    def run(_: argparse.Namespace) -> int:
        seen.append(style.style())
        raise CommandFailedError("no")

    monkeypatch.setattr("odradek.cli.workflow.lists.list_workflows", run)
    assert cli.main(["workflow", "list", "--color", "always", "--time-format", "raw"]) == 1
    assert seen == [Style(True, "raw")] and style.style() == Style()
    assert capsys.readouterr().err == "odradek: no\n"


def test_on_a_real_terminal_and_in_a_pipe() -> None:
    """The whole program: a pseudo terminal has colors, unless told otherwise, and a pipe has none."""
    program = """
import sys
from odradek.cli import app, output, style
with style.styled(app.build_parser().parse_args([*sys.argv[1:], "workflow", "list"])):
    output.print_table(["STATUS"], [[style.status_text("FAILED")]])
"""
    command = [sys.executable, "-c", program]
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2] / "streams"), "TERM": "xterm"}

    def on_terminal(*arguments: str) -> str:
        reading, writing = pty.openpty()
        try:
            subprocess.run([*command, *arguments], stdout=writing, env=environment, check=True)
            return os.read(reading, 10_000).decode().replace("\r\n", "\n")
        finally:
            os.close(reading)
            os.close(writing)

    assert on_terminal() == "\x1b[35mSTATUS\x1b[0m\n\x1b[31mFAILED\x1b[0m\n"
    assert on_terminal("--color", "never") == "STATUS\nFAILED\n"
    piped = subprocess.run(
        [*command, "--color", "auto"], capture_output=True, text=True, env=environment, check=True
    )
    assert piped.stdout == "STATUS\nFAILED\n"


# --- times


AT_MS = 1_790_000_000_500  # 2026-09-21T14:13:20.500Z


@pytest.mark.parametrize(
    ("form", "event", "other"),
    [
        (None, "2026-09-21T14:13:20.500Z", "5 minutes ago"),
        ("relative", "5 minutes ago", "5 minutes ago"),
        ("iso", "2026-09-21T14:13:20.500Z", "2026-09-21T14:13:20.500Z"),
        ("raw", "2026-09-21 14:13:20.5 +0000 UTC", "2026-09-21 14:13:20.5 +0000 UTC"),
    ],
)
def test_forms_of_times(
    take: Take, form: str | None, event: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(times, "now_ms", lambda: AT_MS + 301_000)
    take(time_format=form)
    assert (times.time_text(AT_MS), times.since_text(AT_MS)) == (event, other)
    assert (times.time_text(0), times.since_text(0)) == ("-", "-")


@pytest.mark.parametrize(("milliseconds", "text"), [(0, ""), (1, ".001"), (120, ".12")])
def test_raw_times_have_no_zeros_at_their_end(milliseconds: int, text: str) -> None:
    assert (
        times.raw_text(1_790_000_000_000 + milliseconds) == f"2026-09-21 14:13:20{text} +0000 UTC"
    )


@pytest.mark.parametrize(
    ("ago_s", "text"),
    [
        (0, "now"),
        (0.9, "now"),
        (1, "1 second ago"),
        (59.9, "59 seconds ago"),
        (60, "1 minute ago"),
        (7_199, "1 hour ago"),
        (86_400, "1 day ago"),
        (8 * 86_400, "1 week ago"),
        (65 * 86_400, "2 months ago"),
        (800 * 86_400, "2 years ago"),
        (-0.5, "now"),
        (-61, "1 minute from now"),
    ],
)
def test_relative_times(ago_s: float, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(times, "now_ms", lambda: AT_MS)
    assert times.relative_text(AT_MS - round(ago_s * 1_000)) == text


def test_the_list_has_the_times_that_were_asked_for(
    take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = WorkflowExecution._from_summary(
        summary("order-1", start_time_ms=START_MS), DataConverter.default
    )
    monkeypatch.setattr(times, "now_ms", lambda: START_MS + 7_200_000)
    assert lists._row(run)[3:5] == ["2 hours ago", "-"]
    take(time_format="iso")
    assert lists._row(run)[3] == "2026-09-21T14:13:20.000Z"
