"""What workflow code hands over that cannot be written: its task fails and names command and
field, the inputs stay in the history.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from odradek import workflow
from odradek.common import RetryPolicy, SearchAttributeKey
from odradek.converter import DataConverter, DefaultFailureConverter, DefaultPayloadConverter
from odradek.engine.ports import Batch, Input
from odradek.exceptions import ApplicationError
from odradek.wire import outcomes
from odradek.wire.clean import LINKS_MAX, clean_failure, clean_text
from odradek.wire.events import QueryWorkflow, ReleaseWorkflow, StartWorkflow
from odradek.wire.history import WorkflowExecutionFailed, WorkflowTaskFailed
from odradek.wire.limits import DURATION_MAX_MS, NAME_MAX
from odradek.wire.payload import Failure, Payload
from tests.engine.activation_driver import activator
from tests.engine.script import payloads, values
from tests.engine.world import World, completed, failed

BAD = "bad-\udcff"
MINUTE = timedelta(minutes=1)
FOREVER = timedelta.max


def activity(name: str = "a", **options: Any) -> Awaitable[Any]:
    return workflow.execute_activity(name, **{"start_to_close_timeout": MINUTE, **options})


async def wait_forever() -> None:
    await asyncio.wait_for(asyncio.Event().wait(), sys.maxsize)


async def upsert(**what: Any) -> None:
    if "memo" in what:
        workflow.upsert_memo(what["memo"])
    else:
        workflow.upsert_search_attributes(what["attributes"])


async def patch(patch_id: str) -> None:
    workflow.patched(patch_id)


async def again(**options: Any) -> None:
    workflow.continue_as_new(**options)


SCHEDULE, TIMER, AGAIN = (
    "BAD_SCHEDULE_ACTIVITY_ATTRIBUTES",
    "BAD_START_TIMER_ATTRIBUTES",
    "BAD_CONTINUE_AS_NEW_ATTRIBUTES",
)

#: What workflow code does after its activity -> cause of the failed task and what its message
#: names.
TABLE: dict[str, tuple[Callable[[], Awaitable[Any]], str, str]] = {
    "wait_for": (wait_forever, TIMER, "StartTimer: duration_ms"),
    "sleep": (lambda: asyncio.sleep(1e18), TIMER, "StartTimer: duration_ms"),
    "durable sleep": (lambda: workflow.sleep(FOREVER), TIMER, "5,000 years"),
    "activity type": (lambda: activity(BAD), SCHEDULE, "activity_type: 'bad-\\udcff'"),
    "long activity type": (
        lambda: activity("x" * (NAME_MAX + 1)),
        SCHEDULE,
        "activity_type: 1001 characters",
    ),
    "activity id": (lambda: activity(activity_id=BAD), SCHEDULE, "activity_id"),
    "long activity id": (
        lambda: activity(activity_id="ö" * (NAME_MAX + 1)),
        SCHEDULE,
        "activity_id: 1001 characters",
    ),
    "activity id of another type": (
        lambda: activity(activity_id=7),
        SCHEDULE,
        "activity_id: text is expected, not int",
    ),
    "task queue": (lambda: activity(task_queue=BAD), SCHEDULE, "task_queue"),
    "start-to-close": (
        lambda: activity(start_to_close_timeout=FOREVER),
        SCHEDULE,
        "start_to_close_timeout_ms",
    ),
    "heartbeat": (lambda: activity(heartbeat_timeout=FOREVER), SCHEDULE, "heartbeat_timeout_ms"),
    "retry interval": (
        lambda: activity(retry_policy=RetryPolicy(initial_interval=timedelta(days=365 * 6_000))),
        SCHEDULE,
        "retry_policy: initial_interval",
    ),
    "retry attempts": (
        lambda: activity(retry_policy=RetryPolicy(maximum_attempts=1 << 64)),
        SCHEDULE,
        "retry_policy: maximum_attempts",
    ),
    "retry types": (
        lambda: activity(retry_policy=RetryPolicy(non_retryable_error_types=[BAD])),
        SCHEDULE,
        "retry_policy: non_retryable_error_types",
    ),
    "patch": (lambda: patch(BAD), "BAD_RECORD_MARKER_ATTRIBUTES", "SetPatchMarker: patch_id"),
    "memo": (
        lambda: upsert(memo={BAD: 1}),
        "BAD_MODIFY_WORKFLOW_PROPERTIES_ATTRIBUTES",
        "UpsertMemo: memo",
    ),
    "search attribute": (
        lambda: upsert(attributes=[SearchAttributeKey.for_keyword(BAD).value_set("x")]),
        "BAD_SEARCH_ATTRIBUTES",
        "UpsertSearchAttributes: search_attributes",
    ),
    "the system's search attribute": (
        lambda: upsert(attributes=[SearchAttributeKey.for_keyword("WorkflowId").value_set("x")]),
        "BAD_SEARCH_ATTRIBUTES",
        (
            "UpsertSearchAttributes: search_attributes: WorkflowId attribute can't be set in"
            " SearchAttributes"
        ),
    ),
    "search attribute not of its type": (
        lambda: upsert(attributes=[SearchAttributeKey.for_int("Size").value_set(2**70)]),
        "BAD_SEARCH_ATTRIBUTES",
        (
            "UpsertSearchAttributes: search_attributes: invalid value for search attribute Size of"
            " type Int: 1180591620717411303424 is no Int"
        ),
    ),
    "search attribute without type that is no JSON": (
        lambda: upsert(attributes={"Size": [float("nan")]}),
        "BAD_SEARCH_ATTRIBUTES",
        (
            "UpsertSearchAttributes: search_attributes: invalid value for search attribute Size:"
            " NaN is no JSON value"
        ),
    ),
    "next run's search attribute without type": (
        lambda: again(search_attributes={"Size": [float("inf")]}),
        AGAIN,
        (
            "ContinueAsNew: search_attributes: invalid value for search attribute Size: Infinity is"
            " no JSON value"
        ),
    ),
    "next run's search attribute": (
        lambda: again(search_attributes={"RunId": ["x"]}),
        AGAIN,
        "RunId attribute can't be set",
    ),
    "next run's type": (lambda: again(workflow=BAD), AGAIN, "ContinueAsNew: workflow_type"),
    "next run's memo": (lambda: again(memo={BAD: 1}), AGAIN, "ContinueAsNew: memo"),
    "next run's timeout": (
        lambda: again(run_timeout=FOREVER),
        AGAIN,
        "ContinueAsNew: run_timeout_ms",
    ),
}

todo: list[Callable[[], Awaitable[Any]] | None] = [None]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """xdist cannot carry such texts in what a test logged."""
    caplog.set_level(logging.CRITICAL, logger="odradek")


@workflow.defn
class Does:
    """Waits for an activity, then does what is to do."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @workflow.run
    async def run(self) -> str:
        paid: str = await workflow.execute_activity(
            "pay", start_to_close_timeout=MINUTE, result_type=str
        )
        if todo[0] is not None:
            await todo[0]()
        return paid

    @workflow.signal
    def tell(self, text: str) -> None:
        self.told.append(text)

    @workflow.query
    def answer(self, how: str) -> Any:
        if how == "raises":
            raise ValueError(f"no {BAD}")
        return BAD if how == "text" else self.told


@workflow.defn
class Starts:
    """Does at once what is to do."""

    @workflow.run
    async def run(self) -> None:
        if todo[0] is not None:
            await todo[0]()

    @workflow.query
    def ask(self) -> None:
        raise ValueError("x")


def world(*workflows: type, **options: Any) -> World:
    return World(activator(*workflows, **options), encoded=True)  # type: ignore[arg-type]


def failed_task(lane: World) -> WorkflowTaskFailed:
    event = lane.history()[-1].attributes
    assert isinstance(event, WorkflowTaskFailed)
    return event


@pytest.mark.parametrize("what", TABLE)
def test_command(what: str) -> None:
    do, cause, named = TABLE[what]
    todo[0] = do
    lane = world(Does)
    lane.step(lane.start("Does"))
    lane.step(completed(lane.last_task(), "paid"))
    assert lane.names()[-4:] == [
        "ActivityTaskCompleted",
        "WorkflowTaskScheduled",
        "WorkflowTaskStarted",
        "WorkflowTaskFailed",
    ]
    event = failed_task(lane)
    assert event.cause == cause and event.failure is not None and named in event.failure.message
    assert (
        len(lane.tasks) == 1
        and lane.run().quarantine_reason == ""
        and lane.run().status == "RUNNING"
    )

    lane.step(lane.signal("tell", "still here"))
    lane.advance(1_000)
    assert any(
        value.startswith("cause=WorkflowTaskFailedCauseBad")
        for value in lane.run().reported_problems
    )
    todo[0] = None
    lane.restart()
    lane.advance(60_000)
    (result,) = lane.results
    assert values(result.result) == ["paid"] and "WorkflowExecutionSignaled" in lane.names()


def test_start_whose_first_task_makes_such_a_command() -> None:
    todo[0] = lambda: activity(BAD)
    lane = world(Starts)
    lane.step(lane.start("Starts"))
    assert lane.replies[-1].status == outcomes.OK
    assert failed_task(lane).cause == SCHEDULE
    todo[0] = None
    lane.advance(1_000)
    assert lane.results[0].status == outcomes.COMPLETED


@pytest.mark.parametrize("duration_ms", [DURATION_MAX_MS, DURATION_MAX_MS + 1])
def test_longest_duration(duration_ms: int) -> None:
    todo[0] = lambda: workflow.sleep(timedelta(milliseconds=duration_ms))
    lane = world(Does)
    lane.step(lane.start("Does"))
    lane.step(completed(lane.last_task(), "paid"))
    assert (lane.run().task_failure is None) == (duration_ms <= DURATION_MAX_MS)


@pytest.mark.parametrize("raises", ["value", "application"])
def test_error_with_such_a_text(raises: str) -> None:
    """Its text is cleaned; it fails what it would fail with any other text."""

    async def fail() -> None:
        if raises == "value":
            raise ValueError(f"cannot use {BAD}")
        raise ApplicationError(f"cannot use {BAD}", BAD, type=BAD) from ValueError(BAD)

    todo[0] = fail
    lane = world(Starts)
    lane.step(lane.start("Starts"))
    if raises == "value":
        failure = failed_task(lane).failure
    else:
        event = lane.history()[-1].attributes
        assert (
            isinstance(event, WorkflowExecutionFailed) and lane.results[0].status == outcomes.FAILED
        )
        failure = event.failure
        assert failure is not None and failure.cause is not None
        assert failure.type == failure.cause.message == "bad-\\udcff"
    assert failure is not None and failure.message == "cannot use bad-\\udcff"
    assert lane.run().quarantine_reason == ""


@pytest.mark.parametrize("fails", ["workflow", "task", "query"])
def test_failure_converter_that_makes_what_cannot_be_written(fails: str) -> None:
    class Careless(DefaultFailureConverter):
        def to_failure(
            self, exception: BaseException, payload_converter: Any, failure: Failure
        ) -> None:
            failure.message = f"careless {BAD}"
            failure.details = [Payload({"encoding": "no bytes"}, b"")]  # type: ignore[dict-item]

    async def do() -> None:
        if fails == "query":
            await workflow.sleep(1)
        raise ApplicationError("x") if fails == "workflow" else ValueError("x")

    todo[0] = do
    lane = world(Starts, data_converter=DataConverter(failure_converter_class=Careless))
    lane.step(lane.start("Starts"))
    if fails == "query":
        lane.step(QueryWorkflow("w", "ask", reply_to="client", request_id="q"))
        reply = lane.replies[-1]
        assert (
            reply.status == outcomes.QUERY_FAILED
            and reply.failure is not None
            and reply.failure.message == "careless bad-\\udcff"
        )
    else:
        event = failed_task(lane)
        assert event.cause == (
            "WORKFLOW_WORKER_UNHANDLED_FAILURE"
            if fails == "task"
            else "BAD_FAIL_WORKFLOW_EXECUTION_ATTRIBUTES"
        )


def test_query_result_fails_its_query_alone() -> None:
    class NoBytes(DefaultPayloadConverter):
        def to_payloads(self, values: Any) -> list[Payload]:
            if list(values) == [BAD]:
                return [Payload({"encoding": "no bytes"}, b"")]  # type: ignore[dict-item]
            return super().to_payloads(values)

    lane = world(Does, data_converter=DataConverter(payload_converter_class=NoBytes))
    lane.step(lane.start("Does"))

    def ask(how: str) -> Any:
        lane.step(
            QueryWorkflow("w", "answer", reply_to="client", request_id=how, input=payloads(how))
        )
        return lane.replies[-1]

    reply = ask("text")
    assert reply.status == outcomes.QUERY_FAILED and "metadata of a payload" in reply.message
    reply = ask("raises")
    assert reply.status == outcomes.QUERY_FAILED and reply.message == "no bad-\\udcff"
    assert values(ask("else").payloads) == [[]]
    assert lane.run().task_failure is None


def test_text_in_json_is_no_matter() -> None:
    """Payloads are ASCII JSON: arguments, results, summaries and details take any text, as in
    Temporal.
    """
    todo[0] = lambda: activity(args=[BAD], summary=BAD)
    lane = world(Does)
    lane.step(lane.start("Does", static_summary=Payload({"encoding": b"json/plain"}, b'"\\udcff"')))
    lane.step(completed(lane.last_task(), BAD))
    assert values(lane.last_task().input) == [BAD]
    lane.step(completed(lane.last_task()))
    assert values(lane.results[0].result) == [BAD]


@pytest.mark.parametrize(
    "field", ["execution_timeout_ms", "run_timeout_ms", "task_timeout_ms", "start_delay_ms"]
)
def test_start_with_a_time_beyond_all_bounds_is_refused(field: str) -> None:
    lane = world(Does)
    lane.step(
        StartWorkflow("w", "Does", reply_to="client", request_id="r", **{field: (1 << 63) - 1})
    )  # type: ignore[arg-type]
    assert (
        lane.replies[-1].status == outcomes.INVALID_ARGUMENT and field in lane.replies[-1].message
    )


def test_retry_delay_of_an_activity_is_bounded() -> None:
    """A service in any language may send any 64-bit number."""
    todo[0] = None
    lane = world(Does)
    lane.step(lane.start("Does"))
    report = failed(lane.last_task())
    report.failure.next_retry_delay_ms = (1 << 63) - 1
    lane.step(report)
    assert lane.activities()[0].attempt == 2


def test_a_step_that_is_rejected_fails_its_task() -> None:
    """What a lane does with a step that it cannot write whatever was checked: the same batch,
    with the workflow ids whose tasks shall fail.
    """
    todo[0] = None
    lane = world(Does)
    lane.step(lane.start("Does"))
    report = completed(lane.last_task(), "paid")
    batch = Batch(lane.now_ms, [Input(report, 7, "topic/0/7", lane.now_ms)])
    effects = lane.engine.step(lane.tables, batch)
    lane.engine.evict(effects.touched)
    batch.rejected = {"w": "a row cannot be written"}
    lane._take(lane.engine.step(lane.tables, batch))
    assert lane.names()[-4:] == [
        "ActivityTaskCompleted",
        "WorkflowTaskScheduled",
        "WorkflowTaskStarted",
        "WorkflowTaskFailed",
    ]
    failure = failed_task(lane).failure
    assert failure is not None and "a row cannot be written" in failure.message and not lane.results
    lane.advance(1_000)
    assert values(lane.results[0].result) == ["paid"]


def test_defect_with_such_a_text_keeps_the_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is quarantined with its inputs, and the reason can be written."""

    class Breaks(Exception):
        def __str__(self) -> str:
            return BAD

    def breaks_plainly(*arguments: Any) -> None:
        raise Breaks

    todo[0] = None
    lane = world(Does)
    lane.step(lane.start("Does"))
    monkeypatch.setattr("odradek.engine.tasks.commands.apply", breaks_plainly)
    lane.step(completed(lane.last_task(), "paid"))
    assert "ActivityTaskCompleted" in lane.names() and "bad-\\udcff" in lane.run().quarantine_reason
    monkeypatch.undo()
    lane.step(ReleaseWorkflow("w", reply_to="c"))
    assert values(lane.results[0].result) == ["paid"]


def test_clean() -> None:
    assert (
        clean_text("häßlich 😀") == "häßlich 😀"
        and clean_text("\ud800x") == "\\ud800x"
        and clean_text(ValueError) == str(ValueError)
    )
    endless = Failure(message="\ud800")
    endless.cause = endless
    clean_failure(endless)
    assert endless.message == "\\ud800" and endless.cause is None
    chain = Failure()
    for _ in range(2 * LINKS_MAX):
        chain = Failure(cause=chain)
    clean_failure(chain)
    links = 0
    link: Failure | None = chain
    while link is not None:
        links, link = links + 1, link.cause
    assert links == LINKS_MAX
