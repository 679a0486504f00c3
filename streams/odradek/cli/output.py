"""How output is written: text and tables for people, JSON for pipes.

`text` and `table` are one; `json` is one value, indented; `jsonl` is one value a line, written
as it comes; `none` is nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import math
import shutil
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from odradek.cli.payloads import Unreadable
from odradek.cli.style import Painted, heading, paint, rich_style, style
from odradek.visible_text import IN_JSON

NONE = "none"
FORMS = ("text", "table", "json", "jsonl", NONE)
# What a column is cut to on a terminal, at least.
_NARROWEST = 12
_VISIBLE = (
    IN_JSON
    | {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
    | {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
)
_VISIBLE_LINES = {code: text for code, text in _VISIBLE.items() if chr(code) not in "\n\t"}


def output_options() -> argparse.ArgumentParser:
    """`--output`, as a parent parser."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "--output", "-o", choices=FORMS, default="text", help="form of the output (default: text)"
    )
    return parser


def is_json(options: argparse.Namespace) -> bool:
    """Whether the output is for programs."""
    return options.output in ("json", "jsonl")


def is_quiet(options: argparse.Namespace) -> bool:
    """Whether nothing is wanted but the exit status: then nothing is told of what goes on either."""
    return bool(options.output == NONE)


def plain(value: Any) -> Any:
    """A value as JSON can write it; what it cannot becomes text."""
    if isinstance(value, Unreadable):
        return value.to_json()
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if (
        value is None
        or isinstance(value, str | int | bool)
        or (isinstance(value, float) and math.isfinite(value))
    ):
        return value
    return str(value)


def visible(text: str, *, lines: bool = False) -> str:
    """Text as it may go to a terminal, on one line: control and bidirectional characters as
    `\\x1b`, `\\u202e`, `\\n`.

    Ids, types, messages and keys are anybody's words; as they are they could move the cursor,
    retitle the window, forge a line. lines: line breaks and tabs stay, for texts that have
    several.
    """
    return text.translate(_VISIBLE_LINES if lines else _VISIBLE)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """JSON that steers no terminal: what JSON leaves as it is of `visible`'s characters is
    escaped as JSON does; the value is the same.
    """
    return json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False).translate(
        IN_JSON
    )


def print_json(value: Any) -> None:
    """Indented JSON on stdout."""
    print(json_text(value, indent=2))


def print_line(value: Any) -> None:
    """JSON on one line, at once."""
    print(json_text(value), flush=True)


def print_value(options: argparse.Namespace, value: Any) -> None:
    """A value as JSON in the form asked for; text is indented JSON too."""
    print_line(value) if options.output == "jsonl" else print_json(value)


def print_for_people(value: Any) -> None:
    """A value alone, as indented JSON; one that cannot be read in a line of words."""
    print(visible(str(value))) if isinstance(value, Unreadable) else print_json(value)


def print_one(options: argparse.Namespace, fields: dict[str, Any], value: Any = None) -> None:
    """One thing: `fields` for people, `value` (or else the fields) for programs."""
    if is_json(options):
        print_value(options, fields if value is None else value)
    else:
        print_fields(fields)


def print_many(
    options: argparse.Namespace,
    header: Sequence[str],
    rows: Iterable[Sequence[Any]],
    values: Iterable[Any],
) -> None:
    """Many things, all of them there: a table for people; an array, or a value a line."""
    if options.output == "json":
        print_json(list(values))
    elif options.output == "jsonl":
        for value in values:
            print_line(value)
    else:
        print_table(header, [[text_of(cell) for cell in row] for row in rows])


def print_fields(fields: dict[str, Any]) -> None:
    """Names and values in two columns; empty ones are left out."""
    shown = {name: value for name, value in fields.items() if value not in (None, "", [], {})}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        text = painted(value) if isinstance(value, str) else json_text(value)
        print(f"{name:<{width}}  {text}")


def print_heading(text: str) -> None:
    """What stands above a part of the output, with an empty line before it."""
    print(f"\n{heading(visible(text))}")


def painted(text: str) -> str:
    """A text as it goes to the terminal, in its color if it has one."""
    return paint(visible(text), text.color) if isinstance(text, Painted) else visible(text)


def print_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    widths: Sequence[int] = (),
    headed: bool = True,
) -> list[int]:
    """Columns as wide as their widest cell, and `widths` at least; their widths, so that more
    rows can follow. On a terminal the last column is cut to its width.
    """
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    texts = [[Text(visible(cell), style=rich_style(cell)) for cell in row] for row in rows]
    names = [[cell_len(name) for name in header]] if headed else []
    columns = zip(*names, *([cell_len(text.plain) for text in row] for row in texts), strict=True)
    used = [max(column) for column in columns] or [0] * len(header)
    used = [max(pair) for pair in zip(used, widths or used, strict=True)]
    room = shutil.get_terminal_size().columns - sum(used[:-1]) - 2 * (len(used) - 1)
    cut = sys.stdout.isatty() and _NARROWEST <= room < used[-1]
    table = Table(
        box=None, show_header=headed, header_style="", pad_edge=False, padding=(0, 2, 0, 0)
    )
    for name, width in zip(header, [*used[:-1], room if cut else used[-1]], strict=True):
        table.add_column(Text(name, "magenta"), no_wrap=True, width=width)
    for row in texts:
        table.add_row(*row)
    console = Console(
        file=io.StringIO(),
        width=sum(used) + 2 * len(used),
        color_system="standard" if style().color else None,
        force_terminal=style().color,
        no_color=not style().color,
    )
    console.print(table, highlight=False)
    for line in console.file.getvalue().splitlines():  # type: ignore[attr-defined]
        print(line.rstrip())
    return used


def text_of(value: Any) -> str:
    """A cell of a table: nothing for what is not there, no line breaks."""
    if value is None:
        return "-"
    if isinstance(value, Painted):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, list | tuple):
        return ", ".join(map(text_of, value)) or "-"
    return " ".join(str(value).split())
