"""`workflow.logger`: says which workflow is speaking, and keeps silent at replay."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any

from odradek.activation.info import UpdateInfo, maybe_current

__all__ = ["LoggerAdapter", "current_update", "logger"]

current_update: ContextVar[UpdateInfo | None] = ContextVar("odradek_current_update", default=None)
"""The update whose handler, or a task made by it, is running."""


class LoggerAdapter(logging.LoggerAdapter[logging.Logger]):
    """Adds details of the running workflow to log records.

    Attributes:
        workflow_info_on_message: Append a dict of workflow details to each message. Default
        true. workflow_info_on_extra: Put that dict on the record as `temporal_workflow`. Default
        true. full_workflow_info_on_extra: Put `workflow.info()` on the record as
        `workflow_info`. Default false. log_during_replay: Also log at replay. Default false.

    What the call itself gives as `extra` wins.
    """

    def __init__(self, logger: logging.Logger, extra: Mapping[str, Any] | None) -> None:
        super().__init__(logger, extra or {})
        self.workflow_info_on_message = True
        self.workflow_info_on_extra = True
        self.full_workflow_info_on_extra = False
        self.log_during_replay = False
        self.disable_sandbox = False

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Add the details."""
        context = maybe_current()
        update = current_update.get()
        details: dict[str, Any] = context.logger_details() if context is not None else {}
        if update is not None:
            details.update(update._logger_details)
        extra: dict[str, Any] = {}
        if details and self.workflow_info_on_message:
            msg = f"{msg} ({details})"
        if details and self.workflow_info_on_extra:
            extra["temporal_workflow"] = details
        if context is not None and self.full_workflow_info_on_extra:
            extra["workflow_info"] = context.info()
        kwargs["extra"] = {**extra, **(kwargs.get("extra") or {})}
        return msg, kwargs

    def isEnabledFor(self, level: int) -> bool:
        """False at replay, unless `log_during_replay`; a query on a replayed run is live and may
        log.
        """
        if not self.log_during_replay:
            context = maybe_current()
            if context is not None and context.is_replaying and not context.in_query:
                return False
        return super().isEnabledFor(level)

    @property
    def base_logger(self) -> logging.Logger:
        """The logger behind, to add handlers and formatters to."""
        return self.logger

    def unsafe_disable_sandbox(self, value: bool = True) -> None:
        """Kept for code written for Temporal; there is no sandbox to disable."""
        self.disable_sandbox = value


logger = LoggerAdapter(logging.getLogger("odradek.workflow"), None)
"""Logger for workflow code. Silent at replay."""
