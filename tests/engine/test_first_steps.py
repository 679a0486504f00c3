"""Start, activities, completion: the main path."""

from __future__ import annotations

from typing import Any

from odradek.wire import outcomes
from tests.engine.script import ScriptActivator, values
from tests.engine.world import World, completed


def saga(ctx: Any, name: str) -> Any:
    first = yield ctx.activity("one", name)
    second = yield ctx.activity("two", first)
    return [first, second]


def test_start_activities_complete() -> None:
    world = World(ScriptActivator(saga=saga))
    world.step(world.start("saga", "x"))
    assert [task.activity_type for task in world.tasks] == ["one"]
    assert world.replies[-1].status == outcomes.OK and world.replies[-1].started
    world.step(completed(world.last_task(), 1))
    world.step(completed(world.last_task(), 2))
    assert world.names() == [
        "WorkflowExecutionStarted",
        "WorkflowTask",
        "ActivityTaskScheduled",
        "ActivityTaskStarted",
        "ActivityTaskCompleted",
        "WorkflowTask",
        "ActivityTaskScheduled",
        "ActivityTaskStarted",
        "ActivityTaskCompleted",
        "WorkflowTask",
        "WorkflowExecutionCompleted",
    ]
    assert [(result.status, values(result.result)) for result in world.results] == [
        ("COMPLETED", [[1, 2]])
    ]
    assert [summary.status for summary in world.summaries] == ["RUNNING", "COMPLETED"]
    assert world.run().status == "COMPLETED"
    assert world.activities() == []
    assert [row.kind for row in world.tables.table("timer").values()] == ["RETENTION"]  # type: ignore[union-attr]
