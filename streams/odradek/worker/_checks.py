"""What keywords of a `Worker` may hold. Every error is a ValueError that names the keyword, says
what was given and what may be.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from odradek.worker._tuning import (
    PollerBehaviorAutoscaling,
    PollerBehaviorSimpleMaximum,
    WorkerTuner,
)

_COUNTS = (
    "max_concurrent_workflow_tasks",
    "max_concurrent_activities",
    "max_concurrent_local_activities",
    "max_concurrent_nexus_tasks",
    "max_concurrent_workflow_task_polls",
    "max_concurrent_activity_task_polls",
    "max_workflow_task_external_storage_concurrency",
)
_RATES = ("max_activities_per_second", "max_task_queue_activities_per_second")
_DURATIONS = (
    "sticky_queue_schedule_to_start_timeout",
    "max_heartbeat_throttle_interval",
    "default_heartbeat_throttle_interval",
    "graceful_shutdown_timeout",
    "plugin_shutdown_timeout",
)
_MAY_BE_NONE = frozenset({"graceful_shutdown_timeout", "plugin_shutdown_timeout"})
_POLLERS = (
    "workflow_task_poller_behavior",
    "activity_task_poller_behavior",
    "nexus_task_poller_behavior",
)


def check_values(config: Mapping[str, Any]) -> None:
    """Names, counts, rates and durations of a worker's configuration. What is missing has its
    default and is not looked at.
    """
    _check_text(
        "task_queue", config.get("task_queue")
    )  # whether it can name topics is for `Topics` to say
    if config.get("identity") is not None:
        _check_text("identity", config["identity"])
    if config.get("max_cached_workflows") is not None:
        _check_count("max_cached_workflows", config["max_cached_workflows"], 0)
    for name in _COUNTS:
        if config.get(name) is not None:
            _check_count(name, config[name], 1)
    for name in _RATES:
        if config.get(name) is not None:
            _check_rate(name, config[name])
    for name in _DURATIONS:
        if name in config and not (config[name] is None and name in _MAY_BE_NONE):
            _check_duration(name, config[name])
    if "nonsticky_to_sticky_poll_ratio" in config:
        _check_number("nonsticky_to_sticky_poll_ratio", config["nonsticky_to_sticky_poll_ratio"])
    for name in _POLLERS:
        _check_poller(name, config.get(name))
    tuner = config.get("tuner")
    if isinstance(tuner, WorkerTuner) and tuner.activity_slots is not None:
        _check_count("tuner: its activity slots", tuner.activity_slots, 1)


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, not {value!r}")


def _check_count(name: str, value: Any, least: int) -> None:
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise ValueError(f"{name} must be a whole number, {least} or more, not {value!r}")


def _check_number(name: str, value: Any) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or value < 0
    ):
        raise ValueError(f"{name} must be a number that is not negative, not {value!r}")


def _check_rate(name: str, value: Any) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or value <= 0
    ):
        raise ValueError(f"{name} must be positive, not {value!r}")


def _check_duration(name: str, value: Any) -> None:
    if not isinstance(value, timedelta):
        raise ValueError(f"{name} must be a timedelta, not {value!r}")
    if value < timedelta(0):
        raise ValueError(f"{name} must not be negative, and is {value}")


def _check_poller(name: str, value: Any) -> None:
    if isinstance(value, PollerBehaviorSimpleMaximum):
        _check_count(f"{name}: its maximum", value.maximum, 1)
    elif isinstance(value, PollerBehaviorAutoscaling):
        _check_count(f"{name}: its minimum", value.minimum, 1)
        _check_count(f"{name}: its maximum", value.maximum, value.minimum)
        _check_count(f"{name}: its initial", value.initial, value.minimum)
