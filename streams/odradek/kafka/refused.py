"""`kafka` settings that librdkafka does not take, as a ConfigurationError: which key, where it
came from, and what to do.

librdkafka says it when a client is made, and names its own alias of the key. Each kind of client
is given only what concerns it, so all of the settings are tried at once, then each kind with
ours beside them: by clients without an address, which connect to nothing.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from odradek.exceptions import ConfigurationError
from odradek.kafka.client_config import (
    consumer_config,
    producer_config,
    reader_config,
    refuse_ours,
    transactional_producer_config,
)
from odradek.kafka.errors import kafka_error
from odradek.kafka.settings import KafkaSettings

ENVIRONMENT = "ODRADEK_KAFKA__"

_Make = Callable[[Any], None]
_MAKING = re.compile(r"^Failed to create [a-z ]+: ")

_unheard = logging.Logger("odradek.kafka.refused")
_unheard.addHandler(logging.NullHandler())


def check_kafka_settings(settings: KafkaSettings) -> None:
    """Raises ConfigurationError for a key in `settings.kafka` that librdkafka does not know, or
    a value that it does not take.
    """
    if not settings.kafka:
        return
    refuse_ours(settings)
    for make in _CLIENTS:
        if problem := _problem(make, settings):
            raise _refused(settings, make, problem)


def _refused(settings: KafkaSettings, make: _Make, problem: str) -> ConfigurationError:
    """The error. problem: librdkafka's words."""
    # One key alone is refused for the same reason; a combination has no culprit.
    key = next(
        (
            key
            for key, value in settings.kafka.items()
            if _problem(make, _Only(settings, {key: value})) == problem
        ),
        "",
    )
    if not key:
        return ConfigurationError(
            f"librdkafka refuses the `kafka` settings: {problem}. Correct them (`python -m odradek.config` lists all)",
            key="kafka",
        )
    source = _source(key)
    unknown = problem.startswith("No such configuration property")
    cure = (
        "librdkafka knows no such setting: correct its name, or remove it"
        if unknown
        else f"librdkafka does not take its value: {problem}. Correct it"
    )
    where = f" ({source})" if source else ""
    return ConfigurationError(
        f"`kafka.{key}`{where}: {cure} (`python -m odradek.config` lists all)",
        key=f"kafka.{key}",
        source=source,
    )


class _Only:
    """Settings with other `kafka` settings."""

    def __init__(self, settings: KafkaSettings, kafka: Mapping[str, Any]) -> None:
        self._settings = settings
        self.kafka = kafka

    def __getattr__(self, name: str) -> Any:
        return getattr(self._settings, name)


def _all_at_once(settings: KafkaSettings) -> None:
    AdminClient(_alone(settings.kafka))


def _transactional_producer(settings: KafkaSettings) -> None:
    Producer(_alone(transactional_producer_config(settings, "check")))


def _plain_producer(settings: KafkaSettings) -> None:
    Producer(_alone(producer_config(settings)))


def _consumer(settings: KafkaSettings) -> None:
    Consumer(_alone(consumer_config(settings, "check"))).close()


def _reader(settings: KafkaSettings) -> None:
    Consumer(_alone(reader_config(settings))).close()


#: Each makes one and lets it go. The first has no settings of ours, so what it says is of the
#: user's alone.
_CLIENTS: tuple[_Make, ...] = (
    _all_at_once,
    _transactional_producer,
    _plain_producer,
    _consumer,
    _reader,
)


def _alone(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same without an address, and silent."""
    return {key: value for key, value in config.items() if key != "bootstrap.servers"} | {
        "log_level": 0,
        "logger": _unheard,
    }


def _problem(make: _Make, settings: Any) -> str:
    """What librdkafka says against these settings, "" for nothing."""
    try:
        make(settings)
    except KafkaException as error:
        text = kafka_error(error).str()
    except (
        TypeError,
        ValueError,
        AttributeError,
    ) as error:  # of a kind that confluent-kafka cannot pass on
        text = str(error)
    else:
        return ""
    return " ".join(_MAKING.sub("", text).split()).rstrip(".")


def _source(key: str) -> str:
    """Where it came from, if the environment has it; a file or an argument leave no trace."""
    variable = ENVIRONMENT + key.replace(".", "_").upper()
    return (
        f"environment variable {variable}"
        if any(name.upper() == variable for name in os.environ)
        else ""
    )
