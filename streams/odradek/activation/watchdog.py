"""The watchdog: ends an activation that does not yield, and says when it cannot.

Workflow code shares a thread with its partition, so code that loops would stop every neighbour.
A watcher thread looks at the threads that activate; one that has stood in the same activation
for the whole timeout gets `DeadlockError` raised inside it, again and again until it lets go.
That ends Python code. It cannot end a call that never returns to the interpreter
(`time.sleep(1000)`, a regular expression, a C extension): such a thread is reported as stuck,
for a supervisor to end the process; one that holds the interpreter lock stops this thread too,
which only another process can notice.

Arming costs two attribute writes. Nothing is locked: each side writes its own fields first and
reads the other's after, and the interpreter keeps that order. The timeout is counted in looks,
not in clock time, so that a process that was stopped (SIGSTOP, a suspended laptop) does not find
its workflows guilty on waking.
"""

from __future__ import annotations

import ctypes
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType

from odradek.engine.activation import (
    Activation,
    Activator,
    Completion,
    FailWorkflow,
    TaskFailed,
    WorkflowInstance,
)
from odradek.log_fields import log_fields
from odradek.wire.payload import Failure

logger = logging.getLogger("odradek.watchdog")

LOOKS = 8
"""Looks per timeout: an activation ends between one timeout and an eighth more after it began."""
REPLAY_FACTOR = 10
"""A replaying activation gets this many timeouts: a slow replay is not the workflow's fault, an
endless one is.
"""
STUCK_AFTER_INTERRUPTIONS = LOOKS
"""Interruptions without effect after which a thread counts as stuck."""


class DeadlockError(BaseException):
    """Raised inside workflow code that did not yield for too long. Never catch it."""


@dataclass(frozen=True)
class Stuck:
    """A thread that does not react to interruptions. `since`: `time.monotonic()` when its
    activation was first seen.
    """

    thread_id: int
    workflow_id: str
    run_id: str
    workflow_type: str
    since: float
    stack: str
    log_ids: Mapping[str, object]  # what a log line about it carries


class _Slot:
    """One activating thread. Fields above the line are written by that thread, those below by
    the watcher.
    """

    __slots__ = (
        "armed",
        "count",
        "fired",
        "firing",
        "looks",
        "seen",
        "since",
        "speaker",
        "stack",
        "stuck",
        "thread_id",
        "watched",
    )

    def __init__(self, thread_id: int) -> None:
        self.thread_id = thread_id
        self.speaker = (
            log_fields()
        )  # namespace, queue, partition of the thread, for what the watcher says of it
        self.count = 0  # of activations
        self.armed = 0  # looks granted to the current activation; 0: none runs
        self.watched: WatchedInstance | None = None
        # ----
        self.seen = 0
        self.looks = 0
        self.since = 0.0
        self.firing = False
        self.fired = 0  # count of the activation last interrupted
        self.stack = ""
        self.stuck: Stuck | None = None


class Watchdog:
    """Watches the threads that activate workflows.

    Args:
        timeout: Seconds that one activation may take.
        on_stuck: Called from the watcher thread, once for each activation that cannot be ended.
    """

    def __init__(
        self, timeout: float = 2.0, on_stuck: Callable[[Stuck], None] | None = None
    ) -> None:
        self.timeout = timeout
        self.on_stuck = on_stuck
        self.interrupted = 0  # activations ended, for statistics
        self._slots: dict[int, _Slot] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()

    def slot(self) -> _Slot:
        """The slot of the calling thread."""
        thread_id = threading.get_ident()
        slot = self._slots.get(thread_id)
        if slot is None:
            slot = self._slots[thread_id] = _Slot(thread_id)
            self._ensure_started()
        return slot

    def stop(self) -> None:
        """End the watcher thread. Activations go on unwatched."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    @property
    def stuck(self) -> list[Stuck]:
        """Activations that cannot be ended from inside the process."""
        return [
            slot.stuck
            for slot in list(self._slots.values())
            if slot.stuck is not None and slot.armed and slot.count == slot.seen
        ]

    @property
    def stuck_since(self) -> float | None:
        """`time.monotonic()` of the oldest of them, None when there is none."""
        return min((entry.since for entry in self.stuck), default=None)

    def _ensure_started(self) -> None:
        with self._start_lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(
                    target=self._watch, name="odradek-watchdog", daemon=True
                )
                self._thread.start()

    def _watch(self) -> None:
        interval = self.timeout / LOOKS
        while not self._stop.wait(interval):
            alive = None
            for slot in list(self._slots.values()):
                if not slot.armed:
                    if alive is None:
                        alive = {thread.ident for thread in threading.enumerate()}
                    if slot.thread_id not in alive:
                        del self._slots[slot.thread_id]
                    continue
                try:
                    self._look(slot)
                except (
                    Exception
                ):  # the watcher must outlive whatever a callback or a vanishing frame raises
                    logger.exception("the watchdog failed to look at thread %s", slot.thread_id)

    def _look(self, slot: _Slot) -> None:
        if slot.count != slot.seen:
            slot.seen, slot.looks, slot.since, slot.stuck = slot.count, 0, time.monotonic(), None
            return
        slot.looks += 1
        granted = slot.armed
        if not granted or slot.looks < granted:
            return
        frame = sys._current_frames().get(slot.thread_id)
        stack = _format(frame)
        slot.firing = True
        if (
            slot.armed and slot.count == slot.seen
        ):  # still the same activation: see `disarm`, which writes `armed` before it reads `firing`
            if slot.fired != slot.seen:
                slot.stack = stack
                slot.fired = slot.seen
                self.interrupted += 1
            _raise_in(slot.thread_id, DeadlockError)
        slot.firing = False
        if slot.looks >= granted + STUCK_AFTER_INTERRUPTIONS and slot.stuck is None:
            self._report_stuck(slot, stack)

    def _report_stuck(self, slot: _Slot, stack: str) -> None:
        watched = slot.watched
        if watched is None:
            return
        ids = {**slot.speaker, **watched.log_ids}
        slot.stuck = Stuck(
            slot.thread_id,
            watched.workflow_id,
            watched.run_id,
            watched.workflow_type,
            slot.since,
            stack,
            ids,
        )
        text = (
            "workflow %s (id %s, run %s) blocks its thread and cannot be interrupted; it stands"
            " at\n%s"
        )
        logger.error(
            text, watched.workflow_type, watched.workflow_id, watched.run_id, stack, extra=ids
        )
        if self.on_stuck is not None:
            self.on_stuck(slot.stuck)


# Prototypes of our own: those of `ctypes.pythonapi` belong to the whole process, and others change
# their argument types.
_raise_in = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.py_object)(
    ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
)
"""Raise an exception of this class in another thread, at its next bytecode."""
_take_back = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p)(
    ("PyThreadState_SetAsyncExc", ctypes.pythonapi)
)
"""With None: take back what is still pending."""


def _disarm(slot: _Slot) -> None:
    """After this no `DeadlockError` of the ended activation can arrive in this thread any more."""
    slot.armed = 0
    if slot.firing or slot.fired == slot.count:
        while slot.firing:
            time.sleep(0.0001)
        try:
            _take_back(slot.thread_id, None)
        except DeadlockError:
            pass
    slot.watched = None


def _format(frame: FrameType | None) -> str:
    """The workflow's part of a stack, as text: what lies below the activation is ours."""
    if frame is None:
        return ""
    summaries = traceback.extract_stack(frame)
    entered = max(
        (index for index, summary in enumerate(summaries) if summary.filename.endswith(_OWN_FILES)),
        default=-1,
    )
    user = summaries[entered + 1 :] or summaries
    return "".join(traceback.format_list(user))


_OWN_FILES = (
    "odradek/activation/loop.py",
    "odradek/activation/instance.py",
    "odradek/activation/closing.py",
)


class WatchedActivator:
    """An activator whose instances are watched: an activation that exceeds the timeout ends as
    `TaskFailed(crashed=True)`.
    """

    def __init__(
        self, activator: Activator, watchdog: Watchdog | None = None, *, timeout: float = 2.0
    ) -> None:
        self._activator = activator
        self.watchdog = watchdog or Watchdog(timeout)

    def create(self, *, workflow_id: str, run_id: str, workflow_type: str) -> WorkflowInstance:
        """See `Activator.create`."""
        instance = self._activator.create(
            workflow_id=workflow_id, run_id=run_id, workflow_type=workflow_type
        )
        return WatchedInstance(instance, self.watchdog, workflow_id, run_id, workflow_type)


class WatchedInstance:
    """See `WatchedActivator`."""

    __slots__ = ("_instance", "_watchdog", "run_id", "workflow_id", "workflow_type")

    def __init__(
        self,
        instance: WorkflowInstance,
        watchdog: Watchdog,
        workflow_id: str,
        run_id: str,
        workflow_type: str,
    ) -> None:
        self._instance = instance
        self._watchdog = watchdog
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.workflow_type = workflow_type

    @property
    def log_ids(self) -> dict[str, str]:
        """What a log line about it carries beside its text."""
        return {
            "workflow_id": self.workflow_id,
            "run_id": self.run_id,
            "workflow_type": self.workflow_type,
        }

    def activate(self, activation: Activation) -> Completion:
        """See `WorkflowInstance.activate`."""
        slot = self._watchdog.slot()
        completion: Completion | None = None
        try:
            try:
                slot.watched = self
                slot.count += 1
                slot.armed = LOOKS * REPLAY_FACTOR if activation.is_replaying else LOOKS
                completion = self._instance.activate(activation)
            finally:
                _disarm(slot)
        except DeadlockError:
            # It may strike in the middle of disarming too; what it leaves half done is done again
            # here.
            _disarm(slot)
        if slot.fired == slot.count or completion is None:
            return self._deadlock(slot.stack)
        return completion

    def _deadlock(self, stack: str) -> TaskFailed:
        message = (
            f"[TMPRL1101] Potential deadlock detected: workflow {self.workflow_type} (id"
            f" {self.workflow_id}) did not yield within {self._watchdog.timeout:g} second(s). It"
            f" was interrupted, which counts as a crash. It stood at\n{stack}"
        )
        logger.error("%s", message, extra=self.log_ids)
        return TaskFailed(
            Failure(message=message, type="DeadlockError", stack_trace=stack),
            crashed=True,
            logged=True,
        )

    def nondeterminism(self, failure: Failure) -> FailWorkflow | None:
        """See `WorkflowInstance.nondeterminism`."""
        return self._instance.nondeterminism(failure)

    def close(self) -> None:
        """See `WorkflowInstance.close`. Watched too: a `finally` block can loop as well."""
        slot = self._watchdog.slot()
        try:
            try:
                slot.watched = self
                slot.count += 1
                slot.armed = LOOKS
                self._instance.close()
            finally:
                _disarm(slot)
        except DeadlockError:
            _disarm(slot)
        if slot.fired == slot.count:
            text = "workflow %s (id %s) did not end its coroutines when closed; it stood at\n%s"
            logger.error(text, self.workflow_type, self.workflow_id, slot.stack, extra=self.log_ids)
