"""Continue-as-new: the command is made where it is asked for, so that a conversion error points
at that line; then the run unwinds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from odradek.activation.activity_calls import milliseconds
from odradek.activation.definitions import WorkflowDefinition
from odradek.activation.errors import ContinueAsNewError
from odradek.converter import encode_search_attributes
from odradek.engine.activation import ContinueAsNew

if TYPE_CHECKING:
    from odradek.activation.context import WorkflowContext
    from odradek.activation.interceptors import ContinueAsNewInput


class ContinueAsNewRequest(ContinueAsNewError):
    """Carries the command to the top of the run method or handler."""

    def __init__(self, command: ContinueAsNew) -> None:
        super().__init__()
        self.command = command


def resolve_workflow_type(
    workflow: str | Callable[..., Any] | None,
) -> tuple[str | None, list[Any] | None]:
    """Type name and argument types of the workflow to continue as; None is the same again.
    `TypeError` for anything else.
    """
    if workflow is None or isinstance(workflow, str):
        return workflow, None
    if callable(workflow):
        definition = WorkflowDefinition.of_run_method(workflow)
        return definition.name, definition.arg_types
    raise TypeError("Workflow must be None, a string, or callable")


def continue_as_new(
    context: WorkflowContext,
    workflow: str | Callable[..., Any] | None,
    args: Sequence[Any],
    options: dict[str, Any],
) -> NoReturn:
    """Through interceptors, if there are any. `options`: the other fields of `ContinueAsNewInput`."""
    from odradek.activation.interceptors import ContinueAsNewInput

    context.assert_writable("continue as new")
    name, arg_types = resolve_workflow_type(workflow)
    request = ContinueAsNewInput(
        workflow=name, args=args, headers={}, arg_types=arg_types, **options
    )
    if context.outbound is not None:
        context.outbound.continue_as_new(request)
    raise_continue_as_new(context, request)


def raise_continue_as_new(context: WorkflowContext, request: ContinueAsNewInput) -> NoReturn:
    """Make the command and raise it."""
    converter = context.payload_converter
    attributes = request.search_attributes
    raise ContinueAsNewRequest(
        ContinueAsNew(
            workflow_type=request.workflow or "",
            task_queue=request.task_queue or "",
            input=converter.to_payloads(request.args) if request.args else [],
            headers=dict(request.headers),
            memo=(
                None
                if request.memo is None
                else {key: converter.to_payload(value) for key, value in request.memo.items()}
            ),
            search_attributes=None if attributes is None else encode_search_attributes(attributes),
            run_timeout_ms=(
                None
                if request.run_timeout is None
                else milliseconds(request.run_timeout, "run_timeout")
            ),
            task_timeout_ms=(
                None
                if request.task_timeout is None
                else milliseconds(request.task_timeout, "task_timeout")
            ),
            backoff_start_interval_ms=milliseconds(
                request.backoff_start_interval, "backoff_start_interval"
            ),
            retry_policy=request.retry_policy.to_wire() if request.retry_policy else None,
        )
    )
