"""How a partition reads an error of its transaction. There are two kinds:

    RecordRejected   the broker or a limit rejected a record: abort, evict, bisect; the guilty
                     run's task fails, and if it is rejected again the run is quarantined
    PartitionReset   anything else (fenced, timeout, ...): the outcome is unknown. Never abort;
                     close the producer and acquire the partition anew

Identity errors never go through abort: a producer id that expired comes back to life by one,
even for a zombie.
"""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from odradek.exceptions import (
    BrokerUnreachableError,
    ClockError,
    DiskFullError,
    OdradekError,
    StateStoreError,
    TopicError,
    TopicMissingError,
    TopicSettingError,
)
from odradek.wire.clean import clean_text

# Errors that speak of a record's content or destination, not of who we are.
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
_FENCED = frozenset(
    {
        KafkaError._FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.INVALID_PRODUCER_ID_MAPPING,
        KafkaError.UNKNOWN_PRODUCER_ID,
    }
)

_PASSING = (
    BrokerUnreachableError,
    DiskFullError,
    StateStoreError,
    TopicMissingError,
    TopicSettingError,
)


class RecordRejected(Exception):
    """A record of the transaction is rejected. `in_transaction`: it was begun, so it has to be
    aborted. `of_engine`: no record, but a defect of the engine.
    """

    def __init__(self, message: str, *, in_transaction: bool, of_engine: bool = False) -> None:
        super().__init__(clean_text(message))  # it becomes part of rows and replies
        self.in_transaction = in_transaction
        self.of_engine = of_engine


class PartitionReset(Exception):
    """Nothing of the last transaction is believed; the partition is acquired anew. `fenced`:
    somebody else may own it, so the group is asked before.
    """

    def __init__(self, message: str, *, fenced: bool = False) -> None:
        super().__init__(message)
        self.fenced = fenced


class TopicUnavailableError(Exception):
    """What every run needs (`results`, `executions`, `state`, a schema) cannot be had now. No
    input or timer is to blame: the partition is reset and tries again.
    """


class Stopping(Exception):
    """The partition has been told to stop."""


def kafka_error(error: KafkaException) -> KafkaError:
    """The KafkaError inside."""
    found: KafkaError = error.args[0]
    return found


def speaks_of_content(error: KafkaError) -> bool:
    """It is about a record or its destination, not about the producer or the cluster."""
    return error.code() in _CONTENT and not error.fatal()


def classify(error: KafkaError) -> RecordRejected | PartitionReset:
    """What an error of a call on the transactional producer means for the partition."""
    if error.code() == KafkaError.INVALID_TIMESTAMP:
        text = str(ClockError("", reason=f"{error.name()}: {error.str()}"))
    else:
        text = f"{error.name()}: {error.str()}"
    if speaks_of_content(error):
        return RecordRejected(text, in_transaction=True)
    return PartitionReset(text, fenced=error.code() in _FENCED)


def forget_frames(error: BaseException) -> None:
    """Drop the frames that raised an error that is kept: they hold what was open then."""
    each: BaseException | None = error
    chain: list[BaseException] = []
    while each is not None and each not in chain:  # two may be each other's cause and context
        chain.append(each)
        each.__traceback__ = None
        each = each.__cause__ or each.__context__


def may_pass(error: OdradekError) -> bool:
    """Whether a retry may mend it: room on the disk, a broker, a topic that metadata did not show,
    a setting of a topic. Rights that were taken away are OdradekError or TopicError themselves.
    """
    return isinstance(error, _PASSING) or type(error) in (OdradekError, TopicError)
