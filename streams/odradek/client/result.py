"""The outcome of a closed run: its value, its failure as an exception, or the run to follow; the
failure of a query.
"""

from __future__ import annotations

from typing import Any

from odradek.client.encode import single_value
from odradek.client.errors import (
    WorkflowContinuedAsNewError,
    WorkflowFailureError,
    WorkflowQueryFailedError,
)
from odradek.converter import DataConverter
from odradek.exceptions import CancelledError, TerminatedError, TimeoutError, TimeoutType
from odradek.wire import outcomes
from odradek.wire.outcomes import Reply, WorkflowResult
from odradek.wire.payload import Failure

# Outcomes after which a newer run may carry on: a retry, the next cron run, or continue-as-new.
_FOLLOWED = (outcomes.COMPLETED, outcomes.FAILED, outcomes.TIMED_OUT, outcomes.CONTINUED_AS_NEW)


def next_run(result: WorkflowResult, follow_runs: bool) -> str:
    """The run to wait for instead, "" when this outcome is the one. Raises
    `WorkflowContinuedAsNewError` when it may not be followed.
    """
    if follow_runs and result.new_execution_run_id and result.status in _FOLLOWED:
        return result.new_execution_run_id
    if result.status == outcomes.CONTINUED_AS_NEW:
        raise WorkflowContinuedAsNewError(result.new_execution_run_id)
    return ""


async def value_of(
    result: WorkflowResult, converter: DataConverter, result_type: Any | None
) -> Any:
    """The value of a completed run, decoded as `result_type` (None: as it comes).
    `WorkflowFailureError` for every other outcome.
    """
    if result.status == outcomes.COMPLETED:
        return await single_value(converter, result.result, result_type, "result")
    raise WorkflowFailureError(cause=await _cause(result, converter))


async def _cause(result: WorkflowResult, converter: DataConverter) -> BaseException:
    failure = result.failure
    if result.status == outcomes.CANCELED:
        return CancelledError("Workflow cancelled", *await _details(result, converter))
    if result.status == outcomes.TERMINATED:
        reason = failure.message if failure is not None else ""
        return TerminatedError(reason or "Workflow terminated", *await _details(result, converter))
    if result.status == outcomes.TIMED_OUT:
        return TimeoutError(
            "Workflow timed out", type=TimeoutType.START_TO_CLOSE, last_heartbeat_details=[]
        )
    if failure is None:
        failure = Failure(message=f"Workflow closed as {result.status}")
    return await converter.decode_failure(failure)


async def query_failed(reply: Reply, converter: DataConverter) -> WorkflowQueryFailedError:
    """The error of a failed query, caused by what its handler raised: the message alone may say
    little (`'oops'` of a KeyError).
    """
    failure = reply.failure
    error = WorkflowQueryFailedError(
        reply.message or (failure.message if failure is not None else "") or "query failed"
    )
    if failure is not None:
        try:
            error.__cause__ = await converter.decode_failure(failure)
        except (
            Exception
        ) as unreadable:  # it has failed all the same, and this is why no more is said
            error.__cause__ = unreadable
    return error


async def _details(result: WorkflowResult, converter: DataConverter) -> list[Any]:
    """Details of a cancellation or termination: with its failure, or where a completed run has
    its result.
    """
    payloads = (result.failure.details if result.failure is not None else []) or result.result
    return await converter.decode(payloads) if payloads else []
