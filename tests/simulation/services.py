"""An activity service that knows the wire alone: one attempt a command, at least once, Started
never; it notes every effect before it answers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from odradek.wire.events import ActivityTaskCompleted, ActivityTaskFailed
from odradek.wire.headers import headers_for
from odradek.wire.payload import Failure

if TYPE_CHECKING:
    from tests.simulation.world import World


class ActivityService:
    def __init__(self, world: World) -> None:
        self._world = world

    def run(self) -> None:
        from tests.simulation.world import CODEC, QUEUE

        world = self._world
        clients = world.kafka.process("service")
        producer = clients.producer({})
        group_id = world.topics.activities_group(QUEUE)
        consumer = clients.consumer({"group.id": group_id, "auto.offset.reset": "earliest"})
        consumer.subscribe([world.topics.commands(QUEUE)])
        while True:
            message = consumer.poll(5.0)
            if message is None or message.error() is not None:
                continue
            task = CODEC.decode(message.value())
            if world.chance.random() < 0.2:
                world.scheduler.block(world.chance.choice([0.05, 0.5, 3.0]))
            event = self._answer(task)
            for _ in range(world.chance.choice([1, 1, 1, 1, 2])):  # it may be sent twice
                producer.produce(
                    world.topics.events(task.workflow_task_queue),
                    CODEC.encode(event),
                    task.workflow_id.encode(),
                    headers=headers_for(event),
                )
                producer.flush(5)
            consumer.commit(message=message, asynchronous=False)

    def _answer(self, task: Any) -> Any:
        from tests.simulation.world import Effect, payload

        name, fails = (json.loads(each.data) for each in task.input)
        ids = (
            task.workflow_id,
            task.run_id,
            task.scheduled_event_id,
        )
        self._world.effects.append(Effect(*ids, task.attempt, name))
        if task.attempt <= fails:
            failure = Failure(message="not yet", type="NotYet")
            return ActivityTaskFailed(*ids, task.activity_id, task.attempt, failure)
        return ActivityTaskCompleted(*ids, task.activity_id, task.attempt, [payload(name)])
