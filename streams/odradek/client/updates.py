"""Workflow updates: the names, so that code which uses them imports. Calling one says that this
version does not have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from odradek.client.verdicts import rpc_error
from odradek.service import RPCError, RPCStatusCode

if TYPE_CHECKING:
    from odradek.client.client import Client

Result = TypeVar("Result")


class WorkflowUpdateStage(IntEnum):
    """How far an update has come. Temporal's numbers."""

    ADMITTED = 1
    ACCEPTED = 2
    COMPLETED = 3


def updates_not_supported() -> RPCError:
    """The error of every call about updates."""
    return rpc_error(
        RPCStatusCode.UNIMPLEMENTED,
        "workflow updates are not supported yet in this version of Odradek: send a signal and query"
        " for its effect",
    )


class WorkflowUpdateHandle(Generic[Result]):
    """An update of a workflow."""

    def __init__(
        self,
        client: Client,
        id: str,
        workflow_id: str,
        *,
        workflow_run_id: str | None = None,
        result_type: type | None = None,
    ) -> None:
        self._client = client
        self._id = id
        self._workflow_id = workflow_id
        self._workflow_run_id = workflow_run_id
        self._result_type = result_type

    @property
    def id(self) -> str:
        """Id of the update."""
        return self._id

    @property
    def workflow_id(self) -> str:
        """Id of the workflow."""
        return self._workflow_id

    @property
    def workflow_run_id(self) -> str | None:
        """The run it is bound to, if any."""
        return self._workflow_run_id

    async def result(
        self, *, rpc_metadata: Mapping[str, str | bytes] = {}, rpc_timeout: timedelta | None = None
    ) -> Result:
        """Not supported yet: `RPCError` UNIMPLEMENTED."""
        raise updates_not_supported()


class WithStartWorkflowOperation(Generic[Result]):
    """The start half of an update-with-start."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise updates_not_supported()
