"""Signal, cancel, terminate or delete many runs: those of a query, or those that were named. The
UI's batches and Temporal's batch API.

A job runs in this process, a few requests at a time, run after run as the read side lists them;
each request carries an id made of job and run, so that what is sent twice is applied once, also
by a job that was begun again under its id. So what fails in a way that may pass is tried again,
see `retries.py`. A job ends with the process: what was done is done, and the log says what was
not.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from odradek.service import RPCStatusCode
from odradek.web.errors import DETAIL_TYPE, ApiError, api_error, not_found
from odradek.web.retries import PASSING, Retries
from odradek.web.runs import check_reply
from odradek.web.threads import in_thread
from odradek.wire.events import (
    CancelWorkflow,
    DeleteWorkflow,
    Request,
    SignalWorkflow,
    TerminateWorkflow,
)
from odradek.wire.outcomes import ExecutionSummary
from odradek.wire.payload import Payload

if TYPE_CHECKING:
    from odradek.web.context import ServerContext
    from odradek.web.ports import RunPage

logger = logging.getLogger(__name__)

SIGNAL, CANCEL, TERMINATE, DELETE = "signal", "cancel", "terminate", "delete"
#: What a query is narrowed to: nothing but open runs can be signalled, cancelled or terminated.
OPEN = "ExecutionStatus = 'Running'"
#: Requests at once: enough to fill an owner's batches, few enough to leave room for others.
_AT_ONCE = 16
#: Jobs that run at once.
RUNNING_MAX = 10
_PAGE = 500
_FAILURES_KEPT = 200
_JOBS_KEPT = 50


@dataclass(frozen=True, slots=True)
class Order:
    """What is done to each run. `details`: of a termination."""

    action: str
    identity: str
    reason: str = ""
    signal_name: str = ""
    signal_input: tuple[Payload, ...] = ()
    signal_headers: Mapping[str, Payload] = field(default_factory=dict)
    details: tuple[Payload, ...] = ()

    def request(self, target: Target, request_id: str) -> Request:
        """The request to a run's owner."""
        workflow_id, run_id, identity = target.workflow_id, target.run_id, self.identity
        if self.action == SIGNAL:
            return SignalWorkflow(
                workflow_id,
                self.signal_name,
                run_id=run_id,
                request_id=request_id,
                identity=identity,
                input=list(self.signal_input),
                headers=dict(self.signal_headers),
            )
        if self.action == CANCEL:
            return CancelWorkflow(
                workflow_id,
                run_id=run_id,
                request_id=request_id,
                identity=identity,
                reason=self.reason,
            )
        if self.action == DELETE:
            return DeleteWorkflow(
                workflow_id, run_id=run_id, request_id=request_id, identity=identity
            )
        return TerminateWorkflow(
            workflow_id,
            run_id=run_id,
            request_id=request_id,
            identity=identity,
            reason=self.reason,
            details=list(self.details),
        )


@dataclass(frozen=True, slots=True)
class Target:
    """A run that is meant; `run_id` "" is the workflow's current one, `task_queue` "" has it
    found.
    """

    workflow_id: str
    run_id: str
    task_queue: str = ""


@dataclass
class BatchJob:
    """How far a batch has come. `expected`: what was counted before; runs come and go meanwhile.

    `gone`: closed or deleted before their turn came. `pending`: accepted, and no owner has
    answered yet. `retried`: requests that were sent again, `failed`: runs whose last request
    failed. `unanswered`: asked when the server ended. `number`: of jobs in their order.
    """

    id: str
    number: int
    order: Order
    query: str
    picked: list[Target] | None
    expected: int
    started_ms: int
    done: int = 0
    gone: int = 0
    pending: int = 0
    retried: int = 0
    failed: int = 0
    unanswered: int = 0
    finished_ms: int = 0
    problem: str = ""
    ended_with_server: bool = False
    failures: list[tuple[Target, str]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def running(self) -> bool:
        """Whether it goes on."""
        return not self.finished_ms

    @property
    def stopped(self) -> bool:
        """Whether it was told to end early."""
        return self._stop.is_set()

    @property
    def handled(self) -> int:
        """Runs that are settled."""
        return self.done + self.gone + self.pending + self.failed

    @property
    def not_asked(self) -> int:
        """Runs that were counted before and whose turn did not come; 0 while it goes on, and of
        a job that came to its end.
        """
        cut = not self.running and bool(self.stopped or self.problem)
        return max(0, self.expected - self.handled - self.unanswered) if cut else 0

    def stop(self, why: str = "") -> None:
        """No more runs after those that are being asked."""
        self.problem = self.problem or why
        self._stop.set()

    def end_with_server(self) -> None:
        """As `stop`, for the process ends."""
        self.ended_with_server = True
        self._stop.set()

    async def stopped_before(self, monotonic_s: float) -> bool:
        """Wait until then; True, sooner, when it is stopped."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), max(0.0, monotonic_s - time.monotonic()))
        return self.stopped


def new_job_id() -> str:
    """An id that no other job has."""
    return uuid.uuid4().hex[:16]


class BatchJobs:
    """The jobs of this process."""

    def __init__(
        self,
        clock_ms: Callable[[], int] = lambda: int(time.time() * 1000),
        *,
        retries: Retries | None = None,
    ) -> None:
        self._retries = retries if retries is not None else Retries()
        self._jobs: dict[str, BatchJob] = {}
        self._begun = 0
        self._clock_ms = clock_ms

    def get(self, job_id: str) -> BatchJob:
        """A job. NOT_FOUND for one of another process, or of this one before it was started anew."""
        job = self.find(job_id)
        if job is None:
            raise not_found(
                "this batch is not known here: it is another server's, or the server was started"
                " anew since. What it had done is done"
            )
        return job

    def find(self, job_id: str) -> BatchJob | None:
        """A job; None for one that is not known."""
        return self._jobs.get(job_id)

    def latest(self) -> list[BatchJob]:
        """Jobs, latest first."""
        return list(reversed(self._jobs.values()))

    def check_new(self, job_id: str) -> None:
        """Whether a job may begin now. Raises ApiError: ALREADY_EXISTS, RESOURCE_EXHAUSTED."""
        if job_id in self._jobs:
            detail = {
                "@type": DETAIL_TYPE + "WorkflowExecutionAlreadyStartedFailure",
                "startRequestId": "",
                "runId": "",
            }
            message = f"batch operation {job_id} exists already: every batch has an id of its own"
            raise ApiError(RPCStatusCode.ALREADY_EXISTS, message, details=[detail])
        if sum(job.running for job in self._jobs.values()) >= RUNNING_MAX:
            message = (
                f"Max concurrent batch operations is reached: {RUNNING_MAX} run in this server."
                " Wait for one, or stop one"
            )
            raise ApiError(RPCStatusCode.RESOURCE_EXHAUSTED, message)

    def start(
        self,
        server: ServerContext,
        order: Order,
        *,
        query: str = "",
        picked: list[Target] | None = None,
        expected: int = 0,
        job_id: str = "",
        per_second: float = 0.0,
    ) -> BatchJob:
        """Begin with the runs of a query as it is, or with those that were picked. per_second:
        most requests, 0 for no limit of that kind.

        Raises what `check_new` raises.
        """
        job_id = job_id or new_job_id()
        self.check_new(job_id)
        self._begun += 1
        job = BatchJob(job_id, self._begun, order, query, picked, expected, self._clock_ms())
        finished = [old.id for old in self._jobs.values() if not old.running]
        for old_id in finished[: max(0, len(self._jobs) + 1 - _JOBS_KEPT)]:
            del self._jobs[old_id]
        self._jobs[job.id] = job
        asking = _Asking(server, job, self._retries, per_second)
        job.task = asyncio.ensure_future(
            self._run(asking, _picked(picked) if picked is not None else asking.listed(query))
        )
        return job

    async def _run(self, asking: _Asking, targets: AsyncIterator[Target]) -> None:
        job, limit = asking.job, asyncio.Semaphore(_AT_ONCE)
        tasks: set[asyncio.Task[None]] = set()

        def asked(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            limit.release()

        try:
            async for target in targets:
                await limit.acquire()
                if not await asking.may_go_on():
                    limit.release()
                    break
                task = asyncio.ensure_future(asking.ask(target))
                tasks.add(task)
                task.add_done_callback(asked)
            await asyncio.gather(*tasks)
        except Exception as error:
            logger.warning("batch %s ended early", job.id, exc_info=error)
            job.problem = api_error(error).message
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            job.finished_ms = self._clock_ms()

    async def close(self, patience_s: float) -> None:
        """The server ends: nobody is asked any more, answers that are on their way get so long,
        and the log says what was not done.
        """
        tasks = []
        for job in self._jobs.values():
            if job.task is not None and not job.task.done():
                job.end_with_server()
                tasks.append(job.task)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=patience_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for job in self._jobs.values():
            if job.ended_with_server and (job.unanswered or job.not_asked):
                _say_what_was_not_done(job)


def _say_what_was_not_done(job: BatchJob) -> None:
    left = [f"{job.unanswered:,} without an answer"] if job.unanswered else []
    left += [f"{job.not_asked:,} not asked"] if job.not_asked else []
    about = "" if job.picked is not None else "about "
    what = (
        f"the server ended: of {about}{job.expected:,} runs {job.handled:,} settled,"
        f" {', '.join(left)}"
    )
    job.problem = f"{job.problem}; {what}" if job.problem else what
    logger.warning(
        "batch %s (%s%s): %s. Begun again under the same id within the hour it asks nobody twice",
        job.id,
        job.order.action,
        f" over {job.query}" if job.query else "",
        job.problem,
    )


class _Asking:
    """The requests of one job, at its pace."""

    def __init__(
        self, server: ServerContext, job: BatchJob, retries: Retries, per_second: float
    ) -> None:
        self.job = job
        self._server = server
        self._retries = retries
        self._per_second = per_second
        self._next_s = time.monotonic()

    async def may_go_on(self) -> bool:
        """Wait for the next turn; False when there is none any more."""
        if self._per_second:
            turn_s = max(self._next_s, time.monotonic())
            self._next_s = turn_s + 1 / self._per_second
            await self.job.stopped_before(turn_s)
        if self._server.hub.closing.is_set() and not self.job.stopped:
            self.job.end_with_server()
        return not self.job.stopped

    async def ask(self, target: Target) -> None:
        """Ask a run's owner, again while it fails in a way that may pass."""
        job, attempt = self.job, 1
        try:
            while (refusal := await self._once(target)) is not None and await self._again(
                refusal, attempt
            ):
                attempt += 1
                job.retried += 1
        except asyncio.CancelledError:
            job.unanswered += 1
            raise
        if refusal is None:
            return
        if (
            refusal.status is RPCStatusCode.NOT_FOUND
        ):  # it closed, or was deleted, between list and request
            job.gone += 1
            return
        job.failed += 1
        if len(job.failures) < _FAILURES_KEPT:
            tried = (
                f" ({attempt} attempt{'s' if attempt > 1 else ''})"
                if refusal.status in PASSING
                else ""
            )
            job.failures.append((target, refusal.message + tried))

    async def _once(self, target: Target) -> ApiError | None:
        """One request; why it failed, or None."""
        job, server = self.job, self._server
        request = job.order.request(target, request_id(job, target))
        try:
            reply = await server.need_owners().change(
                request, task_queue=target.task_queue, timeout_s=server.options.request_timeout_s
            )
            if reply is not None:
                check_reply(reply)
        except Exception as error:
            return api_error(error)
        if reply is None:
            job.pending += 1
        else:
            job.done += 1
        return None

    async def _again(self, failure: ApiError, attempt: int) -> bool:
        """Whether to try once more, when it is time for it."""
        if not self._retries.again(failure.status, attempt):
            return False
        if await self.job.stopped_before(time.monotonic() + self._retries.pause_s(attempt)):
            return False
        return await self.may_go_on()

    async def listed(self, query: str) -> AsyncIterator[Target]:
        """Runs of a query, page after page."""
        token = b""
        while True:
            page = await self._page(query, token)
            for summary in page.executions:
                yield target_of(summary)
            token = page.next_page_token
            if not token:
                return

    async def _page(self, query: str, token: bytes) -> RunPage:
        server, attempt = self._server, 1
        while True:
            try:
                visibility, timeout_s = server.need_visibility(), server.options.request_timeout_s
                return await in_thread(
                    visibility.list, query, page_size=_PAGE, page_token=token, timeout_s=timeout_s
                )
            except Exception as error:
                if not await self._again(api_error(error), attempt):
                    raise
            attempt += 1


def request_id(job: BatchJob, target: Target) -> str:
    """The same for the same job, action and run, whichever process sends it."""
    what = json.dumps(
        [job.id, job.order.action, job.order.signal_name, target.workflow_id, target.run_id]
    )
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"odradek:batch:{what}"))


async def _picked(targets: list[Target]) -> AsyncIterator[Target]:
    for target in targets:
        yield target


def target_of(summary: ExecutionSummary) -> Target:
    """A run of the read side as a target."""
    return Target(summary.workflow_id, summary.run_id, summary.task_queue)
