"""`WorkflowContext`: the state of one run on which the workflow API works.

It holds what workflow code has asked for in the current activation (commands, in order), the
numbers given out, and the guards: nothing may change in a read-only context, and nothing happens
at all once the run is being closed. It applies no jobs (the instance does) and runs nothing (the
loop does).
"""

from __future__ import annotations

import asyncio
import contextvars
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from odradek.activation.definitions import WorkflowDefinition
from odradek.activation.errors import ReadOnlyContextError, WorkflowEvictedError
from odradek.activation.info import Info, make_info
from odradek.activation.loop import Timer, WorkflowLoop
from odradek.common import MetricMeter
from odradek.converter import (
    ActivitySerializationContext,
    FailureConverter,
    PayloadConverter,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from odradek.engine.activation import (
    Activation,
    CancelTimer,
    CommandBase,
    FireTimer,
    InitializeWorkflow,
    RequestCancelActivity,
    ResolveActivity,
    ScheduleActivity,
    SetPatchMarker,
    StartTimer,
)
from odradek.exceptions import FailureError
from odradek.log_fields import log_fields, set_log_fields
from odradek.wire.payload import Failure, Payload

if TYPE_CHECKING:
    from odradek.activation.activity_calls import ActivityResult
    from odradek.activation.handler_table import HandlerTable
    from odradek.activation.interceptors import (
        WorkflowInboundInterceptor,
        WorkflowOutboundInterceptor,
    )

_NO_ACTIVATION = Activation("", 0, False, 0, 0, False, [])


class WorkflowSettings:
    """What all runs of a worker share."""

    def __init__(
        self,
        *,
        namespace: str,
        task_queue: str,
        payload_converter: PayloadConverter,
        failure_converter: FailureConverter,
        failure_exception_types: Sequence[type[BaseException]] = (),
        interceptor_classes: Sequence[type[WorkflowInboundInterceptor]] = (),
        extern_functions: Mapping[str, Callable[..., Any]] | None = None,
        metric_meter: MetricMeter | None = None,
    ) -> None:
        self.namespace = namespace
        self.task_queue = task_queue
        self.payload_converter = payload_converter
        self.failure_converter = failure_converter
        self.failure_exception_types = tuple(failure_exception_types)
        self.interceptor_classes = tuple(interceptor_classes)
        self.extern_functions = extern_functions or {}
        self.metric_meter = metric_meter or MetricMeter.noop
        # Almost no converter minds the context; asked once, so that no call has to.
        self.converter_takes_context = (
            isinstance(payload_converter, WithSerializationContext)
            and payload_converter.with_context(WorkflowSerializationContext(namespace, ""))
            is not payload_converter
        )


class WorkflowContext:
    """State of one run. See the module's docstring."""

    def __init__(
        self,
        settings: WorkflowSettings,
        definition: WorkflowDefinition,
        workflow_id: str,
        run_id: str,
        workflow_type: str,
    ) -> None:
        self.settings = settings
        self.definition = definition
        self.workflow_id = workflow_id
        self.run_id = run_id
        self.workflow_type = workflow_type
        self.payload_converter = settings.payload_converter
        self.variables = (
            _clean_variables()
        )  # in which everything of the run runs; tasks have copies, as in asyncio
        # the rest of its methods is set below the class
        self.loop: WorkflowLoop = WorkflowLoop(self, run_id)  # type: ignore[abstract]
        self.handlers: HandlerTable  # set by the instance
        self.instance: Any = None  # the user's object
        self.inbound: WorkflowInboundInterceptor | None = None  # None: no interceptors
        self.outbound: WorkflowOutboundInterceptor | None = None
        # The current activation.
        self.activation = _NO_ACTIVATION
        self.is_replaying = False
        self.commands: list[CommandBase] = []
        # Guards.
        self.read_only = False
        self.in_query = False
        self.closing = False
        self.completed = False
        self.broken: str | None = None  # why this instance no longer is what its history says
        # Numbers given out, and what waits for an answer under them.
        self.timer_seq = 0
        self.activity_seq = 0
        self.activities: dict[int, ActivityResult] = {}
        self.timer_summary: Payload | None = None  # for the timer started next
        # The run.
        self.initialize: InitializeWorkflow | None = None
        self.first_task_time_ms = 0
        self.cancel_reason: str | None = None
        self.current_details = ""
        self.patches_notified: set[str] = set()
        self.patches: dict[str, bool] = {}
        self.dynamic_failure_exception_types: tuple[type[BaseException], ...] | None = None
        self.seed_callbacks: list[Callable[[int], None]] = []
        self._random: Random | None = None
        self._info: Info | None = None
        self.converted_memo: dict[str, Any] | None = None
        self.metric_meter: MetricMeter | None = None

    # ------------------------------------------------------------ guards

    def refuse(self, action: str, *, scheduled: bool = False) -> NoReturn:
        """Raise because of `read_only`. `scheduled`: see `TimerHost`."""
        text = f"While in read-only function, action attempted: {action}"
        if scheduled:
            self.broken = text
        raise ReadOnlyContextError(text)

    def assert_writable(self, action: str) -> None:
        """`ReadOnlyContextError` in a query or validator."""
        if self.closing:
            raise WorkflowEvictedError
        if self.read_only:
            self.refuse(action)

    @contextmanager
    def as_read_only(self, *, in_query: bool) -> Iterator[None]:
        """Refuse every change inside."""
        before = self.read_only, self.in_query
        self.read_only, self.in_query = True, in_query
        try:
            yield
        finally:
            self.read_only, self.in_query = before

    # ------------------------------------------------------------ commands

    def add(self, command: CommandBase) -> None:
        """Add a command. After one that closes the run all others are dropped."""
        if self.closing:
            raise WorkflowEvictedError
        if self.read_only:
            self.refuse("add command")
        if self.completed:
            return
        if self.is_replaying:  # only replay compares, so only replay pays for looking
            command.origin = self.origin()
        self.commands.append(command)

    def complete(self, command: CommandBase) -> None:
        """Add a command that closes the run; only the first counts."""
        self.add(command)
        self.completed = True

    def retract(self, kind: type[ScheduleActivity] | type[StartTimer], seq: int) -> None:
        """Take back a command of this very activation: what never left needs no cancelling."""
        commands = self.commands
        for index in range(len(commands) - 1, -1, -1):
            command = commands[index]
            if type(command) is kind and command.seq == seq:
                del commands[index]
                return

    def is_resolved_now(self, kind: type[ResolveActivity] | type[FireTimer], seq: int) -> bool:
        """Whether a job of this activation, perhaps not yet applied, ends `seq`: then it is
        closed already for the engine.
        """
        return any(type(job) is kind and job.seq == seq for job in self.activation.jobs)

    def origin(self) -> tuple[str, int, str] | None:
        """File, line and function of the workflow code that is asking; when none is on the
        stack, where the main coroutine stands.
        """
        frame = sys._getframe(2)
        while frame is not None:
            code = frame.f_code
            if not _is_library(code.co_filename):
                return code.co_filename, frame.f_lineno, code.co_name
            frame = frame.f_back  # type: ignore[assignment]
        for task in self.loop.tasks.values():
            if task.get_name() == "run":
                for standing in reversed(self.loop.frames(task)):
                    if not _is_library(standing.f_code.co_filename):
                        return (
                            standing.f_code.co_filename,
                            standing.f_lineno,
                            standing.f_code.co_name,
                        )
        return None

    # ------------------------------------------------------------ timers (see loop.TimerHost)

    def timer_started(self, timer: Timer, delay: float) -> int:
        """StartTimer: whole milliseconds, rounded up, at least one."""
        self.timer_seq = seq = self.timer_seq + 1
        milliseconds = max(1, math.ceil(round(delay * 1000, 6)))
        summary, self.timer_summary = self.timer_summary, None
        self.add(StartTimer(seq=seq, timer_id=str(seq), duration_ms=milliseconds, summary=summary))
        return seq

    def timer_cancelled(self, timer: Timer) -> None:
        """CancelTimer, unless the timer never left or has fired."""
        if self.read_only:
            self.refuse("cancel timer", scheduled=True)
        if timer.started_in == self.loop.activation:
            self.retract(StartTimer, timer.seq)
        elif not self.is_resolved_now(FireTimer, timer.seq):
            self.add(CancelTimer(seq=timer.seq))

    def cancel_activity(self, result: ActivityResult) -> bool:
        """Ask for the cancellation of an activity. False when it never left: then nobody will
        answer.
        """
        if self.read_only:
            self.refuse("cancel activity handle")
        if result.scheduled_in == self.loop.activation:
            self.retract(ScheduleActivity, result.seq)
            self.activities.pop(result.seq, None)
            return False
        if not self.is_resolved_now(ResolveActivity, result.seq):
            self.add(RequestCancelActivity(seq=result.seq))
        return True

    async def sleep(self, seconds: float, summary: str | None) -> None:
        """A durable timer."""
        self.assert_writable("schedule timer")
        future: asyncio.Future[None] = self.loop.create_future()
        if summary:
            self.timer_summary = self.payload_converter.to_payload(summary)
        timer = self.loop.call_later(seconds, _set_none, future)
        try:
            await future
        finally:
            timer.cancel()

    async def wait_condition(
        self, predicate: Callable[[], bool], seconds: float | None, summary: str | None
    ) -> None:
        """Wait until `predicate` holds, looked at after each pass of the loop.
        `asyncio.TimeoutError` after `seconds`.
        """
        self.assert_writable("wait condition")
        future: asyncio.Future[None] = self.loop.create_future()
        if seconds is None:
            self.loop.conditions.append((predicate, future, contextvars.copy_context()))
            await future
            return
        if seconds <= 0:
            raise TimeoutError
        if summary:
            self.timer_summary = self.payload_converter.to_payload(summary)
        timer = self.loop.call_later(seconds, _set_timeout, future)
        self.loop.conditions.append((predicate, future, contextvars.copy_context()))
        try:
            await future
        finally:
            timer.cancel()

    # ------------------------------------------------------------ the run

    @property
    def started_info(self) -> Info:
        """`Info` of the run, made on first use."""
        if self._info is None:
            assert self.initialize is not None
            self._info = make_info(
                self.initialize.attributes,
                namespace=self.settings.namespace,
                start_time_ms=self.initialize.start_time_ms,
                first_task_time_ms=self.first_task_time_ms,
            )
        return self._info

    def info(self) -> Info:
        """`Info`, through interceptors."""
        return self.started_info if self.outbound is None else self.outbound.info()

    def logger_details(self) -> dict[str, Any]:
        """What a log record says about the run."""
        return {
            "attempt": self.initialize.attributes.attempt if self.initialize else 1,
            "namespace": self.settings.namespace,
            "run_id": self.run_id,
            "task_queue": self.settings.task_queue,
            "workflow_id": self.workflow_id,
            "workflow_type": self.workflow_type,
        }

    @property
    def seed(self) -> int:
        """Seed of the run's random numbers."""
        return self.initialize.random_seed if self.initialize else 0

    def random(self) -> Random:
        """The run's random number generator."""
        self.assert_writable("random")
        if self._random is None:
            self._random = Random(self.seed)
        return self._random

    def patched(self, patch_id: str, *, deprecated: bool) -> bool:
        """Whether to take the new path: yes when not replaying or when history has the marker.
        The first answer holds for the run.
        """
        self.assert_writable("patch")
        known = self.patches.get(patch_id)
        if known is not None:
            return known
        use = not self.is_replaying or patch_id in self.patches_notified
        self.patches[patch_id] = use
        if use:
            self.add(SetPatchMarker(patch_id=patch_id, deprecated=deprecated))
        return use

    def activity_converter(
        self, activity_type: str, activity_id: str | None, task_queue: str | None
    ) -> PayloadConverter:
        """The payload converter for one activity's arguments and result."""
        converter = self.settings.payload_converter
        if not self.settings.converter_takes_context or not isinstance(
            converter, WithSerializationContext
        ):
            return self.payload_converter
        return converter.with_context(
            ActivitySerializationContext(
                namespace=self.settings.namespace,
                workflow_id=self.workflow_id,
                workflow_type=self.workflow_type,
                activity_type=activity_type,
                activity_id=activity_id,
                activity_task_queue=task_queue or self.settings.task_queue,
                is_local=False,
            )
        )

    # ------------------------------------------------------------ failures

    def decode(self, payloads: Sequence[Payload], types: list[Any] | None, of: str) -> list[Any]:
        """Arguments from their payloads. As in Temporal, an error that may fail the workflow
        passes; any other becomes `RuntimeError`.
        """
        if not payloads:
            return []
        if types is not None and len(types) != len(
            payloads
        ):  # fewer arguments than parameters is fine: defaults
            types = types[: len(payloads)] if len(types) > len(payloads) else None
        try:
            return self.payload_converter.from_payloads(payloads, types)
        except Exception as error:
            if self.is_failure_exception(error):
                raise
            raise RuntimeError(f"Failed decoding arguments of {of}: {error}") from error

    def is_failure_exception(self, error: BaseException) -> bool:
        """Whether `error` fails the workflow; any other fails its task."""
        if isinstance(error, FailureError | asyncio.TimeoutError):
            return True
        if isinstance(error, BaseExceptionGroup):  # of a TaskGroup: what it holds decides
            return all(self.is_failure_exception(one) for one in error.exceptions)
        own = self.dynamic_failure_exception_types
        if own is None:
            own = self.definition.failure_exception_types
        return isinstance(error, own + self.settings.failure_exception_types)

    def to_failure(self, error: BaseException) -> Failure:
        """`error` as a wire record. Its stack begins in the user's code; a group gets its first
        exception as its cause.
        """
        failure = Failure()
        error = error.with_traceback(_users_part(error.__traceback__))
        if isinstance(error, BaseExceptionGroup) and error.__cause__ is None:
            error.__cause__ = error.exceptions[0]
        self.settings.failure_converter.to_failure(error, self.payload_converter, failure)
        return failure

    def from_failure(self, failure: Failure) -> BaseException:
        """A wire record as an exception."""
        return self.settings.failure_converter.from_failure(failure, self.payload_converter)


def _clean_variables() -> contextvars.Context:
    """The `contextvars` of a new run: nobody's, since a replay elsewhere could not see them, but
    for the ids of log lines.
    """
    variables = contextvars.Context()
    fields = log_fields()
    if fields:
        variables.run(set_log_fields, **fields)
    return variables


def _set_none(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _set_timeout(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())


def _users_part(trace: TracebackType | None) -> TracebackType | None:
    """The traceback without the frames above the user's code; whole when there is none of the
    user's.
    """
    part = trace
    while part is not None and _is_library(part.tb_frame.f_code.co_filename):
        part = part.tb_next
    return part or trace


_LIBRARIES = (
    __file__.rsplit("/", 2)[0] + "/",  # Odradek
    asyncio.__file__.rsplit("/", 1)[0] + "/",
)
_library_files: dict[str, bool] = {}


def _is_library(filename: str) -> bool:
    known = _library_files.get(filename)
    if known is None:
        known = _library_files[filename] = filename.startswith(_LIBRARIES) or filename.endswith(
            "/contextlib.py"
        )
    return known
