"""Which task queue a workflow id belongs to, for a handle that was not told.

Asked are, by DescribeWorkflow, which changes nothing: every queue whose processors seem to live,
and, if none of them has it, for a moment those that were served before. A queue that has not
answered may have it: then the id is UNAVAILABLE, not NOT_FOUND. A queue that nobody ever served
has no workflows, only requests that wait; it is not asked.
Two queues that have it are an error that names both.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from odradek.client.channel import RequestChannel
from odradek.client.errors import Unanswered, rpc_error
from odradek.exceptions import OdradekError, TopicMissingError
from odradek.service import RPCError, RPCStatusCode
from odradek.wire.events import DescribeWorkflow
from odradek.wire.outcomes import NOT_FOUND, OK, RESOURCE_EXHAUSTED

# Queues without a living owner are asked only to be sure (one that comes up has not said so yet);
# they get this long.
SILENT_QUEUE_S = 1.0
# Queues that an error names.
NAMED = 5
# The cure, as a program has it; the command line says it in its own words.
NAME_THE_QUEUE = "name the queue of the workflow with `task_queue`"


async def locate(
    channel: RequestChannel,
    workflow_id: str,
    run_id: str,
    timeout_s: float,
    *,
    known: Collection[str] = (),
) -> str:
    """The task queue that has this workflow id. Raises `RPCError`: NOT_FOUND, UNAVAILABLE,
    INVALID_ARGUMENT for no id, or FAILED_PRECONDITION when two have it.

    known: queues that have it by what the caller knows; each counts as one that has it unless it
    says otherwise.
    """
    if (
        not workflow_id or "/" in run_id
    ):  # what no queue can have is not looked for: one that is silent would leave it in doubt
        raise rpc_error(
            RPCStatusCode.INVALID_ARGUMENT,
            "Invalid RunId." if workflow_id else "WorkflowId is not set on request.",
        )
    await channel.ready()
    queues = await channel.transport.queues()
    living = [queue for queue, alive in queues.items() if alive]
    silent = [queue for queue, alive in queues.items() if not alive and queue not in known]
    expected = [queue for queue in known if queue not in living]
    (found, unanswered), (also_found, also_unanswered) = await asyncio.gather(
        _ask(channel, living, workflow_id, run_id, timeout_s),
        _ask(channel, expected, workflow_id, run_id, min(timeout_s, SILENT_QUEUE_S)),
    )
    found += also_found + [queue for queue in unanswered if queue in known] + also_unanswered
    unanswered = [queue for queue in unanswered if queue not in known]
    if not found and silent:
        served = await channel.transport.served(silent)
        also_found, also_unanswered = await _ask(
            channel, sorted(served), workflow_id, run_id, min(timeout_s, SILENT_QUEUE_S)
        )
        found += also_found
        unanswered += also_unanswered
    if len(found) > 1:
        raise ambiguous(workflow_id, found)
    if found:
        channel.remember_queue(workflow_id, found[0])
        return found[0]
    if unanswered:
        raise rpc_error(
            RPCStatusCode.UNAVAILABLE,
            f"workflow {workflow_id!r} was not found, but no processor of {_names(unanswered)}"
            " answers, and it may be there. Start a worker for it, or, if it is not there,"
            f" {NAME_THE_QUEUE}",
        )
    raise rpc_error(RPCStatusCode.NOT_FOUND, f"workflow not found for ID: {workflow_id}")


def ambiguous(workflow_id: str, queues: Collection[str]) -> RPCError:
    """The error of an id that these queues have."""
    return rpc_error(
        RPCStatusCode.FAILED_PRECONDITION,
        f"workflow id {workflow_id!r} exists in the task queues {_names(queues)}: say which one is"
        f" meant: {NAME_THE_QUEUE}",
    )


async def _ask(
    channel: RequestChannel, queues: list[str], workflow_id: str, run_id: str, timeout_s: float
) -> tuple[list[str], list[str]]:
    """Queues that have the workflow, and queues that did not answer."""
    if not queues:
        return [], []
    answers = await asyncio.gather(
        *(has_workflow(channel, queue, workflow_id, run_id, timeout_s) for queue in queues)
    )
    found = [queue for queue, has in zip(queues, answers, strict=True) if has]
    unanswered = [queue for queue, has in zip(queues, answers, strict=True) if has is None]
    return found, unanswered


async def has_workflow(
    channel: RequestChannel, queue: str, workflow_id: str, run_id: str, timeout_s: float
) -> bool | None:
    """Whether the queue has the workflow; None when it did not say."""
    try:
        await channel.prepare(queue, create=False)
        reply = await channel.ask(
            queue,
            DescribeWorkflow(workflow_id=workflow_id, run_id=run_id),
            timeout_s,
            fail_early=True,
        )
    except TopicMissingError:
        return False
    except (Unanswered, RPCError, OdradekError):
        return None
    if reply.status in (
        OK,
        RESOURCE_EXHAUSTED,
    ):  # it has the workflow, and no reply takes the description
        return True
    return False if reply.status == NOT_FOUND else None


def _names(queues: Collection[str]) -> str:
    more = f" and {len(queues) - NAMED} more" if len(queues) > NAMED else ""
    return ", ".join(repr(queue) for queue in sorted(queues)[:NAMED]) + more
