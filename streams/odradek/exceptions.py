"""Every error that Odradek raises, in one tree.

::

    OdradekError (= TemporalError) ├── FailureError                      how workflows and
    activities fail: these travel as `Failure` records │   ├── ApplicationError
    raised by user code, or made from any other exception │   ├── CancelledError
    cancellation seen from outside (workflow code catches asyncio.CancelledError) │   ├──
    TerminatedError               the run was ended from outside, without its consent │   ├──
    TimeoutError                  one of the timeouts of `TimeoutType` ran out │   ├──
    ServerError                   the engine itself failed the operation │   ├── ActivityError
    wrapper: an activity failed, why is its cause │   ├── ChildWorkflowError            wrapper:
    a child workflow failed, why is its cause │   ├── NexusOperationError           wrapper, for
    code that imports the name │   ├── WorkflowAlreadyStartedError   the workflow id is taken │
    ├── ActivityAlreadyStartedError   the activity id is taken │   ├──
    NexusOperationAlreadyStartedError │   └── InvalidVersioningOverrideError ├──
    ConfigurationError                a setting is unknown or has a bad value ├──
    BrokerUnreachableError            no Kafka broker answers at the configured address ├──
    TopicError                        a topic is not what it has to be │   ├── TopicMissingError
    it does not exist and may not be created │   ├── TopicSettingError             a setting of
    it loses records, or takes none │   ├── PartitionCountError           its number of
    partitions changed │   ├── TopicRecreatedError           it was deleted and made anew │   └──
    ClockError                    it does not take records with the time of this machine ├──
    LaneError                         one partition cannot go on; the others do │   ├──
    LaneFencedError               another owner took the partition, or the broker gave up on this
    one │   ├── InputGapError                 records were deleted before they were read │   ├──
    StateStoreError               the local store cannot be read or written │   ├──
    StateFormatError              a state row was written by a newer version │   └──
    DiskFullError                 no room for the local store ├── DuplicateIdentityError
    two processes run under one identity ├── RecordTooLargeError               a record exceeds
    what its topic takes └── DecodeError                       a record's bytes cannot be
    understood

Outside this file, but in the tree: `service.RPCError`, the errors of `client`,
`workflow.NondeterminismError`.

Names, signatures and `str()` of the failure errors are the Temporal Python SDK's. `TimeoutError`
and `CancelledError` are not the builtin and asyncio types of the same name. This module imports
nothing of Odradek but the wire records.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import Any

from odradek.wire.payload import Failure

__all__ = [
    "ActivityAlreadyStartedError",
    "ActivityError",
    "ApplicationError",
    "ApplicationErrorCategory",
    "BrokerUnreachableError",
    "CancelledError",
    "ChildWorkflowError",
    "ClockError",
    "ConfigurationError",
    "DecodeError",
    "DiskFullError",
    "DuplicateIdentityError",
    "FailureError",
    "InputGapError",
    "InvalidVersioningOverrideError",
    "LaneError",
    "LaneFencedError",
    "NexusOperationAlreadyStartedError",
    "NexusOperationError",
    "OdradekError",
    "PartitionCountError",
    "RecordTooLargeError",
    "RetryState",
    "ServerError",
    "StateFormatError",
    "StateStoreError",
    "TemporalError",
    "TerminatedError",
    "TimeoutError",
    "TimeoutType",
    "TopicError",
    "TopicMissingError",
    "TopicRecreatedError",
    "TopicSettingError",
    "WorkflowAlreadyStartedError",
    "is_cancelled_exception",
]


def _rebuild(cls: type[OdradekError], args: tuple[Any, ...]) -> OdradekError:
    error: OdradekError = cls.__new__(cls)
    error.args = args
    return error


class OdradekError(Exception):
    """Base of every error in Odradek."""

    @property
    def cause(self) -> BaseException | None:
        """What led to this error: the same as `__cause__`."""
        return self.__cause__

    def __reduce__(self) -> tuple[Any, ...]:
        # The constructors take keyword-only arguments, which the default way of pickling an
        # exception cannot pass; activities in a process pool raise these errors across a pickle.
        return _rebuild, (type(self), self.args), self.__dict__


TemporalError = OdradekError
"""The same class under the name that code written for Temporal uses."""


# ---------------------------------------------------------------------------------------------------------------------
# How workflows and activities fail


class FailureError(OdradekError):
    """Base of the errors that workflows and activities fail with.

    `failure` is the record this error was made from, `None` when it was raised in this process.
    """

    def __init__(
        self,
        message: str,
        *,
        failure: Failure | None = None,
        exc_args: tuple[Any, ...] | None = None,
    ) -> None:
        super().__init__(*((message,) if exc_args is None else exc_args))
        self._message = message
        self._failure = failure

    @property
    def message(self) -> str:
        """The message alone. `str()` may say more, see `ApplicationError`."""
        return self._message

    @property
    def failure(self) -> Failure | None:
        """The wire record that this error was decoded from, if any."""
        return self._failure


class ApplicationErrorCategory(IntEnum):
    """How serious an application error is. Changes logging and metrics only."""

    UNSPECIFIED = 0
    BENIGN = 1
    """Expected; logged at DEBUG and not counted as a failure in metrics."""


class ApplicationError(FailureError):
    """A failure of user code. Raised by it, or made from any other exception that leaves an activity.

    `type` is what `RetryPolicy.non_retryable_error_types` matches. `non_retryable` ends retries
    at once; `next_retry_delay` replaces the policy's back-off for the next attempt. `str()` is
    `"type: message"` when there is a type; `message` is the message alone. `details` are any
    values that the data converter can carry.
    """

    def __init__(
        self,
        message: str,
        *details: Any,
        type: str | None = None,
        non_retryable: bool = False,
        next_retry_delay: timedelta | None = None,
        category: ApplicationErrorCategory = ApplicationErrorCategory.UNSPECIFIED,
    ) -> None:
        super().__init__(message, exc_args=(f"{type}: {message}" if type else message,))
        self._details = details
        self._type = type
        self._non_retryable = non_retryable
        self._next_retry_delay = next_retry_delay
        self._category = category

    @property
    def details(self) -> Sequence[Any]:
        """What the raiser attached."""
        return self._details

    @property
    def type(self) -> str | None:
        """Kind of error; the class name when made from a plain exception."""
        return self._type

    @property
    def non_retryable(self) -> bool:
        """Whether the raiser forbade retries. A retry policy can still end them when this is
        false.
        """
        return self._non_retryable

    @property
    def next_retry_delay(self) -> timedelta | None:
        """Delay before the next attempt, in place of the policy's back-off."""
        return self._next_retry_delay

    @property
    def category(self) -> ApplicationErrorCategory:
        """How serious the error is, for logs and metrics."""
        return self._category


class CancelledError(FailureError):
    """A workflow or activity was cancelled, as its caller sees it."""

    def __init__(self, message: str = "Cancelled", *details: Any) -> None:
        super().__init__(message)
        self._details = details

    @property
    def details(self) -> Sequence[Any]:
        """What the cancelled side attached."""
        return self._details


class TerminatedError(FailureError):
    """A workflow run was terminated. The message is the reason given."""

    def __init__(self, message: str, *details: Any) -> None:
        super().__init__(message)
        self._details = details

    @property
    def details(self) -> Sequence[Any]:
        """What the terminator attached."""
        return self._details


class TimeoutType(IntEnum):
    """Which timeout ran out."""

    START_TO_CLOSE = 1
    SCHEDULE_TO_START = 2
    SCHEDULE_TO_CLOSE = 3
    HEARTBEAT = 4


class TimeoutError(FailureError):
    """A timeout of a workflow or activity ran out."""

    def __init__(
        self, message: str, *, type: TimeoutType | None, last_heartbeat_details: Sequence[Any]
    ) -> None:
        super().__init__(message)
        self._type = type
        self._last_heartbeat_details = last_heartbeat_details

    @property
    def type(self) -> TimeoutType | None:
        """Which timeout ran out."""
        return self._type

    @property
    def last_heartbeat_details(self) -> Sequence[Any]:
        """Details of the last heartbeat of the activity, if it sent any."""
        return self._last_heartbeat_details


class ServerError(FailureError):
    """The engine, not user code, failed the operation."""

    def __init__(self, message: str, *, non_retryable: bool = False) -> None:
        super().__init__(message)
        self._non_retryable = non_retryable

    @property
    def non_retryable(self) -> bool:
        """Whether trying again is pointless."""
        return self._non_retryable


class RetryState(IntEnum):
    """Why an activity or workflow is not retried any more."""

    IN_PROGRESS = 1
    NON_RETRYABLE_FAILURE = 2
    TIMEOUT = 3
    MAXIMUM_ATTEMPTS_REACHED = 4
    RETRY_POLICY_NOT_SET = 5
    INTERNAL_SERVER_ERROR = 6
    CANCEL_REQUESTED = 7


class ActivityError(FailureError):
    """An activity failed for good. Always a wrapper: `cause` is the ApplicationError,
    TimeoutError or CancelledError.
    """

    def __init__(
        self,
        message: str,
        *,
        scheduled_event_id: int,
        started_event_id: int,
        identity: str,
        activity_type: str,
        activity_id: str,
        retry_state: RetryState | None,
    ) -> None:
        super().__init__(message)
        self._scheduled_event_id = scheduled_event_id
        self._started_event_id = started_event_id
        self._identity = identity
        self._activity_type = activity_type
        self._activity_id = activity_id
        self._retry_state = retry_state

    @property
    def scheduled_event_id(self) -> int:
        """Id of the ActivityTaskScheduled event."""
        return self._scheduled_event_id

    @property
    def started_event_id(self) -> int:
        """Id of the ActivityTaskStarted event."""
        return self._started_event_id

    @property
    def identity(self) -> str:
        """Identity of the service that ran the last attempt."""
        return self._identity

    @property
    def activity_type(self) -> str:
        """Registered name of the activity."""
        return self._activity_type

    @property
    def activity_id(self) -> str:
        """Id of the activity within its run."""
        return self._activity_id

    @property
    def retry_state(self) -> RetryState | None:
        """Why it is not retried any more."""
        return self._retry_state


class ChildWorkflowError(FailureError):
    """A child workflow failed. Always a wrapper: `cause` says how."""

    def __init__(
        self,
        message: str,
        *,
        namespace: str,
        workflow_id: str,
        run_id: str,
        workflow_type: str,
        initiated_event_id: int,
        started_event_id: int,
        retry_state: RetryState | None,
    ) -> None:
        super().__init__(message)
        self._namespace = namespace
        self._workflow_id = workflow_id
        self._run_id = run_id
        self._workflow_type = workflow_type
        self._initiated_event_id = initiated_event_id
        self._started_event_id = started_event_id
        self._retry_state = retry_state

    @property
    def namespace(self) -> str:
        """Namespace of the child."""
        return self._namespace

    @property
    def workflow_id(self) -> str:
        """Workflow id of the child."""
        return self._workflow_id

    @property
    def run_id(self) -> str:
        """Run id of the child."""
        return self._run_id

    @property
    def workflow_type(self) -> str:
        """Registered name of the child's workflow."""
        return self._workflow_type

    @property
    def initiated_event_id(self) -> int:
        """Id of the StartChildWorkflowExecutionInitiated event."""
        return self._initiated_event_id

    @property
    def started_event_id(self) -> int:
        """Id of the ChildWorkflowExecutionStarted event."""
        return self._started_event_id

    @property
    def retry_state(self) -> RetryState | None:
        """Why it is not retried any more."""
        return self._retry_state


class NexusOperationError(FailureError):
    """A Nexus operation failed. Odradek runs no Nexus operations; the name exists so that code
    which handles it imports.
    """

    def __init__(
        self,
        message: str,
        *,
        scheduled_event_id: int,
        endpoint: str,
        service: str,
        operation: str,
        operation_token: str,
    ) -> None:
        super().__init__(message)
        self.scheduled_event_id = scheduled_event_id
        self.endpoint = endpoint
        self.service = service
        self.operation = operation
        self.operation_token = operation_token


class WorkflowAlreadyStartedError(FailureError):
    """The workflow id is taken, by an open run or by a closed one that the id reuse policy protects.

    `run_id` and `first_run_id` name the run that holds the id, when the answer came with them.
    """

    def __init__(
        self,
        workflow_id: str,
        workflow_type: str,
        *,
        run_id: str | None = None,
        first_run_id: str | None = None,
    ) -> None:
        super().__init__("Workflow execution already started")
        self.workflow_id = workflow_id
        self.workflow_type = workflow_type
        self.run_id = run_id
        self.first_run_id = first_run_id


class ActivityAlreadyStartedError(FailureError):
    """The id of an activity started without a workflow is taken."""

    def __init__(self, activity_id: str, activity_type: str, *, run_id: str | None = None) -> None:
        super().__init__("Activity execution already started")
        self.activity_id = activity_id
        self.activity_type = activity_type
        self.run_id = run_id


class NexusOperationAlreadyStartedError(FailureError):
    """The id of a Nexus operation is taken."""

    def __init__(self, operation_id: str, *, run_id: str | None = None) -> None:
        super().__init__("Nexus operation execution already started")
        self.operation_id = operation_id
        self.run_id = run_id


class InvalidVersioningOverrideError(FailureError):
    """A child cannot start because its versioning override is not valid."""

    def __init__(self) -> None:
        super().__init__("Invalid versioning override")


def is_cancelled_exception(exception: BaseException) -> bool:
    """Whether `exception` means "cancelled", in any of the forms in which cancellation reaches
    workflow code.

    These are `asyncio.CancelledError`, `CancelledError`, and an activity, child workflow or
    Nexus error whose cause is a `CancelledError`.
    """
    if isinstance(exception, asyncio.CancelledError | CancelledError):
        return True
    wrapper = isinstance(exception, ActivityError | ChildWorkflowError | NexusOperationError)
    return wrapper and isinstance(exception.__cause__, CancelledError)


# ---------------------------------------------------------------------------------------------------------------------
# What goes wrong around them


class ConfigurationError(OdradekError):
    """A setting is unknown or has a bad value. `key` names it, dotted when nested; `source` says
    where it stands.
    """

    def __init__(self, message: str, *, key: str = "", source: str = "") -> None:
        super().__init__(message)
        self.key = key
        self.source = source


def _can_open() -> bool:
    """Whether this process has a file descriptor left."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno not in (errno.EMFILE, errno.ENFILE)
    return True


class BrokerUnreachableError(OdradekError):
    """No Kafka broker answers. `address` is what was tried, `setting` where that address came
    from.
    """

    def __init__(self, address: str, *, setting: str = "address", reason: str = "") -> None:
        why = f": {reason}" if reason else ""
        cure = (
            f"Start the broker (`odradek dev` runs a local one), or correct `{setting}`; with TLS"
            " or SASL, check the `kafka` settings"
            if os.strerror(errno.EMFILE) not in reason and _can_open()
            else (
                "This process has no file descriptor left to connect with: close clients that are"
                " not used any more (one for a process or event loop is enough), or raise its limit"
                " (`ulimit -n`)"
            )
        )
        super().__init__(
            f"no Kafka broker answers at {address} (from the setting `{setting}`){why}. {cure}"
        )
        self.address = address
        self.setting = setting
        self.reason = reason


class TopicError(OdradekError):
    """A topic is not what it has to be. `topic` names it."""

    def __init__(self, message: str, *, topic: str = "") -> None:
        super().__init__(message)
        self.topic = topic


class TopicMissingError(TopicError):
    """A topic does not exist and may not, or could not, be created. text: what to say instead to
    somebody who only looks.
    """

    def __init__(
        self,
        topic: str,
        *,
        partitions: int | None = None,
        reason: str = "creation is off (`create_topics`)",
        text: str = "",
    ) -> None:
        count = f"{partitions} partitions and " if partitions else ""
        super().__init__(
            text
            or f"topic {topic} does not exist and was not created: {reason}. Create it with {count}the settings of docs/operate.md (Topics made by hand), or set `create_topics` and give this principal the right to create topics",
            topic=topic,
        )
        self.partitions = partitions
        self.reason = reason


class TopicSettingError(TopicError):
    """A topic has a setting with which records are lost, or none are taken. `wanted`: the value
    that mends it.
    """

    def __init__(self, topic: str, *, setting: str, value: str, wanted: str, reason: str) -> None:
        super().__init__(
            f"topic {topic} has {setting}={value}: {reason}. Set it: kafka-configs.sh"
            f" --bootstrap-server ADDRESS --alter --entity-type topics --entity-name {topic}"
            f" --add-config {setting}={wanted} (docs/operate.md, Topics made by hand)",
            topic=topic,
        )
        self.setting = setting
        self.value = value
        self.wanted = wanted
        self.reason = reason


class PartitionCountError(TopicError):
    """A topic's number of partitions is not the one that its state was written with. It is fixed
    for life.

    set_wrong: the state was written for `expected`, and the setting is `found`.  beside_state:
    of an `events` topic with too few, which was not made with its queue: whether the queue has a
    `state` topic.
    """

    def __init__(
        self,
        topic: str,
        *,
        expected: int,
        found: int,
        set_wrong: bool = False,
        beside_state: bool | None = None,
    ) -> None:
        wrong = f"topic {topic} has {found} partitions, but {expected} are expected"
        if set_wrong:
            wrong = (
                f"the state of topic {topic} was written for {expected} partitions, but the setting"
                f" `partitions` is {found}"
            )
        if beside_state is None:
            number = expected if set_wrong else "the number that the topic was made with"
            text = (
                f"{wrong}: the number is fixed for life, since workflow ids are hashed over it. Set"
                f" `partitions` to {number}; to grow, start a new task queue and let the old one"
                " drain"
            )
        else:
            text = f"{wrong}. {_of_a_stranger(topic, expected, found, beside_state)}"
        super().__init__(text, topic=topic)
        self.expected = expected
        self.found = found


def _of_a_stranger(topic: str, expected: int, found: int, beside_state: bool) -> str:
    """What to do with an `events` topic that was not made with its queue."""
    maker = (
        "a broker by itself for whoever wrote first (`auto.create.topics.enable`), or somebody by"
        " hand"
    )
    more = (
        "give it the rest, which keeps what lies in it: kafka-topics.sh --bootstrap-server ADDRESS"
        f" --alter --topic {topic} --partitions {expected}, and the settings of docs/operate.md"
        " (Topics made by hand)"
    )
    if beside_state:
        return (
            f"The queue's `state` has them, so `events` was made anew by {maker}. If no workflow of"
            f" this queue has run yet, {more}. Else its records are gone: restore it from a backup,"
            " or begin again from nothing (`odradek task-queue delete`)"
        )
    return (
        f"The queue has no `state` yet, so {maker}, has made it. To {more}; or delete it, if"
        f" nothing in it is needed: the worker makes it as it has to be. If {found} is what you"
        " want, set `partitions` to it"
    )


class TopicRecreatedError(TopicError):
    """A topic is not the one that the state belongs to: it was deleted and made anew."""

    def __init__(self, topic: str, *, expected_id: str, found_id: str) -> None:
        super().__init__(
            f"topic {topic} was deleted and made anew (topic id {found_id}, the state belongs to"
            f" {expected_id}): its records are gone. Restore the topic from a backup, or, to begin"
            " again from nothing, delete the `state` topic of this task queue too",
            topic=topic,
        )
        self.expected_id = expected_id
        self.found_id = found_id


class ClockError(TopicError):
    """A topic does not take records with the time of this machine: its clock is wrong, or the
    broker's. Nothing was written.
    """

    def __init__(self, topic: str, *, reason: str) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        whose = f"topic {topic}" if topic else "a topic"
        super().__init__(
            f"{whose} refuses records for their time ({reason.rstrip('.')}): the clock of this"
            f" machine says {now}. Set it, or the broker's (NTP): brokers take records up to an"
            " hour ahead of their own clock (`message.timestamp.after.max.ms`), and of any age"
            " unless `message.timestamp.before.max.ms` is set",
            topic=topic,
        )
        self.reason = reason


class LaneError(OdradekError):
    """One partition of a task queue cannot go on; the others do. `topic` and `partition` name it."""

    def __init__(self, message: str, *, topic: str = "", partition: int = -1) -> None:
        super().__init__(f"{topic}[{partition}]: {message}" if topic else message)
        self.topic = topic
        self.partition = partition


class LaneFencedError(LaneError):
    """This process no longer owns the partition, or the broker gave up on its transaction. The
    lane is dropped, never patched up.
    """


class InputGapError(LaneError):
    """Input records were deleted before they were read. Going on would lose them silently, so
    the lane stops.
    """

    def __init__(
        self, *, position: int, log_start: int, topic: str = "", partition: int = -1
    ) -> None:
        super().__init__(
            f"records {position} to {log_start - 1} were deleted before they were read. Check the"
            " retention of the topic (it must have none: retention.ms=-1) and who deletes records"
            " from it; then restore the topic, or accept the loss by moving the position row",
            topic=topic,
            partition=partition,
        )
        self.position = position
        self.log_start = log_start


class StateStoreError(LaneError):
    """The local state store cannot be opened, read or written. `path` names it. copy_of: the
    topic that it is a copy of.
    """

    def __init__(
        self,
        path: str,
        reason: str,
        *,
        topic: str = "",
        partition: int = -1,
        copy_of: str = "state",
    ) -> None:
        super().__init__(
            f"the state store at {path} failed: {reason}. Nothing is lost: the store is a copy of"
            f" the `{copy_of}` topic. Check the directory (setting `state_dir`), its owner and its"
            " disk; an unreadable store may be deleted and is rebuilt",
            topic=topic,
            partition=partition,
        )
        self.path = path
        self.reason = reason


class StateFormatError(LaneError):
    """A row of `state` was written by a newer version. It is refused, not guessed."""

    def __init__(self, *, found: int, supported: int, topic: str = "", partition: int = -1) -> None:
        super().__init__(
            f"a state row has format {found}, this version reads up to {supported}. Run the version"
            " that wrote it, or a newer one",
            topic=topic,
            partition=partition,
        )
        self.found = found
        self.supported = supported


class DiskFullError(LaneError):
    """No room is left for the local state store. The lane stops; nothing is lost."""

    def __init__(self, path: str, *, topic: str = "", partition: int = -1) -> None:
        super().__init__(
            f"no space left on the disk of {path}. The partition stops and nothing is lost: what is"
            " committed stands in Kafka. Free some space, and it goes on within a minute; or move"
            " the store with the setting `state_dir` and start again",
            topic=topic,
            partition=partition,
        )
        self.path = path


class DuplicateIdentityError(OdradekError):
    """Another living process runs under this identity."""

    def __init__(self, identity: str, *, reason: str = "") -> None:
        why = f" ({reason})" if reason else ""
        super().__init__(
            f"another living process uses the identity {identity}{why}. It is made of host name and"
            " state directory (`state_dir`): give machines or containers that are alike names of"
            " their own, or stop the other process"
        )
        self.identity = identity


class RecordTooLargeError(OdradekError):
    """A record exceeds what its topic takes. Sizes in bytes; `limit` 0: not known. `setting`
    names the limit to raise.
    """

    def __init__(
        self,
        topic: str,
        *,
        size: int,
        limit: int,
        what: str = "a record",
        setting: str = "max.message.bytes",
    ) -> None:
        takes = (
            f"the {limit} bytes that topic {topic} takes" if limit else f"what topic {topic} takes"
        )
        super().__init__(
            f"{what} of {size} bytes exceeds {takes} (`{setting}`). Raise `{setting}` on the topic,"
            " compress with a payload codec, or pass a reference instead of the data"
        )
        self.topic = topic
        self.size = size
        self.limit = limit
        self.setting = setting


class DecodeError(OdradekError):
    """A record's bytes cannot be understood. It goes to the dead letters with this message.
    `offset` -1: not known.
    """

    def __init__(
        self, message: str, *, topic: str = "", partition: int = -1, offset: int = -1
    ) -> None:
        super().__init__(f"{topic}[{partition}]@{offset}: {message}" if topic else message)
        self.topic = topic
        self.partition = partition
        self.offset = offset
