"""`--color` and `--time-format`: what they do to tables, fields and lines, and that programs
never see them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterator

import pytest

from odradek.cli import output, style, times
from odradek.cli.style import GREEN, RED, YELLOW, Painted, Style, status_text

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
