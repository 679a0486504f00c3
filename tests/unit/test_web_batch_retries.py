"""Requests of a batch that fail: what passes is tried again under its request id, what does not
is not; an end says what was not done.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from odradek.exceptions import BrokerUnreachableError
from odradek.service import RPCError, RPCStatusCode
from odradek.web.batch import CANCEL, BatchJob, BatchJobs, Order, Retries, Target
from odradek.web.errors import ApiError
from odradek.wire.outcomes import Reply
from tests.unit.web_server import WebServer, ok, summary
from tests.unit.web_ui import UiServer

BATCH = "/api/v1/namespaces/default/batch-operations/job-1"
PAGE = {"accept": "text/html", "sec-fetch-site": "same-origin"}


class Flaky:
    """Owners whose answers are scripted: what `script` holds for a workflow id comes first, one
    a request, then OK.
    """

    def __init__(self) -> None:
        self.script: dict[str, list[BaseException | str]] = {}
        self.asked: list[tuple[str, str]] = []
        self.never = asyncio.Event()
        self._waited: dict[int, asyncio.Event] = {}

    async def asked_for(self, count: int) -> None:
        """Wait until so many requests have come."""
        if len(self.asked) < count:
            await asyncio.wait_for(self._waited.setdefault(count, asyncio.Event()).wait(), 10)

    async def change(
        self, record: Any, *, task_queue: str = "", create: bool = False, timeout_s: float
    ) -> Reply | None:
        self.asked.append((record.workflow_id, record.request_id))
        if (waited := self._waited.get(len(self.asked))) is not None:
            waited.set()
        left = self.script.get(record.workflow_id, [])
        found = left.pop(0) if left else "OK"
        if isinstance(found, BaseException):
            raise found
        if found == "silent":
            await self.never.wait()
        return Reply(
            "client",
            record.request_id,
            type(record).__name__,
            found,
            message=f"{found}: {record.workflow_id}",
        )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    web = UiServer(tmp_path)
    web.context.batches = BatchJobs(retries=Retries(pause_first_s=0.001, pause_most_s=0.002))
    yield web
    web.store.close()


@pytest.fixture
def owners(server: WebServer) -> Flaky:
    found = Flaky()
    server.context.owners = found  # type: ignore[assignment]  # what a batch needs of them
    return found


def begin(server: WebServer, *names: str, **options: Any) -> BatchJob:
    picked = [Target(name, f"run-of-{name}", "orders") for name in names]
    return server.context.batches.start(
        server.context,
        Order(CANCEL, "me"),
        picked=picked,
        expected=len(picked),
        job_id="job-1",
        **options,
    )


async def finished(job: BatchJob) -> BatchJob:
    assert job.task is not None
    await asyncio.wait_for(job.task, 10)
    return job


def rpc(status: RPCStatusCode) -> RPCError:
    return RPCError(f"{status.name}: try again", status, b"")


PASSES = [
    rpc(RPCStatusCode.UNAVAILABLE),
    rpc(RPCStatusCode.DEADLINE_EXCEEDED),
    BrokerUnreachableError("k:9092"),
    "UNAVAILABLE",
    TimeoutError(),
]
STAYS = [
    "NOT_FOUND",
    "FAILED_PRECONDITION",
    "INVALID_ARGUMENT",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "INTERNAL",
    "UNKNOWN",
]


@pytest.mark.parametrize("failure", PASSES, ids=repr)
async def test_what_passes_is_tried_again_under_the_same_request_id(
    server: WebServer, owners: Flaky, failure: Any
) -> None:
    owners.script["order-1"] = [failure, failure]
    job = await finished(begin(server, "order-1", "order-2"))
    assert (job.done, job.retried, job.failed, job.failures) == (2, 2, 0, [])
    assert Counter(name for name, _ in owners.asked) == {"order-1": 3, "order-2": 1}
    assert len(set(owners.asked)) == 2, (
        "an owner that applied it and was not heard must not apply it again"
    )


@pytest.mark.parametrize("failure", [*STAYS, RuntimeError("a defect")], ids=repr)
async def test_what_does_not_pass_is_not(server: WebServer, owners: Flaky, failure: Any) -> None:
    owners.script["order-1"] = [failure]
    job = await finished(begin(server, "order-1"))
    gone = failure == "NOT_FOUND"  # closed, or deleted: no failure, as in Temporal
    assert (job.retried, job.failed, job.gone, len(owners.asked)) == (
        0,
        int(not gone),
        int(gone),
        1,
    )


async def test_tries_are_bounded_and_the_last_failure_is_told(
    server: WebServer, owners: Flaky
) -> None:
    owners.script["order-1"] = [rpc(RPCStatusCode.UNAVAILABLE) for _ in range(100)]
    job = await finished(begin(server, "order-1", "order-2"))
    assert (job.done, job.retried, job.failed, job.problem) == (1, 4, 1, "")
    [(target, why)] = job.failures
    assert target.workflow_id == "order-1" and why == "UNAVAILABLE: try again (5 attempts)"
    async with server.client(headers=PAGE) as client:
        described = ok(await client.get(BATCH))
        assert (described["completeOperationCount"], described["failureOperationCount"]) == (
            "1",
            "1",
        )
        own = ok(await client.get("/api/odradek/v1/batches/job-1"))
        assert (
            own.items()
            >= {
                "done": 1,
                "retried": 4,
                "failed": 1,
                "gone": 0,
                "pending": 0,
                "unanswered": 0,
                "not_asked": 0,
            }.items()
        )
        assert own["failures"] == [
            {"workflow_id": "order-1", "run_id": "run-of-order-1", "message": why}
        ]
        assert [
            one["id"] for one in ok(await client.get("/api/odradek/v1/batches"))["batches"]
        ] == ["job-1"]
        assert (await client.get("/api/odradek/v1/batches/nothing")).status_code == 404
        page = (await client.get("/batches/job-1")).text
        assert "Tried again" in page and why in page


def test_pauses_double_up_to_a_limit_and_spread() -> None:
    retries = Retries(attempts=9, pause_first_s=0.5, pause_most_s=8.0)
    for attempt, most in ((1, 0.5), (2, 1.0), (3, 2.0), (5, 8.0), (8, 8.0)):
        found = [retries.pause_s(attempt) for _ in range(200)]
        assert most / 2 <= min(found) < max(found) <= most, (
            "requests that failed together must not come again together"
        )


async def test_tries_keep_the_pace_of_the_job(server: WebServer, owners: Flaky) -> None:
    owners.script["order-1"] = [rpc(RPCStatusCode.UNAVAILABLE)] * 2
    began = asyncio.get_running_loop().time()
    await finished(begin(server, "order-1", per_second=20))
    assert asyncio.get_running_loop().time() - began >= 2 / 20


async def test_a_stop_is_heeded_by_who_waits_to_try_again(server: WebServer, owners: Flaky) -> None:
    server.context.batches = BatchJobs(retries=Retries(pause_first_s=3600, pause_most_s=3600))
    owners.script["order-1"] = [rpc(RPCStatusCode.UNAVAILABLE)]
    job = begin(server, "order-1")
    await owners.asked_for(1)
    job.stop("enough")
    await finished(job)
    assert (job.retried, job.failed, job.failures[0][1]) == (
        0,
        1,
        "UNAVAILABLE: try again (1 attempt)",
    )


async def test_a_page_of_runs_that_cannot_be_read_now_is_read_again(
    server: WebServer, owners: Flaky
) -> None:
    for number in range(3):
        server.add(summary(f"order-{number}"))
    reads: list[str] = []

    class Store:
        """The read side's store, which is rebuilt at the first look."""

        def list(self, query: str, **options: Any) -> Any:
            reads.append(query)
            if len(reads) == 1:
                raise ApiError(RPCStatusCode.UNAVAILABLE, "the store is being opened")
            return server.store.list(query, **options)

    server.context.read_side = Store  # type: ignore[assignment]
    job = await finished(
        server.context.batches.start(
            server.context, Order(CANCEL, "me"), query="WorkflowType = 'OrderSaga'", expected=3
        )
    )
    assert (job.done, job.problem, len(reads)) == (3, "", 2)


async def test_an_end_of_the_server_says_what_was_not_done(
    server: WebServer, owners: Flaky, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"order-{number}" for number in range(40)]
    owners.script = {name: ["silent"] for name in names[2:]}
    with caplog.at_level(logging.WARNING, "odradek.web.batch"):
        async with server.client() as client:
            job = begin(server, *names)
            await owners.asked_for(18)  # two have their answers, sixteen wait for theirs
            assert ok(await client.get(BATCH))["state"] == "BATCH_OPERATION_STATE_RUNNING"
        # The server has ended.
    assert not job.running and (job.done, job.unanswered, job.not_asked) == (2, 16, 22)
    assert (
        job.problem == "the server ended: of 40 runs 2 settled, 16 without an answer, 22 not asked"
    )
    [line] = [record.getMessage() for record in caplog.records]
    assert "batch job-1 (cancel)" in line and job.problem in line and "the same id" in line
    async with server.client(headers=PAGE) as client:
        page = (await client.get("/batches/job-1")).text
        assert (
            job.problem in page
            and ok(await client.get(BATCH))["state"] == "BATCH_OPERATION_STATE_FAILED"
        )


async def test_a_job_that_notices_the_end_first_is_told_too(
    server: WebServer, owners: Flaky, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "odradek.web.batch"):
        async with server.client():
            job = begin(server, *(f"order-{number}" for number in range(3)), per_second=50)
            server.context.hub.close()
            await finished(job)
    assert (job.done, job.not_asked) == (0, 3) and job.problem in caplog.text


async def test_an_end_waits_a_moment_for_answers(server: WebServer, owners: Flaky) -> None:
    server.context.options = replace(server.context.options, shutdown_timeout_s=60)
    owners.script["order-1"] = ["silent"]
    async with server.client():
        job = begin(server, "order-1")
        await owners.asked_for(1)
        asyncio.get_running_loop().call_later(0.02, owners.never.set)
    # `silent` is no verdict that anybody knows: told as it is.
    assert (job.failed, job.unanswered, job.running) == (1, 0, False)
