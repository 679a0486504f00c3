"""StopIteration out of user code: asyncio refuses it on a future, so who awaits an executor that
lets it through waits for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from odradek import activity
from odradek.activities.interceptor import ActivityInboundInterceptor, ExecuteActivityInput
from odradek.converter import DataConverter, DefaultPayloadConverter, PayloadCodec
from odradek.wire.events import ActivityTaskFailed
from odradek.wire.payload import Payload
from tests.unit.test_activity_service import Bench

ROWS: list[str] = []


@activity.defn
def first_row() -> str:
    return next(iter(ROWS))


@activity.defn(no_thread_cancel_exception=True)
def first_row_uninterrupted() -> str:
    return next(iter(ROWS))


@activity.defn
async def first_row_on_the_loop() -> str:
    return next(iter(ROWS))


@activity.defn
def healthy() -> str:
    return "ok"


class Passing:
    """An interceptor that changes nothing."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return ActivityInboundInterceptor(next)


class Stopping(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        return next(iter(ROWS))


class StoppingInterceptor:
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return Stopping(next)


class StoppingConverter(DefaultPayloadConverter):
    def to_payloads(self, values: Any) -> list[Payload]:
        return [next(iter([]))]


class StoppingCodec(PayloadCodec):
    async def encode(self, payloads: Any) -> list[Payload]:
        return [next(iter([]))]

    async def decode(self, payloads: Any) -> list[Payload]:
        return list(payloads)


def chain_of(outcome: Any) -> list[tuple[str, str]]:
    assert isinstance(outcome, ActivityTaskFailed), outcome
    found, failure = [], outcome.failure
    while failure is not None:
        found.append((failure.type, failure.message))
        failure = failure.cause
    return found


@pytest.mark.parametrize(
    "interceptors", [[], [Passing()]], ids=["no interceptor", "an interceptor"]
)
@pytest.mark.parametrize(
    "function",
    [first_row, first_row_uninterrupted, first_row_on_the_loop],
    ids=lambda function: function.__name__,
)
async def test_activity_that_raises_it_fails_as_a_runtime_error_and_gives_its_slot_back(
    function: Callable[..., Any], interceptors: list[Any]
) -> None:
    bench = Bench([function, healthy], slots=1, interceptors=interceptors)
    chain = chain_of(await bench.run(function.__name__))
    what = "coroutine" if function is first_row_on_the_loop else f"activity {function.__name__}"
    assert chain == [("RuntimeError", f"{what} raised StopIteration"), ("StopIteration", "")]
    await bench.run("healthy")
    assert bench.answers.kinds == ["Failed", "Completed"] and bench.service.running == {}


@pytest.mark.parametrize(
    "options",
    [
        {"interceptors": [StoppingInterceptor()]},
        {"converter": DataConverter(payload_converter_class=StoppingConverter)},
        {"converter": DataConverter(payload_codec=StoppingCodec())},
    ],
    ids=["interceptor", "converter", "codec"],
)
async def test_what_stands_around_an_activity_and_raises_it_fails_the_attempt(
    options: dict[str, Any],
) -> None:
    bench = Bench([healthy], slots=1, **options)
    assert "StopIteration" in str(chain_of(await bench.run("healthy")))
    assert bench.service.running == {}
