"""Workflow classes: `@workflow.defn` and its companions, and the definition they leave on the class.

Everything that can be wrong with a class is found when it is decorated, and said in one
`ValueError`. Type hints are read when the class is registered with a worker
(`WorkflowDefinition.prepare`), once all names of its module exist.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from odradek.activation.handlers import (
    QUERY_ATTRIBUTE,
    SIGNAL_ATTRIBUTE,
    HandlerDefinition,
    QueryDefinition,
    SignalDefinition,
    UpdateDefinition,
)
from odradek.activation.signatures import is_method_of, same_parameters
from odradek.common import RawValue, VersioningBehavior, _type_hints_from_func

__all__ = ["DynamicWorkflowConfig", "WorkflowDefinition", "defn", "dynamic_config", "init", "run"]

DEFINITION_ATTRIBUTE = "__odradek_workflow_definition"
RUN_ATTRIBUTE = "__odradek_workflow_run"
INIT_ATTRIBUTE = "__odradek_workflow_init"
DYNAMIC_CONFIG_ATTRIBUTE = "__odradek_workflow_dynamic_config"

Class = TypeVar("Class", bound=type)
Fn = TypeVar("Fn", bound=Callable[..., Any])
AsyncFn = TypeVar("AsyncFn", bound=Callable[..., Awaitable[Any]])


@dataclass(frozen=True)
class DynamicWorkflowConfig:
    """What a `@workflow.dynamic_config` method returns: settings of a dynamic workflow that
    depend on its run.
    """

    failure_exception_types: Sequence[type[BaseException]] | None = None
    """Replaces `defn(failure_exception_types=)` when not None."""
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED
    """Replaces `defn(versioning_behavior=)` when specified."""


class WorkflowDefinition:
    """A workflow type. `name` is None for the dynamic workflow."""

    __slots__ = (
        "_hints",
        "cls",
        "dynamic_config_fn",
        "failure_exception_types",
        "name",
        "queries",
        "run_fn",
        "sandboxed",
        "signals",
        "takes_init_args",
        "updates",
        "versioning_behavior",
    )

    def __init__(
        self,
        *,
        name: str | None,
        cls: type,
        run_fn: Callable[..., Awaitable[Any]],
        signals: dict[str | None, SignalDefinition],
        queries: dict[str | None, QueryDefinition],
        updates: dict[str | None, UpdateDefinition],
        sandboxed: bool,
        failure_exception_types: Sequence[type[BaseException]],
        versioning_behavior: VersioningBehavior,
        dynamic_config_fn: Callable[[Any], DynamicWorkflowConfig] | None,
    ) -> None:
        self.name = name
        self.cls = cls
        self.run_fn = run_fn
        self.signals = signals
        self.queries = queries
        self.updates = updates
        self.sandboxed = sandboxed
        self.failure_exception_types = tuple(failure_exception_types)
        self.versioning_behavior = versioning_behavior
        self.dynamic_config_fn = dynamic_config_fn
        self.takes_init_args = hasattr(cls.__init__, INIT_ATTRIBUTE)  # type: ignore[misc]
        self._hints: tuple[list[Any] | None, Any] | None = None

    @property
    def arg_types(self) -> list[Any] | None:
        """Types of the run method's arguments, None when they are not all annotated."""
        if self._hints is None:
            self._hints = _type_hints_from_func(self.run_fn)
        return self._hints[0]

    @property
    def ret_type(self) -> Any:
        """Annotated result type of the run method, or None."""
        if self._hints is None:
            self._hints = _type_hints_from_func(self.run_fn)
        return self._hints[1]

    def prepare(self) -> None:
        """Read all type hints. `NameError` when an annotation does not exist at run time,
        `TypeError` for a wrong dynamic run method.
        """
        types = self.arg_types
        if self.name is None and types not in ([Sequence[RawValue]], [typing.Sequence[RawValue]]):
            raise TypeError("Dynamic workflow must accept a single Sequence[RawValue]")
        handlers: list[HandlerDefinition] = [
            *self.signals.values(),
            *self.queries.values(),
            *self.updates.values(),
        ]
        for handler in handlers:
            _ = handler.arg_types

    @staticmethod
    def of_class(workflow: type) -> WorkflowDefinition:
        """Definition of a decorated class. `ValueError` when that class itself is not decorated."""
        definition = getattr(workflow, DEFINITION_ATTRIBUTE, None)
        if not isinstance(definition, WorkflowDefinition) or definition.cls is not workflow:
            name = getattr(workflow, "__name__", repr(workflow))
            raise ValueError(
                f"Workflow {name} missing attributes, was it decorated with @workflow.defn?"
            )
        return definition

    @staticmethod
    def of_run_method(fn: Callable[..., Any]) -> WorkflowDefinition:
        """Definition behind a run method, `MyWorkflow.run`. `ValueError` when it is none."""
        definition = getattr(fn, DEFINITION_ATTRIBUTE, None)
        if not isinstance(definition, WorkflowDefinition):
            name = getattr(fn, "__qualname__", repr(fn))
            raise ValueError(
                f"Function {name} missing attributes, was it decorated with @workflow.run and was"
                " its class decorated with @workflow.defn?"
            )
        return definition

    @staticmethod
    def name_and_result_type(workflow: str | Callable[..., Any]) -> tuple[str, Any]:
        """Type name and result type of a workflow given by name (type None) or by its run method."""
        if isinstance(workflow, str):
            return workflow, None
        if not callable(workflow):
            raise TypeError("Workflow must be a string or callable")
        definition = WorkflowDefinition.of_run_method(workflow)
        if not definition.name:
            raise ValueError("Cannot invoke dynamic workflow explicitly")
        return definition.name, definition.ret_type


@overload
def defn(cls: Class) -> Class: ...
@overload
def defn(
    *,
    name: str | None = None,
    sandboxed: bool = True,
    dynamic: bool = False,
    failure_exception_types: Sequence[type[BaseException]] = (),
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED,
) -> Callable[[Class], Class]: ...
def defn(
    cls: type | None = None,
    *,
    name: str | None = None,
    sandboxed: bool = True,
    dynamic: bool = False,
    failure_exception_types: Sequence[type[BaseException]] = (),
    versioning_behavior: VersioningBehavior = VersioningBehavior.UNSPECIFIED,
) -> Any:
    """Decorator for a workflow class.

    Args:
        cls: The class. name: Workflow type; the class name by default. Not together with
        `dynamic`. sandboxed: Kept for the day of a full sandbox. The checks of the event loop
        hold either way. dynamic: Runs every type that is not registered; `run` takes one
        `Sequence[RawValue]`. failure_exception_types: Exceptions (and their subclasses) that
        fail the workflow instead of its task. versioning_behavior: Recorded on the definition;
        without effect in this version.

    Raises:
        ValueError: The class is not a valid workflow; the text lists everything that is wrong.
    """
    if name is not None and dynamic:
        raise ValueError("Cannot provide name and dynamic boolean")

    def decorate(cls: type) -> type:
        definition = _define(
            cls,
            None if dynamic else name or cls.__name__,
            sandboxed,
            failure_exception_types,
            versioning_behavior,
        )
        setattr(cls, DEFINITION_ATTRIBUTE, definition)
        setattr(definition.run_fn, DEFINITION_ATTRIBUTE, definition)
        return cls

    return decorate if cls is None else decorate(cls)


def init(init_fn: Fn) -> Fn:
    """Decorator for an `__init__` that takes the arguments of the run method; its parameters
    must be the same.
    """
    if init_fn.__name__ != "__init__":
        raise ValueError("@workflow.init may only be used on the __init__ method")
    setattr(init_fn, INIT_ATTRIBUTE, True)
    return init_fn


def run(fn: AsyncFn) -> AsyncFn:
    """Decorator for the one async method that is the workflow. Parameters are positional."""
    is_coroutine: bool = inspect.iscoroutinefunction(fn)
    if not is_coroutine:
        raise ValueError("Workflow run method must be an async function")
    if "<locals>" in fn.__qualname__:
        raise ValueError("Local classes unsupported, @workflow.run cannot be on a local class")
    setattr(fn, RUN_ATTRIBUTE, True)
    return fn


def dynamic_config(fn: Fn) -> Fn:
    """Decorator for a plain method without parameters that returns a `DynamicWorkflowConfig`;
    dynamic workflows only.

    Called after `__init__`, before the run method, in a read-only context.
    """
    if inspect.iscoroutinefunction(fn):
        raise ValueError("Workflow dynamic_config method must be synchronous")
    if len(inspect.signature(fn).parameters) != 1:
        raise ValueError("Workflow dynamic_config method must only take self parameter")
    setattr(fn, DYNAMIC_CONFIG_ATTRIBUTE, True)
    return fn


class _Members:
    """The decorated members of a class, and what is wrong with them."""

    def __init__(self, cls: type, name: str | None) -> None:
        self.cls = cls
        self.name = name
        self.issues: list[str] = []
        self.run: Callable[..., Awaitable[Any]] | None = None
        self.seen_run = False
        self.init: Callable[..., None] | None = None
        self.dynamic_config: Callable[[Any], DynamicWorkflowConfig] | None = None
        self.signals: dict[str | None, SignalDefinition] = {}
        self.queries: dict[str | None, QueryDefinition] = {}
        self.updates: dict[str | None, UpdateDefinition] = {}

    def collect(self) -> None:
        for name, member in inspect.getmembers(self.cls):
            if hasattr(member, RUN_ATTRIBUTE):
                self._add_run(name, member)
            elif isinstance(signal := getattr(member, SIGNAL_ATTRIBUTE, None), SignalDefinition):
                self._add(self.signals, "signal", name, signal)
            elif isinstance(query := getattr(member, QUERY_ATTRIBUTE, None), QueryDefinition):
                self._add(self.queries, "query", name, query)
            elif isinstance(update := getattr(member, "_defn", None), UpdateDefinition):
                self._add_update(name, update)
            elif name == "__init__" and hasattr(member, INIT_ATTRIBUTE):
                self.init = member
            elif hasattr(member, DYNAMIC_CONFIG_ATTRIBUTE):
                self._add_dynamic_config(member)

    def _add_run(self, name: str, member: Any) -> None:
        self.seen_run = True
        if not is_method_of(member, self.cls):
            self.issues.append(
                f"@workflow.run method {name} must be defined on {self.cls.__qualname__}"
            )
        elif self.run is not None:
            self.issues.append(
                f"Multiple @workflow.run methods found (at least on {name} and {self.run.__name__})"
            )
        else:
            self.run = member

    def _add(
        self, to: dict[str | None, Any], what: str, name: str, definition: HandlerDefinition
    ) -> bool:
        other = to.setdefault(definition.name, definition)
        if other is definition:
            return True
        named = definition.name or "<dynamic>"
        self.issues.append(
            f"Multiple {what} methods found for {named} (at least on {name} and"
            f" {other.fn.__name__})"
        )
        return False

    def _add_update(self, name: str, definition: UpdateDefinition) -> None:
        validator = definition.validator
        if (
            self._add(self.updates, "update", name, definition)
            and validator
            and not same_parameters(definition.fn, validator)
        ):
            self.issues.append(
                f"Update validator method {validator.__name__} parameters do not match update"
                f" method {definition.fn.__name__} parameters"
            )

    def _add_dynamic_config(self, member: Any) -> None:
        if self.name:
            self.issues.append(
                "@workflow.dynamic_config can only be used in dynamic workflows, but "
                f"workflow class {self.name} ({self.cls.__name__}) is not dynamic"
            )
        if self.dynamic_config:
            self.issues.append("@workflow.dynamic_config can only be defined once per workflow")
        self.dynamic_config = member

    def check_overrides(self) -> None:
        """A method that overrides a decorated one must be decorated itself."""
        for base in inspect.getmro(self.cls)[1:]:
            for member in vars(base).values():
                if not inspect.isfunction(member):
                    continue
                signal = getattr(member, SIGNAL_ATTRIBUTE, None)
                query = getattr(member, QUERY_ATTRIBUTE, None)
                update = getattr(member, "_defn", None)
                if hasattr(member, RUN_ATTRIBUTE):
                    self.seen_run = True
                    if self.run is None or member.__name__ != self.run.__name__:
                        self._not_on_override("run", member)
                elif signal is not None and signal.name not in self.signals:
                    self._not_on_override("signal", member)
                elif query is not None and query.name not in self.queries:
                    self._not_on_override("query", member)
                elif isinstance(update, UpdateDefinition) and update.name not in self.updates:
                    self._not_on_override("update", member)

    def _not_on_override(self, what: str, member: Callable[..., Any]) -> None:
        self.issues.append(
            f"@workflow.{what} defined on {member.__qualname__} but not on the override"
        )


def _define(
    cls: type,
    name: str | None,
    sandboxed: bool,
    failure_exception_types: Sequence[type[BaseException]],
    versioning_behavior: VersioningBehavior,
) -> WorkflowDefinition:
    """Check a class and describe it."""
    existing = getattr(cls, DEFINITION_ATTRIBUTE, None)
    if isinstance(existing, WorkflowDefinition) and existing.cls is cls:
        raise ValueError("Class already contains workflow definition")
    members = _Members(cls, name)
    members.collect()
    members.check_overrides()
    issues = members.issues
    if not members.seen_run:
        issues.append("Missing @workflow.run method")
    if members.init and members.run and not same_parameters(members.init, members.run):
        issues.append("@workflow.init and @workflow.run method parameters do not match")
    if len(issues) == 1:
        raise ValueError(f"Invalid workflow class: {issues[0]}")
    if issues or members.run is None:
        raise ValueError(f"Invalid workflow class for {len(issues)} reasons: {', '.join(issues)}")
    return WorkflowDefinition(
        name=name,
        cls=cls,
        run_fn=members.run,
        signals=members.signals,
        queries=members.queries,
        updates=members.updates,
        sandboxed=sandboxed,
        failure_exception_types=failure_exception_types,
        versioning_behavior=versioning_behavior,
        dynamic_config_fn=members.dynamic_config,
    )
