"""How a lane reads an error of its transaction. The taxonomy is the design:

    Refused     the broker or a limit refused a record: abort, evict, go on in halves; the guilty
    run's task fails, refused again it is held Dropped     anything else (fenced, producer id
    unknown, outcome unknown, timeout): no abort, nothing is believed, own anew;
                most of them speak of the cluster, so no input is ever blamed for it, however
                often it comes back
    Stopping    the partition is given back or the process drains: leave, nothing is half done

Identity errors never go through abort: a producer id that expired comes back to life by one,
even for a zombie.
"""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from odradek.exceptions import ClockError
from odradek.kafka.errors import FORBIDDEN, UNAUTHENTICATED, UNREACHABLE
from odradek.wire.clean import clean_text

# Errors that speak of a record's content or destination, not of who we are. Everything that is not
# listed drops the lane.
_CONTENT = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
        KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
        KafkaError.POLICY_VIOLATION,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError._UNKNOWN_PARTITION,
        KafkaError._INVALID_ARG,
    }
)


class Refused(Exception):
    """A record of the transaction is refused. `in_transaction`: it was begun, so it has to be
    aborted. `of_records`: what the engine's step made cannot be written, so the step may be done
    again with the workflow task failing for it. `too_large`: says the broker, of a batch;
    whether a record of it is too large by itself is another matter.
    """

    def __init__(
        self,
        message: str,
        *,
        in_transaction: bool,
        of_records: bool = False,
        too_large: bool = False,
    ) -> None:
        super().__init__(clean_text(message))  # it becomes part of rows and replies
        self.in_transaction = in_transaction
        self.of_records = of_records or in_transaction
        self.too_large = too_large


class Dropped(Exception):
    """The lane is dropped. `fenced`: somebody else may own the partition, so the group is asked
    before it is owned anew. `blameless`: it says something of the cluster, nothing of the inputs
    at hand; otherwise owners that make no progress become careful.
    """

    def __init__(self, message: str, *, fenced: bool = False, blameless: bool = False) -> None:
        super().__init__(message)
        self.fenced = fenced
        self.blameless = blameless


class TooMuch(Exception):
    """What the inputs of a transaction made is more than one should hold: nothing is wrong with
    it, it is done again in halves.
    """


class Stopping(Exception):
    """The lane has been told to stop."""


_FENCED = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
        KafkaError.UNKNOWN_PRODUCER_ID,
    }
)

# Rights, topics that are gone, brokers that do not answer or may not write: they pass, or somebody
# mends them. What librdkafka calls retriable is one of them too.
_CLUSTER = (
    _FENCED
    | set(FORBIDDEN)
    | UNREACHABLE
    | UNAUTHENTICATED
    | {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,
        KafkaError._MSG_TIMED_OUT,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.NOT_ENOUGH_REPLICAS,
        KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        KafkaError.KAFKA_STORAGE_ERROR,
        # a clock is wrong, or a topic wants records younger than ours get: of every record alike
        KafkaError.INVALID_TIMESTAMP,
    }
)


def kafka_error(error: KafkaException) -> KafkaError:
    """The KafkaError inside."""
    found: KafkaError = error.args[0]
    return found


def speaks_of_content(error: KafkaError) -> bool:
    """It is about a record or its destination, not about the producer or the cluster."""
    return error.code() in _CONTENT and not error.fatal()


def classify(error: KafkaException) -> Refused | Dropped:
    """What an error of a call on the transactional producer means for the lane."""
    inner = kafka_error(error)
    return refused_over(inner) if speaks_of_content(inner) else dropped_over(inner)


def refused_over(error: KafkaError) -> Refused:
    """An error of a record in a transaction that was begun."""
    return Refused(
        _text(error), in_transaction=True, too_large=error.code() == KafkaError.MSG_SIZE_TOO_LARGE
    )


def dropped_over(error: KafkaError) -> Dropped:
    """An error that is nobody's content."""
    blameless = error.code() in _CLUSTER or error.retriable()
    return Dropped(_text(error), fenced=error.code() in _FENCED, blameless=blameless)


def _text(error: KafkaError) -> str:
    if error.code() == KafkaError.INVALID_TIMESTAMP:
        return str(ClockError("", reason=f"{error.name()}: {error.str()}"))
    return f"{error.name()}: {error.str()}"
