"""What every run needs cannot be had now: nothing of the step counts, no input and no timer is
to blame.
"""

from __future__ import annotations

from typing import Any

import pytest

from odradek import workflow
from odradek.engine.ports import TablesError
from tests.engine.activation_driver import activator
from tests.engine.world import World


@workflow.defn
class Sleeper:
    @workflow.run
    async def run(self) -> str:
        await workflow.sleep(60)
        return "woken"


@pytest.mark.parametrize("table", ["run", "workflow", "history"])
def test_tables_that_cannot_be_read_are_no_inputs_fault(table: str) -> None:
    """A damaged store was a defect of the engine: inputs that met it became dead letters."""
    world = World(activator(Sleeper))  # type: ignore[arg-type]
    world.step(world.start("Sleeper"))
    world.restart()
    world.now_ms += 60_000
    get, scan = world.tables.get, world.tables.scan
    damaged = TablesError(OSError("block checksum mismatch"))

    def unless_damaged(read: Any) -> Any:
        def reading(asked: str, *arguments: Any, **options: Any) -> Any:
            if asked == table:
                raise damaged
            return read(asked, *arguments, **options)

        return reading

    world.tables.get, world.tables.scan = unless_damaged(get), unless_damaged(scan)  # type: ignore[method-assign]
    before = world.tables.snapshot()
    with pytest.raises(TablesError) as raised:
        world.step(world.signal("poke"))
    assert raised.value is damaged and world.tables.snapshot() == before
    world.tables.get, world.tables.scan = get, scan  # type: ignore[method-assign]
    world.restart()
    world.step(world.signal("poke"))
    assert [result.status for result in world.results] == ["COMPLETED"]
