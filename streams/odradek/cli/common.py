"""Options that every command on a cluster has, the settings they make, JSON inputs, and how output is written."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from odradek.cli.status import UsageError
from odradek.client import Client
from odradek.config import Settings, parse_duration

T = TypeVar("T")


def cluster_options() -> argparse.ArgumentParser:
    """`--address`, `--namespace`, `--config`, as a parent parser."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("cluster")
    group.add_argument("--address", metavar="HOST:PORT", help="Kafka bootstrap servers (setting `address`)")
    group.add_argument("--namespace", "-n", help="namespace (setting `namespace`)")
    group.add_argument("--config", metavar="FILE", type=Path, help="YAML file with settings")
    return parser


def output_options() -> argparse.ArgumentParser:
    """`--output`, as a parent parser."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--output", "-o", choices=("text", "json"), default="text", help="form of the output (default: text)")
    return parser


def settings_of(options: argparse.Namespace, **more: Any) -> Settings:
    """Settings of file, environment and arguments, in rising order. Raises `ConfigurationError`."""
    given = {"address": options.address, "namespace": options.namespace, **more}
    return Settings.load(options.config, **{name: value for name, value in given.items() if value is not None})


def with_client(options: argparse.Namespace, use: Callable[[Client], Awaitable[T]]) -> T:
    """Connect, `use` the client, close it."""

    async def run() -> T:
        async with await Client.connect(settings=settings_of(options)) as client:
            return await use(client)

    return asyncio.run(run())


def duration(text: str) -> timedelta:
    """argparse type of `10s`, `5 min`, `1h`, or a number of seconds."""
    value = parse_duration(text)
    if isinstance(value, timedelta):
        return value
    try:
        return timedelta(seconds=float(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write 500ms, 10s, 5min, 1h or 3d") from None


def json_value(text: str, what: str) -> Any:
    """A JSON value from the command line."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"{what} is not JSON: {error}. A text needs its quotes: '\"text\"'") from error


def inputs_of(options: argparse.Namespace) -> list[Any]:
    """Arguments of `--input` and `--input-file`, each one JSON value."""
    if options.input and options.input_file:
        raise UsageError("give --input or --input-file, not both")
    values = [json_value(text, f"--input {text!r}") for text in options.input or []]
    for path in options.input_file or []:
        try:
            text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        except OSError as error:
            raise UsageError(f"--input-file {path}: {error.strerror}") from error
        values.append(json_value(text, f"--input-file {path}"))
    return values


def input_options() -> argparse.ArgumentParser:
    """`--input` and `--input-file`, as a parent parser."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--input", "-i", action="append", metavar="JSON", help="an argument, as JSON; again for the next one")
    parser.add_argument("--input-file", action="append", metavar="FILE", type=Path, help="an argument, as JSON, from a file (- is stdin)")
    return parser


def key_values(texts: list[str] | None, what: str) -> dict[str, Any]:
    """`KEY=JSON` options."""
    pairs = {}
    for text in texts or []:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise UsageError(f"{what} {text!r}: write KEY=JSON")
        pairs[key] = json_value(value, f"{what} {text!r}")
    return pairs


def plain(value: Any) -> Any:
    """A value as JSON can write it; what it cannot becomes text."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def print_json(value: Any) -> None:
    """Indented JSON on stdout."""
    print(json.dumps(plain(value), indent=2, ensure_ascii=False))


def print_fields(fields: dict[str, Any]) -> None:
    """Names and values in two columns; empty ones are left out."""
    shown = {name: value for name, value in fields.items() if value not in (None, "", [], {})}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        print(f"{name:<{width}}  {value if isinstance(value, str) else json.dumps(plain(value), ensure_ascii=False)}")


def print_table(header: list[str], rows: list[list[str]]) -> None:
    """Columns as wide as they need to be."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
