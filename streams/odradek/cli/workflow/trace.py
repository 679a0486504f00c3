"""trace: a run as it goes. On a terminal it is drawn anew until the run closes; elsewhere it is
written once, when it has closed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import sys
from collections.abc import Iterator
from typing import Any

from rich.cells import cell_len, set_cell_size

from odradek.cli.app import Commands, add_command
from odradek.cli.common import cluster_options, with_client
from odradek.cli.output import is_json, output_options, print_fields, print_heading, visible
from odradek.cli.status import ONE_WORKFLOW, CommandFailedError, UsageError
from odradek.cli.style import Painted, heading, paint
from odradek.cli.workflow.options import add_one, handle_of
from odradek.cli.workflow.trace_state import Line, TracedRun
from odradek.client import Client, RPCError, WorkflowHandle

_REFRESH_S = 1.0
# How long Ctrl-C waits for what the owner has to say.
_LAST_WORD_S = 2.0
#: Statuses that are no success, as `workflow result` takes them.
_FAILED = ("FAILED", "CANCELED", "TERMINATED", "TIMED_OUT")


def register(actions: Commands) -> None:
    """Add the command."""
    add_one(
        add_command(
            actions,
            "trace",
            trace,
            help="a workflow's progress as it goes: activities, timers, attempts, what fails",
            examples=(
                "odradek workflow trace -w order-1",
                "odradek workflow trace -w order-1 -r RUN_ID --color always",
            ),
            notes=(
                "On a terminal it is drawn anew each second until the workflow closes; elsewhere it"
                " is written once: when the workflow\nhas closed, or at Ctrl-C. A run that"
                " continues as new has closed: the run that goes on is named."
            ),
            statuses=ONE_WORKFLOW,
            parents=[cluster_options(), output_options()],
        )
    )


def trace(options: argparse.Namespace) -> int:
    """Follow one run. Status 1 if it fails."""
    if is_json(options):
        raise UsageError(
            f"a trace is no JSON: `odradek workflow show -w {options.workflow_id} --follow -o"
            " jsonl` has its events as they come"
        )

    async def use(client: Client) -> TracedRun:
        found = await handle_of(client, options).describe(rpc_timeout=options.rpc_timeout)
        handle = client.get_workflow_handle(
            found.id, run_id=found.run_id, task_queue=found.task_queue
        )
        print(heading("Execution summary:"))
        print_fields(
            {
                "WorkflowId": found.id,
                "RunId": found.run_id,
                "Type": found.workflow_type,
                "Namespace": found.namespace,
                "TaskQueue": found.task_queue,
            }
        )
        print_heading("Progress:")
        sys.stdout.flush()
        run = TracedRun(found.id, found.run_id, found.workflow_type)
        await _follow(handle, run, options)
        return run

    run = with_client(options, use)
    if run.status in _FAILED:
        raise CommandFailedError(
            f"workflow {run.workflow_id!r} is {run.status}"
            + (f": {run.failure}" if run.failure else "")
        )
    return 0


async def _follow(
    handle: WorkflowHandle[Any, Any], run: TracedRun, options: argparse.Namespace
) -> None:
    async def read() -> None:
        async for event in handle.fetch_history_events(wait_new_event=True):
            run.update(event)

    drawing = _Drawing()
    reading = asyncio.ensure_future(read())
    try:
        while not (await asyncio.wait([reading], timeout=_REFRESH_S))[0]:
            if drawing.live:
                await _describe(handle, run, options)
                drawing.draw(run)
        await reading  # raises what it raised
    except asyncio.CancelledError:  # Ctrl-C
        if not drawing.live:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORD_S):
                    await _describe(handle, run, options)
        raise
    finally:
        reading.cancel()
        await asyncio.wait([reading])
        drawing.end(run)


async def _describe(
    handle: WorkflowHandle[Any, Any], run: TracedRun, options: argparse.Namespace
) -> None:
    """What waits. An owner that does not answer has been said by what is drawn: it grows old."""
    with contextlib.suppress(RPCError):
        run.describe((await handle.describe(rpc_timeout=options.rpc_timeout)).raw_description)


class _Drawing:
    """The tree on a terminal, each time over the last."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        self._drawn = 0

    def draw(self, run: TracedRun) -> None:
        """As much of it as fits: its beginning, and the latest steps."""
        columns, rows = shutil.get_terminal_size()
        lines = [_cut(line, columns - 1) for line in run.lines()]
        room = max(rows - 2, 4)
        if len(lines) > room:
            lines = [*lines[:2], [f" … {len(lines) - room + 1} lines more"], *lines[3 - room :]]
        self._erase()
        for line in lines:
            print(_text(line))
        self._drawn = len(lines)
        sys.stdout.flush()

    def end(self, run: TracedRun) -> None:
        """All of it, to stay."""
        self._erase()
        for line in run.lines():
            print(_text(line))
        sys.stdout.flush()

    def _erase(self) -> None:
        if self._drawn:
            print(f"\x1b[{self._drawn}A\x1b[0G\x1b[0J", end="")
        self._drawn = 0


def _text(line: Line) -> str:
    return "".join(
        paint(visible(part), part.color if isinstance(part, Painted) else 0) for part in line
    ).rstrip()


def _cut(line: Line, width: int) -> Line:
    """The line on one row of the terminal: one that wraps would be erased by half."""
    return list(_cut_parts(line, width))


def _cut_parts(line: Line, width: int) -> Iterator[str]:
    left = width
    for part in line:
        text = visible(part)
        if cell_len(text) > left:
            text = set_cell_size(text, max(left - 1, 0)) + "…"
        left -= cell_len(text)
        yield Painted(text, part.color) if isinstance(part, Painted) else text
