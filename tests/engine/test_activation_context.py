"""What a workflow sees of its surroundings: info, logger, metrics, interceptors, converters that
mind their context.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, Self

import pytest

from odradek import workflow
from odradek.activation import interceptors
from odradek.activation.interceptors import (
    ContinueAsNewInput,
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from odradek.common import MetricCounter, MetricMeter, RawValue
from odradek.converter import (
    ActivitySerializationContext,
    DataConverter,
    DefaultPayloadConverter,
    SerializationContext,
    WithSerializationContext,
    WorkflowSerializationContext,
)
from odradek.engine.activation import ContinueAsNew, ScheduleActivity
from odradek.wire.events import ParentExecution
from odradek.wire.payload import Payload, RetryPolicy
from tests.engine.activation_driver import (
    START_MS,
    Driver,
    activator,
    completed,
    kinds,
    query,
    result_of,
    signal,
)

MINUTE = timedelta(minutes=1)


@workflow.defn
class Looks:
    @workflow.run
    async def run(self) -> list[Any]:
        info = workflow.info()
        assert workflow.info() is info
        assert info.start_time == datetime.fromtimestamp(START_MS / 1000 + 1, UTC)
        assert info.workflow_start_time == datetime.fromtimestamp(START_MS / 1000, UTC)
        assert (info.run_timeout, info.execution_timeout, info.task_timeout) == (
            MINUTE,
            None,
            timedelta(seconds=10),
        )
        assert info.retry_policy is not None and info.retry_policy.maximum_attempts == 3
        assert info.parent is not None and info.root is None
        assert info.search_attributes == {"Tier": ["gold"]} and [
            pair.key.name for pair in info.typed_search_attributes
        ] == ["Tier"]
        with pytest.raises(AttributeError):
            info.attempt = 5  # type: ignore[misc]
        return [
            info.workflow_id,
            info.run_id,
            info.workflow_type,
            info.namespace,
            info.task_queue,
            info.attempt,
            info.parent.workflow_id,
            info.parent.namespace,
            info.first_execution_run_id,
            info.cron_schedule,
            list(info.headers),
            info.get_current_history_length(),
            info.get_current_history_size(),
            info.is_continue_as_new_suggested(),
            info.get_current_build_id(),
        ]


def test_info() -> None:
    run = Driver(
        activator(Looks),
        "Looks",
        attempt=2,
        run_timeout_ms=60_000,
        retry_policy=RetryPolicy(maximum_attempts=3),
        parent=ParentExecution(workflow_id="parent", run_id="parent-run"),
        headers={"trace": Payload()},
        search_attributes={
            "Tier": Payload({"encoding": b"json/plain", "type": b"Keyword"}, b'"gold"'),
            "Unreadable": Payload({}, b"x"),
        },
    )
    assert result_of(run.start()) == [
        "wf", "run", "Looks", "default", "queue", 2, "parent", "default", "run", None, ["trace"], 3, 300, False, ""
    ]  # fmt: skip


@workflow.defn
class TellsRoot:
    @workflow.run
    async def run(self) -> Any:
        root = workflow.info().root
        return root and [root.workflow_id, root.run_id]


def test_root_is_what_the_history_says() -> None:
    """Of a run that is its own root None, as in Temporal; histories from before name the run
    itself, and replay as they ran.
    """
    assert result_of(Driver(TellsRoot).start()) is None
    assert result_of(Driver(TellsRoot, root_workflow_id="wf", root_run_id="run").start()) == [
        "wf",
        "run",
    ]
    assert result_of(Driver(TellsRoot, root_workflow_id="top", root_run_id="r0").start()) == [
        "top",
        "r0",
    ]


@workflow.defn
class Logs:
    @workflow.run
    async def run(self) -> None:
        workflow.logger.info("started %s", "here", extra={"own": 1})
        await workflow.execute_activity("a", start_to_close_timeout=MINUTE)
        workflow.logger.info("resumed")

    @workflow.query
    def ask(self) -> None:
        workflow.logger.info("asked")


def test_the_logger_names_the_workflow_and_is_silent_at_replay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert workflow.logger.workflow_info_on_message, "another test has left it changed"
    caplog.set_level(logging.INFO, "odradek.workflow")
    run = Driver(Logs)
    run.start()
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "started here ({'attempt': 1, 'namespace': 'default', 'run_id': 'run'"
    )
    assert record.__dict__["temporal_workflow"]["workflow_id"] == "wf"
    assert record.__dict__["own"] == 1
    assert record.funcName == "run"
    caplog.clear()
    run.replay()
    assert caplog.records == []
    run.completion(replaying=True)
    run.step(query("ask"))
    assert [record.getMessage().split(" (")[0] for record in caplog.records] == ["asked"]
    caplog.clear()
    try:
        workflow.logger.workflow_info_on_message = False
        workflow.logger.full_workflow_info_on_extra = True
        workflow.logger.log_during_replay = True
        run.replay()
        assert [record.getMessage() for record in caplog.records] == ["started here"]
        assert caplog.records[0].__dict__["workflow_info"].run_id == "run"
    finally:
        workflow.logger.workflow_info_on_message = True
        workflow.logger.full_workflow_info_on_extra = False
        workflow.logger.log_during_replay = False


# ---------------------------------------------------------------- metrics


class Counter(MetricCounter):
    def __init__(self, counts: list[Any], attributes: Mapping[str, Any]) -> None:
        self.counts, self.attributes = counts, attributes

    @property
    def name(self) -> str:
        return "c"

    @property
    def description(self) -> str | None:
        return None

    @property
    def unit(self) -> str | None:
        return None

    def with_additional_attributes(self, additional_attributes: Mapping[str, Any]) -> Self:
        return type(self)(self.counts, {**self.attributes, **additional_attributes})

    def add(self, value: int, additional_attributes: Mapping[str, Any] | None = None) -> None:
        self.counts.append((value, {**self.attributes, **(additional_attributes or {})}))


class Meter(type(MetricMeter.noop)):  # type: ignore[misc]
    def __init__(self, counts: list[Any], attributes: Mapping[str, Any]) -> None:
        self.counts, self.attributes = counts, attributes

    def create_counter(
        self, name: str, description: str | None = None, unit: str | None = None
    ) -> MetricCounter:
        return Counter(self.counts, self.attributes)

    def with_additional_attributes(self, additional_attributes: Mapping[str, Any]) -> MetricMeter:
        return Meter(self.counts, {**self.attributes, **additional_attributes})


@workflow.defn
class Counts:
    @workflow.run
    async def run(self) -> None:
        counter = workflow.metric_meter().create_counter("c").with_additional_attributes({"x": 1})
        counter.add(5, {"y": 2})
        await workflow.wait_condition(lambda: False)


def test_metrics_are_not_recorded_at_replay() -> None:
    counts: list[Any] = []
    run = Driver(activator(Counts, metric_meter=Meter(counts, {})), "Counts")
    run.start()
    assert counts == [
        (
            5,
            {
                "namespace": "default",
                "task_queue": "queue",
                "workflow_type": "Counts",
                "x": 1,
                "y": 2,
            },
        )
    ]
    run.replay()
    assert len(counts) == 1
    Driver(Counts).start()  # the meter that drops everything


# ---------------------------------------------------------------- interceptors


class Tracing(interceptors.Interceptor):
    def __init__(self, name: str) -> None:
        self.name = name

    def workflow_interceptor_class(
        self, input: WorkflowInterceptorClassInput
    ) -> type[WorkflowInboundInterceptor]:
        input.unsafe_extern_functions["say"] = lambda: "from outside"
        name = self.name

        class Inbound(WorkflowInboundInterceptor):
            def init(self, outbound: WorkflowOutboundInterceptor) -> None:
                SEEN.append(f"{name} init {workflow.in_workflow()}")
                super().init(Outbound(outbound))

            async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
                SEEN.append(f"{name} execute {list(input.args)} {sorted(input.headers)}")
                return f"{name}({await super().execute_workflow(input)})"

            async def handle_signal(self, input: HandleSignalInput) -> None:
                SEEN.append(f"{name} signal {input.signal} {list(input.args)}")
                await super().handle_signal(input)

            async def handle_query(self, input: HandleQueryInput) -> Any:
                return f"{name}[{await super().handle_query(input)}]"

        class Outbound(WorkflowOutboundInterceptor):
            def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
                input.headers = {**input.headers, name: Payload()}
                return super().start_activity(input)

            def info(self) -> workflow.Info:
                SEEN.append(f"{name} info")
                return super().info()

            def continue_as_new(self, input: ContinueAsNewInput) -> NoReturn:
                input.headers = {**input.headers, name: Payload()}
                super().continue_as_new(input)

        return Inbound


SEEN: list[str] = []


@workflow.defn
class Intercepted:
    def __init__(self) -> None:
        self.last = ""

    @workflow.run
    async def run(self, number: int) -> str:
        if number == 0:
            workflow.continue_as_new(1)
        said = workflow.extern_functions()["say"]()
        handle = workflow.start_activity("b", start_to_close_timeout=MINUTE)
        first = await workflow.execute_activity(
            "a", number, start_to_close_timeout=MINUTE, summary="sum"
        )
        return f"{first} {await handle} {workflow.info().workflow_id} {said}"

    @workflow.signal
    async def poke(self, text: str) -> None:
        self.last = text

    @workflow.query
    def ask(self) -> str:
        return self.last


def test_interceptors_wrap_everything_the_first_outermost() -> None:
    SEEN.clear()
    made_by = activator(Intercepted, interceptors=[Tracing("one"), Tracing("two")])
    run = Driver(made_by, "Intercepted", 7, headers={"h": Payload()})
    commands = run.start(signal("poke", "hello"))
    assert kinds(commands) == ["ScheduleActivity 1", "ScheduleActivity 2"]
    assert isinstance(commands[1], ScheduleActivity)
    assert sorted(commands[1].headers) == ["one", "two"]
    assert commands[1].summary is not None and commands[1].summary.data == b'"sum"'
    assert SEEN == [
        "one init True", "two init True", "one signal poke ['hello']", "two signal poke ['hello']",
        "one execute [7] ['h']", "two execute [7] ['h']",
    ]  # fmt: skip
    assert run.answer("ask") == "one[two[hello]]"
    assert (
        result_of(run.step(completed(1, "B"), completed(2, "A"))) == "one(two(A B wf from outside))"
    )
    assert SEEN[-2:] == [
        "two info",
        "one info",
    ], "the last one given the outbound chain is its outermost"
    run.replay()
    (command,) = Driver(made_by, "Intercepted", 0).start()
    assert isinstance(command, ContinueAsNew) and sorted(command.headers) == ["one", "two"]


def test_a_handle_under_interceptors_is_cancelled_as_without() -> None:
    from tests.engine.activation_driver import CancelJob, cancelled

    run = Driver(activator(Intercepted, interceptors=[Tracing("one")]), "Intercepted", 7)
    run.start()
    assert kinds(run.step(CancelJob())) == ["RequestCancelActivity 2"]
    assert kinds(run.step(cancelled(2))) == ["CancelWorkflowExecution"]


# ---------------------------------------------------------------- converters


class Contextual(DefaultPayloadConverter, WithSerializationContext):
    """Puts its context into each payload."""

    context: SerializationContext | None = None

    def with_context(self, context: SerializationContext) -> Self:
        made = type(self)()
        made.context = context
        return made

    def to_payloads(self, values: Any) -> list[Payload]:
        made = super().to_payloads(values)
        for payload in made:
            payload.metadata = {**payload.metadata, "context": type(self.context).__name__.encode()}
        return made


@workflow.defn
class Converts:
    @workflow.run
    async def run(self) -> str:
        await workflow.execute_activity("a", 1, start_to_close_timeout=MINUTE)
        return "done"


def test_converters_get_their_context() -> None:
    run = Driver(
        activator(Converts, data_converter=DataConverter(payload_converter_class=Contextual)),
        "Converts",
    )
    (command,) = run.start()
    assert isinstance(command, ScheduleActivity)
    assert command.input[0].metadata["context"] == ActivitySerializationContext.__name__.encode()
    commands = run.step(completed(1))
    assert (
        commands[0].result[0].metadata["context"] == WorkflowSerializationContext.__name__.encode()
    )  # type: ignore[attr-defined]


@workflow.defn(dynamic=True)
class CountsAnything:
    @workflow.run
    async def run(self, args: Sequence[RawValue]) -> None:
        workflow.metric_meter().create_counter("c").add(1)


def test_types_of_a_dynamic_workflow_are_no_labels() -> None:
    counts: list[Any] = []
    made = activator(Counts, CountsAnything, metric_meter=Meter(counts, {}))
    for number in range(3):
        Driver(made, f"made-up-{number}").start()
    assert [labels["workflow_type"] for _, labels in counts] == ["(unknown)"] * 3
