"""Asks before what cannot be undone."""

from __future__ import annotations

import argparse
import sys

from odradek.cli.output import is_json, visible
from odradek.cli.status import CommandFailedError, UsageError


def add_yes(parser: argparse.ArgumentParser) -> None:
    """`--yes`."""
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")


def check_may_ask(options: argparse.Namespace) -> None:
    """Before any work: a command whose output goes to a program has nobody to ask. Raises
    `UsageError`.
    """
    if is_json(options) and not options.yes:
        raise UsageError(f"with -o {options.output} nobody is asked: give --yes")


def confirm(options: argparse.Namespace, question: str) -> None:
    """Return if the answer is yes. Raises `CommandFailedError`."""
    if options.yes:
        return
    check_may_ask(options)
    print(f"{visible(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        answer = input()
    except EOFError:
        print(file=sys.stderr)
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise CommandFailedError("not confirmed: nothing was changed (--yes does not ask)")
