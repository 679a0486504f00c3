"""Makes directories of brokers."""

from __future__ import annotations

from pathlib import Path

from odradek.broker.errors import DataDirError


def make_folder(path: Path) -> None:
    """Make a directory, and those above it, if it is not there. Raises DataDirError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        stands = next(
            (folder for folder in (path, *path.parents) if folder.exists() and not folder.is_dir()),
            None,
        )
        reason = f"{stands} is a file" if stands is not None else error.strerror or str(error)
        raise DataDirError(
            f"the data directory {path} cannot be made: {reason}. Give another --data-dir"
        ) from error
