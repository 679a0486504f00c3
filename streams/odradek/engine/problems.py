"""When a run reports that its workflow task keeps failing (`odradek.wire.problems`).

As in Temporal (server 1.29 and newer): once the task has failed several times in a row, no more
once it succeeds. Temporal's server waits for 5 failures unless it is told otherwise, its cloud
for 2, as we do. A quarantined run reports at once.

The row has what the last ExecutionSummary said, so that one is written when the values change
and not at each retry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from odradek.wire.problems import CAUSE, QUARANTINED, TASK_FAILED, cause_value

if TYPE_CHECKING:
    from odradek.engine.run import LiveRun
    from odradek.engine.step import WorkflowStep


def report(step: WorkflowStep, run: LiveRun, cause: str = "") -> None:
    """Note what the run's summary has to say after a task failed or the run was quarantined; the
    summary goes out if that is news.

    cause: of the failure; "": the cause reported before stays.
    """
    row, wanted = run.row, list[str]()
    quarantined = row.quarantine_reason != ""
    if quarantined or row.task_attempt - 1 >= step.limits.problems_reported_from:
        causes = (
            [cause_value(cause)]
            if cause
            else [value for value in row.reported_problems if value.startswith(CAUSE)]
        )
        wanted = [TASK_FAILED, *causes, *([QUARANTINED] if quarantined else [])]
    _set(run, wanted)


def clear(run: LiveRun) -> None:
    """The task succeeded: nothing to report."""
    _set(run, [])


def _set(run: LiveRun, wanted: list[str]) -> None:
    if run.row.reported_problems != wanted:
        run.row.reported_problems = wanted
        run.dirty = run.summary_dirty = True
