"""The settings that this room reads, as a port: `odradek.config.Settings` has them, and so may a test's own object."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Protocol


class KafkaSettings(Protocol):
    """See `odradek.config.Settings` for defaults and meaning."""

    @property
    def address(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def topic_prefix(self) -> str: ...
    @property
    def partitions(self) -> int: ...
    @property
    def replication_factor(self) -> int: ...
    @property
    def create_topics(self) -> bool: ...
    @property
    def results_retention(self) -> timedelta: ...
    @property
    def kafka(self) -> Mapping[str, Any]: ...
