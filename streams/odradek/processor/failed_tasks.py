"""Log lines of what the engine did on its own: workflow tasks that it failed (too many pending
activities, a command that is none, nondeterminism), and heartbeat details that it left out of a
command.

Exceptions of workflow code have theirs from `odradek.activation`, with a traceback; these have
the same form, under the same logger.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from odradek.engine.ports import CommandWithoutDetails, FailedTask

logger = logging.getLogger("odradek.workflow")


def log_failed_tasks(failed: Iterable[FailedTask], namespace: str, task_queue: str) -> None:
    """One warning each. Called once their transaction is committed."""
    for each in failed:
        details = {
            "namespace": namespace,
            "task_queue": task_queue,
            "workflow_id": each.workflow_id,
            "run_id": each.run_id,
            "workflow_type": each.workflow_type,
        }
        logger.warning(
            "Failed workflow task of workflow %s with ID %s and run ID %s: %s: %s",
            *(each.workflow_type, each.workflow_id, each.run_id, each.cause, each.message),
            extra={
                "temporal_workflow": details,
                "__temporal_error_identifier": "WorkflowTaskFailure",
            },
        )


def log_without_details(
    commands: Iterable[CommandWithoutDetails], namespace: str, task_queue: str
) -> None:
    """One warning each. Called once their transaction is committed."""
    for each in commands:
        details = {
            "namespace": namespace,
            "task_queue": task_queue,
            "workflow_id": each.workflow_id,
            "run_id": each.run_id,
            "activity_type": each.activity_type,
            "activity_id": each.activity_id,
            "attempt": each.attempt,
        }
        logger.warning(
            "Attempt %d of activity %s (id %s) of workflow with ID %s and run ID %s begins without"
            " the last heartbeat details: %s",
            *(
                each.attempt,
                each.activity_type,
                each.activity_id,
                each.workflow_id,
                each.run_id,
                each.reason,
            ),
            extra={"temporal_workflow": details},
        )
