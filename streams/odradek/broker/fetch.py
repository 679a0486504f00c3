"""Have Kafka ready before something starts that hides progress, such as a test run: `python -m odradek.broker.fetch`.

Fetches the jars when a later `find_broker` would need them and says nothing when they are there.
"""

from __future__ import annotations

import os
import sys

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
        kafka_jars(find_java(), progress)
    except BrokerError as error:
        progress.say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
