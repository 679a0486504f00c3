"""Why records of a transaction failed, when the commit, or a later record's produce, says only
that some did.

librdkafka refuses a commit with `_INCONSISTENT` ("see individual delivery reports") when a
record failed that it had queued already: a partition that is not there, found out once the
topic's metadata came. A report of every record costs the lane at all times, so they are asked
for after such a commit only; the lane comes back to the same inputs, and the report then names
the cause. A record that comes after a refused one is refused with `_STATE`, which says no more;
where the lane waits for some of its records before it produces others, each has a report.
"""

from __future__ import annotations

from collections.abc import Callable

from confluent_kafka import KafkaError, KafkaException, Message

from odradek.processor.errors import (
    Dropped,
    Refused,
    classify,
    dropped_over,
    kafka_error,
    refused_over,
    speaks_of_content,
)

REPORTED_TRANSACTIONS = (
    200  # with reports, after a commit that named no cause; the guilty input is among the next
)

Report = Callable[[KafkaError | None, Message], None]


class DeliveryReports:
    """Of one lane; outlives its producers."""

    def __init__(self) -> None:
        self._left = 0
        self._failure: KafkaError | None = None

    def begin(self, *, several_parts: bool = False) -> Report | None:
        """A transaction begins. What to give its records as `on_delivery`."""
        self._failure = None
        if self._left:
            self._left -= 1
            return self.note
        return self.note if several_parts else None

    def note(self, error: KafkaError | None, message: Message) -> None:
        """A report. The first failure is the cause; what follows was purged because of it."""
        if error is not None and self._failure is None:
            self._failure = error

    def classify(self, error: KafkaException) -> Refused | Dropped:
        """As `errors.classify`, and what names no cause by the reports."""
        if kafka_error(error).code() not in (KafkaError._INCONSISTENT, KafkaError._STATE):
            return classify(error)
        failure = self._failure
        if failure is not None and speaks_of_content(failure):
            return refused_over(failure)
        self._left = REPORTED_TRANSACTIONS
        return classify(error) if failure is None else dropped_over(failure)
