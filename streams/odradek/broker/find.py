"""Where tests, the demo and the benchmark get a Kafka from: an address, Docker, or the local jars, in this order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from odradek.broker.docker import DockerBroker, docker_runs
from odradek.broker.local import LocalBroker
from odradek.broker.progress import Progress, StderrProgress

#: Wins over everything, so that a suite can be pointed at any Kafka.
ADDRESS_VARIABLE = "ODRADEK_TEST_BOOTSTRAP"


@contextmanager
def find_broker(address: str | None = None, *, quick_start: bool = False, progress: Progress | None = None) -> Iterator[str]:
    """Address of a usable Kafka for the length of a with statement; what had to be started is stopped after it.

    Args:
        address: used as it is. The environment variable `ODRADEK_TEST_BOOTSTRAP` wins over it.
        quick_start: a local broker shall start sooner rather than run faster for long (tests).
    """
    from odradek.broker.local import QUICK_START

    address = os.environ.get(ADDRESS_VARIABLE) or address
    progress = progress if progress is not None else StderrProgress()
    if address:
        yield address
        return
    docker = _started_docker_broker(progress) if docker_runs() else None
    with docker or LocalBroker(jvm_options=QUICK_START if quick_start else (), progress=progress) as broker:
        yield broker.bootstrap


def _started_docker_broker(progress: Progress) -> DockerBroker | None:
    """A daemon that cannot get the image (no network, no rights) is no reason to have no Kafka: the jars remain."""
    try:
        return _Started().start()
    except Exception as error:  # docker's, requests' and our own
        progress.say(f"Kafka could not be started in Docker ({error}); using the local jars")
        return None


class _Started(DockerBroker):
    """Entering it does not start it a second time."""

    def __enter__(self) -> _Started:
        return self
