"""Where the commands of activities stood in Kafka. The engine writes a command in a transaction
and never learns its offset; the service that reads it echoes it, and it stands in
ActivityTaskStarted. Here it is told to every event of the activity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from odradek.web.kafka.facts import Place
from odradek.wire.topics import Topics

if TYPE_CHECKING:
    from odradek.web.api.runs import EventView


class CommandPlaces:
    """Fed with the events of one run in their order, sets `command` of those that belong to an
    activity whose service has told it.
    """

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self._scheduled: dict[int, EventView] = {}
        #: Scheduled events that were pointed to and not seen: those of an earlier page.
        self.missing: set[int] = set()

    def note(self, events: list[EventView]) -> None:
        """Look at further events."""
        for event in events:
            if event.event_type == "ActivityTaskScheduled":
                self._scheduled[event.event_id] = event
            elif event.event_type.startswith("ActivityTask"):
                self._link(event)

    def _link(self, event: EventView) -> None:
        scheduled_id = event.attributes.get("scheduled_event_id", 0)
        scheduled = self._scheduled.get(scheduled_id)
        if scheduled is None:
            self.missing.add(scheduled_id)
            return
        if (
            event.event_type == "ActivityTaskStarted"
            and event.attributes.get("command_offset", -1) >= 0
        ):
            scheduled.command = command_place(
                self._topics,
                scheduled.attributes["task_queue"],
                event.attributes["command_partition"],
                event.attributes["command_offset"],
            )
        event.command = scheduled.command


def command_place(topics: Topics, task_queue: str, partition: int, offset: int) -> Place | None:
    """The place of a command; None when its service did not tell it, or the name of its queue is
    none.
    """
    if partition < 0 or offset < 0 or not task_queue:
        return None
    return Place(topics.commands(task_queue), partition, offset)
