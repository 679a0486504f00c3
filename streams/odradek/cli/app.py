"""Parses the command line, runs the command, and turns its error into one line and an exit status."""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import importlib.metadata
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any

from odradek.cli.anywhere import add_each, leaves
from odradek.cli.logs import configure_logging
from odradek.cli.output import NONE, visible
from odradek.cli.parser import Parser
from odradek.cli.status import COMMON, HELP, Status, status_of, statuses_text
from odradek.cli.style import styled

# Modules that add commands, in the order of `--help`. Each is imported with the parser and must be
# cheap to import.
COMMANDS = (
    "odradek.cli.dev",
    "odradek.cli.worker",
    "odradek.cli.server",
    "odradek.cli.workflow",
    "odradek.cli.activity",
    "odradek.cli.task_queue",
    "odradek.cli.batch_jobs",
    "odradek.cli.operator",
    "odradek.cli.topic",
    "odradek.cli.dead_letter",
    "odradek.cli.completion",
)

Commands = Any  # argparse's subparsers action, which has no public type

EXAMPLES = """examples:
  odradek dev --port 9092
  odradek worker shop.workflows:WORKFLOWS --activities shop.activities:ACTIVITIES --task-queue orders --processes 2
  odradek workflow start -w order-1 --type OrderWorkflow -t orders -i '{"product": "spool", "quantity": 1}'
  odradek workflow result -w order-1
  odradek workflow list --query "ExecutionStatus = 'Failed'" -o json
  odradek task-queue describe -t orders

settings come from ODRADEK_… variables and --config FILE; arguments win.

"""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LINE_BREAKS = re.compile(r"\s*\n\s*")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _open_closed_streams()
    if isinstance(
        sys.stdout, io.TextIOWrapper
    ):  # a lone surrogate, which JSON in a payload may hold, becomes JSON's escape of it
        sys.stdout.reconfigure(errors="backslashreplace")
    options = build_parser().parse_args(arguments)
    options.arguments = arguments
    level = options.log_level or "warning"
    configure_logging(options.log_format or "text", level)
    if level in ("warning", "error"):
        # librdkafka tells every attempt to reach a broker; the error that ends the command says it
        # once.
        logging.getLogger("odradek.kafka").setLevel(logging.CRITICAL)
    command: Callable[[argparse.Namespace], int] = options.run
    try:
        with contextlib.ExitStack() as stack:
            if getattr(options, "output", "") == NONE:
                stack.enter_context(
                    contextlib.redirect_stdout(
                        stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
                    )
                )
            stack.enter_context(styled(options))
            status = command(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        _drop_output()
        return Status.PIPE_CLOSED
    except OSError as error:
        if (
            error.errno not in _NO_ROOM or error.filename is not None
        ):  # one with a name is about another file
            raise
        _drop_output()
        print(f"odradek: the output cannot be written: {error.strerror}", file=sys.stderr)
        return Status.FAILED
    except (Exception, KeyboardInterrupt) as error:
        status, message = status_of(error)
        print(f"odradek: {visible(_LINE_BREAKS.sub(' ', message))}", file=sys.stderr)
        return status


def _open_closed_streams() -> None:
    """Of a process that was started with `<&-` or `>&-`, as some supervisors do, Python leaves a
    stream None, and the next file or socket that is opened gets its number: an empty input, and
    an output that nobody takes, are what was meant.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            # as long as the process
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _drop_output() -> None:
    """Nobody takes it any more. What is left in the buffer must not be written again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        try:
            version = importlib.metadata.version("odradek")
        except importlib.metadata.PackageNotFoundError:
            version = "(not installed: running from its sources)"
        print(f"odradek {version}")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """The parser with every command."""
    parser = Parser(
        prog="odradek",
        description="Durable workflows on Apache Kafka.",
        epilog=EXAMPLES + HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    add_each(parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in COMMANDS:
        importlib.import_module(module).register(commands)
    for command in leaves(parser):
        add_each(command, argparse.SUPPRESS)
    return parser


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    help: str,
    examples: Sequence[str] = (),
    notes: str = "",
    statuses: tuple[Status, ...] = COMMON,
    **options: Any,
) -> argparse.ArgumentParser:
    """A command, with examples (each begins with `odradek `), notes and exit statuses below its
    help. epilog: examples and notes in one text.
    """
    if "epilog" in options:
        options["epilog"] = f"{options['epilog'].rstrip()}\n\n{statuses_text(statuses)}"
    if examples:
        options["epilog"] = epilog_of(examples, notes, statuses)
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=help,
        description=sentence(help),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,
    )
    parser.set_defaults(run=run)
    return parser


def add_group(
    commands: Commands, name: str, *, help: str, examples: Sequence[str], notes: str = ""
) -> Commands:
    """A group of commands; add to what it returns."""
    parser = commands.add_parser(
        name,
        help=help,
        description=sentence(help),
        epilog=epilog_of(examples, notes, None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def epilog_of(examples: Sequence[str], notes: str, statuses: tuple[Status, ...] | None) -> str:
    """What stands below the options in `--help`."""
    parts = ["examples:\n" + "\n".join(f"  {example}" for example in examples)]
    if notes:
        parts.append(notes)
    parts.append(statuses_text(statuses) if statuses is not None else HELP)
    return "\n\n".join(parts)


def sentence(text: str) -> str:
    """A help line as a sentence."""
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith(".") else ".")
