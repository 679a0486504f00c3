"""argparse with errors of one line: what is wrong, what was probably meant, where the help is.
Exit status 2, as ever.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from odradek.cli.anywhere import ANYWHERE, EACH, behind_the_command, commands_of
from odradek.cli.output import visible
from odradek.cli.status import Status
from odradek.cli.unserved import unserved_command, unserved_option

_MISSING = "the following arguments are required: "
# One slip for every so many letters: two words further apart are two words, not one mistyped.
_LETTERS_PER_SLIP = 4


def as_given(text: str) -> str:
    """argparse type of a text that may be any bytes."""
    return text


def is_text(text: str) -> bool:
    """Whether an argument is Unicode: of a byte that is not, Python makes a lone surrogate,
    which no record, header or query can hold.
    """
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


class Parser(argparse.ArgumentParser):
    """Of `odradek` and of each of its commands.

    No option can be shortened, as in `temporal`: a script would break with the next option that
    begins alike, and whoever takes an option out of a command line has to know how it is written
    there (`--processes`, for the members that it starts).
    """

    _given: Sequence[str] = ()

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As ever, but what this command does not know is its own error, not that of `odradek`:
        it knows what may have been meant.
        """
        self._given = behind_the_command(self, sys.argv[1:] if args is None else args)
        if commands_of(self) is not None and self._given:
            self._check_first(self._given[0])
        found, unknown = super().parse_known_args(self._given, namespace)
        if unknown:
            options = [one for one in unknown if one.startswith("-") and one != "-"]
            unserved = unserved_command((*self._words(), unknown[0]))
            self.error(
                self._unknown_option(options[0])
                if options
                else unserved or f"unexpected argument {unknown[0]!r}"
            )
        return found, unknown

    def _check_first(self, word: str) -> None:
        """Where a command is to stand: what begins like an option is one. argparse would take
        the value behind it for the command.
        """
        if not word.startswith("-") or word in ("-", "--") or self._is_option(word):
            return
        if word in ANYWHERE or word in EACH:
            self.error(f"argument {word}: expected one argument")
        self.error(self._unknown_option(word))

    def error(self, message: str) -> NoReturn:
        """One line, and the end."""
        if message.startswith(_MISSING):
            message = self._missing(message.removeprefix(_MISSING))
        text = visible(" ".join(message.split()))
        self.exit(
            Status.USAGE,
            f"odradek: {text}{'' if text.endswith('?') else '.'} See `{self.prog} --help`\n",
        )

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """Called by argparse for each argument; a group gets those of its commands too, which
        look at them themselves.
        """
        if (
            not isinstance(action, argparse._SubParsersAction)
            and action.type not in (Path, as_given)
            and not is_text(arg_string)
        ):
            raise argparse.ArgumentError(action, f"{arg_string!r} is not UTF-8")
        return super()._get_value(action, arg_string)

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            if why := unserved_command((*self._words(), value)):
                raise argparse.ArgumentError(None, why)
            meant = did_you_mean(value, list(action.choices)) or _below(value, action)
            raise argparse.ArgumentError(
                None,
                f"unknown command {value!r}"
                + (meant or f": it is one of {', '.join(action.choices)}"),
            )
        super()._check_value(action, value)

    def _missing(self, names: str) -> str:
        """Arguments are missing; perhaps since one that is there is mistyped."""
        if names == "COMMAND":
            commands = commands_of(self)
            return f"name a command: {', '.join(commands.choices if commands is not None else ())}"
        for one in self._given:
            if one == "--":
                break
            name = one.partition("=")[0]
            if not one.startswith("--") or self._is_option(one):
                continue
            if unserved_option(self._words(), name) or self._meant(name):
                return self._unknown_option(one)
        return f"missing: {names}"

    def _unknown_option(self, option: str) -> str:
        name = option.partition("=")[0]
        if why := unserved_option(self._words(), name):
            return why
        return f"unknown option {name}{self._meant(name)}"

    def _meant(self, name: str) -> str:
        """`: did you mean …?`: the options that it begins, else one that is spelled nearly so;
        "" for none.
        """
        longer = (
            [flag for flag in self._flags() if flag.startswith(name)]
            if len(name) > len("--")
            else []
        )
        return (
            f": did you mean {' or '.join(f'`{flag}`' for flag in longer)}?"
            if longer
            else did_you_mean(name, self._flags())
        )

    def _words(self) -> list[str]:
        """The command's words, without `odradek`."""
        return self.prog.split()[1:]

    def _flags(self) -> list[str]:
        known = dict.fromkeys(self._option_string_actions)
        if commands_of(self) is not None:
            known |= dict.fromkeys((*ANYWHERE, *EACH))
        return [flag for flag in known if flag.startswith("--")]

    def _is_option(self, word: str) -> bool:
        return (
            word.partition("=")[0] in self._option_string_actions
            or word[:2] in self._option_string_actions
        )


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """`: did you mean …?`, or "" when nothing known is spelled nearly so."""
    bare = word.lstrip("-")
    slips, nearest = min(
        ((_slips(bare, one.lstrip("-")), one) for one in known), default=(len(word), "")
    )
    return (
        f": did you mean `{nearest}`?"
        if slips <= max(1, len(bare) // _LETTERS_PER_SLIP) and slips < len(bare)
        else ""
    )


def _slips(word: str, other: str) -> int:
    """Letters to add, drop, change or swap with the next one (each letter once) until one is the
    other.
    """
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(word, 1):
        now = [row]
        for column, wanted in enumerate(other, 1):
            least = min(last[column] + 1, now[-1] + 1, last[column - 1] + (letter != wanted))
            if row > 1 and column > 1 and letter == other[column - 2] and word[row - 2] == wanted:
                least = min(least, before[column - 2] + 1)
            now.append(least)
        before, last = last, now
    return last[-1]


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
