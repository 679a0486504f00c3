"""Confluent framing with a schema registry: the codec's `Framing` over Confluent's client (extra `odradek[registry]`).

Subjects are record names (`odradek.StartWorkflow`, Confluent's RecordNameStrategy), since a topic holds records of many kinds. Both calls
block on HTTP; the codec makes each once a record type or id. Without a registry nothing here is used.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from odradek.exceptions import BrokerUnreachableError, ConfigurationError, OdradekError
from odradek.kafka.settings import KafkaSettings
from odradek.wire.codec import Codec, SchemaLookup
from odradek.wire.errors import WireError
from odradek.wire.schema import NAMESPACE, RecordType, schema_json

logger = logging.getLogger("odradek.kafka")

_NOT_FOUND, _SERVER_ERROR = 404, 500
#: Confluent's client would wait for an answer for ever and try again with pauses of seconds. Those who call it have something else to do.
_CLIENT_OPTIONS = {"timeout": 2, "max.retries": 0}
#: After a failure it is not asked again for so long: callers meet it once a record.
_BACK_OFF_S = 1.0


class SchemaRegistryUnreachableError(BrokerUnreachableError, WireError):
    """The registry fails or does not answer, which passes: whoever bears a broker that is away bears this. Whether a record can be read is
    not known meanwhile, so that nothing is refused for it (no UndecodableRecord). It names the URL without its user and password."""

    def __init__(self, url: str, reason: str) -> None:
        for one in filter(None, (part.rstrip("/") for part in _each(url))):  # the client tells of one
            reason = reason.replace(one, _without_user(one))
        url = _without_user(url)
        OdradekError.__init__(
            self,
            f"schema registry {url} does not answer: {reason}. Start it, or correct `schema_registry_url` or `ODRADEK_SCHEMA_REGISTRY_URL`",
        )
        self.address, self.setting, self.reason = url, "schema_registry_url", reason


class RegistryFraming:
    """A registry as the codec needs it. Raises ConfigurationError without the extra, SchemaRegistryUnreachableError.

    url: the setting `schema_registry_url`.  options: more of Confluent's client settings (`basic.auth.user.info`, `ssl.ca.location`).
    client: a ready client, for tests.  clock: seconds, monotonic.
    """

    def __init__(
        self, url: str, options: dict[str, Any] | None = None, *, client: Any = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._client = client if client is not None else _new_client(url, options or {})
        self._clock = clock
        self._failure: tuple[float, str] | None = None  # when it may be asked again, what it was

    def schema_id(self, record_type: RecordType) -> int:
        """Register our schema of a record (a registry answers with the id it has, if it has it) and give its id. OdradekError when it
        refuses."""
        from confluent_kafka.schema_registry import Schema
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        subject = f"{NAMESPACE}.{record_type.__name__}"
        self._check()
        try:
            return int(self._client.register_schema(subject, Schema(schema_json(record_type), "AVRO")))
        except SchemaRegistryError as error:
            if error.http_status_code >= _SERVER_ERROR:
                raise self._away(error) from error
            raise OdradekError(
                f"schema registry {_without_user(self._url)} refuses {subject}: {error}. If it calls the schema incompatible, a newer"
                " version was registered that this one cannot read"
            ) from error
        except Exception as error:  # of whichever HTTP library the client has today
            raise self._away(error) from error

    def find_by_id(self, schema_id: int) -> str | None:
        """The schema of an id, None when the registry does not have it."""
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        self._check()
        try:
            return str(self._client.get_schema(schema_id).schema_str)
        except SchemaRegistryError as error:
            if error.http_status_code == _NOT_FOUND:
                return None
            raise self._away(error) from error
        except Exception as error:  # of whichever HTTP library the client has today
            raise self._away(error) from error

    def _check(self) -> None:
        if self._failure is not None and self._clock() < self._failure[0]:
            raise SchemaRegistryUnreachableError(self._url, self._failure[1])

    def _away(self, error: Exception) -> SchemaRegistryUnreachableError:
        self._failure = (self._clock() + _BACK_OFF_S, str(error))
        return SchemaRegistryUnreachableError(self._url, str(error))


def make_codec(settings: KafkaSettings, lookup: SchemaLookup | None = None) -> Codec:
    """The codec that the settings ask for: Confluent framing with `schema_registry_url`, else single-object framing.

    lookup: where schemas of foreign fingerprints are found (`SchemasTopic`); wanted with a registry too, as readers accept both.
    """
    url = settings.schema_registry_url
    return Codec(RegistryFraming(url) if url else None, lookup)


def _each(urls: str) -> list[str]:
    """The registries of the setting, as Confluent's client takes them apart."""
    return [url.strip() for url in urls.split(",")]


def _without_user(urls: str) -> str:
    """One URL or several as logs and answers may have them."""
    try:
        parts = [urlsplit(url) for url in _each(urls)]
        return ",".join(one._replace(netloc=one.netloc.rpartition("@")[2]).geturl() for one in parts)
    except ValueError:  # no URL: the client has said so when it was made
        return "at `schema_registry_url`"


def _new_client(url: str, options: dict[str, Any]) -> Any:
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient
    except ImportError as error:
        raise ConfigurationError(
            f"`schema_registry_url` needs Confluent's registry client: pip install 'odradek[registry]' ({error})",
            key="schema_registry_url",
        ) from error
    return SchemaRegistryClient.new_client({"url": url, **_CLIENT_OPTIONS, **options})
