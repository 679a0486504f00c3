"""Batches of this server: what Temporal's DescribeBatchOperation has no room for, and which runs
were refused, with the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from odradek.web.api.router import Server, new_router
from odradek.web.batch import BatchJob

router = new_router("runs")


@dataclass
class RefusedRun:
    """A run whose request failed for good."""

    workflow_id: str
    run_id: str
    message: str


@dataclass
class BatchView:
    """How far a batch has come, in runs. `expected` was counted at its start. `gone`: closed or
    deleted before their turn; `pending`: accepted, no owner has answered; `retried`: requests
    sent again after a failure that may pass; `failed`: refused, also at the last attempt;
    `unanswered` and `not_asked`: left over when it was stopped or the server ended. `problem`:
    why it ended early.
    """

    id: str
    action: str
    signal_name: str
    identity: str
    reason: str
    query: str
    running: bool
    started_ms: int
    finished_ms: int
    expected: int
    done: int
    gone: int
    pending: int
    retried: int
    failed: int
    unanswered: int
    not_asked: int
    problem: str


@dataclass
class BatchDetail(BatchView):
    """With the first 200 runs that were refused."""

    failures: list[RefusedRun] = field(default_factory=list)


@dataclass
class Batches:
    """Latest first. Of this server: others do not know them, and they end with it."""

    batches: list[BatchView]


@router.get("/batches", summary="Batches of this server, latest first.")
async def list_batches(server: Server) -> Batches:
    return Batches([BatchView(**_fields(job)) for job in server.batches.latest()])


@router.get("/batches/{job_id:id}", summary="How far a batch has come.")
async def describe_batch(server: Server, job_id: str) -> BatchDetail:
    job = server.batches.get(job_id)
    failures = [RefusedRun(run.workflow_id, run.run_id, message) for run, message in job.failures]
    return BatchDetail(**_fields(job), failures=failures)


def _fields(job: BatchJob) -> dict[str, Any]:
    return {
        name: getattr(job.order if hasattr(job.order, name) else job, name)
        for name in (one.name for one in fields(BatchView))
    }
