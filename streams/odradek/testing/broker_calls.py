"""What clients of a simulated Kafka share: the fault hook around each call, messages, futures.

Same names, arguments, return types and errors; callbacks are served by the same calls as there.
A client belongs to a process (a name): what happens to a process happens to all its clients.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar, cast

from confluent_kafka import (
    TIMESTAMP_CREATE_TIME,
    KafkaError,
    KafkaException,
    Message,
)

from odradek.testing.broker_state import (
    Cluster,
    Place,
    Record,
)

Call = TypeVar("Call", bound=Callable[..., Any])
Report = Callable[[KafkaError | None, Message], object]


class Host(Protocol):
    """The process that clients belong to."""

    cluster: Cluster
    clients: list[Any]
    hook: Callable[[Any, str, tuple[Any, ...], bool], None] | None
    check: Callable[[], None]  # raises in a process that is dead

    def wait(self, event: threading.Event, seconds: float) -> None: ...

    def sleep(self, seconds: float) -> None: ...

    def next_member_id(self, instance_id: str) -> str: ...


def call(method: Call) -> Call:
    """A call of a client: the fault hook sees it before and after, and may raise or wait."""
    name = method.__name__

    @functools.wraps(method)
    def hooked(self: Any, *args: Any, **kwargs: Any) -> Any:
        process: Host = self.process
        if process.hook is None:
            return method(self, *args, **kwargs)
        process.hook(self, name, args, False)
        result = method(self, *args, **kwargs)
        process.hook(self, name, args, True)
        return result

    return cast(Call, hooked)


def error_of(error: KafkaException) -> KafkaError:
    found = error.args[0]
    assert isinstance(found, KafkaError)
    return found


def message(place: Place, record: Record, error: KafkaError | None = None) -> Message:
    return Message(
        topic=place[0],
        partition=place[1],
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=cast(Any, record.headers or None),
        timestamp=(TIMESTAMP_CREATE_TIME, record.time_ms),
        error=error,
    )


def done(result: Any) -> Future[Any]:
    """A future that is: of a result, or of a KafkaException."""
    future: Future[Any] = Future()
    if isinstance(result, KafkaException):
        future.set_exception(result)
    else:
        future.set_result(result)
    return future
