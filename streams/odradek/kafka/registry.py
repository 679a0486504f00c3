"""Confluent framing with a schema registry: the codec's `Framing` over Confluent's client (extra `odradek[registry]`).

Subjects are record names (`odradek.StartWorkflow`, Confluent's RecordNameStrategy), since a topic holds records of many kinds. Both calls
block on HTTP; the codec makes each once a record type or id. Without a registry nothing here is used.
"""

from __future__ import annotations

import logging
from typing import Any

from odradek.exceptions import ConfigurationError, OdradekError
from odradek.kafka.settings import KafkaSettings
from odradek.wire.codec import Codec, SchemaLookup
from odradek.wire.schema import NAMESPACE, RecordType, schema_json

logger = logging.getLogger("odradek.kafka")

_NOT_FOUND = 404


class RegistryFraming:
    """A registry as the codec needs it. Raises ConfigurationError without the extra, OdradekError when the registry fails.

    url: the setting `schema_registry_url`.  options: more of Confluent's client settings (`basic.auth.user.info`, `ssl.ca.location`).
    client: a ready client, for tests.
    """

    def __init__(self, url: str, options: dict[str, Any] | None = None, *, client: Any = None) -> None:
        self._url = url
        self._client = client if client is not None else _new_client(url, options or {})

    def schema_id(self, record_type: RecordType) -> int:
        """Register our schema of a record (a registry answers with the id it has, if it has it) and give its id."""
        from confluent_kafka.schema_registry import Schema
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        subject = f"{NAMESPACE}.{record_type.__name__}"
        try:
            return int(self._client.register_schema(subject, Schema(schema_json(record_type), "AVRO")))
        except SchemaRegistryError as error:
            raise OdradekError(
                f"schema registry {self._url} refuses {subject}: {error}. If it calls the schema incompatible, a newer version was"
                " registered that this one cannot read"
            ) from error
        except Exception as error:  # of whichever HTTP library the client has today
            raise self._unreachable(error) from error

    def find_by_id(self, schema_id: int) -> str | None:
        """The schema of an id, None when the registry does not have it."""
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            return str(self._client.get_schema(schema_id).schema_str)
        except SchemaRegistryError as error:
            if error.http_status_code == _NOT_FOUND:
                return None
            raise OdradekError(f"schema registry {self._url} fails for id {schema_id}: {error}") from error
        except Exception as error:  # of whichever HTTP library the client has today
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> OdradekError:
        return OdradekError(
            f"schema registry {self._url} does not answer: {error}."
            " Start it, or correct `schema_registry_url` or `ODRADEK_SCHEMA_REGISTRY_URL`"
        )


def make_codec(settings: KafkaSettings, lookup: SchemaLookup | None = None) -> Codec:
    """The codec that the settings ask for: Confluent framing with `schema_registry_url`, else single-object framing.

    lookup: where schemas of foreign fingerprints are found (`SchemasTopic`); wanted with a registry too, as readers accept both.
    """
    url = settings.schema_registry_url
    return Codec(RegistryFraming(url) if url else None, lookup)


def _new_client(url: str, options: dict[str, Any]) -> Any:
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient
    except ImportError as error:
        raise ConfigurationError(
            f"`schema_registry_url` needs Confluent's registry client: pip install 'odradek[registry]' ({error})",
            key="schema_registry_url",
        ) from error
    return SchemaRegistryClient.new_client({"url": url, **options})
