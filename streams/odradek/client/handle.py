"""`WorkflowHandle`: what a caller does with one workflow."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from odradek.client.description import WorkflowExecutionDescription
from odradek.client.encode import query_name_and_type, signal_name, update_name_and_type
from odradek.client.history import (
    WorkflowHistory,
    WorkflowHistoryEventAsyncIterator,
    WorkflowHistoryEventFilterType,
)
from odradek.client.interceptor import (
    CancelWorkflowInput,
    DescribeWorkflowInput,
    FetchWorkflowHistoryEventsInput,
    OutboundInterceptor,
    QueryWorkflowInput,
    SignalWorkflowInput,
    StartWorkflowUpdateInput,
    TerminateWorkflowInput,
)
from odradek.client.unsupported import WorkflowUpdateHandle, WorkflowUpdateStage
from odradek.common import QueryRejectCondition, _arg_or_args, _arg_unset
from odradek.wire.events import StartWorkflow
from odradek.wire.outcomes import Reply

SelfType = TypeVar("SelfType")
ReturnType = TypeVar("ReturnType")
ParamType = TypeVar("ParamType")
LocalReturnType = TypeVar("LocalReturnType")
MultiParamSpec = ParamSpec("MultiParamSpec")


class Root(Protocol):
    """What handles need of their client: the chain of interceptors, and what no interceptor sees
    (waiting for results, the calls of operators).
    """

    outbound: OutboundInterceptor
    default_query_reject_condition: QueryRejectCondition | None

    async def await_result(
        self, handle: WorkflowHandle[Any, Any], follow_runs: bool, rpc_timeout: timedelta | None
    ) -> Any: ...

    async def unpark_workflow(
        self, id: str, run_id: str, *, task_queue: str | None, rpc_timeout: timedelta | None
    ) -> None: ...

    async def delete_workflow(
        self, id: str, run_id: str, *, task_queue: str | None, rpc_timeout: timedelta | None
    ) -> None: ...


class WorkflowHandle(Generic[SelfType, ReturnType]):
    """Acts on a workflow id. From `Client.start_workflow` or `get_workflow_handle`, not made by hand.

    A handle of a start has no `run_id`: its calls act on the latest run of that id, only
    `result` waits for the run that was started (`result_run_id`), and cancel and terminate spare
    a later chain with the same id (`first_execution_run_id`).
    """

    def __init__(
        self,
        root: Root,
        id: str,
        *,
        run_id: str | None = None,
        result_run_id: str | None = None,
        first_execution_run_id: str | None = None,
        result_type: type | None = None,
        start_workflow_response: Reply | None = None,
        task_queue: str | None = None,
        unconfirmed_start: StartWorkflow | None = None,
    ) -> None:
        self._root = root
        self._id = id
        self._run_id = run_id
        self._result_run_id = result_run_id
        self._first_execution_run_id = first_execution_run_id
        self._result_type = result_type
        self._start_workflow_response = start_workflow_response
        self._task_queue = task_queue
        # A start that was accepted while no owner was alive: its verdict comes with the result,
        # once. A refusal stays what `result` says.
        self._unconfirmed_start = unconfirmed_start
        self._refusal: Reply | None = None

    @property
    def id(self) -> str:
        """Workflow id."""
        return self._id

    @property
    def run_id(self) -> str | None:
        """The run that calls act on; None: the latest one."""
        return self._run_id

    @property
    def result_run_id(self) -> str | None:
        """The run that `result` waits for, and follows from; None: the latest one."""
        return self._result_run_id

    @property
    def first_execution_run_id(self) -> str | None:
        """First run of the chain that cancel and terminate act on; None: whichever chain is there."""
        return self._first_execution_run_id

    @property
    def task_queue(self) -> str | None:
        """The task queue that owns the workflow; None: it is located at each use (and then
        remembered by the client).
        """
        return self._task_queue

    def _decided(self, reply: Reply) -> None:
        """The verdict on a start that was accepted without one: which run it is, that of another
        start perhaps, or why none.
        """
        if reply.kind == "StartWorkflow":  # whose reply comes back as a refusal alone
            self._refusal = reply
            return
        self._unconfirmed_start = (
            None  # also where the long poll went wrong: it is asked again, of the run that was told
        )
        if reply.result is not None:
            self._result_run_id = reply.result.run_id
            self._first_execution_run_id = (
                reply.result.first_execution_run_id or reply.result.run_id
            )
        elif reply.run_id:
            self._result_run_id = reply.run_id

    def __repr__(self) -> str:
        runs = f"run_id={self._run_id!r}, result_run_id={self._result_run_id!r}"
        return f"WorkflowHandle(id={self._id!r}, {runs}, task_queue={self._task_queue!r})"

    async def result(
        self,
        *,
        follow_runs: bool = True,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> ReturnType:
        """Wait for the outcome.

        Args:
            follow_runs: Go on to the run that a continue-as-new, retry or cron schedule started,
            until the last one. rpc_timeout: Longest wait for one run. None: for ever, over
            restarts of its owners.

        Raises:
            WorkflowFailureError: It failed, was cancelled or terminated, or timed out; `cause`
            says which. WorkflowContinuedAsNewError: It continued as new and `follow_runs` is
            off. WorkflowAlreadyStartedError: The start was accepted while no owner was alive,
            and then refused. RPCError: NOT_FOUND, UNAVAILABLE, DEADLINE_EXCEEDED.
        """
        return cast(ReturnType, await self._root.await_result(self, follow_runs, rpc_timeout))

    async def cancel(
        self,
        *,
        reason: str = "",
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Request cancellation: `asyncio.CancelledError` in the workflow, which may clean up, or
        go on. Of a closed run a success that changes nothing.

        Raises:
            RPCError: NOT_FOUND when there is no such run.
        """
        await self._root.outbound.cancel_workflow(
            CancelWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                first_execution_run_id=self._first_execution_run_id,
                reason=reason,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                task_queue=self._task_queue,
            )
        )

    async def terminate(
        self,
        *args: Any,
        reason: str | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Close the run at once; no workflow code runs. `args` are details that whoever waits
        for the result gets.

        Raises:
            RPCError: NOT_FOUND when there is no such open run.
        """
        await self._root.outbound.terminate_workflow(
            TerminateWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                first_execution_run_id=self._first_execution_run_id,
                args=args,
                reason=reason,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                task_queue=self._task_queue,
            )
        )

    async def delete(self, *, rpc_timeout: timedelta | None = None) -> None:
        """Delete the run: its history, its state, its entry in lists. An open one is terminated
        first. The workflow id is free then. As Temporal's `DeleteWorkflowExecution`. Its record
        in the results topic stays.

        Raises:
            RPCError: NOT_FOUND when there is no such run; UNAVAILABLE when it cannot be deleted
            now.
        """
        await self._root.delete_workflow(
            self._id, self._run_id or "", task_queue=self._task_queue, rpc_timeout=rpc_timeout
        )

    async def unpark(self, *, rpc_timeout: timedelta | None = None) -> None:
        """Have a parked run tried again now: its code or what hindered it was corrected; also
        one whose workflow task failed and waits for its next try. Odradek's own: Temporal has no
        parked runs.

        Raises:
            RPCError: NOT_FOUND when there is no such open run; FAILED_PRECONDITION when it is
            neither parked nor waits: nothing was done.
        """
        await self._root.unpark_workflow(
            self._id, self._run_id or "", task_queue=self._task_queue, rpc_timeout=rpc_timeout
        )

    async def describe(
        self, *, rpc_metadata: Mapping[str, str | bytes] = {}, rpc_timeout: timedelta | None = None
    ) -> WorkflowExecutionDescription:
        """What its owner knows of the run: status, times, what it waits for.

        Raises:
            RPCError: NOT_FOUND; UNAVAILABLE when no owner answers.
        """
        return await self._root.outbound.describe_workflow(
            DescribeWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                task_queue=self._task_queue,
            )
        )

    async def fetch_history(
        self,
        *,
        event_filter_type: WorkflowHistoryEventFilterType = WorkflowHistoryEventFilterType.ALL_EVENT,
        skip_archival: bool = False,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowHistory:
        """The whole history of the run, as far as it has come."""
        events = self.fetch_history_events(
            event_filter_type=event_filter_type,
            skip_archival=skip_archival,
            rpc_metadata=rpc_metadata,
            rpc_timeout=rpc_timeout,
        )
        return WorkflowHistory(self._id, [event async for event in events])

    def fetch_history_events(
        self,
        *,
        page_size: int | None = None,
        next_page_token: bytes | None = None,
        wait_new_event: bool = False,
        event_filter_type: WorkflowHistoryEventFilterType = WorkflowHistoryEventFilterType.ALL_EVENT,
        skip_archival: bool = False,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowHistoryEventAsyncIterator:
        """The events of the run one by one; with `wait_new_event` also those to come, until it
        closes.
        """
        return self._root.outbound.fetch_workflow_history_events(
            FetchWorkflowHistoryEventsInput(
                id=self._id,
                run_id=self._run_id,
                page_size=page_size,
                next_page_token=next_page_token,
                wait_new_event=wait_new_event,
                event_filter_type=event_filter_type,
                skip_archival=skip_archival,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                task_queue=self._task_queue,
            )
        )

    @overload
    async def query(
        self,
        query: (
            Callable[[SelfType], Awaitable[LocalReturnType]] | Callable[[SelfType], LocalReturnType]
        ),
        *,
        reject_condition: QueryRejectCondition | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> LocalReturnType: ...
    @overload
    async def query(
        self,
        query: (
            Callable[[SelfType, ParamType], Awaitable[LocalReturnType]]
            | Callable[[SelfType, ParamType], LocalReturnType]
        ),
        arg: ParamType,
        *,
        reject_condition: QueryRejectCondition | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> LocalReturnType: ...
    @overload
    async def query(
        self,
        query: (
            Callable[Concatenate[SelfType, MultiParamSpec], Awaitable[LocalReturnType]]
            | Callable[Concatenate[SelfType, MultiParamSpec], LocalReturnType]
        ),
        *,
        args: Sequence[Any],
        reject_condition: QueryRejectCondition | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> LocalReturnType: ...
    @overload
    async def query(
        self,
        query: str,
        arg: Any = _arg_unset,
        *,
        args: Sequence[Any] = [],
        result_type: type | None = None,
        reject_condition: QueryRejectCondition | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> Any: ...
    async def query(
        self,
        query: str | Callable[..., Any],
        arg: Any = _arg_unset,
        *,
        args: Sequence[Any] = [],
        result_type: type | None = None,
        reject_condition: QueryRejectCondition | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> Any:
        """Ask the workflow. The answer reflects every signal acknowledged before; closed runs
        answer too, until their retention ends.

        Args:
            query: Query method of the workflow class, or its name. arg, args: One argument, or
            several. result_type: Type to decode the answer as, for a query given by name.
            reject_condition: Statuses in which the query is refused; the client's default if not
            given.

        Raises:
            WorkflowQueryFailedError: The handler raised, or there is none.
            WorkflowQueryRejectedError: The status is one that `reject_condition` excludes.
            RPCError: NOT_FOUND; UNAVAILABLE when no owner answers, with the queue's name.
        """
        name, ret_type = query_name_and_type(query)
        return await self._root.outbound.query_workflow(
            QueryWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                query=name,
                args=_arg_or_args(arg, args),
                reject_condition=reject_condition or self._root.default_query_reject_condition,
                headers={},
                ret_type=result_type or ret_type,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                task_queue=self._task_queue,
            )
        )

    @overload
    async def signal(
        self,
        signal: Callable[[SelfType], Awaitable[None] | None],
        *,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None: ...
    @overload
    async def signal(
        self,
        signal: Callable[[SelfType, ParamType], Awaitable[None] | None],
        arg: ParamType,
        *,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None: ...
    @overload
    async def signal(
        self,
        signal: Callable[Concatenate[SelfType, MultiParamSpec], Awaitable[None] | None],
        *,
        args: Sequence[Any],
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None: ...
    @overload
    async def signal(
        self,
        signal: str,
        arg: Any = _arg_unset,
        *,
        args: Sequence[Any] = [],
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None: ...
    async def signal(
        self,
        signal: str | Callable[..., Any],
        arg: Any = _arg_unset,
        *,
        args: Sequence[Any] = [],
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Send a signal. Returns once it is durable and its run known to be open, before it is
        handled; never doubled by retries.

        Raises:
            RPCError: NOT_FOUND when there is no such open run.
        """
        await self._root.outbound.signal_workflow(
            SignalWorkflowInput(
                id=self._id,
                run_id=self._run_id,
                signal=signal_name(signal),
                args=_arg_or_args(arg, args),
                headers={},
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                task_queue=self._task_queue,
            )
        )

    # --- updates: not supported yet, see updates.py

    async def execute_update(
        self,
        update: str | Callable[..., Any],
        arg: Any = _arg_unset,
        *,
        args: Sequence[Any] = [],
        id: str | None = None,
        result_type: type | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> Any:
        """Not supported yet: `RPCError` UNIMPLEMENTED."""
        handle = await self.start_update(
            update,
            arg,
            wait_for_stage=WorkflowUpdateStage.COMPLETED,
            args=args,
            id=id,
            result_type=result_type,
            rpc_metadata=rpc_metadata,
            rpc_timeout=rpc_timeout,
        )
        return await handle.result()

    async def start_update(
        self,
        update: str | Callable[..., Any],
        arg: Any = _arg_unset,
        *,
        wait_for_stage: WorkflowUpdateStage,
        args: Sequence[Any] = [],
        id: str | None = None,
        result_type: type | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowUpdateHandle[Any]:
        """Not supported yet: `RPCError` UNIMPLEMENTED."""
        if wait_for_stage == WorkflowUpdateStage.ADMITTED:
            raise ValueError("ADMITTED wait stage not supported")
        name, ret_type = update_name_and_type(update)
        return await self._root.outbound.start_workflow_update(
            StartWorkflowUpdateInput(
                id=self._id,
                run_id=self._run_id,
                first_execution_run_id=self._first_execution_run_id,
                update_id=id,
                update=name,
                args=_arg_or_args(arg, args),
                wait_for_stage=wait_for_stage,
                headers={},
                ret_type=result_type or ret_type,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                task_queue=self._task_queue,
            )
        )

    def get_update_handle(
        self, id: str, *, workflow_run_id: str | None = None, result_type: type | None = None
    ) -> WorkflowUpdateHandle[Any]:
        """A handle of an update by its id."""
        return WorkflowUpdateHandle(
            id,
            self._id,
            workflow_run_id=workflow_run_id or self._run_id,
            result_type=result_type,
        )

    def get_update_handle_for(
        self, update: Any, id: str, *, workflow_run_id: str | None = None
    ) -> WorkflowUpdateHandle[Any]:
        """A handle of an update by its id, typed by its method."""
        return self.get_update_handle(
            id, workflow_run_id=workflow_run_id, result_type=update_name_and_type(update)[1]
        )
