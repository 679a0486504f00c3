"""Real Kafka for a laptop, without Docker: a broker or three, in KRaft mode, from Kafka's own jars.

Duties: fetch the jars once and cache them, find a Java, start brokers on free ports with their
own cluster id and data directory, tell when a client can really work with them, and end them
with the process that started them.

Never: be a broker for production, or know anything of workflows. Stands alone; only tests, the
demo and the command line import it.
"""

from odradek.broker.cluster import LocalCluster
from odradek.broker.errors import (
    BrokerError,
    BrokerStartError,
    DataDirInUseError,
    JarsUnavailableError,
    JavaNotFoundError,
    PortInUseError,
)
from odradek.broker.find import find_broker
from odradek.broker.local import QUICK_START, LocalBroker

__all__ = [
    "QUICK_START",
    "BrokerError",
    "BrokerStartError",
    "DataDirInUseError",
    "JarsUnavailableError",
    "JavaNotFoundError",
    "LocalBroker",
    "LocalCluster",
    "PortInUseError",
    "find_broker",
]
