"""Shapes of Temporal's published messages in proto3's JSON mapping, and whether a value has one.

`temporal_shapes.txt`, a message a line: its members and their kinds. int64 is text, bytes are
base64, enums are names, times are RFC 3339, durations are seconds with an `s`. A member that the
message does not have is an error, as for a strict reader of Temporal's; null too.
"""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import Any

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3}|\.\d{6}|\.\d{9})?Z")
_DURATION = re.compile(r"-?\d+(\.\d{3}|\.\d{6}|\.\d{9})?s")
_INT64 = re.compile(r"-?(0|[1-9]\d{0,18})")


def _read() -> tuple[dict[str, dict[str, str]], dict[str, set[str]]]:
    messages: dict[str, dict[str, str]] = {}
    enums: dict[str, set[str]] = {}
    for line in Path(__file__).with_suffix(".txt").read_text(encoding="utf-8").splitlines():
        name, _, rest = line.partition(":")
        members = [part.strip() for part in rest.split(",") if part.strip()]
        if name.startswith("enum "):
            enums[name.removeprefix("enum ")] = set(members)
        else:
            messages[name] = {
                member: kind for member, _, kind in (part.partition(" ") for part in members)
            }
    return messages, enums


MESSAGES, ENUMS = _read()


def _is_default(value: Any, kind: str) -> bool:
    """Whether a scalar, a list or a map has its default: users' scripts ask whether a member is
    there. A message that is there is `{}`.
    """
    return (
        kind not in MESSAGES
        and kind not in ("time", "duration")
        and value in ([], {}, "", 0, "0", False)
    )


#: Written when they are 0 too: left out they are unknown.
_WRITTEN_AS_0 = ("approximateBacklogCount", "backlogCountHint")


def problems(value: Any, kind: str, where: str = "", seen: set[str] | None = None) -> list[str]:
    """What is wrong with a value of a kind; [] when nothing is. seen: takes the messages that
    were met, and `message.member`.
    """
    where = where or kind
    if kind.startswith("["):
        if not isinstance(value, list):
            return [f"{where}: no list"]
        return [
            one
            for number, item in enumerate(value)
            for one in problems(item, kind[1:-1], f"{where}[{number}]", seen)
        ]
    if kind.startswith("map("):
        if not isinstance(value, dict):
            return [f"{where}: no object"]
        return [
            one
            for key, item in value.items()
            for one in problems(item, kind[4:-1], f"{where}[{key}]", seen)
        ]
    if kind in MESSAGES:
        if not isinstance(value, dict):
            return [f"{where}: no object but {value!r}"]
        if seen is not None:
            seen.add(kind)
            seen.update(f"{kind}.{member}" for member in value)
        found = []
        for member, part in value.items():
            if member not in MESSAGES[kind]:
                found.append(f"{where}: {kind} has no member {member!r}")
            elif member not in _WRITTEN_AS_0 and _is_default(part, MESSAGES[kind][member]):
                found.append(
                    f"{where}.{member}: {part!r} is its default, which the JSON mapping leaves out"
                )
            else:
                found += problems(part, MESSAGES[kind][member], f"{where}.{member}", seen)
        return found
    return [] if _is(value, kind) else [f"{where}: {value!r} is no {kind}"]


def _is(value: Any, kind: str) -> bool:
    if kind == "bool":
        return isinstance(value, bool)
    if kind in ("int32", "real"):
        return isinstance(value, int if kind == "int32" else int | float) and not isinstance(
            value, bool
        )
    if not isinstance(value, str):
        return False
    if kind.startswith("enum:"):
        prefix = kind.removeprefix("enum:")
        return value.startswith(prefix) and value.removeprefix(prefix) in ENUMS[prefix]
    if kind == "bytes":
        try:
            base64.b64decode(value, validate=True)
        except binascii.Error:
            return False
        return True
    pattern = {"time": _TIME, "duration": _DURATION, "int64": _INT64}.get(kind)
    assert pattern is not None or kind == "text", kind
    return pattern is None or pattern.fullmatch(value) is not None
