"""A scripted activator: generator functions as workflow code behind the activation port.

    def greet(ctx, name):
        result = yield ctx.activity("compose", name)
        return result

Workflow code waits by yielding a handle (its value is sent in, its failure thrown) or a
predicate. Everything else goes through `ctx`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Generator
from typing import Any

from odradek.engine.activation import (
    Activation,
    CancelJob,
    CancelTimer,
    CancelWorkflowExecution,
    Command,
    Commands,
    CompleteWorkflow,
    Completion,
    ContinueAsNew,
    FailWorkflow,
    FireTimer,
    InitializeWorkflow,
    NotifyHasPatch,
    QueryJob,
    RequestCancelActivity,
    ResolveActivity,
    RespondToQuery,
    ScheduleActivity,
    SetPatchMarker,
    SignalJob,
    StartTimer,
    TaskFailed,
    UpsertMemo,
    UpsertSearchAttributes,
)
from odradek.wire.payload import Failure, Payload

Workflow = Callable[..., Generator[Any, Any, Any]]


def payload(value: Any) -> Payload:
    return Payload({"encoding": b"json/plain"}, json.dumps(value).encode())


def payloads(*values: Any) -> list[Payload]:
    return [payload(value) for value in values]


def values(items: list[Payload]) -> list[Any]:
    return [json.loads(item.data) for item in items]


class WorkflowFailure(Exception):
    """Fails the workflow with this failure."""

    def __init__(self, message: str, type: str = "", **fields: Any) -> None:
        super().__init__(message)
        self.failure = Failure(message=message, type=type, **fields)


class ActivityFailure(Exception):
    """What waiting for an activity that did not succeed raises."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Canceled(Exception):
    """Closes the run as CANCELED."""


class ContinueNow(Exception):
    def __init__(self, command: ContinueAsNew) -> None:
        super().__init__("continue as new")
        self.command = command


class Crashed(Exception):
    """Fails the task as the watchdog does."""


class Handle:
    def __init__(self, seq: int, kind: str) -> None:
        self.seq = seq
        self.kind = kind
        self.done = False
        self.value: Any = None
        self.failure: Failure | None = None


class Context:
    """What workflow code sees."""

    def __init__(self) -> None:
        self.commands: list[Command] = []
        self.handles: dict[tuple[str, int], Handle] = {}
        self.seq = 0
        self.signals: list[tuple[str, list[Any]]] = []
        self.on_signal: Callable[[str, list[Any]], None] | None = None
        self.queries: dict[str, Callable[..., Any]] = {}
        self.cancel_requested = False
        self.cancel_reason: str | None = None
        self.patches: set[str] = set()
        self.decided: dict[str, bool] = {}
        self.replaying = False
        self.now_ms = 0
        self.activation: Activation | None = None
        self.start: InitializeWorkflow | None = None
        self.spawned: list[Generator[Any, Any, Any]] = []
        self.state: Any = None

    def _origin(self) -> tuple[str, int, str]:
        frame = sys._getframe(2)
        return frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name

    def activity(self, type: str, *args: Any, **options: Any) -> Handle:
        self.seq += 1
        options.setdefault("start_to_close_timeout_ms", 10_000)
        options.setdefault("task_queue", "")
        options.setdefault("activity_id", str(self.seq))
        self.commands.append(
            ScheduleActivity(
                origin=self._origin(),
                seq=self.seq,
                activity_type=type,
                input=payloads(*args),
                **options,
            )
        )
        return self._handle("activity")

    def timer(self, duration_ms: int) -> Handle:
        self.seq += 1
        self.commands.append(
            StartTimer(
                origin=self._origin(), seq=self.seq, timer_id=str(self.seq), duration_ms=duration_ms
            )
        )
        return self._handle("timer")

    def cancel(self, handle: Handle) -> None:
        if handle.done:
            return
        if handle.kind == "timer":
            handle.done = True
            self.commands.append(CancelTimer(origin=self._origin(), seq=handle.seq))
        else:
            self.commands.append(RequestCancelActivity(origin=self._origin(), seq=handle.seq))

    def patched(self, patch_id: str, *, deprecated: bool = False) -> bool:
        if patch_id not in self.decided:
            self.decided[patch_id] = deprecated or not self.replaying or patch_id in self.patches
            if self.decided[patch_id]:
                self.commands.append(
                    SetPatchMarker(origin=self._origin(), patch_id=patch_id, deprecated=deprecated)
                )
        return self.decided[patch_id]

    def upsert_memo(self, **memo: Any) -> None:
        self.commands.append(UpsertMemo(memo={key: payload(value) for key, value in memo.items()}))

    def upsert_search_attributes(self, **attributes: Any) -> None:
        self.commands.append(
            UpsertSearchAttributes(
                search_attributes={key: payload(value) for key, value in attributes.items()}
            )
        )

    def continue_as_new(self, *args: Any, **options: Any) -> None:
        options.setdefault("workflow_type", "")
        raise ContinueNow(ContinueAsNew(input=payloads(*args), **options))

    def spawn(self, code: Generator[Any, Any, Any]) -> None:
        self.spawned.append(code)

    def _handle(self, kind: str) -> Handle:
        handle = self.handles[kind, self.seq] = Handle(self.seq, kind)
        return handle


class ScriptInstance:
    def __init__(self, activator: ScriptActivator, run_id: str, workflow_type: str) -> None:
        self.activator = activator
        self.run_id = run_id
        self.workflow_type = workflow_type
        self.ctx = Context()
        self.threads: list[tuple[Generator[Any, Any, Any], Any]] = []
        self.main: Generator[Any, Any, Any] | None = None
        self.closed = False
        self.finished = False

    def activate(self, activation: Activation) -> Completion:
        assert not self.closed
        ctx = self.ctx
        ctx.commands = []
        ctx.replaying, ctx.now_ms, ctx.activation = (
            activation.is_replaying,
            activation.time_ms,
            activation,
        )
        try:
            self._run(activation)
        except Crashed as error:
            completion: Completion = TaskFailed(
                Failure(message=str(error), type="Crashed"), crashed=True
            )
        except Exception as error:
            completion = TaskFailed(Failure(message=str(error), type=type(error).__name__))
        else:
            completion = Commands(ctx.commands)
        self.activator.log.append((self.run_id, activation, completion))
        return completion

    def _run(self, activation: Activation) -> None:
        ctx = self.ctx
        for job in activation.jobs:
            if isinstance(job, InitializeWorkflow):
                code = self.activator.workflows.get(self.workflow_type)
                if code is None:
                    raise LookupError(f"workflow {self.workflow_type} is not registered")
                ctx.start = job
                self.main = code(ctx, *values(job.attributes.input))
                self.threads.append((self.main, None))
            elif isinstance(job, NotifyHasPatch):
                ctx.patches.add(job.patch_id)
            elif isinstance(job, SignalJob):
                ctx.signals.append((job.signal_name, values(job.input)))
                if ctx.on_signal is not None:
                    ctx.on_signal(job.signal_name, values(job.input))
            elif isinstance(job, FireTimer):
                ctx.handles["timer", job.seq].done = True
            elif isinstance(job, ResolveActivity):
                handle = ctx.handles["activity", job.seq]
                assert not handle.done, "resolved twice"
                handle.done, handle.failure = True, job.failure
                handle.value = values(job.result)[0] if job.result else None
            elif isinstance(job, CancelJob):
                ctx.cancel_requested, ctx.cancel_reason = True, job.reason
            elif isinstance(job, QueryJob):
                ctx.commands.append(self._query(job))
        while not self.finished and self._advance():
            self.threads.extend((code, None) for code in ctx.spawned)
            ctx.spawned.clear()

    def _query(self, job: QueryJob) -> RespondToQuery:
        handler = self.ctx.queries.get(job.query_type)
        if handler is None:
            return RespondToQuery(
                query_id=job.query_id, failure=Failure(message=f"unknown query {job.query_type}")
            )
        return RespondToQuery(query_id=job.query_id, result=payloads(handler(*values(job.input))))

    def _advance(self) -> bool:
        """Let every thread that can go on go one step. Returns whether any could."""
        moved = False
        for position, (thread, waits_for) in enumerate(list(self.threads)):
            if self.finished or (isinstance(waits_for, Handle) and not waits_for.done):
                continue
            if callable(waits_for) and not waits_for():
                continue
            moved = True
            try:
                if isinstance(waits_for, Handle) and waits_for.failure is not None:
                    next_wait = thread.throw(ActivityFailure(waits_for.failure))
                else:
                    next_wait = thread.send(
                        waits_for.value if isinstance(waits_for, Handle) else None
                    )
            except StopIteration as stop:
                self.threads[position] = (thread, Handle(-1, "never"))
                self._end(thread, CompleteWorkflow(result=payloads(stop.value)))
            except WorkflowFailure as error:
                self._end(self.main, FailWorkflow(failure=error.failure))
            except ActivityFailure as error:
                self._end(self.main, FailWorkflow(failure=error.failure))
            except Canceled:
                self._end(self.main, CancelWorkflowExecution())
            except ContinueNow as error:
                self._end(self.main, error.command)
            else:
                self.threads[position] = (thread, next_wait)
        return moved

    def _end(self, thread: Generator[Any, Any, Any] | None, command: Command) -> None:
        if thread is self.main:
            self.finished = True
            self.ctx.commands.append(command)

    def nondeterminism(self, failure: Failure) -> FailWorkflow | None:
        return (
            FailWorkflow(failure=failure)
            if self.workflow_type in self.activator.fail_on_nondeterminism
            else None
        )

    def close(self) -> None:
        self.closed = True


class ScriptActivator:
    """Workflow types by name; may be exchanged at any time ("new code")."""

    def __init__(self, **workflows: Workflow) -> None:
        self.workflows: dict[str, Workflow] = dict(workflows)
        self.fail_on_nondeterminism: set[str] = set()
        self.log: list[tuple[str, Activation, Completion]] = []

    def create(self, *, workflow_id: str, run_id: str, workflow_type: str) -> ScriptInstance:
        return ScriptInstance(self, run_id, workflow_type)
