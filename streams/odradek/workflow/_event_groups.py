"""Event groups: taken everywhere that Temporal takes them, without effect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from odradek.activation.info import current


class EventGroup:
    """A label for commands that belong together. No history of ours keeps it."""

    def __init__(self, id: str, label: str | None) -> None:
        self.id = id
        self.label = label

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Attach the group to every command made inside."""
        current()
        yield


def create_event_group(id: str, *, label: str | None = None) -> EventGroup:
    """A new event group."""
    current()
    return EventGroup(id, label)
