"""Keeps the logs of aiokafka and of Faust's services readable.

While no broker answers aiokafka logs some forty errors a second, all of them one fact, which the
app logs itself (`app.py`, `_look_once`). Of each kind one a minute is let through, with how many
were held back; at DEBUG all of them are.

A Faust service that crashes has its stack printed by itself and by each above it: the app's
reader says once what ended it (`reader.py`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

EVERY_S = 60.0
# Those of its loggers that write in loops. A filter on a parent does not see what children log.
_LOGGERS = (
    "aiokafka",
    "aiokafka.cluster",
    "aiokafka.conn",
    "aiokafka.consumer.consumer",
    "aiokafka.consumer.fetcher",
    "aiokafka.consumer.group_coordinator",
)
_SERVICES = (
    "odradek.visibility.intake.app",
    "odradek.visibility.intake.committed",
)  # mode names a service's logger by its module


class OncePerMinute(logging.Filter):
    """Lets a kind of record (logger, level, message before its arguments) through once in `every_s`.

    clock_s: monotonic seconds, tests give their own.
    """

    def __init__(
        self, every_s: float = EVERY_S, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._every_s = every_s
        self._clock_s = clock_s
        self._last_s: dict[tuple[str, int, str], float] = {}
        self._held_back: dict[tuple[str, int, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is logged."""
        if record.levelno < logging.WARNING or logging.getLogger(record.name).isEnabledFor(
            logging.DEBUG
        ):
            return True
        kind = (record.name, record.levelno, str(record.msg))
        now_s = self._clock_s()
        last_s = self._last_s.get(kind)
        if last_s is not None and now_s - last_s < self._every_s:
            self._held_back[kind] = self._held_back.get(kind, 0) + 1
            return False
        self._last_s[kind] = now_s
        held_back = self._held_back.pop(kind, 0)
        if held_back:
            record.msg, record.args = (
                f"{record.getMessage()} (and {held_back} more since the last of its kind)",
                (),
            )
        return True


def without_crashes(record: logging.LogRecord) -> bool:
    """A filter: all but what mode says of a service that crashed."""
    return "Crashed reason=" not in str(record.msg) or logging.getLogger(record.name).isEnabledFor(
        logging.DEBUG
    )


def quieten() -> None:
    """Put the filters on the loggers of aiokafka and of Faust's services, once a process."""
    for name in _SERVICES:
        logging.getLogger(name).addFilter(
            without_crashes
        )  # one that is there already is not added again
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(one, OncePerMinute) for one in logger.filters):
            logger.addFilter(OncePerMinute())
