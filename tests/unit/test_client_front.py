"""The client's face: configuration, interceptors, results and their failures, descriptions,
histories, names, what is not there yet.
"""

from __future__ import annotations

import dataclasses
import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from odradek import client as front
from odradek import workflow
from odradek.client import (
    AsyncActivityCancelledError,
    Client,
    Interceptor,
    OutboundInterceptor,
    QueryWorkflowInput,
    RPCError,
    RPCStatusCode,
    SignalWorkflowInput,
    StartWorkflowInput,
    WorkflowContinuedAsNewError,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowHistory,
    WorkflowHistoryEventFilterType,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from odradek.client.connection import Connection
from odradek.client.interceptor import Plugin
from odradek.common import (
    QueryRejectCondition,
    RetryPolicy,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from odradek.config import Settings
from odradek.converter import DataConverter, PayloadCodec
from odradek.exceptions import (
    ApplicationError,
    CancelledError,
    ConfigurationError,
    TerminatedError,
    TimeoutError,
)
from odradek.service import HttpConnectProxyConfig, TLSConfig
from odradek.wire import events, history, outcomes
from odradek.wire.outcomes import ExecutionSummary, PendingActivity, WorkflowDescription
from odradek.wire.payload import Failure, Payload
from tests.support.transport import FakeTransport, closed, connect, reply_to, started

PAYLOADS = DataConverter.default.payload_converter


@dataclasses.dataclass
class Order:
    product: str
    quantity: int


@workflow.defn(name="Buy")
class Buy:
    @workflow.run
    async def run(self, order: Order) -> Order:
        return order

    @workflow.query(name="how-many")
    def quantity(self) -> int:
        return 1

    @workflow.signal
    def cancel_order(self, reason: str) -> None: ...


# --- configuration


async def test_config_makes_a_changed_copy() -> None:
    transport = FakeTransport()
    client = connect(transport)
    config = client.config()
    config["interceptors"] = [Interceptor()]
    config["data_converter"] = dataclasses.replace(client.data_converter, payload_codec=Reverse())
    copy = Client(**config)
    assert (
        copy.service_client is client.service_client and copy._root.channel is client._root.channel
    )
    assert (
        copy.data_converter.payload_codec is not None
        and client.data_converter.payload_codec is None
    )
    assert client.config()["interceptors"] == [] and len(copy.config()["interceptors"]) == 1
    assert Client(**client.config()).namespace == "default"
    assert (client.identity, client.settings.identity) == ("me", "me")


async def test_plugins_change_the_configuration() -> None:
    class Renamed(Plugin):
        def configure_client(self, config: Any) -> Any:
            return config | {"namespace": "theirs"}

        async def connect_service_client(self, config: Any, next: Any) -> Any:
            return await next(config)

    client = connect(FakeTransport(), plugins=[Renamed()])
    assert client.namespace == "theirs"
    assert (
        client.config()["namespace"] == "default"
        and client.config(active_config=True)["namespace"] == "theirs"
    )


def settings_for(target_host: str | None = None, **given: Any) -> Settings:
    defaults = dict.fromkeys(
        ("settings", "namespace", "identity", "tls", "create_topics", "http_connect_proxy_config")
    )
    return Connection.settings_for(target_host, **{**defaults, **given})


def test_arguments_of_connect_win_over_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODRADEK_NAMESPACE", "from-environment")
    assert settings_for("kafka:9092").namespace == "from-environment"
    base = Settings(address="a:1", namespace="n", rpc_timeout=3)
    assert settings_for(settings=base) == base
    made = settings_for("b:2", settings=base, namespace="m", identity="i", create_topics=False)
    assert (made.address, made.namespace, made.identity, made.create_topics, made.rpc_timeout) == (
        "b:2",
        "m",
        "i",
        False,
        base.rpc_timeout,
    )


def test_tls_of_connect_becomes_kafka_settings() -> None:
    assert settings_for(tls=True).kafka["security.protocol"] == "ssl"
    secured = settings_for(
        settings=Settings(kafka={"sasl.mechanism": "PLAIN"}),
        tls=TLSConfig(server_root_ca_cert=b"PEM"),
    )
    assert secured.kafka == {
        "sasl.mechanism": "PLAIN",
        "security.protocol": "sasl_ssl",
        "ssl.ca.pem": "PEM",
    }
    with pytest.raises(ConfigurationError, match="proxy"):
        settings_for(http_connect_proxy_config=HttpConnectProxyConfig("proxy:1"))


async def test_unknown_keyword_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        await Client.connect("a:1", nonsense=1)  # type: ignore[call-arg]


# --- start


async def test_start_record_holds_everything() -> None:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: started(r))
    await connect(transport).start_workflow(
        Buy.run,
        Order("spool", 2),
        id="w",
        task_queue="q",
        execution_timeout=timedelta(hours=1),
        run_timeout=timedelta(minutes=1),
        task_timeout=timedelta(microseconds=1),
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        retry_policy=RetryPolicy(maximum_attempts=3),
        memo={"k": 1},
        static_summary="sum",
        static_details="det",
        start_delay=timedelta(seconds=2),
        start_signal="s",
        start_signal_args=[1, 2],
    )
    (record,) = transport.records(events.StartWorkflow)
    assert record.workflow_type == "Buy" and json.loads(record.input[0].data) == {
        "product": "spool",
        "quantity": 2,
    }
    assert (record.execution_timeout_ms, record.run_timeout_ms, record.task_timeout_ms) == (
        3_600_000,
        60_000,
        1,
    )
    assert (
        record.id_reuse_policy == "REJECT_DUPLICATE" and record.id_conflict_policy == "USE_EXISTING"
    )
    assert record.retry_policy.maximum_attempts == 3 and record.start_delay_ms == 2_000
    assert (
        json.loads(record.memo["k"].data) == 1
        and len(record.signal_input) == 2
        and record.signal_name == "s"
    )
    assert (
        json.loads(record.static_summary.data) == "sum"
        and json.loads(record.static_details.data) == "det"
    )


async def test_policies() -> None:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: started(r))
    client = connect(transport)
    await client.start_workflow(
        "W", id="w", task_queue="q", id_reuse_policy=WorkflowIDReusePolicy.TERMINATE_IF_RUNNING
    )
    await client.start_workflow(
        "W", id="w", task_queue="q", id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING
    )
    one, two = transport.records(events.StartWorkflow)
    assert (one.id_reuse_policy, one.id_conflict_policy) == (
        "ALLOW_DUPLICATE",
        "TERMINATE_EXISTING",
    )
    assert (two.id_reuse_policy, two.id_conflict_policy) == (
        "ALLOW_DUPLICATE",
        "TERMINATE_EXISTING",
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": ""},
        {"task_queue": ""},
        {"id": "x" * 1001},
        {"id": "\U0001f600" * 251},
        {"run_timeout": timedelta(seconds=-1)},
        {"run_timeout": timedelta.max},
        {"task_timeout": timedelta(days=366 * 5_000)},
        {"execution_timeout": timedelta.max},
        {"start_delay": timedelta.max},
        {"cron_schedule": "* * * * *", "start_delay": timedelta(seconds=1)},
        {
            "id_reuse_policy": WorkflowIDReusePolicy.TERMINATE_IF_RUNNING,
            "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING,
        },
        {"start_signal": "s", "id_conflict_policy": WorkflowIDConflictPolicy.FAIL},
    ],
)
async def test_invalid_starts_are_refused_before_they_are_sent(wrong: dict[str, Any]) -> None:
    transport = FakeTransport()
    with pytest.raises(RPCError) as caught:
        await connect(transport).start_workflow("W", **{"id": "w", "task_queue": "q", **wrong})
    assert caught.value.status == RPCStatusCode.INVALID_ARGUMENT and not transport.sent


async def test_arg_and_args() -> None:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: started(r))
    client = connect(transport)
    with pytest.raises(ValueError, match="arg and args"):
        await client.start_workflow("W", 1, args=[2], id="w", task_queue="q")
    await client.start_workflow("W", id="w", task_queue="q")
    await client.start_workflow("W", None, id="w", task_queue="q")
    none, explicit = transport.records(events.StartWorkflow)
    assert len(none.input) == 0 and len(explicit.input) == 1


async def test_signal_with_start_of_an_open_run_does_not_know_its_chain() -> None:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: reply_to(r, run_id="open"))
    handle = await connect(transport).start_workflow("W", id="w", task_queue="q", start_signal="s")
    assert (handle.result_run_id, handle.first_execution_run_id) == ("open", None)


# --- results


async def test_result_is_decoded_as_the_run_method_says() -> None:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: closed(r, value={"product": "a", "quantity": 1}))
    client = connect(transport)
    assert await client.execute_workflow(Buy.run, Order("a", 1), id="w", task_queue="q") == Order(
        "a", 1
    )
    assert await client.execute_workflow("Buy", id="w", task_queue="q") == {
        "product": "a",
        "quantity": 1,
    }
    assert await client.execute_workflow("Buy", id="w", task_queue="q", result_type=Order) == Order(
        "a", 1
    )
    assert await client.get_workflow_handle_for(Buy.run, "w", task_queue="q").result() == Order(
        "a", 1
    )


def failure(message: str, **fields: Any) -> Failure:
    return Failure(message=message, **fields)


async def outcome(status: str, **fields: Any) -> BaseException:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: closed(r, status, **fields))
    with pytest.raises(WorkflowFailureError, match="Workflow execution failed") as caught:
        await connect(transport).get_workflow_handle("w", run_id="r", task_queue="q").result()
    return caught.value.cause


async def test_outcomes_are_temporals_exceptions() -> None:
    details = PAYLOADS.to_payloads(["d", 1])
    sent = Failure()
    DataConverter.default.failure_converter.to_failure(
        ApplicationError("broken", 5, type="T", non_retryable=True), PAYLOADS, sent
    )
    failed = await outcome(outcomes.FAILED, failure=sent)
    assert isinstance(failed, ApplicationError) and (
        failed.message,
        failed.type,
        failed.details,
    ) == ("broken", "T", (5,))
    canceled = await outcome(
        outcomes.CANCELED, failure=failure("Workflow cancelled", details=details)
    )
    assert isinstance(canceled, CancelledError) and (canceled.message, list(canceled.details)) == (
        "Workflow cancelled",
        ["d", 1],
    )
    terminated = await outcome(outcomes.TERMINATED, failure=failure("enough", details=details))
    assert isinstance(terminated, TerminatedError) and (
        str(terminated),
        list(terminated.details),
    ) == ("enough", ["d", 1])
    assert str(await outcome(outcomes.TERMINATED)) == "Workflow terminated"
    assert isinstance(await outcome(outcomes.TIMED_OUT), TimeoutError)


async def test_runs_are_followed() -> None:
    transport = FakeTransport()
    chain = {
        "one": (outcomes.CONTINUED_AS_NEW, "two"),
        "two": (outcomes.FAILED, "three"),
        "three": (outcomes.COMPLETED, ""),
    }

    def answer(_: str, record: events.AwaitResult) -> Any:
        status, new = chain[record.run_id]
        return closed(record, status, value="end", new_execution_run_id=new)

    transport.serve("q", answer)
    client = connect(transport)
    assert await client.get_workflow_handle("w", run_id="one", task_queue="q").result() == "end"
    with pytest.raises(WorkflowContinuedAsNewError) as caught:
        await client.get_workflow_handle("w", run_id="one", task_queue="q").result(
            follow_runs=False
        )
    assert caught.value.new_execution_run_id == "two"
    with pytest.raises(WorkflowFailureError):
        await client.get_workflow_handle("w", run_id="two", task_queue="q").result(
            follow_runs=False
        )


# --- interceptors


class Recording(Interceptor):
    def __init__(self, name: str, log: list[str]) -> None:
        self.name = name
        self.log = log

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        outer = self

        class Outbound(OutboundInterceptor):
            async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
                outer.log.append(outer.name)
                input.headers = {**input.headers, outer.name: PAYLOADS.to_payloads(["h"])[0]}
                return await super().start_workflow(input)

            async def signal_workflow(self, input: SignalWorkflowInput) -> None:
                input.args = ["changed"]
                await super().signal_workflow(input)

            async def query_workflow(self, input: QueryWorkflowInput) -> Any:
                return "intercepted"

        return Outbound(next)


async def test_interceptors_wrap_in_order_and_change_inputs() -> None:
    transport = FakeTransport()
    transport.serve(
        "q",
        lambda _, r: (
            closed(r, value=1)
            if isinstance(r, events.AwaitResult)
            else started(r)
            if isinstance(r, events.StartWorkflow)
            else reply_to(r)
        ),
    )
    log: list[str] = []
    client = connect(transport, interceptors=[Recording("a", log), Recording("b", log)])
    assert await client.execute_workflow("W", id="w", task_queue="q") == 1
    assert log == ["a", "b"]
    record = transport.records(events.StartWorkflow)[0]
    assert set(record.headers) == {"a", "b"}
    handle = client.get_workflow_handle("w")
    await handle.signal("s", "original")
    assert json.loads(transport.records(events.SignalWorkflow)[0].input[0].data) == "changed"
    assert await handle.query("x") == "intercepted"


# --- queries, descriptions, histories


async def test_queries() -> None:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: reply_to(r, payloads=PAYLOADS.to_payloads([3])))
    client = connect(
        transport, default_workflow_query_reject_condition=QueryRejectCondition.NOT_OPEN
    )
    handle = client.get_workflow_handle_for(Buy.run, "w", task_queue="q")
    assert await handle.query(Buy.quantity) == 3
    await handle.query("other", reject_condition=QueryRejectCondition.NONE)
    one, two = transport.records(events.QueryWorkflow)
    assert (one.query_type, one.reject_condition) == ("how-many", "NOT_OPEN") and (
        two.query_type,
        two.reject_condition,
    ) == (
        "other",
        "NONE",
    )
    transport.serve(
        "q", lambda _, r: reply_to(r, outcomes.QUERY_REJECTED, workflow_status="COMPLETED")
    )
    with pytest.raises(WorkflowQueryRejectedError) as rejected:
        await handle.query("x")
    assert rejected.value.status == WorkflowExecutionStatus.COMPLETED
    transport.serve("q", lambda _, r: reply_to(r, outcomes.QUERY_FAILED, message="no such query"))
    with pytest.raises(WorkflowQueryFailedError, match="no such query"):
        await handle.query("x")
    transport.serve(
        "q",
        lambda _, r: reply_to(
            r, outcomes.QUERY_FAILED, message="'oops'", failure=Failure("'oops'", type="KeyError")
        ),
    )
    with pytest.raises(WorkflowQueryFailedError) as failed:
        await handle.query("x")
    assert (str(failed.value), failed.value.message) == ("'oops'", "'oops'"), "as temporalio"
    assert (
        isinstance(failed.value.__cause__, ApplicationError)
        and str(failed.value.__cause__) == "KeyError: 'oops'"
    )
    transport.serve(
        "q",
        lambda _, r: reply_to(
            r,
            outcomes.FAILED_PRECONDITION,
            message="Unable to query workflow",
            failure=Failure("bug"),
        ),
    )
    with pytest.raises(
        RPCError, match="Unable to query workflow"
    ) as caught:  # as temporalio: only INVALID_ARGUMENT is QueryFailed
        await handle.query("x")
    assert caught.value.status is RPCStatusCode.FAILED_PRECONDITION


async def test_describe() -> None:
    summary = ExecutionSummary(
        "default", "q", "w", "r", "Buy", "COMPLETED", start_time_ms=1_000, close_time_ms=2_500, history_length=9,
        memo={"k": PAYLOADS.to_payloads([{"a": 1}])[0]}, parent_workflow_id="p",
    )  # fmt: skip
    description = WorkflowDescription(
        summary,
        static_summary=PAYLOADS.to_payloads(["text"])[0],
        pending_activities=[PendingActivity("1", "A", "q", "STARTED", 2)],
    )
    transport = FakeTransport()
    transport.serve("q", lambda _, r: reply_to(r, description=description))
    found = await connect(transport).get_workflow_handle("w", task_queue="q").describe()
    assert (found.id, found.run_id, found.workflow_type, found.status) == (
        "w",
        "r",
        "Buy",
        WorkflowExecutionStatus.COMPLETED,
    )
    assert (found.start_time, found.close_time) == (
        datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
        datetime(1970, 1, 1, 0, 0, 2, 500_000, tzinfo=UTC),
    )
    assert (
        await found.memo() == {"k": {"a": 1}}
        and await found.memo_value("x", None) is None
        and found.parent_id == "p"
    )
    with pytest.raises(KeyError):
        await found.memo_value("x")
    assert await found.static_summary() == "text" and await found.static_details() is None
    assert found.pending_activities[0].attempt == 2


def some_history() -> list[history.HistoryEvent]:
    return [
        history.HistoryEvent(1, 1_000, history.WorkflowExecutionStarted("w", "r", "Buy", "q")),
        history.HistoryEvent(2, 1_001, history.WorkflowTask(1_001)),
        history.HistoryEvent(
            5, 1_002, history.WorkflowExecutionCompleted(PAYLOADS.to_payloads([1]), 4)
        ),
    ]


async def test_history_is_paged_and_written_as_temporals_json() -> None:
    transport = FakeTransport()

    def answer(_: str, record: events.FetchHistory) -> Any:
        page = [event for event in some_history() if event.event_id >= record.from_event_id][:2]
        following = 5 if page and page[-1].event_id < 5 else 0
        return reply_to(record, run_id="r", history=page, next_event_id=following)

    transport.serve("q", answer)
    handle = connect(transport).get_workflow_handle("w", task_queue="q")
    found = await handle.fetch_history()
    assert [event.event_id for event in found.events] == [1, 2, 3, 4, 5] and found.run_id == "r"
    first, second = transport.records(events.FetchHistory)
    assert (first.run_id, second.run_id) == ("", "r"), "the first page fixes the run"
    written = found.to_json_dict()
    assert [event["eventType"] for event in written["events"]][0::4] == [
        "EVENT_TYPE_WORKFLOW_EXECUTION_STARTED",
        "EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED",
    ]
    again = WorkflowHistory.from_json("w", found.to_json())
    assert again.to_json_dict() == written and again.run_id == "r"
    closing = await handle.fetch_history(
        event_filter_type=WorkflowHistoryEventFilterType.CLOSE_EVENT
    )
    assert [event.event_id for event in closing.events][-1] == 5
    with pytest.raises(ValueError):
        WorkflowHistory.from_json("w", "[]")


async def test_history_goes_on_while_it_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that waits ends at its deadline, and is asked for again."""
    transport = FakeTransport()
    asked = 0

    def answer(_: str, record: events.FetchHistory) -> Any:
        nonlocal asked
        asked += 1
        if asked == 2:
            return reply_to(record, outcomes.DEADLINE_EXCEEDED)
        page = [event for event in some_history() if event.event_id >= record.from_event_id][:2]
        return reply_to(
            record, run_id="r", history=page, next_event_id=0 if page[-1].event_id == 5 else 5
        )

    transport.serve("q", answer)
    handle = connect(transport).get_workflow_handle("w", task_queue="q")
    assert [event.event_id async for event in handle.fetch_history_events(wait_new_event=True)] == [
        1,
        2,
        3,
        4,
        5,
    ]
    assert asked == 3 and all(
        record.wait_new_event for record in transport.records(events.FetchHistory)
    )


# --- codecs and headers


class Keyless(PayloadCodec):
    """Of a client that lost its key."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        raise LookupError("no key")


async def test_failed_query_whose_details_cannot_be_read() -> None:
    transport = FakeTransport()
    failure = Failure("sealed", type="T", details=[Payload({}, b"x")])
    transport.serve("q", lambda _, r: reply_to(r, outcomes.QUERY_FAILED, failure=failure))
    client = connect(
        transport,
        data_converter=dataclasses.replace(DataConverter.default, payload_codec=Keyless()),
    )
    with pytest.raises(WorkflowQueryFailedError, match="sealed") as failed:
        await client.get_workflow_handle("w", task_queue="q").query("x")
    assert isinstance(failed.value.__cause__, LookupError)


class Reverse(PayloadCodec):
    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload(metadata=payload.metadata, data=payload.data[::-1]) for payload in payloads]

    decode = encode


async def test_codec_sees_arguments_results_and_failures() -> None:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: [started(r), closed(r, value="ba")])
    client = connect(
        transport,
        data_converter=dataclasses.replace(DataConverter.default, payload_codec=Reverse()),
    )
    assert await client.execute_workflow("W", "xy", id="w", task_queue="q") == "ab"
    assert transport.records(events.StartWorkflow)[0].input[0].data == b'"yx"'


# --- activities from outside


async def test_activity_completion_by_token_and_by_ids() -> None:
    from odradek.activities.token import TaskToken

    transport = FakeTransport()
    state = {"attempt": 2, "state": "STARTED", "scheduled_event_id": 7}

    def answer(_: str, record: Any) -> Any:
        if isinstance(record, events.DescribeWorkflow):
            summary = ExecutionSummary("default", "q", "w", "r", "Buy", "RUNNING")
            pending = PendingActivity("a", "A", "q", **state)  # type: ignore[arg-type]
            return reply_to(
                record, description=WorkflowDescription(summary, pending_activities=[pending])
            )
        return None

    transport.serve("q", answer)
    client = connect(transport)
    await client.get_async_activity_handle(workflow_id="w", activity_id="a").complete(5)
    (by_ids,) = transport.records(events.ActivityTaskCompleted)
    assert (by_ids.run_id, by_ids.scheduled_event_id, by_ids.attempt, by_ids.result[0].data) == (
        "r",
        7,
        2,
        b"5",
    )
    token = TaskToken("default", "q", "w", "r", 7, "a", 2).encode()
    handle = client.get_async_activity_handle(task_token=token)
    await handle.heartbeat(1)
    await handle.fail(ApplicationError("no"), last_heartbeat_details=[9])
    await handle.report_cancellation()
    assert transport.records(events.ActivityTaskFailed)[0].failure.message == "no"
    assert (
        len(transport.records(events.ActivityTaskCanceled))
        == len(transport.records(events.ActivityTaskHeartbeat))
        == 1
    )
    state["state"] = "CANCEL_REQUESTED"
    with pytest.raises(AsyncActivityCancelledError):
        await handle.heartbeat()
    state["attempt"] = 3
    with pytest.raises(RPCError) as caught:
        await handle.complete()
    assert caught.value.status == RPCStatusCode.NOT_FOUND
    for wrong in ({"task_token": token, "activity_id": "a"}, {"workflow_id": "w"}):
        with pytest.raises(ValueError):
            client.get_async_activity_handle(**wrong)  # type: ignore[arg-type]


# --- not there yet


async def test_what_is_missing_says_so() -> None:
    client = connect(FakeTransport())
    handle = client.get_workflow_handle("w", task_queue="q")
    with pytest.raises(RPCError, match="not supported yet") as caught:
        await handle.execute_update("u")
    assert caught.value.status == RPCStatusCode.UNIMPLEMENTED
    with pytest.raises(ValueError):
        await handle.start_update("u", wait_for_stage=front.WorkflowUpdateStage.ADMITTED)
    action = front.ScheduleActionStartWorkflow(Buy.run, Order("a", 1), id="w", task_queue="q")
    schedule = front.Schedule(
        action=action,
        spec=front.ScheduleSpec(intervals=[front.ScheduleIntervalSpec(every=timedelta(hours=1))]),
    )
    with pytest.raises(RPCError, match="not supported yet"):
        await client.create_schedule("s", schedule)
    with pytest.raises(RPCError, match="not supported yet"):
        await client.get_schedule_handle("s").pause()
    for call in (client.count_workflows(), client.list_workflows().__anext__()):
        with pytest.raises(RPCError, match="server_address") as caught:
            await call
        assert caught.value.status == RPCStatusCode.UNAVAILABLE


# --- serialization context


async def test_converters_that_want_it_get_the_context() -> None:
    seen: list[Any] = []

    class Contextual(PayloadCodec, front.WithSerializationContext):
        async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
            return list(payloads)

        decode = encode

        def with_context(self, context: front.SerializationContext) -> Contextual:
            seen.append(context)
            return self

    transport = FakeTransport()
    transport.serve("q", lambda _, r: [started(r), closed(r, value=1)])
    client = connect(
        transport,
        data_converter=dataclasses.replace(DataConverter.default, payload_codec=Contextual()),
    )
    await client.execute_workflow("W", 1, id="w", task_queue="q")
    assert seen and set(seen) == {front.WorkflowSerializationContext("default", "w")}


async def test_run_ids_are_uuids_that_sort_by_time() -> None:
    transport = FakeTransport()
    transport.serve("q", lambda _, r: started(r))
    client = connect(transport)
    for n in range(20):
        await client.start_workflow("W", id=f"w{n}", task_queue="q")
    run_ids = {uuid.UUID(record.run_id) for record in transport.records(events.StartWorkflow)}
    assert len(run_ids) == 20 and all(run_id.version == 7 for run_id in run_ids)
