"""What a run leaves behind is freed by its reference counts: nothing waits for the garbage
collector, which is seldom run.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from odradek.engine.step import WorkflowStep
from tests.engine.test_activation_in_engine import Order, play, world
from tests.engine.world import World


@pytest.fixture
def lane() -> Iterator[World]:
    """A lane in a process that has done everything once, so that no first time is counted; the
    collector only runs when it is asked.
    """
    play(world(Order), {}, restart=False)
    lane = world(Order)
    gc.disable()
    while gc.collect():  # what other tests left; coroutines that end there leave more
        pass
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield lane
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def test_a_completed_run_leaves_no_cycles(lane: World) -> None:
    play(lane, {}, restart=False)
    gc.collect()
    assert [
        type(each)
        for each in gc.garbage
        if type(each).__module__.startswith(("odradek", "tests.engine"))
    ] == []


def test_a_cached_run_keeps_nothing_of_its_last_step(lane: World) -> None:
    others = (
        steps()
    )  # a test that raised an error of its module's keeps the frames which that went through
    lane.step(lane.start("Order", "7"))
    assert lane.run().status == "RUNNING"
    assert [step for step in steps() if not any(step is other for other in others)] == []


def steps() -> list[WorkflowStep]:
    return [each for each in gc.get_objects() if isinstance(each, WorkflowStep)]
