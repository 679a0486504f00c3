"""`kafka` settings that librdkafka does not take, as a ConfigurationError: which key, where it came from, and what to do.

librdkafka says it when a client is made, and names its own alias of the key. Each kind of client is given only what concerns it, so all
of the settings are tried at once, by a client without an address that connects to nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from odradek.exceptions import ConfigurationError
from odradek.kafka.client_config import refuse_ours
from odradek.kafka.errors import kafka_error
from odradek.kafka.settings import KafkaSettings

ENVIRONMENT = "ODRADEK_KAFKA__"

_unheard = logging.Logger("odradek.kafka.refused")
_unheard.addHandler(logging.NullHandler())


def check_kafka_settings(settings: KafkaSettings) -> None:
    """Raises ConfigurationError for a key in `settings.kafka` that librdkafka does not know, or a value that it does not take."""
    if not settings.kafka:
        return
    refuse_ours(settings)
    problem = _problem(settings.kafka)
    if problem:
        raise refused(settings, problem)


def refused(settings: KafkaSettings, problem: str) -> ConfigurationError:
    """The error. problem: librdkafka's words."""
    # One key alone is refused for the same reason; a combination has no culprit.
    key = next((key for key, value in settings.kafka.items() if _problem({key: value}) == problem), "")
    if not key:
        return ConfigurationError(f"librdkafka refuses the `kafka` settings: {problem}. Correct them (docs/settings.md)", key="kafka")
    source = _source(key)
    unknown = problem.startswith("No such configuration property")
    cure = (
        "librdkafka knows no such setting: correct its name, or remove it"
        if unknown
        else f"librdkafka does not take its value: {problem}. Correct it"
    )
    where = f" ({source})" if source else ""
    return ConfigurationError(f"`kafka.{key}`{where}: {cure} (docs/settings.md)", key=f"kafka.{key}", source=source)


def _problem(kafka: Mapping[str, Any]) -> str:
    """What librdkafka says against these settings, "" for nothing."""
    config: dict[str, Any] = {**kafka, "log_level": 0, "logger": _unheard}
    try:
        AdminClient(config)
    except KafkaException as error:
        text = kafka_error(error).str()
    except (TypeError, ValueError) as error:  # of a kind that confluent-kafka cannot pass on
        text = str(error)
    else:
        return ""
    return " ".join(text.removeprefix("Failed to create admin client: ").split()).rstrip(".")


def _source(key: str) -> str:
    """Where it came from, if the environment has it; a file or an argument leave no trace."""
    variable = ENVIRONMENT + key.replace(".", "_").upper()
    return f"environment variable {variable}" if any(name.upper() == variable for name in os.environ) else ""
