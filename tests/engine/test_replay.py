"""Replay: of Odradek's histories and of imported ones that Temporal wrote, with its task
boundaries.
"""

from __future__ import annotations

from typing import Any

import pytest

from odradek.engine.activation import Activation
from odradek.engine.history_json import expand, from_json, to_json
from odradek.engine.replay import replay_history
from odradek.wire.events import CancelWorkflow
from tests.engine.script import ActivityFailure, ScriptActivator
from tests.engine.world import World, completed, failed, started


def imported(*items: tuple[str, dict[str, Any]]) -> list[Any]:
    """A history as Temporal writes it: (event type, attributes) in order, one second apart."""
    events = []
    for number, (name, attributes) in enumerate(items, 1):
        constant = (
            "EVENT_TYPE_"
            + "".join("_" + c if c.isupper() and n else c for n, c in enumerate(name)).upper()
        )
        events.append(
            {
                "eventId": str(number),
                "eventTime": f"2026-01-01T00:00:{number:02d}Z",
                "eventType": constant,
                f"{name[0].lower()}{name[1:]}EventAttributes": attributes,
            }
        )
    return from_json({"events": events}, workflow_id="w", run_id="r").events


def begin(type: str = "code") -> tuple[str, dict[str, Any]]:
    return (
        "WorkflowExecutionStarted",
        {"workflowType": {"name": type}, "taskQueue": {"name": "q"}, "attempt": 1},
    )


def scheduled() -> tuple[str, dict[str, Any]]:
    return ("WorkflowTaskScheduled", {"taskQueue": {"name": "q"}, "attempt": 1})


def task_started(**fields: Any) -> tuple[str, dict[str, Any]]:
    return ("WorkflowTaskStarted", fields)


def done() -> tuple[str, dict[str, Any]]:
    return ("WorkflowTaskCompleted", {})


def signaled(name: str) -> tuple[str, dict[str, Any]]:
    return ("WorkflowExecutionSignaled", {"signalName": name})


def activity(type: str, id: str) -> tuple[str, dict[str, Any]]:
    return (
        "ActivityTaskScheduled",
        {"activityId": id, "activityType": {"name": type}, "taskQueue": {"name": "q"}},
    )


def activations(activator: ScriptActivator) -> list[Activation]:
    return [activation for _, activation, _ in activator.log]


def kinds(activation: Activation) -> list[str]:
    return [type(job).__name__ for job in activation.jobs]


def code(ctx: Any) -> Any:
    yield ctx.activity("a")
    yield lambda: len(ctx.signals) >= 3
    return "end"


def test_tasks_see_what_was_there_when_they_started() -> None:
    events = imported(
        begin(),
        scheduled(),
        signaled("between scheduled and started"),
        task_started(historySizeBytes="700"),
        done(),
        activity("a", "1"),
        signaled("buffered while the task ran"),
        scheduled(),
        task_started(suggestContinueAsNew=True),
        done(),
        ("ActivityTaskStarted", {"scheduledEventId": "6"}),
        ("ActivityTaskCompleted", {"scheduledEventId": "6", "startedEventId": "11"}),
        scheduled(),
        signaled("third"),
        task_started(),
        done(),
        ("WorkflowExecutionCompleted", {}),
    )
    activator = ScriptActivator(code=code)
    assert replay_history(events, activator) is None
    assert [kinds(activation) for activation in activations(activator)] == [
        ["InitializeWorkflow", "SignalJob"],
        ["SignalJob"],
        ["SignalJob", "ResolveActivity"],
    ]
    first, second, _ = activations(activator)
    assert (first.history_length, first.history_size_bytes, first.time_ms % 60_000) == (
        4,
        700,
        4_000,
    )
    assert second.suggest_continue_as_new and all(
        activation.is_replaying for activation in activations(activator)
    )


def test_what_came_while_a_task_ran_belongs_to_the_next() -> None:
    events = imported(
        *(
            begin(),
            scheduled(),
            task_started(),
            signaled("while it ran"),
            done(),
            activity("a", "1"),
        ),
        *(scheduled(), task_started(), done()),
    )
    activator = ScriptActivator(code=code)
    assert replay_history(events, activator) is None
    assert [kinds(activation) for activation in activations(activator)] == [
        ["InitializeWorkflow"],
        ["SignalJob"],
    ]


def test_failed_and_timed_out_tasks_never_happened() -> None:
    events = imported(
        begin(),
        scheduled(),
        task_started(),
        (
            "WorkflowTaskFailed",
            {"cause": "WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE"},
        ),
        signaled("meanwhile"),
        scheduled(),
        task_started(),
        ("WorkflowTaskTimedOut", {"timeoutType": "TIMEOUT_TYPE_START_TO_CLOSE"}),
        scheduled(),
        task_started(),
        done(),
        activity("a", "1"),
    )
    activator = ScriptActivator(code=code)
    assert replay_history(events, activator) is None
    assert [kinds(activation) for activation in activations(activator)] == [
        ["InitializeWorkflow", "SignalJob"]
    ]


def test_task_that_is_running_or_closed_by_termination_is_not_replayed() -> None:
    events = imported(
        *(begin(), scheduled(), task_started(), done(), activity("a", "1")),
        *(signaled("x"), scheduled(), task_started(), ("WorkflowExecutionTerminated", {})),
    )
    activator = ScriptActivator(code=code)
    assert replay_history(events, activator) is None
    assert len(activator.log) == 1


def test_task_that_only_kept_itself_alive() -> None:
    events = imported(
        begin(),
        scheduled(),
        task_started(),
        done(),
        activity("a", "1"),
        scheduled(),
        task_started(),
        done(),
    )
    activator = ScriptActivator(code=code)
    assert replay_history(events, activator) is None
    assert len(activator.log) == 1


def test_temporals_patch_marker_and_its_search_attribute() -> None:
    def patched(ctx: Any) -> Any:
        yield ctx.activity("new" if ctx.patched("p") else "old")

    data = "eyJpZCI6InAiLCJkZXByZWNhdGVkIjpmYWxzZX0="
    marker = (
        "MarkerRecorded",
        {"markerName": "core_patch", "details": {"patch-data": {"payloads": [{"data": data}]}}},
    )
    upsert = (
        "UpsertWorkflowSearchAttributes",
        {"searchAttributes": {"indexedFields": {"TemporalChangeVersion": {"data": "WyJwIl0="}}}},
    )
    with_patch = imported(
        begin(), scheduled(), task_started(), done(), marker, upsert, activity("new", "1")
    )
    without = imported(begin(), scheduled(), task_started(), done(), activity("old", "1"))
    for events in (with_patch, without):
        assert replay_history(events, ScriptActivator(code=patched)) is None
    activator = ScriptActivator(code=patched)
    replay_history(with_patch, activator)
    assert kinds(activations(activator)[0]) == ["InitializeWorkflow", "NotifyHasPatch"]


def test_started_activity_cancelled_with_try_cancel_resolves_without_an_event() -> None:
    def canceling(ctx: Any) -> Any:
        handle = ctx.activity("a")
        yield lambda: bool(ctx.signals)
        ctx.cancel(handle)
        try:
            yield handle
        except ActivityFailure:
            yield ctx.activity("cleanup")
        return None

    events = imported(
        begin(),
        scheduled(),
        task_started(),
        done(),
        activity("a", "1"),
        signaled("cancel"),
        scheduled(),
        task_started(),
        done(),
        ("ActivityTaskCancelRequested", {"scheduledEventId": "5"}),
        activity("cleanup", "2"),
        ("ActivityTaskStarted", {"scheduledEventId": "5"}),
        ("ActivityTaskCompleted", {"scheduledEventId": "5", "startedEventId": "12"}),
        ("ActivityTaskStarted", {"scheduledEventId": "11"}),
        ("ActivityTaskCompleted", {"scheduledEventId": "11", "startedEventId": "14"}),
        scheduled(),
        task_started(),
        done(),
        ("WorkflowExecutionCompleted", {}),
    )
    activator = ScriptActivator(code=canceling)
    assert replay_history(events, activator) is None
    assert [kinds(activation) for activation in activations(activator)] == [
        ["InitializeWorkflow"],
        ["SignalJob"],
        ["ResolveActivity"],
        ["ResolveActivity"],
    ]


@pytest.mark.parametrize(
    ("may_ignore", "words"), [(False, "EVENT_TYPE_NEXUS_OPERATION_SCHEDULED"), (True, "")]
)
def test_events_that_nobody_knows(may_ignore: bool, words: str) -> None:
    value = {
        "eventId": "2",
        "eventType": "EVENT_TYPE_NEXUS_OPERATION_SCHEDULED",
        "workerMayIgnore": may_ignore,
    }
    events = [*imported(begin()), *from_json({"events": [value]}).events]
    failure = replay_history(events, ScriptActivator(code=code))
    assert (failure is None) is may_ignore
    assert failure is None or words in failure.message


def test_nondeterminism_and_unregistered_types_are_told() -> None:
    events = imported(begin(), scheduled(), task_started(), done(), activity("b", "1"))
    failure = replay_history(events, ScriptActivator(code=code))
    assert (
        failure is not None and failure.type == "NondeterminismError" and "'b'" in failure.message
    )
    failure = replay_history(events, ScriptActivator())
    assert failure is not None and "not registered" in failure.message
    with pytest.raises(ValueError, match="WorkflowExecutionStarted"):
        replay_history(events[1:], ScriptActivator())


def busy(ctx: Any) -> Any:
    """Does a bit of everything."""
    results = []
    a, b, timer = (
        ctx.activity("a"),
        ctx.activity("b", cancellation_type="WAIT_CANCELLATION_COMPLETED"),
        ctx.timer(60_000),
    )
    results.append((yield a))
    ctx.cancel(timer)
    yield lambda: ctx.cancel_requested
    ctx.cancel(b)
    try:
        results.append((yield b))
    except ActivityFailure as error:
        results.append(error.failure.message)
    if ctx.patched("sum"):
        yield ctx.timer(1_000)
    return results


def test_an_export_of_ours_replays_with_the_same_activations() -> None:
    w = World(ScriptActivator(busy=busy), twice=False)
    w.step(w.start("busy"))
    a, b = w.tasks
    w.step(failed(a), started(b))
    w.advance(1_000)
    w.step(completed(w.last_task(), 5))
    w.step(CancelWorkflow("w"))
    w.step(completed(b, 6))
    w.advance(1_000)
    assert w.run().status == "COMPLETED"
    live = activations(w.activator)
    for events in (w.history(), expand(w.history()), from_json(to_json(w.history())).events):
        activator = ScriptActivator(busy=busy)
        assert replay_history(events, activator) is None
        replayed = activations(activator)
        for activation in live + replayed:
            activation.is_replaying = True
            activation.jobs = [
                job for job in activation.jobs if type(job).__name__ != "NotifyHasPatch"
            ]
        assert replayed == live
