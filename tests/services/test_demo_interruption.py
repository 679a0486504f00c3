"""A signal ends the demo from wherever it is, and no call that it meets makes another error of it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

import pytest

from services.demo.interruption import SIGNALS, Interruption


@pytest.fixture
def interruption() -> Iterator[Interruption]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    made = Interruption()
    made.listen()
    yield made
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_what_a_signal_meets_in_the_loop_goes_to_its_end(
    interruption: Interruption, number: signal.Signals
) -> None:
    steps: list[str] = []

    async def work() -> None:
        try:
            signal.raise_signal(
                number
            )  # in CI it came while confluent-kafka read a dictionary: TypeError, and a traceback
            signal.raise_signal(number)  # another one hurries nobody
            steps.append("the call ended")
            await asyncio.Event().wait()
        finally:
            steps.append("what was open is closed")

    with pytest.raises(KeyboardInterrupt):
        interruption.run(work())
    assert steps == ["the call ended", "what was open is closed"] and interruption.came


def test_a_signal_that_comes_as_the_work_ends_is_not_lost(interruption: Interruption) -> None:
    """No other one follows: they are ignored by then, and what waits for one (`KEEP=1`) would
    wait for ever.
    """

    async def work() -> str:
        signal.raise_signal(signal.SIGINT)
        return "nothing is left to cancel"

    with pytest.raises(KeyboardInterrupt):
        interruption.run(work())


def test_outside_of_the_loop_it_is_an_exception(interruption: Interruption) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert interruption.came and signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_without_a_signal_it_is_asyncio_run(interruption: Interruption) -> None:
    async def work() -> int:
        return 3

    assert interruption.run(work()) == 3 and not interruption.came
