"""Have Kafka ready before something starts that hides progress, such as a test run: `python -m
odradek.broker.fetch`.

Fetches the jars when a later `find_broker` would need them, and makes the archive of their
classes; says nothing when both are there.
"""

from __future__ import annotations

import os
import sys

from odradek.broker.archive import can_have_archive, find_archive, make_archive
from odradek.broker.docker import docker_runs
from odradek.broker.errors import BrokerError
from odradek.broker.find import ADDRESS_VARIABLE
from odradek.broker.jars import kafka_jars
from odradek.broker.java import find_java
from odradek.broker.progress import StderrProgress


def main() -> int:
    """Exit status: 0 there is a Kafka to start, 1 there is none (one line says why)."""
    if os.environ.get(ADDRESS_VARIABLE) or docker_runs():
        return 0
    progress = StderrProgress()
    try:
        java = find_java()
        jars = kafka_jars(java, progress)
        if find_archive(java, jars) is None and can_have_archive(java):
            progress.say(
                "writing an archive of Kafka's classes: brokers start in half the time (once)"
            )
            make_archive(java, jars)
    except BrokerError as error:
        progress.say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
