"""What the environment of a demo, benchmark or test may keep of `ODRADEK_…` and `TEMPORAL_…`.

They have a Kafka of their own. Settings that a shell exported for another one would lead their
processes there, to take its work.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

#: Where jars are kept and which; what is addressed to tests, benchmark and demo themselves.
_KEPT = re.compile(r"ODRADEK_(CACHE_DIR|KAFKA_VERSION|(TEST|BENCH|DEMO)_\w+)", re.IGNORECASE)


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """A copy without those variables, for a process that is started."""
    return {name: value for name, value in environment.items() if not _is_setting(name)}


def forget_settings() -> list[str]:
    """Take them out of this process's environment, and so of its children's. The names that it
    had, for a word to whoever set them.
    """
    found = sorted(name for name in os.environ if _is_setting(name))
    for name in found:
        del os.environ[name]
    return found


def _is_setting(name: str) -> bool:
    return name.upper().startswith(("ODRADEK_", "TEMPORAL_")) and not _KEPT.fullmatch(name)
