"""Queries: a look at the run that changes nothing, answered within the call.

A handler runs in a read-only context, outside any task: it cannot wait. The built-in queries are
answered here too.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from odradek.activation.errors import ReadOnlyContextError
from odradek.activation.handlers import HandlerDefinition, QueryDefinition
from odradek.activation.interceptors import HandleQueryInput
from odradek.engine.activation import QueryJob, RespondToQuery

if TYPE_CHECKING:
    from odradek.activation.context import WorkflowContext


def answer(context: WorkflowContext, job: QueryJob) -> RespondToQuery:
    """Run one query. Whatever goes wrong in it is its answer."""
    try:
        with context.as_read_only(in_query=True):
            result = _run(context, job)
            payload = context.payload_converter.to_payloads([result])
        return RespondToQuery(query_id=job.query_id, result=payload)
    except Exception as error:
        return RespondToQuery(query_id=job.query_id, failure=context.to_failure(error))


def _run(context: WorkflowContext, job: QueryJob) -> Any:
    handlers = context.handlers
    definition = handlers.find(handlers.queries, job.query_type)
    if definition is None or (definition.name is None and job.query_type in BUILT_IN):
        built_in = BUILT_IN.get(job.query_type)
        if built_in is not None:
            return built_in(context)
    if definition is None:
        known = sorted([name for name in handlers.queries if name] + list(BUILT_IN))
        raise RuntimeError(
            f"Query handler for '{job.query_type}' expected but not found, known queries:"
            f" [{' '.join(known)}]"
        )
    if context.instance is None:
        raise RuntimeError(
            f"workflow {context.workflow_type} failed before its object was made: nobody can answer"
            f" '{job.query_type}'"
        )
    args = handlers.arguments(definition, job.query_type, job.input)
    if context.inbound is not None:
        query = HandleQueryInput(
            id=job.query_id, query=job.query_type, args=args, headers=job.headers
        )
        return _drive(context.inbound.handle_query(query), job.query_type)
    result = definition.bind(context.instance)(*args)
    return _drive(result, job.query_type) if definition.is_coroutine else result


def _drive(coroutine: Coroutine[Any, Any, Any], name: str) -> Any:
    """Result of a coroutine that waits for nothing."""
    try:
        while True:
            awaited = coroutine.send(None)
            if awaited is not None:  # None: a bare yield, `asyncio.sleep(0)`
                break
    except StopIteration as stop:
        return stop.value
    if asyncio.isfuture(awaited):
        awaited._asyncio_future_blocking = False  # it was promised to a task that does not exist
    coroutine.close()
    raise ReadOnlyContextError(
        "While in read-only function, action attempted: wait for something in the query handler"
        f" '{name}'"
    )


# ---------------------------------------------------------------- built-in


def stack_trace(context: WorkflowContext) -> str:
    """Where each task of the run waits."""
    stacks = []
    for task in context.loop.tasks.values():
        frames = [
            traceback.FrameSummary(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
            for frame in context.loop.frames(task)
        ]
        stacks.append(
            f"Stack for {task.get_name()} (most recent call last):\n"
            + "\n".join(traceback.format_list(frames))
        )
    return "\n\n".join(stacks)


def _enhanced_stack_trace(context: WorkflowContext) -> dict[str, Any]:
    stacks = [
        {
            "locations": [
                {
                    "filePath": frame.f_code.co_filename,
                    "line": frame.f_lineno,
                    "functionName": frame.f_code.co_name,
                }
                for frame in context.loop.frames(task)
            ]
        }
        for task in context.loop.tasks.values()
    ]
    return {"sdk": {"name": "odradek-python"}, "stacks": stacks}


def _metadata(context: WorkflowContext) -> dict[str, Any]:
    def described(definitions: list[HandlerDefinition]) -> list[dict[str, str]]:
        return sorted(
            (
                {"name": item.name or "", "description": item.description or ""}
                for item in definitions
            ),
            key=lambda entry: entry["name"],
        )

    handlers = context.handlers
    built_in: list[HandlerDefinition] = [
        QueryDefinition(name, stack_trace, is_method=False) for name in BUILT_IN
    ]
    return {
        "definition": {
            "type": context.workflow_type,
            "queryDefinitions": described([*handlers.queries.values(), *built_in]),
            "signalDefinitions": described(list(handlers.signals.values())),
            "updateDefinitions": described(list(handlers.updates.values())),
        },
        "currentDetails": context.current_details,
    }


BUILT_IN: dict[str, Callable[[WorkflowContext], Any]] = {
    "__stack_trace": stack_trace,
    "__enhanced_stack_trace": _enhanced_stack_trace,
    "__temporal_workflow_metadata": _metadata,
}
