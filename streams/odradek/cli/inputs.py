"""Arguments for workflows, signals and queries: JSON values, or payloads with metadata of their
own (`--input-meta`, `--input-base64`).
"""

from __future__ import annotations

import argparse
import base64
import binascii
import sys
from pathlib import Path
from typing import Any

from odradek.cli.common import json_value
from odradek.cli.parser import as_given
from odradek.cli.status import UsageError
from odradek.common import RawValue
from odradek.wire.payload import Payload

_ENCODING = "encoding"


def input_options() -> argparse.ArgumentParser:
    """`--input`, `--input-file`, `--input-meta`, `--input-base64`, as a parent parser."""
    parser = argparse.ArgumentParser(add_help=False)
    add_inputs(parser, "input", short="-i")
    return parser


def add_inputs(
    parser: argparse.ArgumentParser, name: str, *, short: str = "", of: str = ""
) -> None:
    """The same four for `name`. of: whose arguments they are, if not the command's own."""
    parser.add_argument(
        f"--{name}",
        *([short] if short else []),
        action="append",
        type=as_given,
        metavar="JSON",
        help=f"an argument{of}, as JSON; again for the next one",
    )
    parser.add_argument(
        f"--{name}-file",
        action="append",
        metavar="FILE",
        type=Path,
        help=f"an argument{of}, as JSON, from a file (- is stdin)",
    )
    parser.add_argument(
        f"--{name}-meta",
        action="append",
        type=as_given,
        metavar="KEY=VALUE",
        help=(
            "metadata of the payload; `encoding` says what the argument is instead of json/plain;"
            " again for the next argument"
        ),
    )
    parser.add_argument(
        f"--{name}-base64", action="store_true", help=f"arguments{of} are in base64"
    )


def inputs_of(options: argparse.Namespace, name: str = "input") -> list[Any]:
    """The arguments: JSON values, or a `RawValue` each when metadata or base64 was given. Raises
    `UsageError`.
    """
    texts, files, metas, in_base64 = (
        getattr(options, f"{name}{end}".replace("-", "_"))
        for end in ("", "-file", "-meta", "-base64")
    )
    if texts and files:
        raise UsageError(f"give --{name} or --{name}-file, not both")
    if not metas and not in_base64:
        values = [json_value(text, f"--{name} {text!r}") for text in texts or []]
        return values + [
            json_value(_text(_read(path, name), f"--{name}-file {path}"), f"--{name}-file {path}")
            for path in files or []
        ]
    given = [
        (text.encode("utf-8", "surrogateescape"), f"--{name} {text!r}") for text in texts or []
    ]
    given += [(_read(path, name), f"--{name}-file {path}") for path in files or []]
    metadata = _metadata(metas or [], f"--{name}-meta", len(given))
    return [
        RawValue(_payload(data, what, number, metadata, in_base64))
        for number, (data, what) in enumerate(given)
    ]


def _read(path: Path, name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise UsageError(f"--{name}-file {path}: {error.strerror}") from error


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{what} is not UTF-8, which JSON is") from None


def _metadata(texts: list[str], what: str, count: int) -> dict[str, list[bytes]]:
    """Values by key, in the order of the arguments."""
    found: dict[str, list[bytes]] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise UsageError(f"{what} {text!r}: write KEY=VALUE")
        found.setdefault(key, []).append(value.encode("utf-8", "surrogateescape"))
    for key, values in found.items():
        if len(values) > count:
            raise UsageError(
                f"{what} {key} is given {len(values)} times, for {count}"
                f" argument{'' if count == 1 else 's'}"
            )
    return {_ENCODING: [b"json/plain"], **found}


def _payload(
    data: bytes, what: str, number: int, metadata: dict[str, list[bytes]], in_base64: bool
) -> Payload:
    """An argument's payload. What is given once is every argument's; what is not given for this
    one is the first one's.
    """
    own = {
        key: values[number] if number < len(values) else values[0]
        for key, values in metadata.items()
    }
    if in_base64:
        try:
            data = base64.b64decode(b"".join(data.split()), validate=True)
        except binascii.Error:
            raise UsageError(f"{what} is not base64") from None
    if own[_ENCODING].startswith(b"json/"):
        json_value(_text(data, what), what)
    return Payload(own, data)
