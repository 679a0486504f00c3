"""Signal, cancel or terminate many runs: those of a query, or those that were picked.

A job runs in this process, a few requests at a time, run after run as the read side lists them; each request carries an id made of job
and run, so that what is sent twice is applied once. It ends with the process: what was done is done, and the page says how many.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from odradek.web.context import ServerContext, in_thread
from odradek.web.errors import api_error, not_found
from odradek.web.runs import check_reply
from odradek.wire.events import CancelWorkflow, Request, SignalWorkflow, TerminateWorkflow
from odradek.wire.outcomes import ExecutionSummary
from odradek.wire.payload import Payload

logger = logging.getLogger(__name__)

SIGNAL, CANCEL, TERMINATE = "signal", "cancel", "terminate"
ACTIONS = (SIGNAL, CANCEL, TERMINATE)
#: Requests at once: enough to fill an owner's batches, few enough to leave room for others.
_AT_ONCE = 16
_PAGE = 500
_FAILURES_KEPT = 200
_JOBS_KEPT = 50


@dataclass(frozen=True, slots=True)
class Order:
    """What is done to each run."""

    action: str
    identity: str
    reason: str = ""
    signal_name: str = ""
    signal_input: tuple[Payload, ...] = ()

    def request(self, workflow_id: str, run_id: str, request_id: str) -> Request:
        """The request to a run's owner."""
        if self.action == SIGNAL:
            return SignalWorkflow(
                workflow_id, self.signal_name, run_id=run_id, request_id=request_id, identity=self.identity, input=list(self.signal_input)
            )
        if self.action == CANCEL:
            return CancelWorkflow(workflow_id, run_id=run_id, request_id=request_id, identity=self.identity, reason=self.reason)
        return TerminateWorkflow(workflow_id, run_id=run_id, request_id=request_id, identity=self.identity, reason=self.reason)


@dataclass(frozen=True, slots=True)
class Target:
    """A run that is meant."""

    workflow_id: str
    run_id: str
    task_queue: str


@dataclass
class BatchJob:
    """How far a batch has come. `expected`: what the preview counted; runs come and go meanwhile."""

    id: str
    order: Order
    query: str
    expected: int
    started_ms: int
    done: int = 0
    pending: int = 0
    failed: int = 0
    finished_ms: int = 0
    stopped: bool = False
    problem: str = ""
    failures: list[tuple[Target, str]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return not self.finished_ms

    @property
    def handled(self) -> int:
        """Runs that were asked."""
        return self.done + self.pending + self.failed

    def stop(self) -> None:
        """No more runs after those that are being asked."""
        self.stopped = True


class BatchJobs:
    """The jobs of this process."""

    def __init__(self, clock_ms: Callable[[], int] = lambda: int(time.time() * 1000)) -> None:
        self._jobs: OrderedDict[str, BatchJob] = OrderedDict()
        self._clock_ms = clock_ms

    def get(self, job_id: str) -> BatchJob:
        """A job. NOT_FOUND when the process was started anew since."""
        job = self._jobs.get(job_id)
        if job is None:
            raise not_found("this batch is not known here: the server was started anew since, and what it had done is done")
        return job

    def latest(self) -> list[BatchJob]:
        """Jobs, latest first."""
        return list(reversed(self._jobs.values()))

    def start(self, server: ServerContext, order: Order, query: str, picked: list[Target] | None, expected: int) -> BatchJob:
        """Begin with the open runs of a query, or with those that were picked."""
        job = BatchJob(uuid.uuid4().hex[:16], order, query, expected, self._clock_ms())
        self._jobs[job.id] = job
        while len(self._jobs) > _JOBS_KEPT:
            oldest = next(iter(self._jobs.values()))
            if oldest.running:
                break
            del self._jobs[oldest.id]
        targets = _picked(picked) if picked is not None else _of_query(server, query)
        job.task = asyncio.ensure_future(self._run(server, job, targets))
        return job

    async def _run(self, server: ServerContext, job: BatchJob, targets: AsyncIterator[Target]) -> None:
        limit = asyncio.Semaphore(_AT_ONCE)
        asking: set[asyncio.Task[None]] = set()

        def asked(task: asyncio.Task[None]) -> None:
            asking.discard(task)
            limit.release()

        try:
            async for target in targets:
                await limit.acquire()
                if job.stopped or server.hub.closing.is_set():
                    limit.release()
                    break
                task = asyncio.ensure_future(_ask(server, job, target))
                asking.add(task)
                task.add_done_callback(asked)
            await asyncio.gather(*asking)
        except Exception as error:
            logger.warning("batch %s ended early", job.id, exc_info=error)
            job.problem = api_error(error).message
        finally:
            job.finished_ms = self._clock_ms()


async def _ask(server: ServerContext, job: BatchJob, target: Target) -> None:
    request = job.order.request(target.workflow_id, target.run_id, f"{job.id}:{target.run_id}")
    try:
        reply = await server.need_owners().change(request, task_queue=target.task_queue, timeout_s=server.options.request_timeout_s)
        if reply is None:
            job.pending += 1
            return
        check_reply(reply)
        job.done += 1
    except Exception as error:
        job.failed += 1
        if len(job.failures) < _FAILURES_KEPT:
            job.failures.append((target, api_error(error).message))


async def _picked(targets: list[Target]) -> AsyncIterator[Target]:
    for target in targets:
        yield target


async def _of_query(server: ServerContext, query: str) -> AsyncIterator[Target]:
    token = b""
    while True:
        page = await in_thread(
            server.need_visibility().list, query, page_size=_PAGE, page_token=token, timeout_s=server.options.request_timeout_s
        )
        for summary in page.executions:
            yield target_of(summary)
        token = page.next_page_token
        if not token:
            return


def target_of(summary: ExecutionSummary) -> Target:
    """A run of the read side as a target."""
    return Target(summary.workflow_id, summary.run_id, summary.task_queue)
