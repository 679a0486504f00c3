"""What stands in the payments service's YAML file."""

from __future__ import annotations

from pydantic import Field

from services.service_config import ForeignConfig, QueueSection


class PaymentsConfig(ForeignConfig):
    """`default_limit`, `limits`: cents a user may freeze in one order. `flaky_users`: first
    attempts that the bank loses.

    `partitions`: of the queue's `commands`, `replication_factor`: of all topics it makes, if
    this service is the first to come. -1: the broker's `default.replication.factor`.
    """

    odradek: QueueSection
    default_limit: int = 100_000
    limits: dict[str, int] = Field(default_factory=dict)
    flaky_users: dict[str, int] = Field(default_factory=dict)
    partitions: int = 8
    replication_factor: int = Field(-1, ge=-1)
