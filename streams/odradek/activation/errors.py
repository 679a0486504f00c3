"""Errors of workflow code that misuses the workflow API, and the exceptions that steer a run.

The steering ones derive from `BaseException`, so that `except Exception` in workflow code does
not eat them.
"""

from __future__ import annotations

from typing import NoReturn

from odradek.exceptions import OdradekError

__all__ = [
    "ContinueAsNewError",
    "NondeterminismError",
    "NotInWorkflowError",
    "NotSupportedError",
    "ReadOnlyContextError",
    "WorkflowEvictedError",
    "not_supported",
]


class NondeterminismError(OdradekError):
    """Workflow code did something else at replay than its history says."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ReadOnlyContextError(OdradekError):
    """A query handler or update validator tried to change the workflow."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class NotInWorkflowError(OdradekError):
    """A function of `workflow` was called outside of workflow code."""

    def __init__(self, *args: object) -> None:
        super().__init__("Not in workflow event loop")
        self.message = "Not in workflow event loop"


class ContinueAsNewError(BaseException):
    """Raised by `workflow.continue_as_new`. Never catch it; let it reach the top of the run
    method or handler.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(args or ("Workflow continue as new",)))


class WorkflowEvictedError(BaseException):
    """The workflow leaves memory and its coroutines are being closed; a `finally` block called
    the workflow API. Not an error.
    """


class NotSupportedError(OdradekError, NotImplementedError):
    """A call of the Temporal API that this version does not carry out yet. `feature` names what
    is missing.
    """

    def __init__(self, feature: str, instead: str) -> None:
        super().__init__(f"{feature} not supported yet by this version of Odradek. {instead}")
        self.feature = feature


# What to do meanwhile, by feature. The only list of what is importable but cannot be called; an
# entry goes when its feature comes.
_INSTEAD = {
    "child workflows are": (
        "Start the other workflow from an activity, with `client.start_workflow`, and let it signal"
        " back"
    ),
    "external workflow handles are": (
        "Signal or cancel the other workflow from an activity, with `client.get_workflow_handle`"
    ),
    "local activities are": (
        "Use `workflow.execute_activity`; a short activity costs one record each way"
    ),
    "Nexus operations are": "Use an activity on the other team's task queue",
    "signal-with-start from a workflow is": (
        "Do it in an activity, with `client.start_workflow(..., start_signal=...)`"
    ),
}


def not_supported(feature: str) -> NoReturn:
    """Refuse a call whose feature comes later. The one place: `feature` is a key of the list
    above.
    """
    raise NotSupportedError(feature, _INSTEAD[feature])
