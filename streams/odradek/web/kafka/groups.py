"""Which kind of group a queue's activity services are in: a classic one or a share group (`activity_group`). Each queue has its own,
also those of foreign services, so brokers are asked.

Of a share group the client can tell that it is there, and no more: neither its offsets nor its members (confluent-kafka 2.16). It is
asked by the old `list_groups`: that goes to every broker and to no coordinator, so a restart of one does it no harm (as it does to
others, see `ClusterAdmin.committed_offsets`); the newer call leaves share groups out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from odradek.kafka.client_config import admin_config, topics_of
from odradek.kafka.errors import translate
from odradek.kafka.settings import KafkaSettings

CLASSIC, SHARE = "classic", "share"
#: A queue changes its kind of group with all its services stopped: it need not be seen at once.
_KEPT_S = 10.0


class GroupSettings(KafkaSettings, Protocol):
    """What is asked of the settings besides."""

    @property
    def activity_group(self) -> str: ...


class ActivityGroups:
    """Blocking; any thread."""

    def __init__(self, settings: GroupSettings, *, timeout_s: float = 5.0, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._topics = topics_of(settings)
        self._timeout_s = timeout_s
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._client: AdminClient | None = None
        self._kinds: dict[str, tuple[float, str]] = {}

    def kind(self, task_queue: str) -> str:
        """CLASSIC or SHARE, by what is there: a classic group with members; a share group; a classic group; else by the settings."""
        read_s, kind = self._kinds.get(task_queue, (float("-inf"), ""))
        if self._clock_s() - read_s > _KEPT_S:
            kind = self._look(task_queue)
            self._kinds[task_queue] = (self._clock_s(), kind)
        return kind

    def _look(self, task_queue: str) -> str:
        classic = self._members(self._topics.activities_group(task_queue))
        if classic:
            return CLASSIC
        if self.exists(self._topics.activities_share_group(task_queue)):
            return SHARE
        return CLASSIC if classic is not None else self._settings.activity_group

    def exists(self, group_id: str) -> bool:
        """Whether a group of either kind is there and may be seen. Raises our Kafka errors."""
        return self._members(group_id) is not None

    def _members(self, group_id: str) -> int | None:
        """Members of a group; 0 for a share group, whose members the client cannot tell; None for a group that is not there."""
        try:
            found = self._admin().list_groups(group=group_id, timeout=self._timeout_s)
        except KafkaException as error:
            raise translate(error, self._settings, what=f"look for group {group_id}") from error
        return max((len(group.members) for group in found if group.id == group_id), default=None)

    def _admin(self) -> AdminClient:
        with self._lock:
            if self._client is None:
                self._client = AdminClient(admin_config(self._settings))
            return self._client
