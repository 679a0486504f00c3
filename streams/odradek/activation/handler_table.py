"""The handlers of one run: those of its class, those set at run time, the signals that wait for
one, and which are running.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from odradek.activation.handlers import (
    HandlerDefinition,
    HandlerUnfinishedPolicy,
    QueryDefinition,
    SignalDefinition,
    UnfinishedSignalHandlersWarning,
    UpdateDefinition,
    warn_about_form,
)
from odradek.common import RawValue
from odradek.engine.activation import SignalJob
from odradek.wire.payload import Payload

if TYPE_CHECKING:
    from odradek.activation.context import WorkflowContext

logger = logging.getLogger("odradek.workflow")
D = TypeVar("D", bound=HandlerDefinition)


class HandlerTable:
    """Handlers by name; None is the dynamic one. `deliver` runs a signal whose arguments decoded."""

    def __init__(
        self,
        context: WorkflowContext,
        deliver: Callable[[SignalDefinition, SignalJob, list[Any]], None],
    ) -> None:
        self._context = context
        self._deliver = deliver
        definition = context.definition
        # Shared with the definition until one is set at run time.
        self.signals: Mapping[str | None, SignalDefinition] = definition.signals
        self.queries: Mapping[str | None, QueryDefinition] = definition.queries
        self.updates: Mapping[str | None, UpdateDefinition] = definition.updates
        self.buffered: dict[str, list[SignalJob]] = {}
        self.running_signals: dict[int, SignalDefinition] = {}
        self.running_names: dict[int, str] = {}
        self.running_updates: dict[str, UpdateDefinition] = {}
        self._signal_count = 0

    @staticmethod
    def find(handlers: Mapping[str | None, D], name: str) -> D | None:
        """The handler of that name, else the dynamic one."""
        return handlers.get(name) or handlers.get(None)

    def get(self, handlers: Mapping[str | None, D], name: str | None) -> Callable[..., Any] | None:
        """The callable for exactly that name, None for the dynamic one."""
        definition = handlers.get(name)
        return None if definition is None else definition.bind(self._context.instance)

    def arguments(
        self, definition: HandlerDefinition, name: str, payloads: Sequence[Payload]
    ) -> list[Any]:
        """Decode the arguments of a call, in the form that the handler takes. Raises as
        `WorkflowContext.decode`.
        """
        if definition.name is not None:
            return self._context.decode(payloads, definition.arg_types, f"handler '{name}'")
        if definition.dynamic_vararg:
            return [name, *self._context.decode(payloads, None, f"dynamic handler of '{name}'")]
        return [name, [RawValue(payload) for payload in payloads]]

    # ------------------------------------------------------------ signals

    def signal(self, job: SignalJob) -> None:
        """A signal arrived: deliver it, or keep it until there is a handler. One whose arguments
        do not decode is logged and dropped.
        """
        definition = self.find(self.signals, job.signal_name)
        if definition is None:
            self.buffered.setdefault(job.signal_name, []).append(job)
            return
        try:
            args = self.arguments(definition, job.signal_name, job.input)
        except Exception:
            context = self._context
            logger.exception(
                "Failed deserializing signal input for %s on workflow %s with ID %s and run ID %s,"
                " dropping the signal",
                job.signal_name,
                context.workflow_type,
                context.workflow_id,
                context.run_id,
                extra={"temporal_workflow": context.logger_details()},
            )
            return
        self._deliver(definition, job, args)

    async def run_signal(self, name: str, args: Sequence[Any]) -> None:
        """Call the handler of a signal."""
        definition = self.find(self.signals, name)
        if definition is None:
            raise RuntimeError(
                f"the handler of signal '{name}' was removed while an interceptor held the signal"
            )
        result = definition.bind(self._context.instance)(*args)
        if definition.is_coroutine:
            await result

    def started(self, definition: SignalDefinition, name: str) -> int:
        """A signal handler begins; returns a number for `finished`."""
        self._signal_count = number = self._signal_count + 1
        self.running_signals[number] = definition
        self.running_names[number] = name
        return number

    def finished(self, number: int) -> None:
        """A signal handler ended."""
        self.running_signals.pop(number, None)
        self.running_names.pop(number, None)

    def all_finished(self) -> bool:
        """Whether no signal or update handler is running."""
        return not self.running_signals and not self.running_updates

    def unfinished_warning(self) -> Warning | None:
        """What to warn of when the workflow ends now."""
        names = [
            self.running_names[number]
            for number, definition in self.running_signals.items()
            if definition.unfinished_policy is HandlerUnfinishedPolicy.WARN_AND_ABANDON
        ]
        if not names:
            return None
        counts = {name: names.count(name) for name in dict.fromkeys(names)}
        listed = json.dumps([{"name": name, "count": count} for name, count in counts.items()])
        return UnfinishedSignalHandlersWarning(
            "[TMPRL1102] Workflow finished while signal handlers are still running. This may have"
            " interrupted work that the signal handler was doing. Wait for them before the"
            " workflow returns, `await workflow.wait_condition(workflow.all_handlers_finished)`,"
            " or, if it is fine for them to be cut off, say so:"
            " `@workflow.signal(unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)`. The"
            " following signals were unfinished (and warnings were not disabled for their"
            f" handler): {listed}"
        )

    # ------------------------------------------------------------ set at run time

    def set_signal(self, name: str | None, handler: Callable[..., Any] | None) -> None:
        """Set (or with None remove) a signal handler; signals that waited for it are delivered
        at once.
        """
        self._context.assert_writable("set signal handler")
        self.signals = _changed(self.signals, name, SignalDefinition, handler)
        if handler is None:
            return
        warn_about_form(self.signals[name], "signals", 4)
        if name is None:
            waiting = [job for jobs in self.buffered.values() for job in jobs]
            self.buffered.clear()
        else:
            waiting = self.buffered.pop(name, [])
        for job in waiting:
            self.signal(job)

    def set_query(self, name: str | None, handler: Callable[..., Any] | None) -> None:
        """Set (or with None remove) a query handler."""
        self._context.assert_writable("set query handler")
        self.queries = _changed(self.queries, name, QueryDefinition, handler)
        if handler is not None:
            warn_about_form(self.queries[name], "queries", 4)

    def set_update(
        self,
        name: str | None,
        handler: Callable[..., Any] | None,
        validator: Callable[..., Any] | None,
    ) -> None:
        """Set (or with None remove) an update handler and its validator."""
        self._context.assert_writable("set update handler")
        changed = _changed(self.updates, name, UpdateDefinition, handler)
        if handler is not None and validator is not None:
            changed[name].set_validator(validator)
        self.updates = changed


def _changed(
    handlers: Mapping[str | None, D],
    name: str | None,
    kind: type[D],
    handler: Callable[..., Any] | None,
) -> dict[str | None, D]:
    changed = dict(handlers)
    changed.pop(name, None)
    if handler is not None:
        changed[name] = kind(name, handler, is_method=False)
    return changed
