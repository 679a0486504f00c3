"""Which kind of group a queue's activity services are in: a classic one or a share group
(`activity_group`). Each queue has its own, also those of foreign services, so brokers are asked.

Both calls go to every broker and to no coordinator, so a restart of one does them no harm (as it
does to others, see `ClusterAdmin.committed_offsets`): `list_consumer_groups`, one for all
queues; and for share groups the deprecated `list_groups`, as the newer calls leave these out
(confluent-kafka 2.16; to `describe_consumer_groups` a share group is as dead as one that never
was). Of a share group it tells that it is there, and no more: neither its offsets nor its
members.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from confluent_kafka import ConsumerGroupState, KafkaException
from confluent_kafka.admin import AdminClient

from odradek.exceptions import BrokerUnreachableError
from odradek.kafka.client_config import admin_config, topics_of
from odradek.kafka.errors import translate, unreachable
from odradek.kafka.settings import KafkaSettings

CLASSIC, SHARE = "classic", "share"
#: A queue changes its kind of group with all its services stopped: it need not be seen at once.
_KEPT_S = 10.0
_NO_MEMBERS = (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)


class GroupSettings(KafkaSettings, Protocol):
    """What is asked of the settings besides."""

    @property
    def activity_group(self) -> str: ...


class ActivityGroups:
    """Blocking; any thread."""

    def __init__(
        self,
        settings: GroupSettings,
        *,
        timeout_s: float = 5.0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._topics = topics_of(settings)
        self._timeout_s = timeout_s
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._client: AdminClient | None = None
        self._kinds: dict[str, tuple[float, str]] = {}
        self._listed: tuple[float, dict[str, bool]] = (float("-inf"), {})

    def kind(self, task_queue: str) -> str:
        """CLASSIC or SHARE, by what is there: a classic group with members; a share group; a
        classic group; else by the settings.
        """
        read_s, kind = self._kinds.get(task_queue, (float("-inf"), ""))
        if self._clock_s() - read_s > _KEPT_S:
            try:
                kind = self._look(task_queue)
            except BrokerUnreachableError:
                if not kind:
                    raise
                return kind  # one broker of several restarts, say: it is what it was
            self._kinds[task_queue] = (self._clock_s(), kind)
        return kind

    def _look(self, task_queue: str) -> str:
        read_s, listed = self._listed
        if self._clock_s() - read_s > _KEPT_S:
            listed = self._list()
            self._listed = (self._clock_s(), listed)
        has_members = listed.get(self._topics.activities_group(task_queue))
        if has_members:
            return CLASSIC
        if self._is_share_group(self._topics.activities_share_group(task_queue)):
            return SHARE
        return CLASSIC if has_members is not None else self._settings.activity_group

    def exists(self, group_id: str) -> bool:
        """Whether a group of either kind is there and may be seen, now. Raises our Kafka errors."""
        return group_id in self._list() or self._is_share_group(group_id)

    def _list(self) -> dict[str, bool]:
        """Groups that are no share groups, and whether each has members. Raises our Kafka
        errors: half a list would be a wrong one.
        """
        try:
            found = (
                self._admin()
                .list_consumer_groups(request_timeout=self._timeout_s)
                .result(self._timeout_s + 1.0)
            )
            if found.errors:
                raise KafkaException(found.errors[0])
        except KafkaException as error:
            raise translate(error, self._settings, what="list groups") from error
        except TimeoutError as error:
            raise unreachable(self._settings, "groups were not listed in time") from error
        return {group.group_id: group.state not in _NO_MEMBERS for group in found.valid}

    def _is_share_group(self, group_id: str) -> bool:
        try:
            found = self._admin().list_groups(group=group_id, timeout=self._timeout_s)
        except KafkaException as error:
            raise translate(error, self._settings, what=f"look for group {group_id}") from error
        return any(group.id == group_id for group in found)

    def _admin(self) -> AdminClient:
        with self._lock:
            if self._client is None:
                self._client = AdminClient(admin_config(self._settings))
            return self._client
