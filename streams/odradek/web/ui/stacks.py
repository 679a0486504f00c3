"""A run's call stack as its page shows it: one block a coroutine, frames with file and line. Pure.

The text is that of the query `__stack_trace`, Temporal's name of it: Python's traceback format
here. What is not in it (another SDK's format, a query handler of one's own) is shown as it came.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

_HEAD = re.compile(r"Stack for (?P<task>.+?)(?: \(most recent call last\))?:$")
_FRAME = re.compile(r'  File "(?P<path>.+)", line (?P<line>\d+), in (?P<function>.+)$')
# Frames of the library stand between those of the workflow's code; they are there, and quiet.
_LIBRARY = re.compile(r"/(?:odradek/(?!examples)|asyncio/)")


@dataclass(frozen=True, slots=True)
class Frame:
    """Where a function stands. `code`: the line, "" if its file is not at hand there; `library`:
    not the workflow's own code.
    """

    path: str
    line: int
    function: str
    code: str
    library: bool

    @property
    def place(self) -> str:
        """File and line, with the folder it is in."""
        return f"{'/'.join(self.path.split('/')[-2:])}:{self.line}"


@dataclass(frozen=True, slots=True)
class Stack:
    """A coroutine: outermost frame first; it waits in the last."""

    task: str
    frames: list[Frame] = field(default_factory=list)


def stacks_of(text: str) -> list[Stack] | None:
    """The stacks of a text; None when it is not Python's format throughout."""
    found: list[Stack] = []
    for line in text.splitlines():
        frames = found[-1].frames if found else []
        if match := _HEAD.match(line):
            found.append(Stack(match["task"]))
        elif found and (match := _FRAME.match(line)):
            library = _LIBRARY.search(match["path"]) is not None
            frames.append(Frame(match["path"], int(match["line"]), match["function"], "", library))
        elif frames and line.startswith("    "):
            # Python 3.13 marks the part of the line that runs, with ^ and ~.
            frames[-1] = replace(
                frames[-1], code=" ".join(filter(None, [frames[-1].code, line.strip(" ^~")]))
            )
        elif line.strip():
            return None
    return found or None
