"""One live run of a Python workflow behind the activation port: jobs in, commands out.

`activate` applies the jobs in Temporal's order (patches; signals and updates; the rest;
queries), running the loop until idle after each group, and ends as `Commands` or, for whatever
is no failure of the workflow itself, as `TaskFailed`. Payload codecs are asynchronous and do not
run here: a host that has one decodes jobs before and encodes commands after. Nothing here reads
a clock or any other state of the world.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

from odradek.activation import closing, queries
from odradek.activation.context import WorkflowContext, WorkflowSettings
from odradek.activation.continue_as_new import ContinueAsNewRequest
from odradek.activation.definitions import WorkflowDefinition
from odradek.activation.errors import (
    NondeterminismError,
    ReadOnlyContextError,
    WorkflowEvictedError,
)
from odradek.activation.handler_table import HandlerTable
from odradek.activation.handlers import SignalDefinition
from odradek.activation.interceptors import (
    ExecuteWorkflowInput,
    HandleSignalInput,
    InboundEnd,
    OutboundEnd,
    WorkflowInboundInterceptor,
)
from odradek.activation.loop import enter, leave
from odradek.activation.watchdog import DeadlockError
from odradek.common import RawValue
from odradek.converter import WithSerializationContext, WorkflowSerializationContext
from odradek.engine.activation import (
    Activation,
    CancelJob,
    CancelWorkflowExecution,
    CommandBase,
    Commands,
    CompleteWorkflow,
    Completion,
    FailWorkflow,
    FireTimer,
    InitializeWorkflow,
    NotifyHasPatch,
    QueryJob,
    ResolveActivity,
    SignalJob,
    TaskFailed,
)
from odradek.engine.failures import CANCELED_MESSAGE
from odradek.exceptions import CancelledError, is_cancelled_exception
from odradek.wire.payload import Failure

logger = logging.getLogger("odradek.workflow")


class PythonWorkflowInstance:
    """Implements `odradek.engine.activation.WorkflowInstance`."""

    def __init__(
        self,
        settings: WorkflowSettings,
        definition: WorkflowDefinition,
        workflow_id: str,
        run_id: str,
        workflow_type: str,
    ) -> None:
        self.context = context = WorkflowContext(
            settings, definition, workflow_id, run_id, workflow_type
        )
        context.handlers = HandlerTable(context, self._deliver_signal)
        converter = settings.payload_converter
        if settings.converter_takes_context and isinstance(converter, WithSerializationContext):
            context.payload_converter = converter.with_context(
                WorkflowSerializationContext(settings.namespace, workflow_id)
            )
        self._main: asyncio.Task[None] | None = None
        self._args: list[Any] = []
        self._cancel_pending = False

    # ------------------------------------------------------------ the port

    def activate(self, activation: Activation) -> Completion:
        """See `WorkflowInstance.activate`."""
        return self.context.variables.run(self._activate, activation)

    def _activate(self, activation: Activation) -> Completion:
        context = self.context
        loop = context.loop
        context.activation = activation
        context.is_replaying = activation.is_replaying
        commands: list[CommandBase] = []
        context.commands = commands
        loop.seconds = activation.time_ms / 1000
        loop.activation += 1
        before = enter(loop)
        try:
            was_completed = context.completed
            self._apply(activation.jobs)
            if context.broken is not None:
                # A query set a future that code awaits, and that cannot be undone: the engine shall
                # replay into a new instance.
                raise ReadOnlyContextError(context.broken)
            if context.completed and not was_completed:
                self._warn_of_unfinished_handlers()
            return Commands(commands)  # type: ignore[arg-type]
        except (DeadlockError, KeyboardInterrupt):
            raise
        except Exception as error:
            return self._failed(error, commands)
        except BaseException as error:  # SystemExit and others that workflow code may raise
            return self._task_failed(error)
        finally:
            leave(before)

    def nondeterminism(self, failure: Failure) -> FailWorkflow | None:
        """See `WorkflowInstance.nondeterminism`."""
        context = self.context
        listed = context.dynamic_failure_exception_types
        types = (
            context.definition.failure_exception_types if listed is None else listed
        ) + context.settings.failure_exception_types
        return (
            FailWorkflow(failure=failure)
            if any(issubclass(NondeterminismError, kind) for kind in types)
            else None
        )

    def close(self) -> None:
        """See `WorkflowInstance.close`."""
        closing.close(self.context)
        self._main = None

    # ------------------------------------------------------------ jobs

    def _apply(self, jobs: list[Any]) -> None:
        """All jobs of an activation, group by group."""
        context = self.context
        loop = context.loop
        if len(jobs) == 1 and context.instance is not None:  # by far the most frequent
            job = jobs[0]
            kind = type(job)
            if kind is QueryJob:
                self._answer(job)
                return
            self._apply_one(kind, job)
            loop.run_until_idle(kind is not NotifyHasPatch)
            return
        if (
            context.completed and context.instance is None
        ):  # it failed over its arguments, or in `__init__`: only queries can come
            for job in jobs:
                self._answer(job)
            return
        patches, messages, rest, asked = [], [], [], []
        for job in jobs:
            kind = type(job)
            if kind is NotifyHasPatch:
                patches.append(job)
            elif kind is SignalJob:
                messages.append(job)
            elif kind is QueryJob:
                asked.append(job)
            else:
                if kind is InitializeWorkflow:
                    self._prepare(job)
                rest.append(job)
        for job in patches:
            self._apply_one(NotifyHasPatch, job)
        if context.instance is None:
            self._make_instance()
        loop.run_until_idle(False)
        for group in (messages, rest):
            if group:
                for job in group:
                    self._apply_one(type(job), job)
                loop.run_until_idle(True)
        for job in asked:
            self._answer(job)

    def _answer(self, job: QueryJob) -> None:
        """Run a query in a copy of the run's variables: what it sets is gone with it."""
        self.context.commands.append(
            self.context.variables.copy().run(queries.answer, self.context, job)
        )

    def _apply_one(self, kind: type[Any], job: Any) -> None:
        if kind is ResolveActivity:
            result = self.context.activities.pop(job.seq, None)
            if result is None:
                raise RuntimeError(
                    f"no activity has the sequence number {job.seq}; this is a defect of the engine"
                )
            result.resolve(job)
        elif kind is FireTimer:
            self.context.loop.fire(job.seq)
        elif kind is SignalJob:
            self.context.handlers.signal(job)
        elif kind is InitializeWorkflow:
            self._start(job)
        elif kind is CancelJob:
            self._cancel(job)
        elif kind is NotifyHasPatch:
            self.context.patches_notified.add(job.patch_id)
        else:
            raise RuntimeError(
                f"unknown job {kind.__name__}; this activator is older than its engine"
            )

    def _prepare(self, job: InitializeWorkflow) -> None:
        """Decode the arguments: before anything of the workflow runs, so that a wrong one fails
        the task (or the workflow) cleanly.
        """
        context = self.context
        context.initialize = job
        context.first_task_time_ms = context.activation.time_ms
        payloads = job.attributes.input
        definition = context.definition
        if definition.name is None:
            self._args = [[RawValue(payload) for payload in payloads]]
        else:
            self._args = context.decode(
                payloads, definition.arg_types, f"workflow {context.workflow_type}"
            )

    def _make_instance(self) -> None:
        """Make the user's object, inside the loop: its `__init__` may ask for `workflow.info()`
        or patches.
        """
        context = self.context
        definition = context.definition
        if context.initialize is None:
            raise RuntimeError(
                "the first activation of a run must initialize it; this is a defect of the engine"
            )
        if context.settings.interceptor_classes:
            chain: WorkflowInboundInterceptor = InboundEnd(self)
            for interceptor in reversed(context.settings.interceptor_classes):
                chain = interceptor(chain)
            context.inbound = chain
            chain.init(OutboundEnd(self))
        context.instance = (
            definition.cls(*self._args) if definition.takes_init_args else definition.cls()
        )
        if definition.name is None and definition.dynamic_config_fn is not None:
            with context.as_read_only(in_query=False):
                config = definition.dynamic_config_fn(context.instance)
            if config is not None and config.failure_exception_types is not None:
                context.dynamic_failure_exception_types = tuple(config.failure_exception_types)

    def _start(self, job: InitializeWorkflow) -> None:
        context = self.context
        definition = context.definition
        fn: Callable[..., Awaitable[Any]] = definition.run_fn
        args: list[Any] = [context.instance, *self._args]
        if context.inbound is not None:
            fn, args = (
                context.inbound.execute_workflow,
                [ExecuteWorkflowInput(definition.cls, fn, self._args, job.attributes.headers)],
            )
        self._args = []
        self._main = context.loop.create_task(self._run_main(fn, args), name="run")
        if self._cancel_pending:
            context.loop.call_soon(self._main.cancel)

    def _cancel(self, job: CancelJob) -> None:
        """Cancel the main task once, after its first step if it has not had one: the workflow
        can always see the cancellation.
        """
        first = self.context.cancel_reason is None
        self.context.cancel_reason = job.reason
        if not first:
            return
        if self._main is None:
            self._cancel_pending = True
        else:
            self.context.loop.call_soon(self._main.cancel)

    # ------------------------------------------------------------ user code at the top

    async def _run_main(self, fn: Callable[..., Awaitable[Any]], args: list[Any]) -> None:
        try:
            result = await fn(*args)
            self.context.complete(
                CompleteWorkflow(result=self.context.payload_converter.to_payloads([result]))
            )
        except GeneratorExit as error:
            if self.context.closing:
                # here: what `_ended` raises holds its frame, and that the error, for the collector
                # to find
                raise
            self._ended(error)  # the code's own
        except BaseException as error:
            self._ended(error)

    def _deliver_signal(
        self, definition: SignalDefinition, job: SignalJob, args: list[Any]
    ) -> None:
        """Run a signal handler, also a plain one, in a task of its own."""
        context = self.context
        number = context.handlers.started(definition, job.signal_name)
        context.loop.create_task(
            self._run_signal(number, definition, job, args), name=f"signal: {job.signal_name}"
        )

    async def _run_signal(
        self, number: int, definition: SignalDefinition, job: SignalJob, args: list[Any]
    ) -> None:
        context = self.context
        try:
            if context.handlers.find(context.handlers.signals, job.signal_name) is not definition:
                context.handlers.signal(
                    job
                    # a signal before it has set another handler, or none: as if this one had come
                    # later
                )
            elif context.inbound is None:
                await context.handlers.run_signal(job.signal_name, args)
            else:
                await context.inbound.handle_signal(
                    HandleSignalInput(signal=job.signal_name, args=args, headers=job.headers)
                )
        except GeneratorExit as error:
            if self.context.closing:
                # here: what `_ended` raises holds its frame, and that the error, for the collector
                # to find
                raise
            self._ended(error)  # the code's own
        except BaseException as error:
            self._ended(error)
        finally:
            context.handlers.finished(number)

    def _ended(self, error: BaseException) -> None:
        """The run method or a signal handler raised: close the run, or fail the task."""
        context = self.context
        if isinstance(error, DeadlockError):
            context.loop.failure = error  # ends this pass too
            return
        if context.closing or isinstance(
            error, WorkflowEvictedError | KeyboardInterrupt | SystemExit
        ):
            raise error
        if isinstance(error, ContinueAsNewRequest):
            context.complete(error.command)
            return
        if isinstance(error, asyncio.CancelledError):
            cancelled = CancelledError(str(error) or CANCELED_MESSAGE)
            cancelled.__cause__ = error.__cause__
            error = cancelled.with_traceback(error.__traceback__)
        if context.cancel_reason is not None and _is_cancelled(error):
            context.complete(CancelWorkflowExecution())
        elif context.is_failure_exception(error):
            self._fail_workflow(error)
        else:
            context.loop.failure = error

    # ------------------------------------------------------------ how an activation ends

    def _fail_workflow(self, error: BaseException) -> None:
        try:
            failure = self.context.to_failure(error)
        except Exception as conversion:
            self.context.loop.failure = ValueError("Failed converting workflow exception")
            self.context.loop.failure.__cause__ = conversion
            return
        self.context.complete(FailWorkflow(failure=failure))

    def _failed(self, error: Exception, commands: list[Any]) -> Completion:
        """An exception outside of the run method and handlers (arguments, `__init__`, a
        condition), or one that fails the task.
        """
        context = self.context
        if context.loop.failure is None and context.is_failure_exception(error):
            context.read_only = False
            self._fail_workflow(error)
            if context.loop.failure is None:
                return Commands(commands)
            error = context.loop.failure
        return self._task_failed(error)

    def _task_failed(self, error: BaseException) -> TaskFailed:
        context = self.context
        logger.warning(
            "Failed activation on workflow %s with ID %s and run ID %s",
            context.workflow_type,
            context.workflow_id,
            context.run_id,
            exc_info=error,
            extra={
                "temporal_workflow": context.logger_details(),
                "__temporal_error_identifier": "WorkflowTaskFailure",
            },
        )
        try:
            failure = context.to_failure(error)
        except Exception as conversion:
            failure = Failure(
                message=f"{type(error).__name__}, and its conversion failed: {conversion!r}",
                type=type(error).__name__,
            )
        nondeterministic = isinstance(error, NondeterminismError)
        cause = (
            "NON_DETERMINISTIC_ERROR" if nondeterministic else "WORKFLOW_WORKER_UNHANDLED_FAILURE"
        )
        return TaskFailed(failure, cause, logged=True)

    def _warn_of_unfinished_handlers(self) -> None:
        warning = self.context.handlers.unfinished_warning()
        if warning is not None:
            warnings.warn(warning, stacklevel=2)


def _is_cancelled(error: BaseException) -> bool:
    """As `is_cancelled_exception`, also for the group that a TaskGroup makes of cancelled
    activities.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(_is_cancelled(one) for one in error.exceptions)
    return is_cancelled_exception(error)
