"""`workflow.unsafe`: what workflow code should seldom ask. There is no import sandbox: its
switches change only what they report.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Flag, auto

from odradek.activation.info import current

__all__ = ["SandboxImportNotificationPolicy", "unsafe"]

_local = threading.local()


class SandboxImportNotificationPolicy(Flag):
    """Taken for code written for Temporal; without effect."""

    SILENT = auto()
    WARN_ON_DYNAMIC_IMPORT = auto()
    WARN_ON_UNINTENTIONAL_PASSTHROUGH = auto()
    RAISE_ON_UNINTENTIONAL_PASSTHROUGH = auto()


class unsafe:
    """Static methods only."""

    def __init__(self) -> None:
        raise NotImplementedError

    @staticmethod
    def in_sandbox() -> bool:
        """False: there is no sandbox that imports workflow code anew."""
        return False

    @staticmethod
    def is_replaying() -> bool:
        """Whether the workflow is replaying; also in a query on a replayed run."""
        return current().is_replaying

    @staticmethod
    def is_replaying_history_events() -> bool:
        """Whether the workflow is replaying, queries and validators apart: those are live."""
        context = current()
        return context.is_replaying and not context.in_query

    @staticmethod
    def is_read_only() -> bool:
        """Whether nothing may change now: in queries and validators."""
        return current().read_only

    @staticmethod
    def is_sandbox_unrestricted() -> bool:
        """Whether `sandbox_unrestricted` is in force."""
        return getattr(_local, "unrestricted", False)

    @staticmethod
    @contextmanager
    def sandbox_unrestricted() -> Iterator[None]:
        """Run code without sandbox restrictions."""
        before = unsafe.is_sandbox_unrestricted()
        _local.unrestricted = True
        try:
            yield
        finally:
            _local.unrestricted = before

    @staticmethod
    def is_imports_passed_through() -> bool:
        """Whether `imports_passed_through` is in force."""
        return getattr(_local, "passed_through", False)

    @staticmethod
    @contextmanager
    def imports_passed_through() -> Iterator[None]:
        """Import modules that a sandbox shall not import anew."""
        before = unsafe.is_imports_passed_through()
        _local.passed_through = True
        try:
            yield
        finally:
            _local.passed_through = before

    @staticmethod
    def current_import_notification_policy_override() -> SandboxImportNotificationPolicy | None:
        """The policy in force, if any."""
        return getattr(_local, "policy", None)

    @staticmethod
    @contextmanager
    def sandbox_import_notification_policy(
        policy: SandboxImportNotificationPolicy,
    ) -> Iterator[None]:
        """Apply an import notification policy."""
        before = unsafe.current_import_notification_policy_override()
        _local.policy = policy
        try:
            yield
        finally:
            _local.policy = before
