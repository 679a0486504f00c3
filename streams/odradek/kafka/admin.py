"""Topics, offsets and purging: what hosts and clients ask of a cluster beside records.

All methods block (asyncio code runs them in a thread), may be called from any thread, and raise
our errors (`odradek.exceptions`): no broker, no right, no topic. Must never hold an opinion
about records or positions.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ListOffsetsResultInfo,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from odradek.exceptions import (
    OdradekError,
    PartitionCountError,
    TopicMissingError,
)
from odradek.kafka.client_config import (
    admin_config,
    check_kafka_settings,
    consumer_config,
    topics_of,
)
from odradek.kafka.clients import ConfluentKafka, KafkaClients
from odradek.kafka.errors import UNREACHABLE, kafka_error, missing_acl, translate, unreachable
from odradek.kafka.settings import KafkaSettings
from odradek.weak_method import weak_method
from odradek.wire.topic_configs import topic_config

logger = logging.getLogger("odradek.kafka")

T = TypeVar("T")

#: Takes a partition and its end, or why there is none.
EndAnswer = Callable[[int, "int | Exception"], None]

REQUEST_TIMEOUT_S = (
    10.0  # a broker that restarts is back in less; a wrong address is told from it by then
)
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
# between looks at a topic that was just created: metadata reaches the brokers one after another
_RETRY_PAUSE_S = 0.05
# how much later than the first broker that showed a topic the last one does, on a busy cluster
_SEEN_LATE_S = 5.0
_RETRIABLE = frozenset(
    {
        KafkaError._NOENT,  # "no leaders found": between two leaders
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,  # this client knows the leader's time before a restart
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    }
)
# Answers to a creation that only the cluster's owner can change.
_MAY_NOT_CREATE = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.POLICY_VIOLATION,
    }
)
_CANNOT_CREATE = frozenset(
    {
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_PARTITIONS,
    }
)
DEFAULT_MAX_MESSAGE_BYTES = 1_048_588  # of a topic, where nothing else is set
_ANSWER_GRACE_S = 5.0  # beyond the timeout, by which librdkafka answers: for a busy machine


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """What a topic is. `topic_id` changes when it is deleted and made anew. `rights`: what this
    principal may do; None: not told. `replicas`: of the partition that has the fewest; 0: not
    told.
    """

    name: str
    topic_id: str
    partitions: int
    rights: frozenset[str] | None = field(default=None, compare=False)
    replicas: int = field(default=0, compare=False)

    def require(self, *rights: str) -> TopicFacts:
        """Itself, if the principal has these rights (`Read`, `Write`, `Delete`,
        `DescribeConfigs`); TopicError with the ACL it lacks.
        """
        for right in rights:
            if self.rights is not None and right not in self.rights:
                raise missing_acl(right, "topic", self.name)
        return self


def limit_in(settings: Mapping[str, str]) -> int:
    """`max.message.bytes` among the settings of a topic; Kafka's default where a broker does not
    tell it.
    """
    return int(settings.get("max.message.bytes") or DEFAULT_MAX_MESSAGE_BYTES)


class ClusterAdmin:
    """An AdminClient under the settings' names and rights. Opens no connection before the first call.

    Raises ConfigurationError for `kafka` settings that librdkafka does not take.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        clients: KafkaClients | None = None,
    ) -> None:
        self.clients = clients or ConfluentKafka()
        self._settings = settings
        self._timeout_s = request_timeout_s
        self._seen: dict[str, float] = {}  # topic -> when it was last there, on the monotonic clock
        # the last thing librdkafka said about the brokers: the cause behind a bare time-out
        self._reason = ""
        check_kafka_settings(settings)  # whoever uses a cluster has one of these first
        self._admin = self.clients.admin(
            admin_config(settings) | {"error_cb": weak_method(self._on_error)}
        )
        self._readers: dict[
            str, Consumer
        ] = {}  # group id -> who asks for its offsets; none of them is a member
        self._readers_lock = threading.Lock()
        self.topics = topics_of(settings)

    def close(self) -> None:
        """Its threads and connections end with the object. The last call."""
        with self._readers_lock:
            self._readers.clear()

    # --- the cluster

    def cluster_id(self) -> str:
        """Identity of the cluster. Also the way to see whether a broker answers: raises
        BrokerUnreachableError with the cause.
        """
        future = self._admin.describe_cluster(request_timeout=self._timeout_s)
        described = self._result(future, what="describe the cluster")
        return str(described.cluster_id)

    def topic_names(self) -> list[str]:
        """Every topic of the cluster that this principal may see."""
        try:
            return sorted(self._admin.list_topics(timeout=self._timeout_s).topics)
        except KafkaException as error:
            raise self._error(error, what="list topics") from error

    # --- topics

    def describe(self, topics: Iterable[str]) -> dict[str, TopicFacts]:
        """Those of the topics that exist. One that was there a moment ago is looked for again:
        brokers of a cluster learn of a new topic one after another, and any of them may answer.
        """
        names = list(dict.fromkeys(topics))
        while True:
            found = self._describe(names)
            self._seen.update(dict.fromkeys(found, time.monotonic()))
            if not any(self._seen_lately(name) for name in names if name not in found):
                return found
            time.sleep(_RETRY_PAUSE_S)

    def _describe(self, names: list[str]) -> dict[str, TopicFacts]:
        if not names:
            return {}
        futures = self._admin.describe_topics(
            TopicCollection(names),
            request_timeout=self._timeout_s,
            include_authorized_operations=True,
        )
        found = {}
        for name in names:
            try:
                described = self._result(futures.pop(name), topic=name, what="describe")
            except TopicMissingError:
                continue
            if described.partitions:
                rights = _rights(described.authorized_operations)
                replicas = min(len(partition.replicas) for partition in described.partitions)
                found[name] = TopicFacts(
                    name, str(described.topic_id), len(described.partitions), rights, replicas
                )
        return found

    def _seen_lately(self, topic: str) -> bool:
        return time.monotonic() - self._seen.get(topic, -_SEEN_LATE_S) < _SEEN_LATE_S

    def ensure(self, topics: Iterable[str]) -> dict[str, TopicFacts]:
        """Have the topics, creating what is missing by `topic_config`; whoever comes first wins,
        the others take what they find.

        Names must be ours (`Topics`).  Raises TopicMissingError where `create_topics` is off or
        an ACL forbids it.
        """
        names = list(dict.fromkeys(topics))
        return self._make_missing(names, self.describe(names))

    def _make_missing(
        self, names: list[str], found: dict[str, TopicFacts]
    ) -> dict[str, TopicFacts]:
        missing = [name for name in names if name not in found]
        if not missing:
            return found
        if not self._settings.create_topics:
            raise TopicMissingError(
                missing[0], partitions=self._new_topic(missing[0]).num_partitions
            )
        self._create([self._new_topic(name) for name in missing])
        return found | self._wait_for(missing)

    def ensure_queue(self, task_queue: str) -> tuple[TopicFacts, TopicFacts]:
        """`events` and `state` of a queue, created if missing; their partitions must be the
        setting's number, see `check_partitions`.
        """
        events, state = names = [self.topics.events(task_queue), self.topics.state(task_queue)]
        found = self.describe(names)
        if (
            events in found
            and state not in found
            and found[events].partitions < self._settings.partitions
        ):
            # Before a `state` is made that rules out one of the cures.
            raise PartitionCountError(
                events,
                expected=self._settings.partitions,
                found=found[events].partitions,
                beside_state=False,
            )
        found = self._make_missing(names, found)
        self.check_partitions(found[events], found[state])
        return found[events], found[state]

    def check_partitions(self, events: TopicFacts, state: TopicFacts) -> None:
        """Workflow ids of the queue are hashed over the setting's number of partitions. Raises
        PartitionCountError, naming both numbers: never a silent re-hash.
        """
        count = self._settings.partitions
        if state.partitions != count:
            raise PartitionCountError(state.name, expected=count, found=state.partitions)
        if events.partitions != count:
            raise PartitionCountError(
                events.name, expected=count, found=events.partitions, beside_state=True
            )

    def max_message_bytes(self, topics: Iterable[str]) -> dict[str, int]:
        """`max.message.bytes` of topics that exist; compare with `odradek.wire.record_size`."""
        return {name: limit_in(settings) for name, settings in self.topic_settings(topics).items()}

    def tombstone_retention_ms(self, topic: str) -> int:
        """`delete.retention.ms` of a compacted topic that exists: a reader that was away for
        longer may have missed tombstones.
        """
        return int(self.topic_settings([topic])[topic]["delete.retention.ms"])

    def topic_settings(self, topics: Iterable[str]) -> dict[str, dict[str, str]]:
        """Every setting of topics that exist, defaults included."""
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in dict.fromkeys(topics)]
        if not resources:
            return {}
        while True:
            futures = self._admin.describe_configs(resources, request_timeout=self._timeout_s)
            try:
                found = {
                    r.name: self._result(futures.pop(r), topic=r.name, what="describe its settings")
                    for r in resources
                }
                return {
                    name: {key: each.value for key, each in settings.items()}
                    for name, settings in found.items()
                }
            except TopicMissingError as error:
                self._await_showing(error)

    # --- offsets

    def end_offsets(
        self, topic: str, partitions: Iterable[int], *, committed: bool
    ) -> dict[int, int]:
        """Ends of partitions.

        committed: the last stable offset, where read_committed readers stop; otherwise behind
        the last record, whatever its fate. A restore and a timer need the *uncommitted* end: the
        other one hides what stands behind an open transaction.
        """
        isolation = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        return self._offsets(topic, partitions, _LATEST, isolation_level=isolation)

    def ask_ends(
        self, topic: str, partitions: Iterable[int], answer: EndAnswer, *, timeout_s: float
    ) -> None:
        """Have `answer(partition, end)` called for each partition, on a thread of librdkafka,
        with its *uncommitted* end or the reason why there is none. Does not wait for the
        cluster, and does not try again.

        Partitions of one call have one fate where librdkafka cannot reach a leader: all of them
        fail then, when `timeout_s` is over.
        """
        wanted = {TopicPartition(topic, partition): _LATEST for partition in partitions}
        asked = self._admin.list_offsets(
            wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=timeout_s
        )

        def tell(partition: int, done: Future[ListOffsetsResultInfo]) -> None:
            answer(partition, self._end_or_reason(done, topic))

        for place, future in asked.items():
            future.add_done_callback(partial(tell, place.partition))

    def _end_or_reason(self, done: Future[ListOffsetsResultInfo], topic: str) -> int | Exception:
        try:
            return self._known(self._result(done, topic=topic, what="list offsets").offset)
        except Exception as error:
            return error

    def refresh(self, topic: str) -> None:
        """Have librdkafka learn leaders and epochs of a topic again: by itself it asks every five
        minutes. Never raises: the request that is tried again will say what is wrong.
        """
        try:
            self._admin.list_topics(topic, timeout=self._timeout_s)
        except KafkaException as error:
            logger.debug("%s cannot be looked up: %s", topic, error)

    def start_offsets(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """First offset of each partition that has not been deleted."""
        return self._offsets(topic, partitions, _EARLIEST)

    def committed_offsets(
        self, group_id: str, topic: str, partitions: Iterable[int]
    ) -> dict[int, int]:
        """Offsets that a group has committed; partitions without one are left out.

        Asked through a consumer that never joins: over a restart of the broker an AdminClient
        that asks a coordinator may stay without an answer for ever (librdkafka 2.16.0), and over
        the next one it aborts the process.
        """
        wanted = [TopicPartition(topic, partition) for partition in partitions]
        deadline_s = time.monotonic() + self._timeout_s
        while True:
            with self._readers_lock:
                reader = self._readers.get(group_id)
                if reader is None:
                    config = consumer_config(self._settings, group_id)
                    reader = self._readers[group_id] = self.clients.consumer(config)
            try:
                answer = reader.committed(wanted, timeout=max(0.1, deadline_s - time.monotonic()))
                failed = next((place.error for place in answer if place.error is not None), None)
                if failed is not None:
                    raise KafkaException(failed)
                return {place.partition: place.offset for place in answer if place.offset >= 0}
            except KafkaException as error:
                with self._readers_lock:
                    self._readers.pop(group_id, None)  # the next one connects again
                try:  # a broker that is back a moment ago coordinates no group yet
                    self._pause_or_raise(error, deadline_s)
                except KafkaException:
                    what = f"read the offsets of group {group_id}"
                    raise self._error(error, what=what) from error

    def delete_records(self, before: Mapping[tuple[str, int], int]) -> dict[tuple[str, int], int]:
        """Delete records before an offset, by (topic, partition); the new start of each. Reaches
        past open transactions: purge only behind committed positions.
        """
        deadline_s = time.monotonic() + self._timeout_s
        starts: dict[tuple[str, int], int] = {}
        while len(starts) < len(before):
            rest = [place for place in before if place not in starts]
            futures = self._admin.delete_records(
                [TopicPartition(*place, before[place]) for place in rest],
                request_timeout=self._timeout_s,
                operation_timeout=self._timeout_s,
            )
            for place in list(futures):
                try:
                    deleted = self._result(
                        futures.pop(place), topic=place.topic, what="delete records"
                    )
                    starts[place.topic, place.partition] = deleted.low_watermark
                except KafkaException as error:
                    self._pause_or_raise(error, deadline_s)
        return starts

    def configure_group(self, group_id: str, settings: Mapping[str, str]) -> None:
        """Set what a group has on the broker (`share.isolation.level`, ...). Needs AlterConfigs
        on the group, unless it is set already.
        """
        entries = [
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
            for name, value in settings.items()
        ]
        resource = ConfigResource(ConfigResource.Type.GROUP, group_id, incremental_configs=entries)
        futures = self._admin.incremental_alter_configs([resource], request_timeout=self._timeout_s)
        try:
            self._result(futures.pop(resource), what=f"set the settings of group {group_id}")
        except OdradekError as error:
            if not _is_refused_group(error):
                raise
            if not self._has_group_settings(group_id, settings):
                raise missing_acl(
                    "AlterConfigs", "group", group_id, reason="Group authorization failed"
                ) from error
        except KafkaException as error:
            wanted = ", ".join(f"{name}={value}" for name, value in settings.items())
            reason = kafka_error(error).str().rstrip(".")
            raise OdradekError(
                f"Kafka refuses the settings {wanted} of group {group_id} ({reason}): share groups"
                " need Kafka 4.2, and limits of the broker (`group.share.*`) that leave room for"
                " them; `activity_group: classic` needs none"
            ) from error

    def _has_group_settings(self, group_id: str, settings: Mapping[str, str]) -> bool:
        """Whether somebody with more rights has set them."""
        resource = ConfigResource(ConfigResource.Type.GROUP, group_id)
        futures = self._admin.describe_configs([resource], request_timeout=self._timeout_s)
        try:
            found = self._result(
                futures.pop(resource), what=f"read the settings of group {group_id}"
            )
        except OdradekError as error:
            if _is_refused_group(error):
                return False
            raise
        return all(name in found and found[name].value == value for name, value in settings.items())

    # --- removing

    def delete_topics(self, topics: Iterable[str]) -> list[str]:
        """Delete topics for good; those that were there. Returns once none shows any more.
        Raises TopicError where an ACL forbids it.
        """
        names = list(self.describe(topics))
        if not names:
            return []
        futures = self._admin.delete_topics(
            names, request_timeout=self._timeout_s, operation_timeout=self._timeout_s
        )
        for name, future in futures.items():
            try:
                self._result(future, topic=name, what="delete")
            except TopicMissingError:
                continue  # somebody else came first
        deadline_s = time.monotonic() + self._timeout_s
        while self._describe(names):
            if time.monotonic() > deadline_s:
                raise unreachable(
                    self._settings,
                    f"{', '.join(names)}: deleted, but still to be seen after"
                    f" {self._timeout_s:g} s",
                )
            time.sleep(_RETRY_PAUSE_S)
        for name in names:
            self._seen.pop(name, None)
        return names

    def delete_groups(self, group_ids: Iterable[str]) -> list[str]:
        """Delete consumer groups with their offsets; those that were there. Groups with members
        are left alone.
        """
        wanted = list(dict.fromkeys(group_ids))
        deleted = []
        for group_id, future in self._admin.delete_consumer_groups(
            wanted, request_timeout=self._timeout_s
        ).items():
            try:
                self._result(future, what=f"delete group {group_id}")
                deleted.append(group_id)
            except KafkaException as error:
                if kafka_error(error).code() not in (
                    KafkaError.GROUP_ID_NOT_FOUND,
                    KafkaError.NON_EMPTY_GROUP,
                ):
                    raise
        return deleted

    # --- inside

    def _new_topic(self, name: str) -> NewTopic:
        parsed = self.topics.parse(name)
        if parsed is None:
            raise ValueError(
                f"{name} is no topic of Odradek under the prefix {self._settings.topic_prefix!r}"
            )
        retention_ms = int(self._settings.results_retention.total_seconds() * 1_000)
        config = topic_config(
            parsed.kind, partitions=self._settings.partitions, results_retention_ms=retention_ms
        )
        return NewTopic(
            name, config.partitions, self._settings.replication_factor, config=config.settings
        )

    def _create(self, new: list[NewTopic]) -> None:
        futures = self._admin.create_topics(
            new, request_timeout=self._timeout_s, operation_timeout=self._timeout_s
        )
        for topic in new:
            try:
                self._result(futures.pop(topic.topic), what="create topics")
            except (KafkaException, OdradekError) as error:
                cause = error if isinstance(error, KafkaException) else error.__cause__
                if not isinstance(cause, KafkaException):
                    raise
                inner = kafka_error(cause)
                if inner.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                    continue  # somebody else came first
                if inner.code() in _MAY_NOT_CREATE:
                    reason = f"this principal may not create it ({inner.str()})"
                elif inner.code() in _CANNOT_CREATE:
                    reason = f"Kafka refuses: {inner.str()}"
                else:
                    raise
                raise TopicMissingError(
                    topic.topic, partitions=topic.num_partitions, reason=reason
                ) from error

    def _wait_for(self, names: list[str]) -> dict[str, TopicFacts]:
        """Until a created topic shows: its metadata reaches each broker a moment later."""
        deadline_s = time.monotonic() + self._timeout_s
        while True:
            found = self.describe(names)
            missing = [name for name in names if name not in found]
            if not missing:
                return found
            if time.monotonic() > deadline_s:
                raise TopicMissingError(
                    missing[0], reason=f"created, but not to be seen after {self._timeout_s:g} s"
                )
            time.sleep(_RETRY_PAUSE_S)

    def _offsets(
        self, topic: str, partitions: Iterable[int], spec: OffsetSpec, **options: Any
    ) -> dict[int, int]:
        wanted = [TopicPartition(topic, partition) for partition in partitions]
        found: dict[int, int] = {}
        deadline_s = time.monotonic() + self._timeout_s
        while len(found) < len(wanted):  # a new leader is met with a retriable error
            rest = {place: spec for place in wanted if place.partition not in found}
            left_s = max(_RETRY_PAUSE_S, deadline_s - time.monotonic())
            futures = self._admin.list_offsets(rest, request_timeout=left_s, **options)
            for place in rest:
                try:
                    found[place.partition] = self._known(
                        self._result(futures.pop(place), topic=topic, what="list offsets").offset
                    )
                except TopicMissingError as error:
                    self._await_showing(error)
                except KafkaException as error:
                    code = kafka_error(error).code()
                    if code == KafkaError._NOENT and topic not in self.describe([topic]):
                        raise TopicMissingError(topic, reason="it was to be read") from error
                    self._pause_or_raise(error, deadline_s)
                    self.refresh(topic)
        return found

    def _await_showing(self, error: TopicMissingError) -> None:
        """Pause, if the topic was there a moment ago (`describe`). Else raises the error."""
        if not self._seen_lately(error.topic):
            raise error
        time.sleep(_RETRY_PAUSE_S)

    def _known(self, offset: int) -> int:
        if (
            offset < 0
            # so says librdkafka (2.16.1) that the time is over; an end there would lie before
            # everything
        ):
            raise unreachable(self._settings, self._reason or "no answer in time")
        return offset

    def _pause_or_raise(self, error: KafkaException, deadline_s: float) -> None:
        inner = kafka_error(error)
        if inner.code() not in _RETRIABLE:
            raise error
        if (
            time.monotonic() > deadline_s
        ):  # a partition without a leader, a group without a coordinator: brokers are away
            raise unreachable(self._settings, f"{inner.name()}: {inner.str()}") from error
        time.sleep(_RETRY_PAUSE_S)

    def _result(self, future: Future[T], *, topic: str = "", what: str) -> T:
        try:
            return future.result(timeout=self._timeout_s + _ANSWER_GRACE_S)
        except KafkaException as error:
            raise self._error(error, topic=topic, what=what) from error
        except TimeoutError as error:
            raise unreachable(self._settings, self._reason or "no answer in time") from error
        finally:
            # it has the error, whose traceback has this frame and with it all callers': a ring, and
            # this client is in it
            del future

    def _error(self, error: KafkaException, *, topic: str = "", what: str = "") -> Exception:
        self._admin.poll(0)  # serves _on_error
        inner = kafka_error(error)
        if inner.code() in UNREACHABLE:
            timed_out = inner.code() == KafkaError._TIMED_OUT
            reason = self._reason if timed_out and self._reason else inner.str()
            return unreachable(self._settings, reason)
        return translate(error, self._settings, topic=topic, what=what)

    def _on_error(self, error: KafkaError) -> None:
        if (
            error.code() != KafkaError._ALL_BROKERS_DOWN or not self._reason
        ):  # says less than what came before it
            self._reason = error.str()


def _is_refused_group(error: OdradekError) -> bool:
    cause = error.__cause__
    return (
        isinstance(cause, KafkaException)
        and kafka_error(cause).code() == KafkaError.GROUP_AUTHORIZATION_FAILED
    )


def _rights(operations: Iterable[Any] | None) -> frozenset[str] | None:
    """Operations as ACLs name them. None where the broker does not tell."""
    names = frozenset(operation.name.title().replace("_", "") for operation in operations or ())
    return names or None
