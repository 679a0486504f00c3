"""The order saga through the engine, in memory: no broker, time moved by hand; each step is
aborted and done again (`World.twice`).
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from odradek.wire.events import CancelWorkflow
from tests.engine.script import values
from tests.engine.world import failed, started
from tests.services.saga_world import (
    MINUTE_MS,
    SAGA_ID,
    STATUS_OF,
    STEP_OF,
    STEPS,
    UNDO_OF,
    SagaWorld,
)

HOUR_MS = 3_600_000


def reverse_of(done: list[str]) -> list[str]:
    return [UNDO_OF[step] for step in reversed(done)]


def compensate(saga: SagaWorld, done: list[str]) -> None:
    """Answer the compensations of `done`, which must come one by one, the last first."""
    for undo in reverse_of(done):
        assert saga.status() == "compensating"
        saga.succeed(undo)
    assert saga.waiting() == []


def test_order_completes_and_each_stage_shows() -> None:
    saga = SagaWorld()
    saga.place()
    for step in STEPS:
        assert saga.status() == STATUS_OF[step]
        saga.succeed(step)
    assert saga.outcome() == ("COMPLETED", "")
    expected = {
        "order_id": "CreateOrder-id",
        "reservation_id": "ReserveInventory-id",
        "freeze_id": "FreezePayment-id",
    }
    assert values(saga.results[0].result) == [expected]
    assert saga.status() == "completed"
    assert saga.happened == list(STEPS)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "restart", [False, True], ids=["same owner", "owner changes at every step"]
)
def test_failure_at_each_step_compensates_in_reverse(step: str, restart: bool) -> None:
    saga = SagaWorld()
    saga.place()
    done = list(STEPS[: STEPS.index(step)])
    for earlier in done:
        saga.succeed(earlier)
        if restart:
            saga.restart()
    saga.step(saga.refuse(saga.next_task(step), non_retryable=True))
    if restart:
        saga.restart()
    compensate(saga, done)
    assert saga.outcome() == ("FAILED", "OrderFailed")
    assert saga.status() == "compensated"
    failure = saga.results[0].failure
    assert (
        failure is not None
        and failure.message == f"SaidNo: {step} said no"
        and failure.non_retryable
    )


@pytest.mark.parametrize("step", STEPS)
def test_step_is_tried_three_times_a_second_and_two_apart(step: str) -> None:
    saga = SagaWorld()
    saga.place()
    done = list(STEPS[: STEPS.index(step)])
    for earlier in done:
        saga.succeed(earlier)
    for attempt, pause_ms in ((1, 1_000), (2, 2_000)):
        task = saga.next_task(step)
        assert task.attempt == attempt
        saga.step(saga.refuse(task))
        saga.advance(pause_ms - 1)
        assert saga.waiting() == []
        saga.advance(1)
    assert saga.next_task(step).attempt == 3
    saga.step(saga.refuse(saga.next_task(step)))
    compensate(saga, [*done, step])  # its service never said that nothing happened
    assert saga.outcome() == ("FAILED", "OrderFailed")


@pytest.mark.parametrize("step", STEPS)
def test_flaky_step_completes_on_a_later_attempt(step: str) -> None:
    saga = SagaWorld()
    saga.place()
    for each in STEPS:
        if each == step:
            saga.step(saga.refuse(saga.next_task(each)))
            saga.advance(1_000)
        saga.succeed(each)
    assert saga.outcome() == ("COMPLETED", "")


@pytest.mark.promise("order-saga")
@pytest.mark.parametrize("step", STEPS)
def test_step_that_times_out_is_compensated_although_unknown(step: str) -> None:
    """Nobody knows whether the last attempt had its effect: it is undone, which also bars it if
    it comes late.
    """
    saga = SagaWorld()
    saga.place()
    done = list(STEPS[: STEPS.index(step)])
    for earlier in done:
        saga.succeed(earlier)
    for _ in range(3):
        late = saga.next_task(step)
        saga.time_out(step)
        saga.advance(4_000)
    compensate(saga, [*done, step])
    assert saga.outcome() == ("FAILED", "OrderFailed")
    saga.step(saga.perform(late))
    assert step not in saga.happened, "the compensation bars an attempt that comes late"
    assert saga.waiting() == [] and len(saga.results) == 1


@pytest.mark.promise("order-saga")
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "answer", ["canceled", "completed all the same", "failed", "failed for good", "times out"]
)
def test_cancel_signal_while_a_step_runs(step: str, answer: str) -> None:
    saga = SagaWorld()
    saga.place()
    done = list(STEPS[: STEPS.index(step)])
    for earlier in done:
        saga.succeed(earlier)
    task = saga.next_task(step)
    saga.step(saga.cancel_order())
    assert [control.scheduled_event_id for control in saga.controls] == [task.scheduled_event_id], (
        "the step under way is told to stop"
    )
    if answer == "canceled":
        saga.step(saga.give_up(task))
    elif answer == "completed all the same":
        saga.step(saga.perform(task))
    elif answer.startswith("failed"):
        saga.step(saga.refuse(task, non_retryable=answer == "failed for good"))
    else:
        saga.time_out(step)
    # A service that refuses for good vouches that nothing happened; whatever else may have left an
    # effect.
    compensate(saga, done if answer == "failed for good" else [*done, step])
    assert saga.outcome() == ("FAILED", "OrderCancelled")
    assert saga.status() == "cancelled"
    failure = saga.results[0].failure
    assert failure is not None and failure.message == "no longer wanted"


def test_cancel_signal_with_the_start() -> None:
    saga = SagaWorld()
    saga.place(saga.cancel_order())
    assert saga.outcome() == ("FAILED", "OrderCancelled")
    assert saga.tasks == [], "nothing was begun, nothing is undone"


@pytest.mark.promise("order-saga")
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "cancelled by the customer"),
        ([None], "cancelled by the customer"),
        ([""], "cancelled by the customer"),
        ([{"reason": "typo"}, 7], "cancelled by the customer"),
        ([7, "too dear"], "too dear"),
        (["too dear", "and too late"], "too dear"),
        (["x" * 5_000], "x" * 1_000),
    ],
)
def test_cancel_signal_of_another_shape_cancels_too(arguments: list[object], reason: str) -> None:
    """Anybody may write one to `events`. One that failed the task would hold the order for ever,
    neither cancelled nor undone.
    """
    saga = SagaWorld()
    saga.place()
    saga.succeed("CreateOrder")
    task = saga.next_task("ReserveInventory")
    saga.step(saga.signal("cancel-order", *arguments, workflow_id=SAGA_ID))
    saga.step(saga.give_up(task))
    compensate(saga, ["CreateOrder", "ReserveInventory"])
    assert saga.outcome() == ("FAILED", "OrderCancelled")
    failure = saga.results[0].failure
    assert failure is not None and failure.message == reason


@pytest.mark.promise("order-saga")
@pytest.mark.parametrize("step", STEPS)
def test_cancel_signal_in_the_same_batch_as_a_steps_answer(step: str) -> None:
    """Also with the last answer: an order that somebody cancelled before it was complete never
    completes.
    """
    saga = SagaWorld()
    saga.place()
    done = list(STEPS[: STEPS.index(step)])
    for earlier in done:
        saga.succeed(earlier)
    saga.step(saga.perform(saga.next_task(step)), saga.cancel_order())
    compensate(saga, [*done, step])
    assert saga.outcome() == ("FAILED", "OrderCancelled")


def test_cancel_signal_while_compensating_undoes_everything_once() -> None:
    saga = SagaWorld()
    saga.place()
    saga.succeed("CreateOrder")
    saga.succeed("ReserveInventory")
    saga.step(saga.refuse(saga.next_task("FreezePayment"), non_retryable=True))
    saga.step(saga.cancel_order())
    compensate(saga, ["CreateOrder", "ReserveInventory"])
    assert saga.outcome() == ("FAILED", "OrderCancelled")


def test_cancel_signal_after_the_end_is_refused_and_changes_nothing() -> None:
    saga = SagaWorld()
    saga.place()
    for step in STEPS:
        saga.succeed(step)
    saga.step(saga.cancel_order())
    assert (saga.replies[-1].status, saga.replies[-1].message) == (
        "NOT_FOUND",
        "workflow execution already completed",
    )
    assert saga.status() == "completed"
    assert saga.waiting() == [] and len(saga.results) == 1


@pytest.mark.promise("order-saga")
@pytest.mark.parametrize("times", [1, 7])
def test_failing_compensation_is_retried_until_it_works(times: int) -> None:
    saga = SagaWorld()
    saga.place()
    saga.succeed("CreateOrder")
    saga.succeed("ReserveInventory")
    saga.step(saga.refuse(saga.next_task("FreezePayment"), non_retryable=True))
    for attempt in range(1, times + 1):
        task = saga.next_task("ReleaseInventory")
        assert task.attempt == attempt
        saga.step(saga.refuse(task))
        saga.advance(MINUTE_MS)
    saga.succeed("ReleaseInventory")
    saga.succeed("CancelOrder")
    assert saga.outcome() == ("FAILED", "OrderFailed")


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("undo", ["ReleaseInventory", "CancelOrder"])
@pytest.mark.parametrize("cancelled", [False, True], ids=["", "cancelled meanwhile"])
def test_compensation_that_its_service_refuses_for_good_is_asked_again_and_none_behind_it_is_skipped(
    undo: str, times: int, cancelled: bool
) -> None:
    """Nobody retries such a failure but the saga itself: with a pause, until the service is
    mended.
    """
    saga = SagaWorld()
    saga.place()
    saga.succeed("CreateOrder")
    saga.succeed("ReserveInventory")
    saga.step(saga.refuse(saga.next_task("FreezePayment"), non_retryable=True))
    if undo == "CancelOrder":
        saga.succeed("ReleaseInventory")
    for number in range(times):
        task = saga.next_task(undo)
        assert task.attempt == 1
        saga.answered.add((task.scheduled_event_id, task.attempt))
        saga.step(failed(task, "a defect", "ValueError", non_retryable=True))
        if cancelled:
            saga.step(CancelWorkflow(SAGA_ID, request_id=f"cancel-{number}", reply_to="client"))
        assert saga.waiting() == [], "not at once"
        assert saga.status() == "compensating"
        saga.advance(MINUTE_MS)
    saga.succeed(undo)
    if undo == "ReleaseInventory":
        saga.succeed("CancelOrder")
    assert saga.outcome() == ("FAILED", "OrderFailed")
    assert saga.happened == ["CreateOrder", "ReserveInventory", "ReleaseInventory", "CancelOrder"]


@pytest.mark.promise("order-saga")
def test_compensation_outlives_a_cancellation_of_the_workflow() -> None:
    """`handle.cancel()` too undoes what was done, and a second one does not interrupt the undoing."""
    saga = SagaWorld()
    saga.place()
    saga.succeed("CreateOrder")
    saga.step(CancelWorkflow(SAGA_ID, request_id="cancel-1", reply_to="client"))
    saga.step(saga.give_up(saga.next_task("ReserveInventory")))
    task = saga.next_task("ReleaseInventory")
    saga.step(CancelWorkflow(SAGA_ID, request_id="cancel-2", reply_to="client"))
    saga.step(saga.refuse(task))
    saga.advance(1_000)
    saga.succeed("ReleaseInventory")
    saga.succeed("CancelOrder")
    assert saga.outcome()[0] == "CANCELED"
    assert saga.happened == ["CreateOrder", "ReleaseInventory", "CancelOrder"]


@pytest.mark.parametrize("step", STEPS)
def test_cancellation_of_the_workflow_while_a_step_completes_all_the_same(step: str) -> None:
    saga = SagaWorld()
    saga.place()
    done = list(STEPS[: STEPS.index(step) + 1])
    for earlier in done[:-1]:
        saga.succeed(earlier)
    saga.step(CancelWorkflow(SAGA_ID, request_id="cancel", reply_to="client"))
    saga.step(saga.perform(saga.next_task(step)))
    compensate(saga, done)
    assert saga.outcome()[0] == "CANCELED"


@pytest.mark.parametrize("kind", ["RecordTooLargeError", "UnencodableRecord"])
def test_step_whose_result_could_not_be_written_is_compensated(kind: str) -> None:
    """Its host says so for good, but the activity ran."""
    saga = SagaWorld()
    saga.place()
    saga.succeed("CreateOrder")
    task = saga.next_task("ReserveInventory")
    saga.perform(task)
    saga.step(failed(task, "the result cannot be written", kind, non_retryable=True))
    compensate(saga, ["CreateOrder", "ReserveInventory"])
    assert saga.outcome() == ("FAILED", "OrderFailed")


@pytest.mark.promise("timers")
def test_reminder_after_24_hours_without_a_payment() -> None:
    saga = SagaWorld()
    saga.place()
    saga.succeed("CreateOrder")
    saga.succeed("ReserveInventory")
    payment = saga.next_task("FreezePayment")
    saga.advance(24 * HOUR_MS - 1)
    assert saga.waiting() == [payment]
    saga.advance(1)
    (reminder,) = [task for task in saga.waiting() if task is not payment]
    assert reminder.activity_type == "RemindPayment"
    saga.step(saga.perform(reminder))
    saga.advance(72 * HOUR_MS)
    assert saga.waiting() == [payment], "one reminder"
    saga.step(saga.perform(payment))
    assert saga.outcome() == ("COMPLETED", "")


@pytest.mark.promise("timers")
@pytest.mark.parametrize("paid", [True, False])
def test_reminder_is_cancelled_when_the_payment_is_decided(paid: bool) -> None:
    saga = SagaWorld()
    saga.place()
    saga.succeed("CreateOrder")
    saga.succeed("ReserveInventory")
    saga.advance(12 * HOUR_MS)
    task = saga.next_task("FreezePayment")
    saga.step(saga.perform(task) if paid else saga.refuse(task, non_retryable=True))
    if paid:
        assert saga.outcome()[0] == "COMPLETED"
    else:
        saga.advance(13 * HOUR_MS)
        compensate(saga, ["CreateOrder", "ReserveInventory"])
    saga.advance(48 * HOUR_MS)
    assert "RemindPayment" not in {task.activity_type for task in saga.tasks}
    assert not saga.tables.table("user_timer"), "the durable timer is gone"


# ---------------------------------------------------------------- any order of things


class Shop:
    """Draws what happens next: services answer or do not, the customer cancels, owners change,
    time passes.
    """

    def __init__(self, saga: SagaWorld, data: st.DataObject) -> None:
        self.saga = saga
        self.draw = data.draw
        self.lost: list[Any] = []
        self.signalled = False

    def service_event(self) -> list[Any]:
        """What a service does with a command that waits; an attempt may also be silent for ever,
        with its effect or without.
        """
        saga, draw = self.saga, self.draw
        waiting = saga.waiting()
        if not waiting:
            return []
        task = draw(st.sampled_from(waiting))
        stopped = any(
            control.scheduled_event_id == task.scheduled_event_id for control in saga.controls
        )
        choices = [
            "perform",
            "perform",
            "refuse",
            "refuse for good",
            "lose",
            "perform and lose",
        ] + (["give up"] if stopped else [])
        what = draw(st.sampled_from(choices))
        is_undo = task.activity_type in STEP_OF
        if what == "perform":
            return [saga.perform(task)]
        if what == "refuse":
            return [saga.refuse(task)]
        if (
            what == "refuse for good" and is_undo
        ):  # a bug of its service, and no reason to leave an effect standing
            saga.answered.add((task.scheduled_event_id, task.attempt))
            return [failed(task, "a defect", "ValueError", non_retryable=True)]
        if what == "refuse for good":
            if (
                task.activity_type in saga.happened
            ):  # an idempotent service answers from its ledger first
                return [saga.perform(task)]
            return [saga.refuse(task, non_retryable=True)]
        if what == "give up":
            return [saga.give_up(task)]
        saga.answered.add((task.scheduled_event_id, task.attempt))
        if what == "perform and lose":
            self.lost.append(saga.perform(task))
        else:
            self.lost.append(task)
        return [started(task)]

    def late_event(self) -> list[Any]:
        """An answer that was thought lost comes after all; an attempt that was silent runs now."""
        if not self.lost:
            return []
        lost = self.lost.pop(self.draw(st.integers(0, len(self.lost) - 1)))
        return [self.saga.perform(lost) if hasattr(lost, "activity_type") else lost]

    def batch(self) -> list[Any]:
        events: list[Any] = []
        for kind in self.draw(
            st.lists(
                st.sampled_from(["service", "service", "late", "signal"]), min_size=1, max_size=3
            )
        ):
            if kind == "signal":
                if not self.signalled and self.draw(st.booleans()):
                    self.signalled = True
                    events.append(self.saga.cancel_order())
            else:
                events += self.service_event() if kind == "service" else self.late_event()
        return events


def check(saga: SagaWorld, signalled: bool) -> None:
    """What holds for every order that has ended."""
    status, failure = saga.outcome()
    steps = [kind for kind in saga.happened if kind in UNDO_OF]
    undone = [kind for kind in saga.happened if kind in STEP_OF]
    if status == "COMPLETED":
        assert steps == list(STEPS) and undone == []
        assert not signalled, "an order that was cancelled in time must not complete"
        return
    assert failure in ("OrderFailed", "OrderCancelled")
    assert failure == "OrderCancelled" or not signalled
    assert {UNDO_OF[step] for step in steps} <= set(undone), "an effect was left standing"
    scheduled = [
        task.activity_type
        for task in saga.tasks
        if task.activity_type in STEP_OF and task.attempt == 1
    ]
    order = [STEPS.index(STEP_OF[kind]) for kind in scheduled]
    assert order == sorted(order, reverse=True), (
        "compensations run in reverse, the next only once the one before has worked"
    )
    assert sorted(undone) == sorted(set(undone)), "and have their effect once"


@pytest.mark.promise("order-saga")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_interleaving_ends_once_with_everything_undone_or_everything_done(
    data: st.DataObject,
) -> None:
    saga = SagaWorld(twice=False)
    shop = Shop(saga, data)
    shop.signalled = data.draw(st.integers(0, 5)) == 0
    saga.place(*([saga.cancel_order()] if shop.signalled else []))
    for _ in range(data.draw(st.integers(1, 25))):
        what = data.draw(st.sampled_from(["batch", "batch", "batch", "time", "restart", "evict"]))
        if what == "batch":
            saga.step(*shop.batch())
        elif what == "time":
            saga.advance(data.draw(st.sampled_from([500, 5_000, MINUTE_MS, HOUR_MS])))
        elif what == "restart":
            saga.restart()
        else:
            saga.engine.evict_all()
    for _ in range(40):  # from here on all services do their work
        if saga.results:
            break
        saga.step(*[saga.perform(task) for task in saga.waiting()])
        saga.advance(2 * MINUTE_MS)
    for lost in list(shop.lost):
        saga.step(saga.perform(lost) if hasattr(lost, "activity_type") else lost)
    check(
        saga, any(reply.kind == "SignalWorkflow" and reply.status == "OK" for reply in saga.replies)
    )
    saga.restart()
    assert saga.status() in ("completed", "compensated", "cancelled"), "the whole history replays"
