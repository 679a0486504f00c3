"""Windows and checkpoints into the topic. Blocks: on threads of its own."""

from __future__ import annotations

from collections.abc import Sequence

from odradek.config import Settings
from odradek.kafka.client_config import topics_of
from odradek.kafka.errors import unreachable
from odradek.kafka.producer import PlainProducer
from odradek.kafka.schemas_topic import SchemasTopic
from odradek.wire.codec import Codec
from odradek.wire.headers import headers_for
from odradek.wire.schema import WINDOW_TYPES
from odradek.wire.windows import Window, WindowsCheckpoint, key_of

_DELIVERED_S = 30.0


class WindowsPublisher:
    """Has a producer only while it publishes: once a minute, for some milliseconds."""

    def __init__(self, settings: Settings, codec: Codec, schemas: SchemasTopic) -> None:
        self._settings = settings
        self._codec = codec
        self._schemas = schemas
        self._topic = topics_of(settings).windows

    def publish(self, records: Sequence[Window | WindowsCheckpoint]) -> None:
        """Returns when all are durable. Raises what the first one that is not met."""
        failures: list[BaseException] = []
        with PlainProducer(self._settings) as producer:
            self._schemas.publish(producer, WINDOW_TYPES)
            for record in records:
                value, headers = self._codec.encode(record), headers_for(record)
                producer.produce(
                    self._topic,
                    key_of(record),
                    value,
                    headers,
                    on_delivery=lambda error: failures.append(error) if error else None,
                )
            left = producer.flush(_DELIVERED_S)
            if left:
                raise unreachable(
                    self._settings,
                    f"{left} windows could not be written to {self._topic} in {_DELIVERED_S:g} s",
                )
        if failures:
            raise failures[0]
