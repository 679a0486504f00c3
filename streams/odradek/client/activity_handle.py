"""An activity that is completed from outside its function (`activity.raise_complete_async`): its handle,
and the reports that it sends.

A token carries the facts of the attempt. With ids alone they are what `describe` says of the activity. Reports
have no reply of their own, so each waits until it is durable, after a check whether the activity still waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Protocol, Self

from odradek.activities.token import TaskToken
from odradek.client.channel import RequestChannel
from odradek.client.encode import payloads_of, takes_context
from odradek.client.errors import AsyncActivityCancelledError, never_used, rpc_error
from odradek.client.interceptor import (
    AsyncActivityIDReference,
    CompleteAsyncActivityInput,
    FailAsyncActivityInput,
    HeartbeatAsyncActivityInput,
    OutboundInterceptor,
    ReportCancellationAsyncActivityInput,
)
from odradek.client.responses import check
from odradek.common import _arg_unset
from odradek.converter import (
    ActivitySerializationContext,
    DataConverter,
    SerializationContext,
    WithSerializationContext,
)
from odradek.exceptions import BrokerUnreachableError, TopicMissingError
from odradek.service import RPCStatusCode
from odradek.wire.events import (
    ActivityReport,
    ActivityTaskCanceled,
    ActivityTaskCompleted,
    ActivityTaskFailed,
    ActivityTaskHeartbeat,
    DescribeWorkflow,
    Request,
)
from odradek.wire.outcomes import PendingActivity, Reply
from odradek.wire.payload import Failure


class CompletionRoot(Protocol):
    """What completions need of their client."""

    outbound: OutboundInterceptor
    channel: RequestChannel
    namespace: str
    converter: DataConverter

    async def read(
        self, record: Request, task_queue: str | None, what: str, rpc_timeout: timedelta | None
    ) -> tuple[str, Reply]: ...


class AsyncActivityHandle(WithSerializationContext):
    """Completes, fails or heartbeats one activity. From `Client.get_async_activity_handle`."""

    def __init__(
        self,
        root: CompletionRoot,
        id_or_token: AsyncActivityIDReference | bytes,
        data_converter_override: DataConverter | None = None,
    ) -> None:
        self._root = root
        self._id_or_token = id_or_token
        self._data_converter_override = data_converter_override

    async def heartbeat(
        self,
        *details: Any,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Record a heartbeat. `AsyncActivityCancelledError` when cancellation was requested,
        `RPCError` NOT_FOUND when it is not running.
        """
        await self._root.outbound.heartbeat_async_activity(
            HeartbeatAsyncActivityInput(
                id_or_token=self._id_or_token,
                details=details,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                data_converter_override=self._data_converter_override,
            )
        )

    async def complete(
        self,
        result: Any | None = _arg_unset,
        *,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Complete the activity. Without `result` it has none, which differs from `None`."""
        await self._root.outbound.complete_async_activity(
            CompleteAsyncActivityInput(
                id_or_token=self._id_or_token,
                result=result,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                data_converter_override=self._data_converter_override,
            )
        )

    async def fail(
        self,
        error: Exception,
        *,
        last_heartbeat_details: Sequence[Any] = [],
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Fail this attempt. Whether there is another one is the retry policy's decision."""
        await self._root.outbound.fail_async_activity(
            FailAsyncActivityInput(
                id_or_token=self._id_or_token,
                error=error,
                last_heartbeat_details=last_heartbeat_details,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                data_converter_override=self._data_converter_override,
            )
        )

    async def report_cancellation(
        self,
        *details: Any,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> None:
        """Confirm that the activity ended because it was told to."""
        await self._root.outbound.report_cancellation_async_activity(
            ReportCancellationAsyncActivityInput(
                id_or_token=self._id_or_token,
                details=details,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                data_converter_override=self._data_converter_override,
            )
        )

    def with_context(self, context: SerializationContext) -> Self:
        """A handle whose payloads are converted in that context."""
        converter = (self._data_converter_override or self._root.converter).with_context(context)
        return type(self)(self._root, self._id_or_token, converter)


CANCEL_REQUESTED = "CANCEL_REQUESTED"


class ActivityCompletion:
    """The four reports of an activity that is completed from outside."""

    def __init__(self, root: CompletionRoot) -> None:
        self._root = root

    async def heartbeat(self, input: HeartbeatAsyncActivityInput) -> None:
        """Record a heartbeat; `AsyncActivityCancelledError` when cancellation was requested."""
        token, pending, converter = await self._attempt(input)
        details = await payloads_of(converter, input.details)
        await self._report(ActivityTaskHeartbeat(**_facts(token), details=details), token)
        if pending.state == CANCEL_REQUESTED:
            raise AsyncActivityCancelledError

    async def complete(self, input: CompleteAsyncActivityInput) -> None:
        """Complete it."""
        token, _, converter = await self._attempt(input)
        result = [] if input.result is _arg_unset else await payloads_of(converter, [input.result])
        await self._report(ActivityTaskCompleted(**_facts(token), result=result), token)

    async def fail(self, input: FailAsyncActivityInput) -> None:
        """Fail the attempt."""
        token, _, converter = await self._attempt(input)
        failure = Failure()
        await converter.encode_failure(input.error, failure)
        details = await payloads_of(converter, input.last_heartbeat_details)
        await self._report(
            ActivityTaskFailed(**_facts(token), failure=failure, last_heartbeat_details=details),
            token,
        )

    async def report_cancellation(self, input: ReportCancellationAsyncActivityInput) -> None:
        """Confirm its cancellation."""
        token, _, converter = await self._attempt(input)
        details = await payloads_of(converter, input.details)
        await self._report(ActivityTaskCanceled(**_facts(token), details=details), token)

    # --- which attempt

    async def _attempt(
        self,
        input: HeartbeatAsyncActivityInput
        | CompleteAsyncActivityInput
        | FailAsyncActivityInput
        | ReportCancellationAsyncActivityInput,
    ) -> tuple[TaskToken, PendingActivity, DataConverter]:
        """The attempt meant, if the run still waits for it, and its converter; NOT_FOUND if not."""
        token, pending = await self._token(input.id_or_token, input.rpc_timeout)
        return token, pending, input.data_converter_override or self._converter(token)

    async def _token(
        self, id_or_token: AsyncActivityIDReference | bytes, rpc_timeout: timedelta | None
    ) -> tuple[TaskToken, PendingActivity]:
        if isinstance(id_or_token, bytes):
            token = TaskToken.decode(id_or_token)
            if token.namespace != self._root.namespace:
                raise rpc_error(
                    RPCStatusCode.INVALID_ARGUMENT,
                    f"the task token is of namespace {token.namespace!r}, this client of"
                    f" {self._root.namespace!r}",
                )
            _, _, pending = await self._pending(
                token.workflow_id, token.run_id, token.activity_id, token.queue, rpc_timeout
            )
            if pending.attempt != token.attempt:
                raise rpc_error(
                    RPCStatusCode.NOT_FOUND,
                    f"attempt {token.attempt} of activity {token.activity_id!r} is over: the"
                    f" workflow waits for attempt {pending.attempt}",
                )
            return token, pending
        workflow_id = id_or_token.workflow_id
        if workflow_id is None:
            raise rpc_error(
                RPCStatusCode.INVALID_ARGUMENT,
                "an activity without a workflow cannot be completed: this version starts none",
            )
        queue, run_id, pending = await self._pending(
            workflow_id, id_or_token.run_id or "", id_or_token.activity_id, None, rpc_timeout
        )
        token = TaskToken(
            namespace=self._root.namespace,
            queue=queue,
            workflow_id=workflow_id,
            run_id=run_id,
            scheduled_event_id=pending.scheduled_event_id,
            activity_id=id_or_token.activity_id,
            attempt=pending.attempt,
        )
        return token, pending

    async def _pending(
        self,
        workflow_id: str,
        run_id: str,
        activity_id: str,
        queue: str | None,
        rpc_timeout: timedelta | None,
    ) -> tuple[str, str, PendingActivity]:
        """Queue, run and state of an activity that a run waits for."""
        record = DescribeWorkflow(workflow_id=workflow_id, run_id=run_id)
        queue, reply = await self._root.read(
            record, queue, f"activity {activity_id!r} of workflow {workflow_id!r}", rpc_timeout
        )
        description = check(reply, task_queue=queue).description
        for pending in description.pending_activities if description is not None else []:
            if pending.activity_id == activity_id:
                assert description is not None
                return queue, description.summary.run_id, pending
        raise rpc_error(
            RPCStatusCode.NOT_FOUND,
            f"activity {activity_id!r} of workflow {workflow_id!r} is not running",
        )

    def _converter(self, token: TaskToken) -> DataConverter:
        if not takes_context(self._root.converter):
            return self._root.converter
        return self._root.converter.with_context(
            ActivitySerializationContext(
                namespace=token.namespace,
                activity_id=token.activity_id,
                activity_type=None,
                activity_task_queue=None,
                workflow_id=token.workflow_id,
                workflow_type=None,
                is_local=False,
            )
        )

    async def _report(self, record: ActivityReport, token: TaskToken) -> None:
        """Send, and wait until Kafka has it."""
        record.identity = self._root.channel.identity
        try:
            await self._root.channel.deliver(token.queue, record)
        except TopicMissingError as error:
            raise never_used(token.workflow_id, token.queue) from error
        except BrokerUnreachableError as error:
            raise rpc_error(RPCStatusCode.UNAVAILABLE, str(error)) from error


def _facts(token: TaskToken) -> dict[str, Any]:
    """What names an attempt in a report."""
    return {
        "workflow_id": token.workflow_id,
        "run_id": token.run_id,
        "scheduled_event_id": token.scheduled_event_id,
        "activity_id": token.activity_id,
        "attempt": token.attempt,
    }
