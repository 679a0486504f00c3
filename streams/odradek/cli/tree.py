"""The parser as a tree of commands with their options: what completion and the page in `docs/`
are made of.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Option:
    """An option of a command. `value`: whether it takes one; `choices`: which, if they are
    known; `file`: a path.
    """

    flags: tuple[str, ...]
    help: str
    value: bool
    choices: tuple[str, ...]
    file: bool
    required: bool
    metavar: str


@dataclass(frozen=True)
class Command:
    """A command by its words (`workflow`, `start`), or a group of commands. `words` is () for
    `odradek` itself.
    """

    words: tuple[str, ...]
    help: str
    epilog: str
    options: tuple[Option, ...]
    positionals: tuple[Option, ...]
    commands: tuple[Command, ...] = field(default=())

    @property
    def name(self) -> str:
        """As it is written."""
        return " ".join(("odradek", *self.words))

    def walk(self) -> Iterator[Command]:
        """This command and all below it, in order."""
        yield self
        for command in self.commands:
            yield from command.walk()


def command_tree(
    parser: argparse.ArgumentParser, words: tuple[str, ...] = (), help: str = ""
) -> Command:
    """The tree below a parser."""
    options: list[Option] = []
    positionals: list[Option] = []
    commands: list[Command] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            commands = [
                command_tree(one, (*words, name), helps.get(name, ""))
                for name, one in action.choices.items()
            ]
            continue
        value = action.nargs != 0
        known: Iterable[Any] = (
            action.choices if action.choices is not None else getattr(action.type, "words", ())
        )
        choices = tuple(map(str, known))
        metavar = action.metavar if isinstance(action.metavar, str) else ""
        one = Option(
            tuple(action.option_strings),
            action.help or "",
            value,
            choices,
            metavar in ("FILE", "DIR"),
            action.required,
            metavar or ("{" + ",".join(choices) + "}" if choices else action.dest.upper())
            if value
            else "",
        )
        (options if action.option_strings else positionals).append(one)
    return Command(
        words,
        help or parser.description or "",
        parser.epilog or "",
        tuple(options),
        tuple(positionals),
        tuple(commands),
    )
