"""What every run needs cannot be had now: nothing of the step counts, no input and no timer is to blame."""

from __future__ import annotations

from typing import Any

import pytest

from odradek import workflow
from odradek.engine.ports import EXECUTIONS, RESULTS, OutletUnavailableError
from tests.engine.activation_driver import activator
from tests.engine.world import World


@workflow.defn
class Sleeper:
    @workflow.run
    async def run(self) -> str:
        await workflow.sleep(60)
        return "woken"


@pytest.mark.parametrize("kind", [RESULTS, EXECUTIONS])
def test_what_closes_a_run_is_done_later(kind: str) -> None:
    """A timer that is due stays due; the next engine does the same batch. It was consumed, and the run slept for ever."""
    world = World(activator(Sleeper))  # type: ignore[arg-type]
    world.step(world.start("Sleeper"))
    world.now_ms += 60_000
    check, away = world.outlet.check, True

    def unavailable(asked: str, task_queue: str, record: Any) -> Any:
        if asked == kind and away:
            raise OutletUnavailableError("no right")
        return check(asked, task_queue, record)

    world.outlet.check = unavailable  # type: ignore[method-assign]
    before = world.tables.snapshot()
    with pytest.raises(OutletUnavailableError):
        world.step()
    assert world.tables.snapshot() == before and world.due()
    away = False
    world.restart()
    assert [result.status for result in world.results] == ["COMPLETED"]
    assert not world.due() or all(timer.kind != "USER" for timer in world.due())
