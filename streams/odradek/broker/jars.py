"""Kafka's jars, from Maven by `jgo`, kept in a cache of our own.

A cached version is complete or absent: it is built beside its final place and renamed into it,
so an interrupted fetch leaves nothing that a later start could trip over. A cached version needs
no network at all, not even a look.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from odradek.broker.errors import BrokerError, JarsUnavailableError
from odradek.broker.java import Java
from odradek.broker.progress import Progress
from odradek.home import home

#: The version that the project's measurements and facts were taken on. `ODRADEK_KAFKA_VERSION` asks
#: for another.
KAFKA_VERSION = "4.3.1"

#: Enough to hide the registry's latency, few enough to be polite to it.
PARALLEL_DOWNLOADS = 4

CACHE_CURE = "Name one that can be written: ODRADEK_CACHE_DIR"

#: Bounds one request to the repository; a stalled connection must not hang `make demo` for ever.
REQUEST_TIMEOUT_S = 60


@dataclass(frozen=True)
class KafkaJars:
    """A complete local copy of one Kafka version.

    Attributes:
        version: e.g. "4.3.1". directory: holds `jars/` and `bootstrap.checkpoint` (the feature
        levels that `kafka-storage format` writes).
    """

    version: str
    directory: Path

    @property
    def classpath(self) -> str:
        return str(self.directory / "jars" / "*")

    @property
    def bootstrap_checkpoint(self) -> Path:
        return self.directory / "bootstrap.checkpoint"


def cache_root() -> Path:
    """`$ODRADEK_CACHE_DIR`, else `odradek` under the user's cache directory."""
    explicit = os.environ.get("ODRADEK_CACHE_DIR")
    if explicit:
        return Path(explicit)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else home() / ".cache") / "odradek"


def kafka_version() -> str:
    return os.environ.get("ODRADEK_KAFKA_VERSION") or KAFKA_VERSION


def kafka_jars(java: Java, progress: Progress, version: str | None = None) -> KafkaJars:
    """The jars of `version`, fetched on first use.

    Raises:
        JarsUnavailableError: not cached and not to be had; says whether the version, `jgo` or
        the network is missing.
    """
    version = version or kafka_version()
    directory = cache_root() / f"kafka-{version}"
    if directory.is_dir():
        return KafkaJars(version, directory)
    _make_cache(directory.parent)
    with _only_one_fetches(directory.with_name(f"{directory.name}.lock"), version, progress):
        if not directory.is_dir():
            _fetch_into(directory, version, java, progress)
    return KafkaJars(version, directory)


def _make_cache(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise JarsUnavailableError(
            f"the directory for Kafka's jars, {directory}, cannot be made: {reason}. {CACHE_CURE}"
        ) from error
    if not os.access(directory, os.W_OK):
        raise JarsUnavailableError(
            f"the directory for Kafka's jars, {directory}, cannot be written. {CACHE_CURE}"
        )


@contextmanager
def _only_one_fetches(lock_file: Path, version: str, progress: Progress) -> Iterator[None]:
    with lock_file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say(f"another process is fetching Kafka {version}; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch_into(directory: Path, version: str, java: Java, progress: Progress) -> None:
    building = directory.with_name(f"{directory.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    (building / "jars").mkdir(parents=True)
    try:
        _download(version, building, progress)
        _write_bootstrap_checkpoint(building, java)
        shutil.rmtree(building / "repository")
        building.rename(directory)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    progress.say(f"Kafka {version} is in {directory}")


def _download(version: str, building: Path, progress: Progress) -> None:
    try:
        from jgo.maven import Artifact, MavenContext, PythonResolver
    except ImportError as missing:
        raise JarsUnavailableError(
            f"Kafka {version} is not cached yet and the package that fetches it is missing"
            f" ({missing.name}). Run: pip install 'odradek[broker]', or give the address of a"
            " running Kafka."
        ) from missing
    meter = _Meter(f"fetching Kafka {version}", progress)
    context = MavenContext(
        resolver=PythonResolver(progress_callback=meter.file),
        repo_cache=building / "repository",
        timeout=REQUEST_TIMEOUT_S,
        **_configured_repositories(),
    )
    progress.say(f"fetching Kafka {version} from Maven (about 45 MB, once)")
    progress.update(f"fetching Kafka {version}: reading its list of parts")
    try:
        kafka, parts = context.resolver.resolve(
            [context.create_dependency(f"org.apache.kafka:kafka_2.13:{version}")]
        )
        wanted = {
            dep.artifact
            for dep in [*kafka, *parts]
            if dep.scope in (None, "", "compile", "runtime")
        }
        wanted.add(_logging_backend(context, wanted))
        meter.total = len(wanted)

        def fetch(artifact: Artifact) -> None:
            jar = artifact.resolve()
            _check_jar(jar)
            shutil.move(jar, building / "jars" / jar.name)
            meter.finished()

        with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
            list(pool.map(fetch, wanted))
    except BrokerError:
        raise
    except Exception as error:  # jgo raises RuntimeError, requests' and XML errors alike
        raise JarsUnavailableError(
            f"Kafka {version} could not be fetched from Maven: {error}. Check the network"
            " (HTTPS_PROXY) and the version (ODRADEK_KAFKA_VERSION), or give the address of a"
            " running Kafka."
        ) from error


def _configured_repositories() -> dict[str, Any]:
    """A mirror from the user's own jgo configuration takes the place of Maven Central."""
    from jgo.config import GlobalSettings

    repositories = GlobalSettings.load().repositories
    return {"remote_repos": dict(repositories)} if repositories else {}


def _logging_backend(context: Any, wanted: set[Any]) -> Any:
    """Kafka's module brings slf4j's interface only; without a backend of the same version the
    broker would be mute.
    """
    api = next((artifact for artifact in wanted if artifact.artifactId == "slf4j-api"), None)
    if api is None:
        raise JarsUnavailableError(
            "this Kafka version does not log through slf4j; use another one (ODRADEK_KAFKA_VERSION)"
        )
    return context.create_dependency(f"org.slf4j:slf4j-simple:{api.version}").artifact


def _check_jar(jar: Path) -> None:
    """A truncated jar would fail much later, inside the broker, as a class that is missing."""
    if not zipfile.is_zipfile(jar):
        raise JarsUnavailableError(f"{jar.name} arrived damaged; try again")
    with zipfile.ZipFile(jar) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise JarsUnavailableError(f"{jar.name} arrived damaged (at {damaged}); try again")


def _write_bootstrap_checkpoint(building: Path, java: Java) -> None:
    """Let Kafka's own tool format a throw-away directory once; the feature levels in it suit
    every later broker.

    It saves each later start a second JVM. The checkpoint holds no cluster or node id: those
    stand in `meta.properties`, which we write for each broker.
    """
    scratch = building / "repository" / "format"
    scratch.mkdir(parents=True)
    properties = scratch / "server.properties"
    properties.write_text(
        "process.roles=broker,controller\nnode.id=1\nlisteners=PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2\n"
        "controller.listener.names=CONTROLLER\ncontroller.quorum.voters=1@127.0.0.1:2\n"
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
        f"log.dirs={scratch / 'data'}\n"
    )
    command = [
        *(str(java.executable), "-XX:TieredStopAtLevel=1", "-cp", str(building / "jars" / "*")),
        *("kafka.tools.StorageTool", "format", "-t", random_uuid(), "-c", str(properties)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    checkpoint = scratch / "data" / "bootstrap.checkpoint"
    if done.returncode != 0 or not checkpoint.is_file():
        raise JarsUnavailableError(
            f"Kafka's storage tool failed on {java.executable}:"
            f" {(done.stderr or done.stdout).strip()[-1000:]}"
        )
    shutil.copy(checkpoint, building / "bootstrap.checkpoint")


def random_uuid() -> str:
    """A Kafka `Uuid`: 16 bytes, base64url without padding. Never starts with "-", which Kafka's
    tools take for an option.
    """
    import base64

    while True:
        text = base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        if not text.startswith("-"):
            return text


class _Meter:
    """Counts jars and bytes over the download threads."""

    def __init__(self, title: str, progress: Progress) -> None:
        self.total = 0
        self._title = title
        self._progress = progress
        self._lock = threading.Lock()
        self._bytes = 0
        self._finished = 0

    @contextmanager
    def file(self, _name: str, _size: int) -> Iterator[Any]:
        yield self._received

    def finished(self) -> None:
        with self._lock:
            self._finished += 1
            self._show()

    def _received(self, count: int) -> None:
        with self._lock:
            self._bytes += count
            self._show()

    def _show(self) -> None:
        parts = f"{self._finished} of {self.total} jars" if self.total else "the list of its parts"
        self._progress.update(f"{self._title}: {parts}, {self._bytes / 1e6:.1f} MB")
