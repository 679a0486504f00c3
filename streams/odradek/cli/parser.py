"""argparse with errors of one line: what is wrong, what was probably meant, where the help is. Exit status 2, as ever."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from odradek.cli.output import visible
from odradek.cli.status import Status

_MISSING = "the following arguments are required: "
# How alike two words are when one may be the other mistyped.
_ALIKE = 0.6


class Parser(argparse.ArgumentParser):
    """Of `odradek` and of each of its commands."""

    _given: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As ever, but what this command does not know is its own error, not that of `odradek`: it knows what may have been meant."""
        self._given = list(sys.argv[1:] if args is None else args)
        found, unknown = super().parse_known_args(self._given, namespace)
        if unknown:
            options = [one for one in unknown if one.startswith("-") and one != "-"]
            self.error(self._unknown_option(options[0]) if options else f"unexpected argument {unknown[0]!r}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """One line, and the end."""
        if message.startswith(_MISSING):
            message = self._missing(message.removeprefix(_MISSING))
        text = visible(" ".join(message.split()))
        self.exit(Status.USAGE, f"odradek: {text}{'' if text.endswith('?') else '.'} See `{self.prog} --help`\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            meant = did_you_mean(value, list(action.choices)) or _below(value, action)
            raise argparse.ArgumentError(None, f"unknown command {value!r}" + (meant or f": it is one of {', '.join(action.choices)}"))
        super()._check_value(action, value)

    def _missing(self, names: str) -> str:
        """Arguments are missing; perhaps since one that is there is mistyped."""
        if names == "COMMAND":
            commands = next((one for one in self._actions if isinstance(one, argparse._SubParsersAction)), None)
            return f"name a command: {', '.join(commands.choices if commands is not None else ())}"
        for one in self._given:
            if one == "--":
                break
            if one.startswith("--") and (meant := did_you_mean(one.partition("=")[0], self._flags())) and not self._is_option(one):
                return f"unknown option {one.partition('=')[0]}{meant}"
        return f"missing: {names}"

    def _unknown_option(self, option: str) -> str:
        name = option.partition("=")[0]
        return f"unknown option {name}{did_you_mean(name, self._flags())}"

    def _flags(self) -> list[str]:
        return [flag for flag in self._option_string_actions if flag.startswith("--")]

    def _is_option(self, word: str) -> bool:
        """Whether it is one of this command, perhaps shortened."""
        name = word.partition("=")[0]
        return any(flag.startswith(name) for flag in self._option_string_actions)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """`: did you mean …?`, or "" when nothing known is like it."""
    alike = difflib.get_close_matches(word, known, 1, _ALIKE)
    return f": did you mean `{alike[0]}`?" if alike else ""


def _below(word: str, group: argparse._SubParsersAction[Any]) -> str:
    """A command of some group, named without it: `odradek start`."""
    paths = [path for path in _paths(group) if path.rpartition(" ")[2] == word]
    return f": did you mean {' or '.join(f'`{path}`' for path in paths)}?" if paths else ""


def _paths(group: argparse._SubParsersAction[Any], before: str = "") -> Iterator[str]:
    for name, parser in group.choices.items():
        below = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
        for one in below:
            yield from _paths(one, f"{before}{name} ")
        if not below:
            yield f"{before}{name}"
