"""The shared vocabulary: policies, search attributes, versioning, raw values, reading type hints
from functions.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odradek import common
from odradek.common import (
    MetricMeter,
    Priority,
    RawValue,
    RetryPolicy,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkerDeploymentVersion,
)
from odradek.engine.retry import problem_of
from odradek.wire.payload import Payload


def test_retry_policy_defaults_go_to_the_wire() -> None:
    record = RetryPolicy().to_wire()
    assert (record.initial_interval_ms, record.backoff_coefficient, record.maximum_interval_ms) == (
        1_000,
        2.0,
        100_000,
    )
    assert (record.maximum_attempts, record.non_retryable_error_types) == (0, [])


def test_an_interval_below_a_millisecond_does_not_become_zero() -> None:
    assert (
        RetryPolicy(initial_interval=timedelta(microseconds=1)).to_wire().initial_interval_ms == 1
    )


@pytest.mark.parametrize("maximum", [None, timedelta.max])
def test_the_longest_interval_that_python_has_is_refused_by_who_runs_it(
    maximum: timedelta | None,
) -> None:
    """Not here, where it would be an OverflowError that names nothing."""
    record = RetryPolicy(initial_interval=timedelta.max, maximum_interval=maximum).to_wire()
    assert "longer than" in problem_of(record)
    assert record.initial_interval_ms == 86_400_000 * 10**9 and record.maximum_interval_ms < 1 << 63


@given(
    initial_ms=st.integers(0, 10**7),
    factor=st.floats(1, 100),
    extra_ms=st.integers(1, 10**7),
    attempts=st.integers(0, 100),
    types=st.lists(st.text(min_size=1), max_size=3),
)
def test_retry_policy_round_trip(
    initial_ms: int, factor: float, extra_ms: int, attempts: int, types: list[str]
) -> None:
    policy = RetryPolicy(
        timedelta(milliseconds=initial_ms),
        factor,
        timedelta(milliseconds=initial_ms + extra_ms),
        attempts,
        types or None,
    )
    assert RetryPolicy.from_wire(policy.to_wire()) == policy


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (
            RetryPolicy(initial_interval=timedelta(seconds=-1)),
            "Initial interval cannot be negative",
        ),
        (RetryPolicy(backoff_coefficient=0.5), "Backoff coefficient cannot be less than 1"),
        (RetryPolicy(backoff_coefficient=math.nan), "Backoff coefficient cannot be less than 1"),
        (
            RetryPolicy(maximum_interval=timedelta(seconds=-1)),
            "Maximum interval cannot be negative",
        ),
        (
            RetryPolicy(maximum_interval=timedelta(milliseconds=1)),
            "Maximum interval cannot be less than initial interval",
        ),
        (RetryPolicy(maximum_attempts=-1), "Maximum attempts cannot be negative"),
    ],
)
def test_bad_retry_policies_are_refused(policy: RetryPolicy, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy.to_wire()


def test_one_attempt_needs_no_valid_intervals() -> None:
    RetryPolicy(backoff_coefficient=0, maximum_attempts=1).validate()


def test_enum_values_are_temporals() -> None:
    values = {
        common.WorkflowIDReusePolicy: [1, 2, 3, 4],
        common.WorkflowIDConflictPolicy: [0, 1, 2, 3],
        common.ActivityIDReusePolicy: [0, 1, 2, 3],
        common.ActivityIDConflictPolicy: [0, 1, 2],
        common.QueryRejectCondition: [1, 2, 3],
        common.SearchAttributeIndexedValueType: [1, 2, 3, 4, 5, 6, 7],
        common.VersioningBehavior: [0, 1, 2],
        common.HeaderCodecBehavior: [1, 2, 3],
    }
    for enum, expected in values.items():
        assert [int(member) for member in enum] == expected, enum


NAME, COUNT, TAGS = (
    SearchAttributeKey.for_keyword("name"),
    SearchAttributeKey.for_int("count"),
    SearchAttributeKey.for_keyword_list("tags"),
)


def test_search_attribute_keys_are_equal_by_name_and_type() -> None:
    assert SearchAttributeKey.for_int("count") == COUNT
    assert SearchAttributeKey.for_float("count") != COUNT
    assert TAGS.origin_value_type is Sequence
    assert (COUNT.value_set(3).key, COUNT.value_set(3).value, COUNT.value_unset().value) == (
        COUNT,
        3,
        None,
    )


def test_typed_search_attributes() -> None:
    attributes = TypedSearchAttributes(
        [SearchAttributePair(NAME, "x"), SearchAttributePair(COUNT, 3)]
    )
    assert [pair.key.name for pair in attributes] == ["count", "name"]
    assert (
        len(attributes),
        attributes[NAME],
        attributes.get(COUNT),
        attributes.get(TAGS),
        attributes.get(TAGS, ["z"]),
    ) == (
        2,
        "x",
        3,
        None,
        ["z"],
    )
    assert NAME in attributes and SearchAttributeKey.for_text("name") not in attributes
    with pytest.raises(KeyError):
        attributes[TAGS]
    changed = attributes.updated(SearchAttributePair(COUNT, 4), SearchAttributePair(TAGS, ["a"]))
    assert (changed[COUNT], changed[TAGS], attributes[COUNT], len(TypedSearchAttributes.empty)) == (
        4,
        ["a"],
        3,
        0,
    )
    with pytest.raises(ValueError, match="Duplicate search attribute entries found for key name"):
        TypedSearchAttributes(
            [
                SearchAttributePair(NAME, "x"),
                SearchAttributePair(SearchAttributeKey.for_text("name"), "y"),
            ]
        )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["a"], SearchAttributeKey.for_keyword("k")),
        (["a", "b"], SearchAttributeKey.for_keyword_list("k")),
        ([1], SearchAttributeKey.for_int("k")),
        ([True], SearchAttributeKey.for_bool("k")),
        ([1.5], SearchAttributeKey.for_float("k")),
        ([datetime.now(UTC)], SearchAttributeKey.for_datetime("k")),
        ([], None),
        ([1, 2], None),
    ],
)
def test_older_search_attributes_are_typed_by_their_values(values: Any, expected: Any) -> None:
    assert SearchAttributeKey._guess_from_untyped_values("k", values) == expected


def test_versions_and_priority() -> None:
    version = WorkerDeploymentVersion.from_canonical_string("shop.1.2")
    assert (version.deployment_name, version.build_id, version.to_canonical_string()) == (
        "shop",
        "1.2",
        "shop.1.2",
    )
    with pytest.raises(ValueError, match="Cannot parse version string: shop"):
        WorkerDeploymentVersion.from_canonical_string("shop")
    with pytest.raises(ValueError, match="positive"):
        Priority(priority_key=0)
    assert Priority.default == Priority()


def test_raw_value_pickles() -> None:
    value = RawValue(Payload({"encoding": b"x"}, b"\x00data"))
    assert pickle.loads(pickle.dumps(value)) == value


def test_the_noop_meter_takes_everything() -> None:
    meter = MetricMeter.noop.with_additional_attributes({"a": 1})
    meter.create_counter("c", "description", "unit").with_additional_attributes({"b": "x"}).add(1)
    meter.create_histogram_timedelta("h").record(timedelta(seconds=1), {"a": True})
    meter.create_gauge_float("g").set(1.5)
    assert meter.create_histogram("h", "d", "ms").unit == "ms"


class Activities:
    async def method(self, order: int, note: str | None) -> list[int]: ...  # type: ignore[empty-body]

    async def with_self(self: Self, order: int) -> None: ...

    def __call__(self, order: int) -> str: ...  # type: ignore[empty-body]


def untyped(order, note: str) -> int: ...  # type: ignore[no-untyped-def, empty-body]


def keyword_only(order: int, *, note: str) -> int: ...  # type: ignore[empty-body]


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@wrapped
def decorated(order: int) -> str: ...  # type: ignore[empty-body]


@pytest.mark.parametrize(
    ("function", "parameters", "result"),
    [
        (Activities.method, [int, str | None], list[int]),
        (Activities().method, [int, str | None], list[int]),
        (Activities.with_self, [int], type(None)),
        (Activities(), [int], str),
        (Activities, [int], str),
        (untyped, None, int),
        (keyword_only, None, int),
        (decorated, [int], str),
    ],
)
def test_type_hints_from_functions(function: Any, parameters: Any, result: Any) -> None:
    assert common._type_hints_from_func(function) == (parameters, result)


def test_arg_or_args() -> None:
    assert common._arg_or_args(common._arg_unset, [1, 2]) == [1, 2]
    assert common._arg_or_args(None, []) == [None]
    with pytest.raises(ValueError, match="Cannot have arg and args"):
        common._arg_or_args(1, [2])
