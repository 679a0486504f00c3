"""Colors and the form of times: what `--color` and `--time-format` say, for everything that one
command writes for people.

Statuses have the colors that `temporal workflow trace` gives them, headings are magenta. JSON
has none, whatever is asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Self

from odradek.wire.problems import PARKED

COLORS = ("always", "never", "auto")
TIME_FORMATS = ("relative", "iso", "raw")

RED, GREEN, YELLOW, BLUE, MAGENTA, FAINT = 31, 32, 33, 34, 35, 2
HEADING = MAGENTA

_OF_STATUS = {
    "RUNNING": BLUE,
    "COMPLETED": GREEN,
    "CONTINUED_AS_NEW": GREEN,
    "FAILED": RED,
    "TERMINATED": RED,
    "TIMED_OUT": RED,
    "CANCELED": YELLOW,
}
# Ends of event types, as `temporal workflow show` colors them.
_OF_EVENT = {"Failed": RED, "TimedOut": YELLOW, "Canceled": MAGENTA}
_OF_WHOLE_RUN = {"WorkflowExecutionStarted": BLUE, "WorkflowExecutionCompleted": GREEN}


@dataclass(frozen=True)
class Style:
    """How a command writes. time_format: "" is each place's own."""

    color: bool = False
    time_format: str = ""


_style: ContextVar[Style] = ContextVar("style", default=Style())  # noqa: B039  # it is frozen


class Painted(str):
    """A text with its color, which shows where colors are on. To everything else it is the text."""

    color: int

    def __new__(cls, text: str, color: int) -> Self:
        """A text in one of this module's colors; 0 is none."""
        made = super().__new__(cls, text)
        made.color = color
        return made


def style() -> Style:
    """That of the running command."""
    return _style.get()


@contextlib.contextmanager
def styled(options: argparse.Namespace) -> Iterator[None]:
    """Write as a command's options say, within the block."""
    in_json = getattr(options, "output", None) in ("json", "jsonl")
    token = _style.set(
        Style(not in_json and _wants_color(options.color or "auto"), options.time_format or "")
    )
    try:
        yield
    finally:
        _style.reset(token)


def _wants_color(wanted: str) -> bool:
    if wanted != "auto":
        return wanted == "always"
    return (
        sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


_RICH = {
    RED: "red",
    GREEN: "green",
    YELLOW: "yellow",
    BLUE: "blue",
    MAGENTA: "magenta",
    FAINT: "dim",
}


def rich_style(text: str) -> str:
    """The color of a text as `rich` names it."""
    return _RICH.get(text.color, "") if isinstance(text, Painted) else ""


def paint(text: str, color: int) -> str:
    """The text in a color, if colors are on. It must be visible already: see
    `odradek.cli.output.visible`.
    """
    return f"\x1b[{color}m{text}\x1b[0m" if color and text and style().color else text


def heading(text: str) -> str:
    """A heading, or the name of a column."""
    return paint(text, HEADING)


def status_text(status: str, shown: str | None = None) -> Painted:
    """A status of runs or batches by its name on the wire (`TIMED_OUT`), shown as it is or as
    `shown`.
    """
    return Painted(status if shown is None else shown, _OF_STATUS.get(status, 0))


def run_status_text(status: str, problems: Sequence[str] = ()) -> Painted:
    """A run's status as `temporal` lists it (`Running`, `TimedOut`), with what it does not say:
    the run is open, but its workflow task does not get through. problems: its
    `TemporalReportedProblems`.
    """
    shown = status.title().replace("_", "")
    if not problems:
        return status_text(status, shown)
    return Painted(f"{shown} (parked)" if PARKED in problems else f"{shown} (task failing)", RED)


def event_type_text(name: str) -> Painted:
    """A type of history events."""
    color = next((color for end, color in _OF_EVENT.items() if name.endswith(end)), 0)
    return Painted(name, _OF_WHOLE_RUN.get(name, color))
