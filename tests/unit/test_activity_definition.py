"""`@activity.defn`, its checks and texts, and the registry of a service."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest

from odradek import activity
from odradek.activities.definition import ActivityDefinition, ActivityRegistry
from odradek.common import RawValue


@activity.defn
async def plain(name: str, count: int) -> str:
    return name * count


@activity.defn(name="renamed", no_thread_cancel_exception=True)
def blocking() -> None: ...


class Methods:
    @activity.defn
    async def method(self, value: int) -> int:
        return value


@activity.defn
class Instance:
    async def __call__(self, value: str) -> str:
        return value


@activity.defn(dynamic=True)
async def anything(args: Sequence[RawValue]) -> str:
    return str(len(args))


def test_definition_holds_name_types_and_kind() -> None:
    found = ActivityDefinition.must_of(plain)
    assert (found.name, found.is_async, found.arg_types, found.ret_type) == (
        "plain",
        True,
        [str, int],
        str,
    )
    found = ActivityDefinition.must_of(blocking)
    assert (found.name, found.is_async, found.no_thread_cancel_exception) == (
        "renamed",
        False,
        True,
    )


def test_methods_and_callable_instances() -> None:
    method = Methods().method
    found = ActivityDefinition.must_of(method)
    assert (found.name, found.arg_types) == ("method", [int]) and found.fn == method
    found = ActivityDefinition.must_of(Instance())
    assert (found.name, found.is_async, found.arg_types) == ("Instance", True, [str])


def test_wrapped_functions_keep_their_type_hints() -> None:
    def wrap(fn: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(fn)
        async def wrapper(*args: Any) -> Any:
            return await fn(*args)

        return wrapper

    @activity.defn
    @wrap
    async def inner(value: int) -> str:
        return str(value)

    assert ActivityDefinition.must_of(inner).arg_types == [int]


def test_name_and_result_type_for_callers() -> None:
    assert ActivityDefinition.name_and_result_type("by-name") == ("by-name", None)
    assert ActivityDefinition.name_and_result_type(plain) == ("plain", str)
    with pytest.raises(ValueError, match="has no name"):
        ActivityDefinition.name_and_result_type(anything)


def test_what_cannot_be_an_activity() -> None:
    with pytest.raises(TypeError, match="Activity cannot have keyword-only arguments"):

        @activity.defn
        async def keyword_only(*, value: int) -> None: ...

    with pytest.raises(ValueError, match="Function already contains activity definition"):
        activity.defn(plain)
    with pytest.raises(TypeError, match="Dynamic activity must accept a single Sequence"):

        @activity.defn(dynamic=True)
        async def wrong(value: str) -> None: ...


async def undecorated() -> None: ...


def test_registry_refuses_with_temporals_texts() -> None:
    with pytest.raises(
        TypeError,
        match=r"Activity undecorated missing attributes, was it decorated with @activity\.defn\?",
    ):
        ActivityRegistry([undecorated], None)
    with pytest.raises(ValueError, match="More than one activity named plain"):
        ActivityRegistry([plain, plain], None)
    with pytest.raises(
        TypeError, match="Activity named Instance is a class instead of an instance"
    ):
        ActivityRegistry([Instance], None)
    with pytest.raises(
        ValueError, match="Activity renamed is not async so an activity_executor must be present"
    ):
        ActivityRegistry([blocking], None)
    with pytest.raises(TypeError, match="More than one dynamic activity"):
        ActivityRegistry([anything, anything], None)
    with pytest.warns(UserWarning, match="has a first parameter named self"):
        ActivityRegistry([Methods.method], None)


def test_registry_refuses_processes_and_says_so() -> None:
    with (
        ProcessPoolExecutor(1) as pool,
        pytest.raises(ValueError, match="executor is not thread-pool executor"),
    ):
        ActivityRegistry([blocking], pool)


def test_registry_finds_by_name_then_the_dynamic_one() -> None:
    with ThreadPoolExecutor(1) as pool:
        registry = ActivityRegistry([plain, blocking, anything], pool)
    assert registry.names == ["plain", "renamed"]
    assert registry.get("renamed") is not None and registry.get("renamed").fn is blocking  # type: ignore[union-attr]
    assert registry.get("whatever").fn is anything  # type: ignore[union-attr]
    assert ActivityRegistry([plain], None).get("whatever") is None
