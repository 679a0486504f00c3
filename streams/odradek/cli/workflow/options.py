"""Options that commands on workflows share, and the handle that they make."""

from __future__ import annotations

import argparse
from enum import IntEnum
from typing import Any

from odradek.cli.common import duration, filled
from odradek.client import Client, WorkflowHandle


def add_one(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Which workflow."""
    parser.add_argument("--workflow-id", "-w", type=filled, required=required, help="workflow id")
    parser.add_argument("--run-id", "-r", help="run id (default: the latest run)")
    parser.add_argument(
        "--task-queue", "-t", help="task queue that it was started on (default: it is located)"
    )
    add_timeout(parser)


def add_timeout(parser: argparse.ArgumentParser, what: str = "an answer") -> None:
    """`--rpc-timeout`."""
    parser.add_argument(
        "--rpc-timeout",
        type=duration,
        metavar="DURATION",
        help=f"longest wait for {what} (setting `rpc_timeout`)",
    )


def handle_of(client: Client, options: argparse.Namespace) -> WorkflowHandle[Any, Any]:
    """The handle of the workflow that the options name."""
    return client.get_workflow_handle(
        options.workflow_id, run_id=options.run_id, task_queue=options.task_queue
    )


class member:
    """argparse type of an enum's member, written in any case, with dashes or as one word.
    `words`: as they are offered.
    """

    def __init__(self, enum: type[IntEnum]) -> None:
        self._members = {
            name.replace("_", "").lower(): one for name, one in enum.__members__.items()
        }
        self.words = tuple(
            name.title().replace("_", "") for name in enum.__members__ if name != "UNSPECIFIED"
        )

    def __call__(self, text: str) -> IntEnum:
        """The member. Raises ArgumentTypeError."""
        found = self._members.get(text.replace("_", "").replace("-", "").lower())
        if found is None:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(self.words)}")
        return found


def names(enum: type[IntEnum]) -> str:
    """Members as they are written on a command line."""
    return ", ".join(member(enum).words)
