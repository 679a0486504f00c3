"""Definition checks: what a workflow class may look like, what the errors say, and what a
definition holds.
"""

from __future__ import annotations

import asyncio
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

import pytest

from odradek import activity, workflow
from odradek.activation.activity_calls import ACTIVITY_DEFINITION_ATTRIBUTE
from odradek.activation.definitions import WorkflowDefinition
from odradek.common import RawValue, VersioningBehavior


def issue(make: Callable[[], Any]) -> str:
    with pytest.raises((ValueError, RuntimeError, TypeError)) as caught:
        make()
    return str(caught.value)


class Good:
    """Base of the bad ones: has a run method of its own."""

    @workflow.run
    async def run(self, x: int = 0) -> int:
        return x


def test_a_definition_holds_what_its_class_says() -> None:
    definition = WorkflowDefinition.of_class(Whole)
    definition.prepare()
    assert definition.name == "whole"
    assert definition.arg_types == [int, str]
    assert definition.ret_type == list[str]
    assert set(definition.signals) == {"plain", "renamed", None}
    assert set(definition.queries) == {"ask"}
    assert set(definition.updates) == {"change"}
    assert definition.updates["change"].validator is not None
    assert (
        definition.signals["renamed"].unfinished_policy is workflow.HandlerUnfinishedPolicy.ABANDON
    )
    assert definition.queries["ask"].description == "asks"
    assert definition.failure_exception_types == (KeyError,)
    assert definition.versioning_behavior is VersioningBehavior.PINNED
    assert WorkflowDefinition.of_run_method(Whole.run) is definition
    assert WorkflowDefinition.name_and_result_type(Whole.run) == ("whole", list[str])
    assert WorkflowDefinition.name_and_result_type("x") == ("x", None)
    assert WorkflowDefinition.of_class(Inherits).name == "Inherits"
    assert set(WorkflowDefinition.of_class(Inherits).signals) == {"plain", "renamed", None}


@workflow.defn(
    name="whole", failure_exception_types=[KeyError], versioning_behavior=VersioningBehavior.PINNED
)
class Whole:
    @workflow.run
    async def run(self: Self, number: int, text: str) -> list[str]:
        return []

    @workflow.signal
    def plain(self) -> None: ...

    @workflow.signal(name="renamed", unfinished_policy=workflow.HandlerUnfinishedPolicy.ABANDON)
    async def other(self, x: int) -> None: ...

    @workflow.signal(dynamic=True)
    def any(self, name: str, args: Sequence[RawValue]) -> None: ...

    @workflow.query(description="asks")
    def ask(self) -> Whole:
        return self

    @workflow.update
    async def change(self, by: int) -> int:
        return by

    @change.validator
    def check_change(self, by: int) -> None: ...


@workflow.defn
class Inherits(Whole):
    @workflow.run
    async def run(self, number: int, text: str) -> list[str]:
        return []


class Interface(ABC):
    @workflow.signal
    @abstractmethod
    def poke(self) -> None: ...


class Duck(Protocol):
    @workflow.query
    def ask(self) -> int: ...


@workflow.defn
class Implements(Interface, Duck):
    @workflow.run
    async def run(self) -> None: ...

    @workflow.signal
    def poke(self) -> None: ...

    @workflow.query
    def ask(self) -> int:
        return 1


def test_interfaces_define_without_implementing() -> None:
    assert set(WorkflowDefinition.of_class(Implements).signals) == {"poke"}
    with pytest.raises(ValueError, match="missing attributes, was it decorated"):
        WorkflowDefinition.of_class(Interface)


class NoRun:
    pass


class TwoRuns:
    @workflow.run
    async def one(self) -> None: ...

    @workflow.run
    async def two(self) -> None: ...


class InheritedRun(Good):
    pass


class UndecoratedRun(Good):
    async def run(self, x: int = 0) -> int:
        return x


class TwoSignals(Good):
    @workflow.run
    async def run(self, x: int = 0) -> int:
        return x

    @workflow.signal(name="s")
    def one(self) -> None: ...

    @workflow.signal(name="s")
    def two(self) -> None: ...

    @workflow.query(name="q")
    def three(self) -> int:
        return 1

    @workflow.query(name="q")
    def four(self) -> int:
        return 1


class InitDiffers:
    @workflow.init
    def __init__(self, x: str) -> None: ...

    @workflow.run
    async def run(self, x: int) -> None: ...


class ValidatorDiffers:
    @workflow.run
    async def run(self) -> None: ...

    @workflow.update
    def change(self, by: int) -> None: ...

    @change.validator  # type: ignore[arg-type]
    def check(self, by: str) -> None: ...


class SignalBase:
    @workflow.signal
    def poke(self) -> None: ...

    @workflow.query
    def ask(self) -> int:
        return 1

    @workflow.update
    def change(self) -> None: ...


class UndecoratedHandlers(SignalBase):
    @workflow.run
    async def run(self) -> None: ...

    def poke(self) -> None: ...

    def ask(self) -> int:
        return 1

    def change(self) -> None: ...  # type: ignore[override]


class ConfigOfStatic:
    @workflow.run
    async def run(self) -> None: ...

    @workflow.dynamic_config
    def config(self) -> workflow.DynamicWorkflowConfig:
        return workflow.DynamicWorkflowConfig()


@pytest.mark.parametrize(
    ("cls", "texts"),
    [
        (NoRun, ["Missing @workflow.run method"]),
        (TwoRuns, ["Multiple @workflow.run methods found (at least on two and one)"]),
        (InheritedRun, ["@workflow.run method run must be defined on InheritedRun"]),
        (UndecoratedRun, ["@workflow.run defined on Good.run but not on the override"]),
        (
            TwoSignals,
            [
                "for 2 reasons",
                "Multiple signal methods found for s (at least on two and one)",
                "Multiple query methods found for q",
            ],
        ),
        (InitDiffers, ["@workflow.init and @workflow.run method parameters do not match"]),
        (
            ValidatorDiffers,
            [
                "Update validator method check parameters do not match update method change"
                " parameters"
            ],
        ),
        (
            UndecoratedHandlers,
            [
                "@workflow.signal defined on SignalBase.poke but not on the override",
                "@workflow.query defined on SignalBase.ask but not on the override",
                "@workflow.update defined on SignalBase.change but not on the override",
            ],
        ),
        (ConfigOfStatic, ["@workflow.dynamic_config can only be used in dynamic workflows"]),
    ],
)
def test_what_is_wrong_with_a_class_is_said_at_once(cls: type, texts: list[str]) -> None:
    message = issue(lambda: workflow.defn(cls))
    assert message.startswith("Invalid workflow class")
    for text in texts:
        assert text in message


def test_decorators_check_their_function() -> None:
    def plain(self: Any) -> None: ...

    async def coroutine(self: Any) -> None: ...

    async def local(self: Any) -> None: ...

    local.__qualname__ = "f.<locals>.C.local"
    assert "must be an async function" in issue(lambda: workflow.run(plain))  # type: ignore[type-var]
    assert "Local classes unsupported" in issue(lambda: workflow.run(local))
    assert "only be used on the __init__" in issue(lambda: workflow.init(plain))
    assert "must be synchronous" in issue(lambda: workflow.dynamic_config(coroutine))
    assert "must only take self" in issue(lambda: workflow.dynamic_config(lambda self, x: None))
    assert "already contains workflow definition" in issue(lambda: workflow.defn(Whole))
    assert "Cannot provide name and dynamic" in issue(
        lambda: workflow.signal(name="x", dynamic=True)
    )  # type: ignore[call-overload]
    assert "Cannot provide name and dynamic" in issue(
        lambda: workflow.query(name="x", dynamic=True)
    )
    assert "Cannot create query without function" in issue(workflow.query)
    assert "must have 3 arguments" in issue(lambda: workflow.signal(dynamic=True)(plain))
    update = workflow.update(plain)
    assert "must not be an async function" in issue(lambda: update.validator(coroutine))  # type: ignore[arg-type]
    update.validator(plain)
    assert "Validator already set" in issue(lambda: update.validator(plain))


def test_old_forms_of_dynamic_handlers_are_taken_with_a_warning() -> None:
    def old(self: Any, name: str, *args: Any) -> None: ...

    with pytest.warns(DeprecationWarning, match="Dynamic signals with vararg"):
        workflow.signal(dynamic=True)(old)
    with pytest.warns(DeprecationWarning, match="Dynamic queries with vararg"):
        workflow.query(dynamic=True)(old)
    assert "do not support a vararg" in issue(lambda: workflow.update(dynamic=True)(old))


def test_a_dynamic_workflow_takes_raw_values() -> None:
    assert "must accept a single Sequence[RawValue]" in issue(
        WorkflowDefinition.of_class(BadDynamic).prepare
    )


@workflow.defn(dynamic=True)
class BadDynamic:
    @workflow.run
    async def run(self, args: list[int]) -> None: ...


def test_the_workflow_room_finds_activity_definitions_where_the_activity_room_leaves_them() -> None:
    @activity.defn(name="named")
    async def some(x: int) -> str:
        return ""

    definition = getattr(some, ACTIVITY_DEFINITION_ATTRIBUTE)
    assert (definition.name, definition.arg_types, definition.ret_type) == ("named", [int], str)


def test_outside_of_a_workflow() -> None:
    assert not workflow.in_workflow()
    for call in (
        workflow.info,
        workflow.now,
        workflow.random,
        workflow.uuid4,
        workflow.memo,
        workflow.unsafe.is_replaying,
        workflow.instance,
    ):
        with pytest.raises(Exception, match="Not in workflow event loop"):
            call()
    assert workflow.current_update_info() is None
    with workflow.unsafe.imports_passed_through(), workflow.unsafe.sandbox_unrestricted():
        assert workflow.unsafe.is_imports_passed_through()
        assert workflow.unsafe.is_sandbox_unrestricted()
    assert not workflow.unsafe.is_imports_passed_through()
    assert not workflow.unsafe.in_sandbox()


async def test_wait_and_as_completed_work_on_any_loop() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tasks = [asyncio.create_task(asyncio.sleep(0, number)) for number in range(3)]
        done, pending = await workflow.wait(tasks)
        assert (done, pending) == (tasks, [])
        assert [await item for item in workflow.as_completed([asyncio.sleep(0, "a")])] == ["a"]
        with pytest.raises(ValueError, match="must not be empty"):
            await workflow.wait([])
        with pytest.raises(TypeError, match="Expect an iterable"):
            await workflow.wait(asyncio.get_running_loop().create_future())


def test_the_public_names() -> None:
    assert sorted(set(workflow.__all__)) == sorted(workflow.__all__)
    assert all(hasattr(workflow, name) for name in workflow.__all__)
