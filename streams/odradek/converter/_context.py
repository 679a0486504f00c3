"""Serialization contexts: what a converter or codec may know about where a payload belongs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Self


class SerializationContext(ABC):  # noqa: B024 - a marker, as in Temporal
    """Where a payload belongs. One of the classes below."""


@dataclass(frozen=True)
class WorkflowSerializationContext(SerializationContext):
    """The payload is an input or output of a workflow (for a child: of the child, not of its
    parent).
    """

    namespace: str
    workflow_id: str


@dataclass(frozen=True)
class ActivitySerializationContext(SerializationContext):
    """The payload is an input or output of an activity. The workflow fields are `None` when no
    workflow started it.
    """

    namespace: str
    activity_id: str | None
    activity_type: str | None
    activity_task_queue: str | None
    workflow_id: str | None
    workflow_type: str | None
    is_local: bool


class WithSerializationContext(ABC):
    """Implemented by converters and codecs that want the context: they are replaced by what
    `with_context` returns.
    """

    @abstractmethod
    def with_context(self, context: SerializationContext) -> Self:
        """A copy that uses `context`, or `self` when it makes no difference. Must not change
        `self`.
        """
