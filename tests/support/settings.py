"""Settings of a test's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from odradek.config import Settings


def settings_for(
    bootstrap: str, namespace: str, folder: Path | None = None, **changes: Any
) -> Settings:
    """Two partitions, one replica, state in `folder`."""
    given: dict[str, Any] = {
        "address": bootstrap,
        "namespace": namespace,
        "partitions": 2,
        "replication_factor": 1,
    }
    if folder is not None:
        given["state_dir"] = folder
    return Settings(**given | changes)


@pytest.fixture
def settings(bootstrap: str, namespace: str, tmp_path: Path) -> Settings:
    """Settings of this test on the session's broker."""
    return settings_for(bootstrap, namespace, tmp_path)
