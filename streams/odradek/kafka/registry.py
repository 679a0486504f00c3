"""Confluent framing with a schema registry: the codec's `Framing` over Confluent's client (extra
`odradek[registry]`).

Subjects are record names (`odradek.StartWorkflow`, Confluent's RecordNameStrategy), since a
topic holds records of many kinds. Both calls block on HTTP; a process makes each once a record
type or id, whatever number of codecs it has. Without a registry nothing here is used.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from odradek.exceptions import BrokerUnreachableError, ConfigurationError, OdradekError
from odradek.kafka.settings import KafkaSettings
from odradek.wire.codec import Codec, SchemaLookup
from odradek.wire.errors import WireError
from odradek.wire.schema import NAMESPACE, RECORD_TYPES, RecordType, schema_json

logger = logging.getLogger("odradek.kafka")

_NOT_FOUND, _SERVER_ERROR = 404, 500
_PASSING = (408, 429)  # and every server error
_INCOMPATIBLE = (
    "If it calls the schema incompatible, a newer version was registered that this one cannot read"
)
#: What to do about a refusal, by HTTP status.
_CURES = {
    401: "Correct user and password in `schema_registry_url`",
    403: "Give its user the right to register schemas",
    404: "Correct `schema_registry_url`",
    409: _INCOMPATIBLE,
    422: _INCOMPATIBLE,
}
#: Confluent's client would wait for an answer for ever and try again with pauses of seconds. Those
#: who call it have something else to do.
_CLIENT_OPTIONS = {"timeout": 2, "max.retries": 0}
#: After a failure no id is asked for so long: callers meet it once a record.
_BACK_OFF_S = 1.0
#: ... and for so many times as long as the failure took. Whoever asks stands meanwhile with all
#: that he does besides (an activity service's only thread), and may not lose more than a small part
#: of his time to a registry that takes connections and says nothing.
_BACK_OFF_TIMES = 15
_BACK_OFF_MAX_S = 60.0
#: After an id that it does not have, unknown ids count as absent for so many times as long as the
#: answer took: forged ids cost a tenth of their reader's time. A sound writer registers first.
_ABSENT_TIMES = 9
_ABSENT_MAX_S = 10.0
_ID_BITS = 32


class SchemaRegistryUnreachableError(BrokerUnreachableError, WireError):
    """The registry fails or does not answer, which passes: whoever bears a broker that is away
    bears this. Whether a record can be read is not known meanwhile, so that nothing is refused
    for it (no UndecodableRecord). It names the URL without its user and password.
    """

    def __init__(self, url: str, reason: str) -> None:
        for one in filter(
            None, (part.rstrip("/") for part in _each(url))
        ):  # the client tells of one
            reason = reason.replace(one, _without_user(one))
        url = _without_user(url)
        OdradekError.__init__(
            self,
            f"schema registry {url} does not answer: {reason}. Start it, or correct"
            " `schema_registry_url` or `ODRADEK_SCHEMA_REGISTRY_URL`",
        )
        self.address, self.setting, self.reason = url, "schema_registry_url", reason


class RegistryFraming:
    """A registry as the codec needs it, for several codecs and threads. Raises
    ConfigurationError without the extra, SchemaRegistryUnreachableError.

    url: the setting `schema_registry_url`.  options: more of Confluent's client settings
    (`basic.auth.user.info`, `ssl.ca.location`). client: a ready client, for tests.  clock:
    seconds, monotonic.
    """

    def __init__(
        self,
        url: str,
        options: dict[str, Any] | None = None,
        *,
        client: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._client = client if client is not None else _new_client(url, options or {})
        self._clock = clock
        self._failure: tuple[float, str] | None = None  # when it may be asked again, what it was
        self._ids: dict[RecordType, int] = {}
        self._asking = {record_type: threading.Lock() for record_type in RECORD_TYPES}
        self._schemas: dict[int, str] = {}
        self._absent_until = 0.0  # until then unknown ids count as absent

    def schema_id(self, record_type: RecordType) -> int:
        """Register our schema of a record (a registry answers with the id it has, if it has it)
        and give its id. OdradekError when it refuses. That is asked at a start, which nothing
        stands behind: also soon after a failure.
        """
        with self._asking[record_type]:
            if record_type not in self._ids:
                found = self._ids[record_type] = self._register(record_type)
                self._schemas[found] = schema_json(record_type)
            return self._ids[record_type]

    def _register(self, record_type: RecordType) -> int:
        from confluent_kafka.schema_registry import Schema
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        subject, began = f"{NAMESPACE}.{record_type.__name__}", self._clock()
        try:
            found = self._client.register_schema(subject, Schema(schema_json(record_type), "AVRO"))
        except SchemaRegistryError as error:
            status = error.http_status_code
            if status >= _SERVER_ERROR or status in _PASSING:
                raise self._away(error, began) from error
            told = f"schema registry {_without_user(self._url)} refuses {subject}: {error}"
            raise OdradekError(". ".join(filter(None, (told, _CURES.get(status))))) from error
        except Exception as error:  # of whichever HTTP library the client has today
            raise self._away(error, began) from error
        if not isinstance(found, int):
            raise self._away(f"it gives {subject} the id {found!r}", began)
        if not 0 <= found < 1 << _ID_BITS:
            raise OdradekError(
                f"schema registry {_without_user(self._url)} gives {subject} the id {found}, which"
                f" has more than {_ID_BITS} bits"
            )
        return found

    def find_by_id(self, schema_id: int) -> str | None:
        """The schema of an id, None when the registry does not have it."""
        if schema_id not in self._schemas:
            began = self._clock()
            if began < self._absent_until:
                return None
            self._check()
            found = self._find(schema_id, began)
            if found is None:
                now = self._clock()
                self._absent_until = now + min(_ABSENT_TIMES * (now - began), _ABSENT_MAX_S)
                return None
            self._schemas[schema_id] = found
        return self._schemas[schema_id]

    def _find(self, schema_id: int, began: float) -> str | None:
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            found = self._client.get_schema(schema_id).schema_str
        except SchemaRegistryError as error:
            if error.http_status_code == _NOT_FOUND:
                return None
            raise self._away(error, began) from error
        except Exception as error:  # of whichever HTTP library the client has today
            raise self._away(error, began) from error
        if not isinstance(found, str):  # a proxy's answer, say: no word about the record
            self._client.clear_caches()  # it would say so for ever
            raise self._away(f"it gives id {schema_id} the schema {found!r}", began)
        return found

    def _check(self) -> None:
        if self._failure is not None and self._clock() < self._failure[0]:
            raise SchemaRegistryUnreachableError(self._url, self._failure[1])

    def _away(self, error: Exception | str, began: float) -> SchemaRegistryUnreachableError:
        self._failure = (self._again_at(_BACK_OFF_S, _BACK_OFF_MAX_S, began), str(error))
        return SchemaRegistryUnreachableError(self._url, str(error))

    def _again_at(self, at_least_s: float, at_most_s: float, began: float) -> float:
        """When it may be asked again, since asking it from `began` on came to nothing."""
        now = self._clock()
        return now + min(max(at_least_s, _BACK_OFF_TIMES * (now - began)), at_most_s)


#: By process and URL, as long as a codec has it: who asks for what another one has learnt, or found
#: away, has that. A process and its fork share no connection.
_registries: weakref.WeakValueDictionary[tuple[int, str], RegistryFraming] = (
    weakref.WeakValueDictionary()
)


def make_codec(settings: KafkaSettings, lookup: SchemaLookup | None = None) -> Codec:
    """The codec that the settings ask for: Confluent framing with `schema_registry_url`, else
    single-object framing.

    lookup: where schemas of foreign fingerprints are found (`SchemasTopic`); wanted with a
    registry too, as readers accept both.
    """
    url = settings.schema_registry_url
    return Codec(_registry(url) if url else None, lookup)


def _registry(url: str) -> RegistryFraming:
    key = os.getpid(), url
    found = _registries.get(key)
    if found is None:
        found = _registries[key] = RegistryFraming(
            url
        )  # of two that come at once, one stays alone: it asks what the other asks
    return found


def _each(urls: str) -> list[str]:
    """The registries of the setting, as Confluent's client takes them apart."""
    return [url.strip() for url in urls.split(",")]


def _without_user(urls: str) -> str:
    """One URL or several as logs and answers may have them."""
    try:
        parts = [urlsplit(url) for url in _each(urls)]
        return ",".join(
            one._replace(netloc=one.netloc.rpartition("@")[2]).geturl() for one in parts
        )
    except ValueError:  # no URL: the client has said so when it was made
        return "at `schema_registry_url`"


def _new_client(url: str, options: dict[str, Any]) -> Any:
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient
    except ImportError as error:
        raise ConfigurationError(
            "`schema_registry_url` needs Confluent's registry client: pip install"
            f" 'odradek[registry]' ({error})",
            key="schema_registry_url",
        ) from error
    return SchemaRegistryClient.new_client({"url": url, **_CLIENT_OPTIONS, **options})
