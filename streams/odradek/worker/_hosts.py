"""Makes the two hosts of a worker from its configuration: the processor for its workflows, the
activity host for its activities.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from odradek.activation import Interceptor, PythonActivator, Stuck, Watchdog, WatchedActivator
from odradek.activities import ActivityHost
from odradek.activities.definition import is_async_callable
from odradek.client import Client
from odradek.config import Settings
from odradek.engine.activation import Activator
from odradek.engine.ports import Engine, EngineLimits
from odradek.exceptions import OdradekError
from odradek.processor import Processor
from odradek.worker._config import WorkerConfig
from odradek.worker._telemetry import meter_of

logger = logging.getLogger("odradek.worker")

#: Temporal's switch for its workers, for whoever debugs workflow code.
DEBUG_VARIABLE = "TEMPORAL_DEBUG"


def settings_of(client: Client, config: WorkerConfig) -> Settings:
    """The client's settings, with what the worker says itself."""
    changes: dict[str, Any] = {
        "namespace": client.namespace,
        "identity": config.get("identity") or client.identity,
    }
    current = {name: getattr(client.settings, name) for name in changes}
    return client.settings if changes == current else client.settings.replace(**changes)


def make_activity_host(
    settings: Settings,
    client: Client,
    config: WorkerConfig,
    interceptors: Sequence[Interceptor],
    on_fatal: Callable[[BaseException], None],
) -> ActivityHost:
    """The activity host. `ValueError`, `TypeError` for what cannot be registered."""
    executor = config.get("activity_executor")
    tuner = config.get("tuner")
    slots = config.get("max_concurrent_activities")
    if tuner is not None and tuner.activity_slots is not None:
        slots = tuner.activity_slots
    # What finds no thread has begun all the same: its time runs, and no other service takes it.
    # Temporal warns of a number given to the worker alone; ours may be a setting, which is 100
    # where nobody said anything: no matter for async activities.
    threads = getattr(executor, "_max_workers", None)
    needed = slots or (
        0
        if all(map(is_async_callable, config["activities"]))
        else settings.max_concurrent_activities
    )
    if isinstance(threads, int) and threads < needed:
        warnings.warn(
            f"Worker max_concurrent_activities is {needed} but activity_executor's max_workers is"
            f" only {threads}",
            stacklevel=4,
        )
    return ActivityHost(
        settings,
        task_queue=config["task_queue"],
        activities=config["activities"],
        activity_executor=executor,
        data_converter=client.data_converter,
        interceptors=interceptors,
        max_concurrent_activities=slots,
        max_activities_per_second=config.get("max_activities_per_second"),
        identity=settings.identity,
        graceful_shutdown_timeout=config.get("graceful_shutdown_timeout"),
        max_heartbeat_throttle_interval=config["max_heartbeat_throttle_interval"],
        default_heartbeat_throttle_interval=config["default_heartbeat_throttle_interval"],
        client=client,
        metric_meter=meter_of(settings),
        on_fatal=on_fatal,
    )


def make_processor(
    settings: Settings,
    client: Client,
    config: WorkerConfig,
    interceptors: Sequence[Interceptor],
    on_fatal: Callable[[BaseException], None],
) -> Processor:
    """The processor. `ValueError`, `TypeError` for workflows that cannot be registered."""
    task_queue = config["task_queue"]
    activator = PythonActivator(
        config["workflows"],
        namespace=settings.namespace,
        task_queue=task_queue,
        data_converter=client.data_converter,
        interceptors=interceptors,
        workflow_failure_exception_types=config.get("workflow_failure_exception_types", ()),
        metric_meter=meter_of(settings),
    )
    if client.data_converter.payload_codec is not None:
        # Better no worker than one whose workflows cannot read a single argument.
        raise ValueError(
            "a data converter with a payload_codec cannot be used for workflows yet: use one"
            " without a codec"
        )
    debug = config.get("debug_mode") or os.environ.get(DEBUG_VARIABLE, "").lower() not in (
        "",
        "0",
        "false",
    )
    cached_runs = config.get(
        "max_cached_workflows"
    )  # not the whole of it, which has the client: a processor may outlive that
    watchdog = (
        None
        if debug
        else Watchdog(settings.deadlock_timeout.total_seconds(), on_stuck=_report_stuck)
    )

    def new_activator() -> Activator:
        return activator if watchdog is None else WatchedActivator(activator, watchdog)

    def new_engine(activator: Activator, limits: EngineLimits) -> Engine:
        from odradek.engine.engine import WorkflowEngine

        if cached_runs is not None:
            limits = msgspec.structs.replace(limits, max_cached_workflows=cached_runs)
        return WorkflowEngine(
            activator,
            namespace=settings.namespace,
            task_queue=task_queue,
            limits=limits,
            monotonic=time.monotonic,
        )

    return Processor(
        settings,
        task_queue=task_queue,
        activator_factory=new_activator,
        workflow_types=activator.workflow_types,
        on_fatal=on_fatal,
        on_lane_failed=_report_lane,
        engine_factory=new_engine,
    )


def _report_stuck(stuck: Stuck) -> None:
    logger.critical(
        "workflow %s (run %s, type %s) keeps its thread and cannot be interrupted; this process has"
        " to be ended from outside:\n%s",
        stuck.workflow_id,
        stuck.run_id,
        stuck.workflow_type,
        stuck.stack,
        extra=dict(stuck.log_ids),
    )


def _report_lane(partition: int, error: OdradekError) -> None:
    logger.error("partition %d stopped and needs attention, the others go on: %s", partition, error)
