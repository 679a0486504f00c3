"""What stands in the payments service's YAML file."""

from __future__ import annotations

from pydantic import Field

from services.service_config import ForeignConfig, QueueSection


class PaymentsConfig(ForeignConfig):
    """`default_limit`, `limits`: cents a user may freeze in one order. `flaky_users`: first attempts that the bank loses.

    `partitions`, `replication_factor`: of the queue's `commands`, if this service is the first to come.
    """

    odradek: QueueSection
    default_limit: int = 100_000
    limits: dict[str, int] = Field(default_factory=dict)
    flaky_users: dict[str, int] = Field(default_factory=dict)
    partitions: int = 8
    replication_factor: int = 1
