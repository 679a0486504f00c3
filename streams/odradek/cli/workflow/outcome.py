"""How a run ended, in the JSON that `temporal` writes of it: status, close event, result. And
what happens until then.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from odradek.cli.workflow.read import print_event
from odradek.client import (
    Client,
    RPCError,
    WorkflowHandle,
    WorkflowHistory,
    WorkflowHistoryEventFilterType,
)
from odradek.client.history import page_token
from odradek.wire.outcomes import WorkflowResult
from odradek.wire.payload import Payload

_WITHIN = timedelta(seconds=10)
# The last events come with the outcome, give or take a page.
_LAST_EVENTS_S = 5.0


def status_word(status: str) -> str:
    """A status in capitals. Temporal's command line has TIMEOUT for one."""
    return "TIMEOUT" if status == "TIMED_OUT" else status


def friendly(payloads: Sequence[Payload]) -> Any:
    """A result as `temporal` writes it: the one payload in short form where it has one, of
    several a list, null without any.
    """
    from odradek.engine.json_fields import PAYLOADS, write_payload
    from odradek.web.temporal.shorthand import shorten

    return shorten(write_payload(payloads[0]) if len(payloads) == 1 else PAYLOADS.write(payloads))


async def close_event(
    client: Client, outcome: WorkflowResult, rpc_timeout: timedelta | None = None
) -> dict[str, Any] | None:
    """The event that closed the run, payloads in short form; None where it is not to be had (any
    more).
    """
    from odradek.web.temporal.shapes import history
    from odradek.web.temporal.shorthand import shorten

    handle = _handle(client, outcome.workflow_id, outcome.run_id, outcome.task_queue)
    events = handle.fetch_history_events(
        event_filter_type=WorkflowHistoryEventFilterType.CLOSE_EVENT,
        next_page_token=page_token(
            outcome.run_id, max(1, outcome.history_length)
        ),  # it is the last one
        rpc_timeout=rpc_timeout or _WITHIN,
    )
    try:
        found = [event async for event in events]
    except RPCError:
        return None
    written: dict[str, Any] | None = (
        shorten(history(found, outcome.task_queue)[-1]) if found else None
    )
    return written


async def history_json(
    client: Client, workflow_id: str, run_id: str, task_queue: str
) -> dict[str, Any]:
    """The history of a run, as `workflow show -o json` has it."""
    events = _handle(client, workflow_id, run_id, task_queue).fetch_history_events()
    return WorkflowHistory(workflow_id, [event async for event in events]).to_json_dict()


async def result_with_progress(
    client: Client, handle: WorkflowHandle[Any, Any], *, detailed: bool
) -> Any:
    """Its result; until then its events on stderr, also those of the runs that follow.
    `detailed`: with what they hold.
    """
    told = _print_progress(
        client, handle.id, handle.result_run_id or "", handle.task_queue or "", detailed=detailed
    )
    printing = asyncio.create_task(told)
    try:
        return await handle.result()
    finally:
        with contextlib.suppress(RPCError, TimeoutError):
            await asyncio.wait_for(printing, _LAST_EVENTS_S)


async def _print_progress(
    client: Client, workflow_id: str, run_id: str, task_queue: str, *, detailed: bool
) -> None:
    while run_id:
        run_id, current = "", run_id
        async for event in _handle(client, workflow_id, current, task_queue).fetch_history_events(
            wait_new_event=True
        ):
            print_event(event, detailed=detailed, file=sys.stderr)
            run_id = getattr(event.attributes, "new_execution_run_id", "")


def _handle(
    client: Client, workflow_id: str, run_id: str, task_queue: str
) -> WorkflowHandle[Any, Any]:
    return client.get_workflow_handle(workflow_id, run_id=run_id, task_queue=task_queue or None)
