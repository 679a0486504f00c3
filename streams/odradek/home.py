"""The user's home directory, where there is one."""

from __future__ import annotations

from pathlib import Path


def home() -> Path:
    """`Path.home()`; the root directory for a user without one (no HOME and no entry in the
    password file: an arbitrary user id in a container), which container runtimes also take for
    HOME then. What cannot be made there is said with its setting by whoever needs it.
    """
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")
