"""Odradek's records for services that do not import odradek: written from `docs/wire.md` and the
`.avsc` files alone. Topic names, Avro framings, the schema registry, published schemas.

Avro single-object encoding: C3 01, the CRC-64-AVRO fingerprint of the writer's schema, the body.
Or, with a schema registry, Confluent's framing: 00, the schema's id (4 bytes), the body.
"""

from __future__ import annotations

import io
import json
import time
from base64 import b64encode
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote
from urllib.request import Request, urlopen

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

# fastavro's C reader follows a chain of failures without a limit, to the end of the process.
from fastavro._read_py import schemaless_reader
from fastavro.schema import fingerprint, to_parsing_canonical_form

MARKER, MARKED_BYTES = b"\xc3\x01", 10
REGISTERED, REGISTERED_BYTES = b"\x00", 5
SCHEMAS_FOLDER = Path(__file__).resolve().parent.parent / "schemas"
PUBLISHED_WITHIN_SECONDS = 30.0
TOPICS_WITHIN_SECONDS = 20.0


class NotReadable(Exception):
    """The bytes are no record that these schemas can read."""


class RegistryAway(Exception):
    """The registry does not answer. What needs it waits; nothing is rejected for it."""


def escape(name: str) -> str:
    """Everything but ASCII letters, digits and `-` as `_` and two hex digits a byte."""
    return "".join(
        c if c.isascii() and (c.isalnum() or c == "-") else "".join(f"_{b:02x}" for b in c.encode())
        for c in name
    )


def topic(kind: str, namespace: str, task_queue: str = "") -> str:
    """`results`, `members`, ... of a namespace; `events`, `commands`, ... of a task queue."""
    queue = f".{escape(task_queue)}" if task_queue else ""
    return f"odradek.{escape(namespace)}{queue}.{kind}"


class Schemas:
    """The contract's schemas, and what is learnt of others. `address`, `namespace`: where writers
    publish theirs; "" to know only ours. `registry_url`: with one, records are written with its
    ids. Every method may block; any thread.
    """

    def __init__(
        self,
        address: str = "",
        namespace: str = "default",
        registry_url: str | None = None,
        folder: Path = SCHEMAS_FOLDER,
    ) -> None:
        self._address = address
        self._topic = topic("schemas", namespace)
        self._registry = Registry(registry_url) if registry_url else None
        self._raw: dict[str, Any] = {}
        self._ours: dict[str, Any] = {}
        self._prefixes: dict[str, bytes] = {}
        self._by_prefix: dict[bytes, Any] = {}
        for file in sorted(folder.glob("*.avsc")):
            raw = json.loads(file.read_text())
            name, prefix = str(raw["name"]), _marked(raw)
            self._raw[name], self._prefixes[name] = raw, prefix
            self._ours[name] = self._by_prefix[prefix] = fastavro.parse_schema(raw)

    def encode(self, name: str, fields: dict[str, Any]) -> bytes:
        """One record; fields left out have the schema's defaults. Raises RegistryAway."""
        if self._registry is not None and self._prefixes[name][:1] != REGISTERED:
            number = self._registry.id_of(f"odradek.{name}", self._raw[name])
            self._prefixes[name] = REGISTERED + number.to_bytes(REGISTERED_BYTES - 1)
        out = io.BytesIO(self._prefixes[name])
        out.seek(0, io.SEEK_END)
        fastavro.schemaless_writer(out, self._ours[name], fields)
        return out.getvalue()

    def decode(self, data: bytes) -> tuple[str, dict[str, Any]]:
        """Record name and fields as our schema of that name has them. Raises NotReadable,
        RegistryAway.
        """
        prefix = data[: REGISTERED_BYTES if data[:1] == REGISTERED else MARKED_BYTES]
        written = self._by_prefix.get(prefix) or self._learn(prefix)
        name = str(written["name"]).rpartition(".")[2]
        try:
            record: Any = schemaless_reader(
                io.BytesIO(data[len(prefix) :]), written, self._ours.get(name)
            )
        except Exception as error:
            raise NotReadable(f"not an Avro body of {name}: {error}") from error
        return name, record

    def _learn(self, prefix: bytes) -> Any:
        if prefix[:1] == REGISTERED and len(prefix) == REGISTERED_BYTES and self._registry:
            raw = self._registry.schema_of(int.from_bytes(prefix[1:]))
            if raw is not None:
                self._by_prefix[prefix] = fastavro.parse_schema(raw)
        elif prefix[:2] == MARKER and self._address:
            self._read_published(prefix)
        if prefix not in self._by_prefix:
            raise NotReadable(f"unknown schema: the record begins with {prefix.hex()}")
        return self._by_prefix[prefix]

    def _read_published(self, prefix: bytes) -> None:
        """A newer writer publishes its schemas before its first record."""
        consumer = Consumer(
            {
                "bootstrap.servers": self._address,
                "group.id": "odradek.readers",  # a name that the client wants; nobody joins it
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
            }
        )
        deadline = time.monotonic() + PUBLISHED_WITHIN_SECONDS
        with closing(consumer):
            consumer.assign([TopicPartition(self._topic, 0, OFFSET_BEGINNING)])
            while prefix not in self._by_prefix and time.monotonic() < deadline:
                message = consumer.poll(0.2)
                value = message.value() if message is not None and not message.error() else None
                try:
                    if value:
                        raw = json.loads(self.decode(value)[1]["schema"])
                        self._by_prefix[_marked(raw)] = fastavro.parse_schema(raw)
                except Exception as error:  # it must not hide those behind it
                    print(f"a published schema cannot be read: {error}", flush=True)


class Registry:
    """Confluent's HTTP API. User and password of the URL are sent, and stand in no error."""

    def __init__(self, url: str) -> None:
        scheme, separator, rest = url.rstrip("/").rpartition("://")
        user, _, place = rest.rpartition("@")
        self._url = f"{scheme}{separator}{place}"
        self._user = unquote(user)

    def schema_of(self, number: int) -> Any:
        """The schema with that id; None when there is none."""
        found = self._request(f"/schemas/ids/{number}")
        return None if found is None else json.loads(found["schema"])

    def id_of(self, subject: str, schema: Any) -> int:
        """Register a schema, if need be; its id."""
        body = json.dumps({"schema": json.dumps(schema), "schemaType": "AVRO"}).encode()
        found = self._request(f"/subjects/{subject}/versions", body)
        if found is None:
            raise RegistryAway(f"schema registry {self._url} does not know {subject}")
        return int(found["id"])

    def _request(self, path: str, body: bytes | None = None) -> Any:
        request = Request(
            self._url + path, body, {"Content-Type": "application/vnd.schemaregistry.v1+json"}
        )
        if self._user:
            credentials = b64encode(self._user.encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {credentials}")
        try:
            with urlopen(request, timeout=2.0) as answer:
                return json.loads(answer.read())
        except Exception as error:
            if isinstance(error, HTTPError) and error.code == 404:
                return None
            raise RegistryAway(f"schema registry {self._url} does not answer: {error}") from error


def ensure_topics(address: str, *topics: NewTopic, expected: tuple[str, ...] = ()) -> None:
    """Create topics that are missing, and wait until they and `expected` ones show: Faust does
    not look again for a topic that comes later. Raises KafkaException, TimeoutError.
    """
    admin = AdminClient({"bootstrap.servers": address, "allow.auto.create.topics": False})
    for future in admin.create_topics(list(topics)).values() if topics else ():
        try:
            future.result(TOPICS_WITHIN_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
    missing = {new.topic for new in topics} | set(expected)
    deadline = time.monotonic() + TOPICS_WITHIN_SECONDS
    while missing:
        found = admin.list_topics(timeout=TOPICS_WITHIN_SECONDS).topics
        missing = {name for name in missing if not _has_leaders(found.get(name))}
        if missing and time.monotonic() > deadline:
            raise TimeoutError(f"topics do not show: {', '.join(sorted(missing))}")
        time.sleep(0.1 if missing else 0)


def _has_leaders(found: Any) -> bool:
    return (
        found is not None
        and bool(found.partitions)
        and all(partition.leader >= 0 for partition in found.partitions.values())
    )


def _marked(raw: Any) -> bytes:
    return MARKER + bytes.fromhex(fingerprint(to_parsing_canonical_form(raw), "CRC-64-AVRO"))
