"""Arguments that a converter refuses: of the workflow, of signals, of queries. As Temporal's
`_convert_payloads` and its callers.
"""

from __future__ import annotations

from typing import Any

import pytest

from odradek import workflow
from odradek.converter import (
    BinaryNullPayloadConverter,
    CompositePayloadConverter,
    DataConverter,
    JSONPlainPayloadConverter,
)
from odradek.exceptions import ApplicationError
from odradek.wire.payload import Payload
from tests.engine.activation_driver import Driver, activator, failure_of, result_of, signal


class Listed(Exception):
    """Listed on the definition below."""


class Picky(JSONPlainPayloadConverter):
    """Refuses some texts when they come in: with a failure of the workflow, or with any other
    error.
    """

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        value = super().from_payload(payload, type_hint)
        if value == "refused":
            raise ApplicationError("by the converter", type="Refused", non_retryable=True)
        if value == "listed":
            raise Listed("by the converter")
        if value == "broken":
            raise ValueError("a bug of the converter")
        return value


class PickyConverter(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(BinaryNullPayloadConverter(), Picky())


@workflow.defn(failure_exception_types=[Listed])
class Picked:
    @workflow.init
    def __init__(self, text: str) -> None:
        self.text = text

    @workflow.run
    async def run(self, text: str) -> str:
        await workflow.wait_condition(lambda: self.text != text)
        return self.text

    @workflow.signal
    def say(self, text: str) -> None:
        self.text = text

    @workflow.query
    def ask(self, text: str) -> str:
        return text


@workflow.defn
class FailsInit:
    def __init__(self) -> None:
        raise ApplicationError("from init")

    @workflow.run
    async def run(self) -> None: ...

    @workflow.query
    def ask(self, text: str) -> str:
        return text


def picked(text: str) -> Driver:
    return Driver(
        activator(Picked, data_converter=DataConverter(payload_converter_class=PickyConverter)),
        "Picked",
        text,
    )


def test_a_failure_error_over_the_arguments_fails_the_workflow() -> None:
    run = picked("refused")
    failure = failure_of(run.start())
    assert (failure.type, failure.message, failure.non_retryable) == (
        "Refused",
        "by the converter",
        True,
    )
    run.replay()
    assert failure_of(picked("listed").start()).type == "Listed"


def test_any_other_error_over_the_arguments_fails_the_task() -> None:
    run = picked("broken")
    failure = run.task_failure(run.initialize()).failure
    assert failure.message == "Failed decoding arguments of workflow Picked: a bug of the converter"
    assert failure.cause is not None and failure.cause.type == "ValueError"


def test_a_run_that_failed_before_it_had_an_object_says_so_when_asked() -> None:
    for run in (picked("refused"), Driver(FailsInit)):
        assert failure_of(run.start())
        assert "failed before its object was made" in run.refusal("ask", "x").message
        assert "not found" in run.refusal("nothing").message
        assert run.answer("__stack_trace") == ""


@pytest.mark.parametrize("text", ["refused", "listed", "broken"])
def test_a_signal_whose_arguments_do_not_decode_is_dropped(
    text: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = picked("x")
    run.start()
    assert run.step(signal("say", text)) == []
    assert "dropping the signal" in caplog.text
    assert result_of(run.step(signal("say", "fine"))) == "fine"


def test_a_query_whose_arguments_do_not_decode_gets_the_error() -> None:
    run = picked("x")
    run.start()
    assert run.refusal("ask", "refused").type == "Refused"
    assert run.refusal("ask", "listed").type == "Listed"
    failure = run.refusal("ask", "broken")
    assert (failure.type, failure.message) == (
        "RuntimeError",
        "Failed decoding arguments of handler 'ask': a bug of the converter",
    )
    assert run.answer("ask", "fine") == "fine"
