"""Priority and versioning names. Carried along; Odradek's order within a partition is Kafka's."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar


@dataclass(frozen=True)
class Priority:
    """Wished order among waiting tasks. A field that is `None` is inherited from the calling
    workflow.
    """

    priority_key: int | None = None
    """1 is the most urgent."""

    fairness_key: str | None = None
    """Tasks with different keys share capacity by weight."""

    fairness_weight: float | None = None
    """Share of `fairness_key`, 1.0 by default."""

    default: ClassVar[Priority]
    """Inherits everything."""

    def __post_init__(self) -> None:
        if self.priority_key is not None:
            if not isinstance(self.priority_key, int):
                raise TypeError("priority_key must be an integer")
            if self.priority_key < 1:
                raise ValueError("priority_key must be a positive integer")


Priority.default = Priority()


class VersioningBehavior(IntEnum):
    """When a run may move to another deployment version."""

    UNSPECIFIED = 0
    PINNED = 1
    AUTO_UPGRADE = 2


@dataclass(frozen=True)
class WorkerDeploymentVersion:
    """Version of a worker deployment, written `<deployment_name>.<build_id>`; the deployment
    name has no dot.
    """

    deployment_name: str
    build_id: str

    def to_canonical_string(self) -> str:
        """`<deployment_name>.<build_id>`."""
        return f"{self.deployment_name}.{self.build_id}"

    @staticmethod
    def from_canonical_string(canonical: str) -> WorkerDeploymentVersion:
        """Read `<deployment_name>.<build_id>`. `ValueError` without a dot."""
        name, dot, build_id = canonical.partition(".")
        if not dot:
            raise ValueError(
                f"Cannot parse version string: {canonical}, must be in format"
                " <deployment_name>.<build_id>"
            )
        return WorkerDeploymentVersion(name, build_id)


class VersioningOverride(ABC):  # noqa: B024 - a marker, as in Temporal
    """Overrides the versioning behavior of one run."""


@dataclass(frozen=True)
class PinnedVersioningOverride(VersioningOverride):
    """Pins the run to a deployment version."""

    version: WorkerDeploymentVersion


@dataclass(frozen=True)
class AutoUpgradeVersioningOverride(VersioningOverride):
    """Lets the run follow the current deployment version."""


@dataclass(frozen=True)
class OneTimeVersioningOverride(VersioningOverride):
    """Runs the next task on a deployment version, then follows the worker's own behavior."""

    target_version: WorkerDeploymentVersion
