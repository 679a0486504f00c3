"""Asking a cluster of which a broker is away: which of several requests was answered, and the
error that says that others are there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any, TypeVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import ListOffsetsResultInfo

from odradek.exceptions import BrokerUnreachableError, OdradekError
from odradek.kafka.errors import ADDRESS_SETTING, UNREACHABLE, kafka_error

K = TypeVar("K")
T = TypeVar("T")


class BrokerAwayError(BrokerUnreachableError):
    """The broker that a request is for does not answer; others of the cluster do."""

    def __init__(self, address: str, *, reason: str = "") -> None:
        why = f": {reason}" if reason else ""
        OdradekError.__init__(
            self,
            f"a Kafka broker that is needed does not answer, others at {address} do{why}. Try"
            " again",
        )
        self.address, self.setting, self.reason = address, ADDRESS_SETTING, reason


def first_answered(
    asked: Iterable[Mapping[K, Future[T]]], until_s: float
) -> Mapping[K, Future[T]] | None:
    """The first of these requests that a broker has answered, whatever it said. None: not by
    this time of the monotonic clock.
    """
    while True:
        waiting: list[Future[T]] = []
        for futures in asked:
            undone = [future for future in futures.values() if not future.done()]
            if not undone and not any(map(_nobody_answered, futures.values())):
                return futures
            waiting += undone
        left_s = until_s - time.monotonic()
        if not waiting or left_s <= 0:
            return None
        wait(waiting, timeout=left_s, return_when=FIRST_COMPLETED)


def given_up() -> Future[Any]:
    """In the place of one that librdkafka has left without an answer."""
    future: Future[Any] = Future()
    future.set_exception(TimeoutError())
    return future


def _nobody_answered(done: Future[Any]) -> bool:
    error = done.exception()
    if isinstance(error, KafkaException):
        return kafka_error(error).code() in UNREACHABLE
    # An offset of -1: see `ClusterAdmin._known`.
    return (
        error is None
        and isinstance(found := done.result(), ListOffsetsResultInfo)
        and found.offset < 0
    )
