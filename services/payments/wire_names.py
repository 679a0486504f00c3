"""Topics, group and headers of the wire contract, as `docs/wire.md` gives them. Nothing here
imports odradek.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from services.topic_names import topic_of_namespace, topic_of_queue

UNDECODABLE, UNKNOWN_SCHEMA, UNEXPECTED_RECORD = (
    "UNDECODABLE",
    "UNKNOWN_SCHEMA",
    "UNEXPECTED_RECORD",
)
#: Of dead letters, those that this service writes.
REASONS = (UNDECODABLE, UNKNOWN_SCHEMA, UNEXPECTED_RECORD)

#: Header of a record -> field of a command that it repeats.
FIELD_OF_HEADER = {
    "odradek-namespace": "namespace",
    "odradek-workflow-task-queue": "workflow_task_queue",
    "odradek-workflow-id": "workflow_id",
    "odradek-run-id": "run_id",
    "odradek-activity-id": "activity_id",
    "odradek-scheduled-event-id": "scheduled_event_id",
    "odradek-attempt": "attempt",
}
NUMBERS = ("scheduled_event_id", "attempt")
ANSWERED = ("workflow_id", "run_id", "activity_id", "scheduled_event_id", "attempt")


@dataclass(frozen=True)
class QueueNames:
    """The names that an activity service of one queue needs."""

    namespace: str
    task_queue: str

    @property
    def commands(self) -> str:
        return self._named("commands")

    @property
    def control(self) -> str:
        return self._named("control")

    @property
    def dead_letters(self) -> str:
        return self._named("dead-letters")

    @property
    def members(self) -> str:
        return topic_of_namespace(self.namespace, "members")

    @property
    def schemas(self) -> str:
        return topic_of_namespace(self.namespace, "schemas")

    @property
    def activities_group(self) -> str:
        return self._named("activities")

    def events_of(self, namespace: str, workflow_task_queue: str) -> str:
        """Where the answer to a command goes."""
        return topic_of_queue(namespace, workflow_task_queue, "events")

    def dead_letter_headers(self, message: Any, reason: str, why: str) -> dict[str, bytes]:
        """Why a record lies among the dead letters, and where it stood. reason: one of REASONS;
        why: for a person.
        """
        said = {
            "reason": reason,
            "message": why,
            "topic": message.topic,
            "partition": str(message.partition),
            "offset": str(message.offset),
            "time-ms": str(time.time_ns() // 1_000_000),
        }
        return {f"odradek-dead-letter-{name}": text.encode() for name, text in said.items()}

    def _named(self, kind: str) -> str:
        return topic_of_queue(self.namespace, self.task_queue, kind)


def answer_headers(kind: str, task: Mapping[str, Any]) -> dict[str, bytes]:
    """Headers of a record on `events`: they route it even for a reader that cannot decode it."""
    headers = {"odradek-kind": kind.encode()}
    for header, field in FIELD_OF_HEADER.items():
        if field in ANSWERED:
            headers[header] = str(task[field]).encode()
    return headers


def facts_of_headers(
    headers: Mapping[str, bytes] | Iterable[tuple[str, bytes]] | None,
) -> dict[str, Any] | None:
    """What the headers of an unreadable command tell, or None if they do not tell enough to
    answer it.
    """
    found = dict(headers or {})
    try:
        facts: dict[str, Any] = {
            field: found[header].decode() for header, field in FIELD_OF_HEADER.items()
        }
        return {**facts, **{field: int(facts[field]) for field in NUMBERS}}
    except (KeyError, UnicodeDecodeError, ValueError):
        return None
