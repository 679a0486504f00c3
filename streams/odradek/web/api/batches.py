"""Batches of this server: what Temporal's DescribeBatchOperation has no room for, and which runs
were refused, with the reason.
"""

from __future__ import annotations

from typing import Any

import msgspec

from odradek.web.api.operation import Asked, Operation
from odradek.web.batch import BatchJob


class RefusedRun(msgspec.Struct):
    """A run whose request failed for good."""

    workflow_id: str
    run_id: str
    message: str


class BatchView(msgspec.Struct):
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


class BatchDetail(BatchView):
    """With the first 200 runs that were refused."""

    failures: list[RefusedRun] = []


class Batches(msgspec.Struct):
    """Latest first. Of this server: others do not know them, and they end with it."""

    batches: list[BatchView]


class BatchParameters(msgspec.Struct):
    job_id: str


async def list_batches(asked: Asked) -> Batches:
    return Batches([BatchView(**_fields(job)) for job in asked.server.batches.latest()])


async def describe_batch(asked: Asked) -> BatchDetail:
    job = asked.server.batches.get(asked.parameters.job_id)
    failures = [
        RefusedRun(target.workflow_id, target.run_id, message) for target, message in job.failures
    ]
    return BatchDetail(**_fields(job), failures=failures)


def _fields(job: BatchJob) -> dict[str, Any]:
    of_order = ("action", "signal_name", "identity", "reason")
    return {
        name: getattr(job.order if name in of_order else job, name)
        for name in BatchView.__struct_fields__
    }


BATCH_OPERATIONS = [
    Operation(
        "GET",
        "/batches",
        "list_batches",
        "Batches of this server, latest first.",
        "runs",
        list_batches,
        Batches,
    ),
    Operation(
        "GET",
        "/batches/{job_id}",
        "describe_batch",
        "How far a batch has come.",
        "runs",
        describe_batch,
        BatchDetail,
        BatchParameters,
    ),
]
