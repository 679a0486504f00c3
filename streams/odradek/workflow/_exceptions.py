"""Enumerations and errors of the workflow API that have no other home."""

from __future__ import annotations

from enum import Enum, IntEnum

from odradek.activation.errors import ContinueAsNewError, NondeterminismError, ReadOnlyContextError

__all__ = [
    "ContinueAsNewError",
    "ContinueAsNewVersioningBehavior",
    "NondeterminismError",
    "ReadOnlyContextError",
    "VersioningIntent",
]


class VersioningIntent(Enum):
    """Taken for code written for Temporal; without effect."""

    COMPATIBLE = 1
    DEFAULT = 2


class ContinueAsNewVersioningBehavior(IntEnum):
    """Taken for code written for Temporal; without effect."""

    UNSPECIFIED = 0
    AUTO_UPGRADE = 1
    USE_RAMPING_VERSION = 2
