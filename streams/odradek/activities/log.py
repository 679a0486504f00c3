"""The logger for activity code: it knows the running activity. Re-exported by
`odradek.activity`; the host logs failures through it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping
from typing import Any

from odradek.activities.context import current


class LoggerAdapter(logging.LoggerAdapter[logging.Logger]):
    """Adds the running activity to log records.

    `activity_info_on_message` (default True) appends it to the text, `activity_info_on_extra`
    (default True) sets the record's `temporal_activity`, `full_activity_info_on_extra` (default
    False) sets `activity_info` to the whole `Info`.
    """

    def __init__(self, logger: logging.Logger, extra: Mapping[str, Any] | None) -> None:
        super().__init__(logger, extra or {})
        self.activity_info_on_message = True
        self.activity_info_on_extra = True
        self.full_activity_info_on_extra = False

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Called by logging for each record."""
        context = current.get(None)
        if context is None:
            return msg, kwargs
        if self.activity_info_on_message:
            msg = f"{msg} ({context.logger_details})"
        extra = dict(kwargs.get("extra") or {})
        if self.activity_info_on_extra:
            extra["temporal_activity"] = context.logger_details
        if self.full_activity_info_on_extra:
            extra["activity_info"] = context.info()
        if extra:
            kwargs["extra"] = extra
        return msg, kwargs

    @property
    def base_logger(self) -> logging.Logger:
        """The logger underneath, for handlers and levels."""
        return self.logger


logger = LoggerAdapter(logging.getLogger("odradek.activity"), None)
"""Logger that knows the running activity."""
