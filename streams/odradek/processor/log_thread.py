"""The log of a process that must go on where nobody reads its log (a full pipe): a thread writes
the lines, and stands in them alone.
"""

from __future__ import annotations

import logging
import queue
import threading
from types import TracebackType

#: Of lines that wait; what comes beyond is lost.
LINES_MAX = 1_000
#: For those that wait at the end.
LAST_SECONDS = 1.0


class LogThread(logging.Handler):
    """While in it, the lines of `logger` are written by a thread, as its parents would."""

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self._logger, self._propagates = logger, logger.propagate
        self._lines: queue.Queue[logging.LogRecord | None] = queue.Queue(LINES_MAX)
        self._thread = threading.Thread(target=self._write, name="odradek-log", daemon=True)
        # at the end: lines are left, and the thread has the stream, for which the interpreter would
        # wait
        self.stands = False

    def __enter__(self) -> LogThread:
        self._thread.start()
        self._logger.addHandler(self)
        self._logger.propagate = False
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._logger.propagate = self._propagates
        self._logger.removeHandler(self)
        self._put(None)
        self._thread.join(LAST_SECONDS)
        self.stands = self._thread.is_alive()

    def emit(self, record: logging.LogRecord) -> None:
        self._put(record)

    def _put(self, record: logging.LogRecord | None) -> None:
        try:
            self._lines.put_nowait(record)
        except queue.Full:
            pass  # nobody reads them

    def _write(self) -> None:
        parent = self._logger.parent or logging.getLogger()
        while (record := self._lines.get()) is not None:
            parent.callHandlers(record)
