"""The root of a client's outbound interceptors: turns each call into a request, and its verdict
into what the caller gets.

The rules of requests: the caller returns on the owner's verdict; with no owner alive, start,
signal, cancel and terminate are accepted after the timeout, query, describe and history are
UNAVAILABLE. See `verdicts.py`. What an interceptor may see goes through here; long polls of
results do not, as in Temporal, where they are history calls.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar

from odradek.client.activity_handle import ActivityCompletion
from odradek.client.channel import request_id_of_caller
from odradek.client.connection import Connection
from odradek.client.description import WorkflowExecutionDescription, status_of
from odradek.client.encode import (
    headers_of,
    payloads_of,
    seconds_of,
    single_value,
    start_record,
    takes_context,
)
from odradek.client.errors import Unanswered, WorkflowQueryRejectedError, never_used, rpc_error
from odradek.client.handle import WorkflowHandle
from odradek.client.history import WorkflowHistoryEventAsyncIterator
from odradek.client.interceptor import (
    CancelWorkflowInput,
    CompleteAsyncActivityInput,
    CountWorkflowsInput,
    DescribeWorkflowInput,
    FailAsyncActivityInput,
    FetchWorkflowHistoryEventsInput,
    HeartbeatAsyncActivityInput,
    ListWorkflowsInput,
    OutboundInterceptor,
    QueryWorkflowInput,
    ReportCancellationAsyncActivityInput,
    SignalWorkflowInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
    StartWorkflowUpdateWithStartInput,
    TerminateWorkflowInput,
)
from odradek.client.locate import locate
from odradek.client.responses import (
    accept,
    check,
    check_start,
    next_run,
    note_outcome,
    query_failed,
    unavailable,
    value_of,
)
from odradek.client.unsupported import WorkflowUpdateHandle, updates_not_supported
from odradek.client.visibility import (
    WorkflowExecutionAsyncIterator,
    WorkflowExecutionCount,
    count_workflows,
    namespace_path,
)
from odradek.common import HeaderCodecBehavior, QueryRejectCondition
from odradek.converter import DataConverter, WorkflowSerializationContext
from odradek.exceptions import BrokerUnreachableError, TopicMissingError
from odradek.service import RPCError, RPCStatusCode
from odradek.wire.events import (
    AwaitResult,
    CancelWorkflow,
    DeleteWorkflow,
    DescribeWorkflow,
    FetchHistory,
    QueryWorkflow,
    Request,
    SignalWorkflow,
    StartWorkflow,
    TerminateWorkflow,
    UnparkWorkflow,
)
from odradek.wire.outcomes import INVALID_ARGUMENT, NOT_FOUND, QUERY_FAILED, QUERY_REJECTED, Reply

R = TypeVar("R")
R_ = TypeVar("R_", bound=Reply | None)

# One wait for new events of a history; then it is asked again.
LONG_POLL = timedelta(seconds=30)
# Before it is asked again after it was UNAVAILABLE, which may be known at once: the pause doubles
# each time.
FOLLOW_PAUSE_MIN_S = 0.5
FOLLOW_PAUSE_MAX_S = 4.0


class ClientImpl(OutboundInterceptor):
    """Calls of one client, over the request channel of its namespace."""

    def __init__(
        self,
        connection: Connection,
        namespace: str,
        converter: DataConverter,
        header_codec_behavior: HeaderCodecBehavior,
        default_query_reject_condition: QueryRejectCondition | None,
    ) -> None:
        self.namespace = namespace
        self.converter = converter
        #: Where calls enter the chain of interceptors that ends here. Handles hold it.
        self.outbound: OutboundInterceptor = self
        self.default_query_reject_condition = default_query_reject_condition
        self.channel = connection.channel(namespace)
        self._connection = connection
        self._converter_takes_context = takes_context(converter)
        self._header_codec_behavior = header_codec_behavior
        self._default_timeout_s = connection.rpc_timeout_s
        self._completion = ActivityCompletion(self)

    # --- start and result

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        """Start, or signal with start. The handle acts on the latest run and awaits the one
        started.
        """
        record, timeout_s = await self._prepare_start(input)
        try:
            reply: Reply | None = await self._available(
                self.channel.ask(input.task_queue, record, timeout_s, create=True)
            )
        except Unanswered as unanswered:
            self._accept(
                unanswered,
                f"start of workflow {input.id!r}",
                input.id,
                input.task_queue,
                input.rpc_timeout,
            )
            reply = None
        if reply is not None:
            check_start(
                reply,
                workflow_id=input.id,
                workflow_type=input.workflow,
                task_queue=input.task_queue,
            )
        run_id = reply.run_id if reply is not None and reply.run_id else record.run_id
        if reply is not None:
            first_run_id = reply.first_execution_run_id or (
                run_id if input.start_signal is None or reply.started else None
            )
        else:
            first_run_id = None
        return WorkflowHandle(
            self,
            input.id,
            result_run_id=run_id,
            first_execution_run_id=first_run_id,
            result_type=input.ret_type,
            start_workflow_response=reply,
            task_queue=input.task_queue,
            unconfirmed_start=record if reply is None else None,
        )

    async def execute_workflow(self, input: StartWorkflowInput) -> Any:
        """Start and wait for the outcome with one request: the way of a client without
        interceptors.
        """
        record, timeout_s = await self._prepare_start(input)
        converter = self.converter_for(input.id)
        return await self._result(
            record, input, converter, None if input.rpc_timeout is None else timeout_s
        )

    async def _prepare_start(self, input: StartWorkflowInput) -> tuple[StartWorkflow, float]:
        timeout_s = self._timeout(input.rpc_timeout)
        converter = self.converter_for(input.id)
        record = await start_record(
            input,
            converter,
            run_id=self.channel.new_run_id(),
            header_codec_behavior=self._header_codec_behavior,
        )
        await self.channel.prepare(input.task_queue, create=True)
        self.channel.remember_queue(input.id, input.task_queue)
        return record, timeout_s

    async def _result(
        self,
        record: StartWorkflow,
        input: StartWorkflowInput,
        converter: DataConverter,
        timeout_s: float | None,
    ) -> Any:
        record.await_result = True
        try:
            try:
                reply = await self.channel.ask_result(
                    input.task_queue, record, timeout_s, create=True
                )
            except Unanswered as unanswered:
                self._accept(
                    unanswered,
                    f"start of workflow {input.id!r}",
                    input.id,
                    input.task_queue,
                    input.rpc_timeout,
                )
                # Accepted, with a deadline that was for the verdict alone.
                reply = await self.channel.ask_result(input.task_queue, record, create=True)
        except BrokerUnreachableError as error:
            raise rpc_error(RPCStatusCode.UNAVAILABLE, str(error)) from error
        return await self._follow(
            reply,
            input.id,
            input.workflow,
            input.task_queue,
            converter,
            input.ret_type,
            follow_runs=True,
        )

    async def await_result(
        self, handle: WorkflowHandle[Any, Any], follow_runs: bool, rpc_timeout: timedelta | None
    ) -> Any:
        """The outcome of the run that a handle stands for, over restarts of its owners."""
        timeout_s = None if rpc_timeout is None else self._timeout(rpc_timeout)
        record: StartWorkflow | AwaitResult
        if handle._unconfirmed_start is not None:
            record = handle._unconfirmed_start
            record.await_result = True
            workflow_type = record.workflow_type
            if handle._refusal is not None:  # asked again, it might be taken by now, and start
                check_start(
                    handle._refusal,
                    workflow_id=handle.id,
                    workflow_type=workflow_type,
                    task_queue=handle.task_queue or "",
                )
        else:
            record = AwaitResult(workflow_id=handle.id, run_id=handle.result_run_id or "")
            workflow_type = ""
        run_id = record.run_id if isinstance(record, AwaitResult) else ""

        async def attempt(queue: str) -> Reply:
            return await self._poll(queue, record, timeout_s)

        queue, reply = await self._located(
            handle.id, run_id, handle._task_queue, self._timeout(rpc_timeout), attempt
        )
        if isinstance(record, StartWorkflow):
            handle._decided(reply)
        converter = self.converter_for(handle.id)
        return await self._follow(
            reply,
            handle.id,
            workflow_type,
            queue,
            converter,
            handle._result_type,
            follow_runs=follow_runs,
            timeout_s=timeout_s,
        )

    async def _poll(
        self, queue: str, record: StartWorkflow | AwaitResult, timeout_s: float | None
    ) -> Reply:
        """Raises TopicMissingError of a queue that is not there."""
        try:
            return await self.channel.ask_result(queue, record, timeout_s)
        except Unanswered as unanswered:
            raise rpc_error(
                (
                    RPCStatusCode.DEADLINE_EXCEEDED
                    if unanswered.delivered
                    else RPCStatusCode.UNAVAILABLE
                ),
                f"workflow {record.workflow_id!r} on task queue {queue!r} did not close within"
                f" {timeout_s or 0:g} s (rpc_timeout)",
            ) from None
        except BrokerUnreachableError as error:
            raise rpc_error(RPCStatusCode.UNAVAILABLE, str(error)) from error

    async def _follow(
        self,
        reply: Reply,
        workflow_id: str,
        workflow_type: str,
        queue: str,
        converter: DataConverter,
        result_type: Any | None,
        *,
        follow_runs: bool,
        timeout_s: float | None = None,
    ) -> Any:
        """The value of the run that the chain ends with."""
        while True:
            check_start(
                reply, workflow_id=workflow_id, workflow_type=workflow_type, task_queue=queue
            )
            if reply.result is None:
                raise rpc_error(
                    RPCStatusCode.INTERNAL,
                    f"the outcome of workflow {workflow_id!r} came without a result record",
                )
            note_outcome(reply.result)
            run_id = next_run(reply.result, follow_runs)
            if not run_id:
                return await value_of(reply.result, converter, result_type)
            try:
                reply = await self._poll(
                    queue, AwaitResult(workflow_id=workflow_id, run_id=run_id), timeout_s
                )
            except TopicMissingError as error:
                raise never_used(workflow_id, queue) from error

    # --- requests on a run

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        """Returns once the signal is durable and accepted."""
        arguments = await payloads_of(self.converter_for(input.id), input.args)
        headers = await self._headers(input.id, input.headers)
        record = SignalWorkflow(
            workflow_id=input.id,
            signal_name=input.signal,
            run_id=input.run_id or "",
            input=arguments,
            headers=headers,
        )
        await self._change(
            record,
            input.task_queue,
            f"signal {input.signal!r} of workflow {input.id!r}",
            input.rpc_timeout,
        )

    async def cancel_workflow(self, input: CancelWorkflowInput) -> None:
        """Requests cancellation."""
        record = CancelWorkflow(
            workflow_id=input.id,
            run_id=input.run_id or "",
            first_execution_run_id=input.first_execution_run_id or "",
            reason=input.reason,
        )
        await self._change(
            record, input.task_queue, f"cancellation of workflow {input.id!r}", input.rpc_timeout
        )

    async def terminate_workflow(self, input: TerminateWorkflowInput) -> None:
        """Closes the run without running its code."""
        record = TerminateWorkflow(
            workflow_id=input.id,
            run_id=input.run_id or "",
            first_execution_run_id=input.first_execution_run_id or "",
            reason=input.reason or "",
            details=await payloads_of(self.converter_for(input.id), input.args),
        )
        await self._change(
            record, input.task_queue, f"termination of workflow {input.id!r}", input.rpc_timeout
        )

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        """Asks the run; sees every signal acknowledged before."""
        converter = self.converter_for(input.id)
        record = QueryWorkflow(
            workflow_id=input.id,
            query_type=input.query,
            run_id=input.run_id or "",
            input=await payloads_of(converter, input.args),
            headers=await self._headers(input.id, input.headers),
            reject_condition=input.reject_condition.name if input.reject_condition else "",
        )
        what = f"query {input.query!r} of workflow {input.id!r}"
        queue, reply = await self.read(record, input.task_queue, what, input.rpc_timeout)
        if reply.status == QUERY_REJECTED:
            raise WorkflowQueryRejectedError(status_of(reply.workflow_status))
        if reply.status in (QUERY_FAILED, INVALID_ARGUMENT):
            raise await query_failed(reply, converter)
        check(reply, task_queue=queue)
        return await single_value(converter, reply.payloads, input.ret_type, "query result")

    async def describe_workflow(self, input: DescribeWorkflowInput) -> WorkflowExecutionDescription:
        """Describes a run, the latest one unless `run_id` is given."""
        record = DescribeWorkflow(workflow_id=input.id, run_id=input.run_id or "")
        queue, reply = await self.read(
            record, input.task_queue, f"describe of workflow {input.id!r}", input.rpc_timeout
        )
        check(reply, task_queue=queue)
        if reply.description is None:
            raise rpc_error(
                RPCStatusCode.INTERNAL,
                f"the description of workflow {input.id!r} came without its record",
            )
        return WorkflowExecutionDescription._from_description(
            reply.description, self.converter_for(input.id)
        )

    def fetch_workflow_history_events(
        self, input: FetchWorkflowHistoryEventsInput
    ) -> WorkflowHistoryEventAsyncIterator:
        """An iterator; nothing is asked before its first `__anext__`."""
        return WorkflowHistoryEventAsyncIterator(input, self.history_page)

    async def history_page(
        self, record: FetchHistory, input: FetchWorkflowHistoryEventsInput
    ) -> Reply:
        """One page of a history. A page that waits for new events, without a timeout of the
        caller's, waits over restarts of owners.
        """
        what, pause_s = f"history of workflow {input.id!r}", FOLLOW_PAUSE_MIN_S
        while True:
            waits = record.wait_new_event and input.rpc_timeout is None
            try:
                queue, reply = await self.read(
                    record,
                    input.task_queue,
                    what,
                    LONG_POLL if waits else input.rpc_timeout,
                    patient=waits,
                )
                return check(reply, task_queue=queue)
            except RPCError as error:
                if not waits or error.status not in (
                    RPCStatusCode.DEADLINE_EXCEEDED,
                    RPCStatusCode.UNAVAILABLE,
                ):
                    raise
                gone = error.status is RPCStatusCode.UNAVAILABLE
            if gone:
                await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, FOLLOW_PAUSE_MAX_S) if gone else FOLLOW_PAUSE_MIN_S
            record.request_id = ""

    # --- what only operators do: no interceptor sees it, as Temporal's have no such call

    async def unpark_workflow(
        self, id: str, run_id: str, *, task_queue: str | None, rpc_timeout: timedelta | None
    ) -> None:
        """Has a parked run tried again."""
        record = UnparkWorkflow(workflow_id=id, run_id=run_id)
        await self._change(record, task_queue, f"unpark of workflow {id!r}", rpc_timeout)

    async def delete_workflow(
        self, id: str, run_id: str, *, task_queue: str | None, rpc_timeout: timedelta | None
    ) -> None:
        """Deletes a run."""
        record = DeleteWorkflow(workflow_id=id, run_id=run_id)
        await self._change(record, task_queue, f"deletion of workflow {id!r}", rpc_timeout)

    # --- lists: the read side

    def list_workflows(self, input: ListWorkflowsInput) -> WorkflowExecutionAsyncIterator:
        """An iterator; nothing is asked before its first `__anext__`."""
        return WorkflowExecutionAsyncIterator(self, input, self._ask_server)

    async def count_workflows(self, input: CountWorkflowsInput) -> WorkflowExecutionCount:
        """A count, by the read side."""
        return await count_workflows(input, self._ask_server)

    async def _ask_server(
        self,
        path: str,
        parameters: Mapping[str, str],
        what: str,
        metadata: Mapping[str, str | bytes],
        rpc_timeout: timedelta | None,
    ) -> dict[str, Any]:
        connection = self._connection
        return await connection.server.get(
            namespace_path(self.namespace) + path,
            # Payloads whole: their short form has lost the metadata that a data converter wants.
            {**parameters, "noPayloadShorthand": "true"},
            what=what,
            timeout_s=self._timeout(rpc_timeout),
            token=connection.api_key or connection.settings.server_token,
            metadata={**connection.rpc_metadata, **metadata},
        )

    # --- updates: later versions

    async def start_workflow_update(
        self, input: StartWorkflowUpdateInput
    ) -> WorkflowUpdateHandle[Any]:
        """Not supported yet."""
        raise updates_not_supported()

    async def start_update_with_start_workflow(
        self, input: StartWorkflowUpdateWithStartInput
    ) -> WorkflowUpdateHandle[Any]:
        """Not supported yet."""
        raise updates_not_supported()

    # --- activities completed from outside

    async def heartbeat_async_activity(self, input: HeartbeatAsyncActivityInput) -> None:
        """Records a heartbeat; raises `AsyncActivityCancelledError` when the activity is to be
        cancelled.
        """
        await self._completion.heartbeat(input)

    async def complete_async_activity(self, input: CompleteAsyncActivityInput) -> None:
        """Completes an activity."""
        await self._completion.complete(input)

    async def fail_async_activity(self, input: FailAsyncActivityInput) -> None:
        """Fails an attempt of an activity."""
        await self._completion.fail(input)

    async def report_cancellation_async_activity(
        self, input: ReportCancellationAsyncActivityInput
    ) -> None:
        """Confirms the cancellation of an activity."""
        await self._completion.report_cancellation(input)

    # --- common parts

    def converter_for(self, workflow_id: str) -> DataConverter:
        """The data converter, told which workflow its payloads belong to."""
        if not self._converter_takes_context:
            return self.converter
        return self.converter.with_context(
            WorkflowSerializationContext(namespace=self.namespace, workflow_id=workflow_id)
        )

    async def _headers(self, workflow_id: str, headers: Any) -> dict[str, Any]:
        if not headers:
            return {}
        return await headers_of(
            self.converter_for(workflow_id), headers, self._header_codec_behavior
        )

    def _timeout(self, rpc_timeout: timedelta | None) -> float:
        return (
            self._default_timeout_s
            if rpc_timeout is None
            else seconds_of(rpc_timeout, "rpc_timeout")
        )

    def _accept(
        self,
        unanswered: Unanswered,
        what: str,
        workflow_id: str,
        queue: str,
        rpc_timeout: timedelta | None,
    ) -> None:
        address, explicit = self.channel.transport.address, rpc_timeout is not None
        accept(
            unanswered,
            what=what,
            workflow_id=workflow_id,
            task_queue=queue,
            address=address,
            explicit=explicit,
        )

    async def _available(self, call: Awaitable[R]) -> R:
        """A call of the channel; UNAVAILABLE when no broker answers."""
        try:
            return await call
        except BrokerUnreachableError as error:
            raise rpc_error(RPCStatusCode.UNAVAILABLE, str(error)) from error

    async def _change(
        self, record: Request, task_queue: str | None, what: str, rpc_timeout: timedelta | None
    ) -> None:
        """A request that changes a run: its verdict, or accepted without one."""
        timeout_s = self._timeout(rpc_timeout)
        record.request_id = record.request_id or request_id_of_caller()

        async def attempt(queue: str) -> Reply | None:
            try:
                return await self._available(self.channel.ask(queue, record, timeout_s))
            except Unanswered as unanswered:
                self._accept(unanswered, what, record.workflow_id, queue, rpc_timeout)
                return None

        queue, reply = await self._located(
            record.workflow_id, record.run_id, task_queue, timeout_s, attempt
        )
        if reply is not None:
            check(reply, task_queue=queue)

    async def read(
        self,
        record: Request,
        task_queue: str | None,
        what: str,
        rpc_timeout: timedelta | None,
        *,
        patient: bool = False,
    ) -> tuple[str, Reply]:
        """A request that only reads: the queue that answered, and its reply; UNAVAILABLE when
        none comes.

        patient: do not give up early because no owner seems to be alive; nor for a caller who
        says himself how long he waits.
        """
        timeout_s = self._timeout(rpc_timeout)
        early = not patient and rpc_timeout is None

        async def attempt(queue: str) -> Reply:
            try:
                return await self._available(
                    self.channel.ask(queue, record, timeout_s, fail_early=early)
                )
            except Unanswered as unanswered:
                raise unavailable(
                    unanswered, what=what, task_queue=queue, address=self.channel.transport.address
                ) from None

        return await self._located(
            record.workflow_id, record.run_id, task_queue, timeout_s, attempt
        )

    async def _located(
        self,
        workflow_id: str,
        run_id: str,
        task_queue: str | None,
        timeout_s: float,
        attempt: Callable[[str], Awaitable[R_]],
    ) -> tuple[str, R_]:
        """Do `attempt(queue)` with the queue given, remembered, or located; with a remembered
        one that does not know the id, or is no more, locate anew. A queue that is not there has
        no workflows: NOT_FOUND.
        """
        if task_queue is None:
            remembered = self.channel.remembered_queue(workflow_id)
            if remembered is not None:
                with contextlib.suppress(TopicMissingError):
                    reply = await attempt(remembered)
                    if reply is None or reply.status != NOT_FOUND:
                        return remembered, reply
                self.channel.forget_queue(workflow_id)
            task_queue = await self._locate(workflow_id, run_id, timeout_s)
        try:
            return task_queue, await attempt(task_queue)
        except TopicMissingError as error:
            raise never_used(workflow_id, task_queue) from error

    async def _locate(self, workflow_id: str, run_id: str, timeout_s: float) -> str:
        try:
            return await locate(self.channel, workflow_id, run_id, timeout_s)
        except BrokerUnreachableError as error:
            raise rpc_error(RPCStatusCode.UNAVAILABLE, str(error)) from error
