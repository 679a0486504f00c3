"""Options that stand anywhere on the command line, as `temporal`'s do: before the command,
inside it, behind it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import Any

from odradek.cli.style import COLORS, TIME_FORMATS

#: What may stand before the command's words. Each takes a value. A command that has no such option
#: says so.
ANYWHERE = (
    "--output",
    "-o",
    "--address",
    "--namespace",
    "-n",
    "--config",
    "--server-address",
    "--api-key",
)
#: What each command has.
EACH = ("--log-level", "--log-format", "--color", "--time-format")


def add_each(parser: argparse.ArgumentParser, default: Any = None) -> None:
    """The options that each command has. default: SUPPRESS where an outer parser has set them."""
    group = parser.add_argument_group("everywhere")
    levels = ("debug", "info", "warning", "error")
    group.add_argument(
        "--log-level",
        choices=levels,
        default=default,
        help="what is logged to stderr (default: warning, or the setting `log_level`)",
    )
    group.add_argument(
        "--log-format",
        choices=("text", "json"),
        default=default,
        help="form of log lines (default: text, or the setting `log_format`)",
    )
    group.add_argument(
        "--color",
        choices=COLORS,
        default=default,
        help="colors for people (default: auto, on a terminal unless NO_COLOR is set)",
    )
    group.add_argument(
        "--time-format",
        choices=TIME_FORMATS,
        default=default,
        help="form of times for people (default: relative; iso for events and records)",
    )


def commands_of(parser: argparse.ArgumentParser) -> argparse._SubParsersAction[Any] | None:
    """The commands of a group; None for a command."""
    return next(
        (one for one in parser._actions if isinstance(one, argparse._SubParsersAction)), None
    )


def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The commands below a parser that are no groups."""
    commands = commands_of(parser)
    if commands is None:
        yield parser
    else:
        for below in commands.choices.values():
            yield from leaves(below)


def behind_the_command(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> list[str]:
    """The arguments with options of `ANYWHERE` and `EACH` that stand before the command, or
    within its words, moved behind it.

    Where no command is reached (a word is none, `--help` ends it) they are left out: what
    follows is an error, or help.
    """
    words: list[str] = []
    moved: list[str] = []
    rest = list(arguments)
    commands = commands_of(parser)
    while rest and commands is not None:
        if rest[0] in commands.choices:
            commands = commands_of(commands.choices[rest[0]])
            words.append(rest.pop(0))
            continue
        count = _length(rest[0])
        if not 0 < count <= len(rest):
            break
        moved += rest[:count]
        del rest[:count]
    return [*words, *rest] if commands is not None else [*words, *moved, *rest]


def _length(word: str) -> int:
    """How many arguments the option takes with its value; 0 for what is none of these."""
    flag, joined, _ = word.partition("=")
    if flag in ANYWHERE or flag in EACH:
        return 1 if joined else 2
    return 1 if word[:2] in ANYWHERE else 0  # -ojson
