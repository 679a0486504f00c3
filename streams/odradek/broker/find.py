"""Where tests, the demo and the benchmark get a Kafka from: an address, Docker, or the local
jars, in this order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from odradek.broker.docker import DockerBroker, docker_runs
from odradek.broker.local import QUICK_START, LocalBroker
from odradek.broker.progress import Progress, StderrProgress

#: Wins over everything, so that a suite can be pointed at any Kafka.
ADDRESS_VARIABLE = "ODRADEK_TEST_BOOTSTRAP"


@contextmanager
def find_broker(
    address: str | None = None, *, quick_start: bool = False, progress: Progress | None = None
) -> Iterator[str]:
    """Address of a usable Kafka for the length of a with statement; what had to be started is
    stopped after it.

    Args:
        address: used as it is. The environment variable `ODRADEK_TEST_BOOTSTRAP` wins over it.
        quick_start: a local broker shall start sooner rather than run faster for long (tests).

    Raises:
        BrokerError: none could be had; names the cause and the cure.
    """
    address = os.environ.get(ADDRESS_VARIABLE) or address
    if address:
        yield address
        return
    broker = _start_broker(quick_start, progress if progress is not None else StderrProgress())
    try:
        yield broker.bootstrap
    finally:
        broker.stop()


def _start_broker(quick_start: bool, progress: Progress) -> DockerBroker | LocalBroker:
    if docker_runs():
        try:
            return DockerBroker().start()
        except Exception as error:  # docker's, requests' and our own
            # A daemon that cannot get the image (no network, no rights) is no reason to have no
            # Kafka: the jars remain.
            progress.say(f"Kafka could not be started in Docker ({error}); using the local jars")
    return LocalBroker(jvm_options=QUICK_START if quick_start else (), progress=progress).start()
