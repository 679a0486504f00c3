"""In the place of a client of librdkafka that was closed.

librdkafka's clients end their threads and connections with the object, not by a call. Whoever
closes one of ours drops it for this, so that they end then, and not when the garbage collector
comes to whoever still holds ours.
"""

from __future__ import annotations

from typing import NoReturn

from confluent_kafka import KafkaError, KafkaException


class Closed:
    """As a producer it has nothing on the way: a `flush` or `purge` that comes with the close
    finds that. Every other call raises KafkaException (`_DESTROY`).
    """

    def __len__(self) -> int:
        return 0

    def flush(self, timeout: float = -1) -> int:
        return 0

    def purge(self, **_: bool) -> None:
        pass

    def __getattr__(self, name: str) -> NoReturn:
        raise KafkaException(KafkaError(KafkaError._DESTROY, f"{name}: this client is closed"))
