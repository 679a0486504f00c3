"""`PythonActivator`: makes instances of registered workflow classes. Implements
`odradek.engine.activation.Activator`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from odradek.activation.context import WorkflowSettings
from odradek.activation.definitions import WorkflowDefinition
from odradek.activation.instance import PythonWorkflowInstance
from odradek.activation.interceptors import (
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)
from odradek.common import MetricMeter
from odradek.converter import DataConverter
from odradek.engine.activation import (
    Activation,
    Completion,
    FailWorkflow,
    TaskFailed,
    WorkflowInstance,
)
from odradek.wire.payload import Failure


class PythonActivator:
    """Makes instances of Python workflows; may be used from several threads at once.

    Args:
        workflows: Classes decorated with `@workflow.defn`; at most one of them dynamic.
        namespace: Namespace of the runs. task_queue: Task queue of the runs. data_converter: Its
        payload and failure converter are used. Its codec is not: codecs run in the host, outside
        of workflow code. interceptors: Objects with `workflow_interceptor_class`, the first
        outermost. workflow_failure_exception_types: Exceptions (and their subclasses) that fail
        a workflow instead of its task. extern_functions: What `workflow.extern_functions()`
        returns. metric_meter: Where `workflow.metric_meter()` records; nothing is recorded at
        replay.

    Raises:
        ValueError: A class is not decorated, or a workflow type stands twice.
        NameError, TypeError: The type hints of a class cannot be read.
    """

    def __init__(
        self,
        workflows: Sequence[type],
        *,
        namespace: str,
        task_queue: str,
        data_converter: DataConverter | None = None,
        interceptors: Sequence[Any] = (),
        workflow_failure_exception_types: Sequence[type[BaseException]] = (),
        extern_functions: dict[str, Callable[..., Any]] | None = None,
        metric_meter: MetricMeter | None = None,
    ) -> None:
        converter = data_converter or DataConverter.default
        functions = dict(extern_functions or {})
        self._definitions: dict[str | None, WorkflowDefinition] = {}
        for cls in workflows:
            self._register(WorkflowDefinition.of_class(cls))
        self._settings = WorkflowSettings(
            namespace=namespace,
            task_queue=task_queue,
            payload_converter=converter.payload_converter,
            failure_converter=converter.failure_converter,
            failure_exception_types=workflow_failure_exception_types,
            interceptor_classes=_interceptor_classes(interceptors, functions),
            extern_functions=functions,
            metric_meter=metric_meter,
        )

    def _register(self, definition: WorkflowDefinition) -> None:
        definition.prepare()
        if definition.name in self._definitions:
            if definition.name is None:
                raise ValueError("More than one dynamic workflow")
            raise ValueError(f"More than one workflow named {definition.name}")
        self._definitions[definition.name] = definition

    @property
    def workflow_types(self) -> list[str]:
        """Registered workflow types, sorted; without the dynamic one."""
        return sorted(name for name in self._definitions if name)

    def create(self, *, workflow_id: str, run_id: str, workflow_type: str) -> WorkflowInstance:
        """See `Activator.create`."""
        definition = self._definitions.get(workflow_type) or self._definitions.get(None)
        if definition is None:
            return UnregisteredInstance(workflow_type, self.workflow_types)
        return PythonWorkflowInstance(
            self._settings, definition, workflow_id, run_id, workflow_type
        )


def _interceptor_classes(
    interceptors: Sequence[Interceptor], functions: dict[str, Callable[..., Any]]
) -> list[type[WorkflowInboundInterceptor]]:
    classes = []
    for interceptor in interceptors:
        cls = interceptor.workflow_interceptor_class(
            WorkflowInterceptorClassInput(unsafe_extern_functions=functions)
        )
        if cls is not None:
            classes.append(cls)
    return classes


class UnregisteredInstance:
    """Stands for a run whose type nobody registered: each activation fails its task, until a
    worker comes that knows the type.
    """

    def __init__(self, workflow_type: str, registered: list[str]) -> None:
        available = ", ".join(registered) or "none"
        self._failure = Failure(
            message=(
                f"Workflow class {workflow_type} is not registered on this worker, available"
                f" workflows: {available}"
            ),
            type="NotFoundError",
        )

    def activate(self, activation: Activation) -> Completion:
        """TaskFailed, naming what is registered."""
        return TaskFailed(self._failure)

    def nondeterminism(self, failure: Failure) -> FailWorkflow | None:
        """None: the task fails."""
        return None

    def close(self) -> None:
        """Nothing to close."""
