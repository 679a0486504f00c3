"""The transport over Kafka: requests to `events` of a task queue, replies from `replies`, owners
from `members`.

One producer, one thread that reads replies, and, once something is slow, one that reads
`members`. Topics are looked at (and created, where that is allowed) with the first request to a
queue.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
import time
import uuid
from collections.abc import Sequence
from functools import partial
from typing import get_args

from confluent_kafka import KafkaException

from odradek.client.abandoned import close_soon
from odradek.client.members import MembersReader
from odradek.client.reply_reader import ReplyReader
from odradek.client.transport import SILENCE_S, OnDelivery, OnOwners, OnReplies, Owner
from odradek.client.unapplied import queues_with_requests
from odradek.config import Settings
from odradek.exceptions import ClockError, OdradekError, RecordTooLargeError, TopicMissingError
from odradek.kafka.admin import ClusterAdmin, TopicFacts
from odradek.kafka.clients import ConfluentKafka, KafkaClients
from odradek.kafka.producer import PlainProducer
from odradek.kafka.registry import make_codec
from odradek.kafka.schemas_topic import SchemasTopic
from odradek.kafka.upkeep import TopicUpkeep
from odradek.service import RPCError, RPCStatusCode
from odradek.weak_method import weak_method
from odradek.wire.codec import Codec
from odradek.wire.errors import UnencodableRecord, WireError
from odradek.wire.events import Event
from odradek.wire.headers import headers_for
from odradek.wire.outcomes import MemberStatus, Reply
from odradek.wire.partitioner import partition_for
from odradek.wire.topics import EVENTS

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
MEMBERS_TIMEOUT_S = 5.0
# A queue in use is looked at again after this: somebody may have deleted it, and made it anew with
# another number of partitions.
LOOK_AGAIN_S = 10.0
# And after this where something is slow: a producer keeps a record for a topic that is gone for
# half a minute before it says so.
LOOK_SLOW_S = 2.0
# Why the latest reply could not be read is told to those who go without one for so long.
_UNREAD_S = 15.0
# What a record takes beside key and value: framing of the batch and of the record, header names and
# values.
_RECORD_OVERHEAD = 512

_open: set[KafkaTransport] = set()
_open_lock = threading.Lock()


class KafkaTransport:
    """See `Transport`."""

    def __init__(
        self,
        settings: Settings,
        *,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        codec: Codec | None = None,
        clients: KafkaClients | None = None,
    ) -> None:
        self._settings = settings
        self._clients = clients or ConfluentKafka()
        self._connect_timeout_s = connect_timeout_s
        self._client_id = uuid.uuid4().hex
        self._admin = ClusterAdmin(
            settings, request_timeout_s=connect_timeout_s, clients=self._clients
        )
        self._topics = self._admin.topics
        self._schemas = SchemasTopic(settings, self._admin, clients=self._clients)
        self._codec = codec or make_codec(settings, self._schemas)
        self._queues: dict[str, _Queue] = {}
        self._topic_ids: dict[str, str] = {}  # of `events`, as the producer knows them
        self._ever_served: set[str] = set()
        self._producer: PlainProducer | None = None
        self._replies: ReplyReader | None = None
        self._members: MembersReader | None = None
        self._shared: list[TopicFacts] = []  # as they were at the start
        self._upkeep: TopicUpkeep | None = None
        self._in_doubt_until = 0.0  # monotonic: until members have had time to say something
        self._unread: tuple[float, str] | None = (
            None  # until when, monotonic, and why the latest reply could not be read
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_replies: OnReplies | None = None
        self._on_owners: OnOwners | None = None
        self._preparing: dict[str, asyncio.Task[None]] = {}
        self._looking: set[asyncio.Task[None]] = set()
        self._closed = False
        self._pid = os.getpid()

    @property
    def client_id(self) -> str:
        """Key of this client's records in `replies`."""
        return self._client_id

    @property
    def address(self) -> str:
        """Bootstrap servers."""
        return self._settings.address

    async def open(
        self, loop: asyncio.AbstractEventLoop, on_replies: OnReplies, on_owners: OnOwners
    ) -> None:
        """See `Transport.open`."""
        self._loop, self._on_replies, self._on_owners = loop, on_replies, on_owners
        await asyncio.to_thread(self._open)

    def _open(self) -> None:
        topics = self._topics
        self._admin.cluster_id()  # the quickest way to see that nobody answers
        found = self._admin.ensure(
            [topics.replies, topics.members, topics.schemas, topics.results, topics.executions]
        )
        for topic in (topics.replies, topics.members):
            found[topic].require("Read")
        self._shared = [found[topic] for topic in (topics.replies, topics.members, topics.schemas)]
        partition = partition_for(self._client_id.encode(), found[topics.replies].partitions)
        assert self._loop is not None
        self._replies = ReplyReader(
            self._settings,
            topics.replies,
            partition,
            self._client_id.encode(),
            partial(_end_of, self._admin, topics.replies, committed=False),
            self._loop,
            weak_method(self._readable),
            weak_method(self._deliver),
            weak_method(self._gap),
            self._clients,
        )
        self._producer = PlainProducer(self._settings, clients=self._clients)
        with _open_lock:
            forsaken = [other for other in _open if other.is_forsaken]
            _open.add(self)
        for other in forsaken:
            close_soon(other)
        self._schemas.open()  # with a registry too: readers accept both framings
        if self._settings.schema_registry_url is None:
            self._schemas.publish(self._producer, get_args(Event))
        else:
            self._codec.prepare(
                (*get_args(Event), Reply, MemberStatus)
            )  # a registry is asked now, not in the middle

    # --- queues

    def prepared(self, task_queue: str) -> bool:
        """See `Transport.prepared`."""
        return task_queue in self._queues

    async def prepare(self, task_queue: str, *, create: bool) -> None:
        """See `Transport.prepare`. Calls for one queue that come together share one look."""
        task = self._preparing.get(task_queue)
        if task is None or not create:
            task = asyncio.get_running_loop().create_task(self._prepare(task_queue, create))
            if create:
                self._preparing[task_queue] = task
                task.add_done_callback(lambda _: self._preparing.pop(task_queue, None))
        try:
            await asyncio.shield(task)
        finally:
            del task  # its error has this frame in its traceback: a ring, and the channel is in it

    async def _prepare(self, task_queue: str, create: bool) -> None:
        self._queues[task_queue] = await asyncio.to_thread(self._look, task_queue, create)

    def _look_again(self, task_queue: str, queue: _Queue, after_s: float) -> None:
        """See, beside what is sent, whether the topic is still the one that is known. What
        cannot be seen now is as it was.
        """
        now = time.monotonic()
        if (
            self._looking or now - queue.looked_at <= after_s
        ):  # one at a time: where brokers hang, each keeps a thread for seconds
            return
        queue.looked_at = now
        task = asyncio.get_running_loop().create_task(self._check(task_queue, queue))
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    async def _check(self, task_queue: str, queue: _Queue) -> None:
        try:
            facts = (await asyncio.to_thread(self._admin.describe, [queue.events])).get(
                queue.events
            )
            if facts is not None and facts.topic_id == queue.topic_id:
                return
            logger.info(
                "task queue %r was deleted%s",
                task_queue,
                "" if facts is None else ", and made anew",
            )
            found = (
                None if facts is None else await asyncio.to_thread(self._look, task_queue, False)
            )
        except (KafkaException, OdradekError) as error:
            logger.debug("task queue %r cannot be looked at: %s", task_queue, error)
            return
        self._forget(task_queue, queue)
        if found is not None:
            self._queues.setdefault(task_queue, found)
        self._tell_owners({task_queue})  # what is on its way to the former one is asked again

    def _forget(self, task_queue: str, queue: _Queue) -> None:
        """Its topic is gone, or another: it is looked up anew before the next request."""
        if self._queues.get(task_queue) is queue:
            del self._queues[task_queue]
            self._topic_ids[queue.events] = (
                ""  # the producer learns of it anew then, whatever it is
            )
        self._ever_served.discard(task_queue)

    def _look(self, task_queue: str, create: bool) -> _Queue:
        events = self._topics.events(task_queue)
        facts = self._admin.describe([events]).get(events)
        if facts is None:
            if not create:
                raise TopicMissingError(
                    events, reason="no worker and no start has ever used this task queue"
                )
            facts = self._admin.ensure([events, self._topics.state(task_queue)])[events]
        limit = self._admin.max_message_bytes([facts.require("Write", "DescribeConfigs").name])[
            events
        ]
        if self._producer is not None:
            self._producer.limits[events] = limit
            if self._topic_ids.setdefault(events, facts.topic_id) != facts.topic_id:
                self._topic_ids[events] = facts.topic_id
                self._producer.refresh(events, self._connect_timeout_s)
        return _Queue(facts, limit)

    # --- sending

    def send(self, task_queue: str, record: Event, on_delivery: OnDelivery | None) -> None:
        """See `Transport.send`."""
        assert (
            self._producer is not None and self._loop is not None and self._replies is not None
        ), "not open"
        self._replies.begin()
        queue = self._queues.get(task_queue)
        if queue is None:
            raise TopicMissingError(self._topics.events(task_queue), reason="it was deleted")
        self._look_again(task_queue, queue, LOOK_AGAIN_S)
        try:
            value = self._codec.encode(record)
            key = record.workflow_id.encode()
        except (
            UnencodableRecord,
            UnicodeError,
        ) as error:  # a lone surrogate in an id, a number beyond 64 bits, a payload that is none
            raise ValueError(
                f"{type(record).__name__} of workflow {record.workflow_id!r} cannot be sent:"
                f" {error}"
            ) from error
        size = len(value) + len(key) + _RECORD_OVERHEAD
        if size > queue.limit:
            raise RecordTooLargeError(
                queue.events,
                size=size,
                limit=queue.limit,
                what=f"the {type(record).__name__} of workflow {record.workflow_id!r}",
            )
        loop = self._loop

        def report(error: BaseException | None) -> None:
            if error is None:
                if on_delivery is not None:
                    on_delivery(None)
            elif not loop.is_closed():
                loop.call_soon_threadsafe(self._refused, task_queue, queue, on_delivery, error)

        partition = partition_for(
            key, queue.partitions
        )  # the topic may have got more, which the owners do not count
        try:
            self._producer.produce(
                queue.events,
                key,
                value,
                headers_for(record),
                partition=partition,
                on_delivery=report,
            )
        except TopicMissingError:
            self._forget(task_queue, queue)
            raise

    def _refused(
        self, task_queue: str, queue: _Queue, on_delivery: OnDelivery | None, error: BaseException
    ) -> None:
        if isinstance(error, TopicMissingError):
            self._forget(task_queue, queue)
        elif isinstance(error, ClockError):
            cause, error = error, RPCError(str(error), RPCStatusCode.UNAVAILABLE)
            error.__cause__ = cause
        if on_delivery is not None:
            on_delivery(error)
        else:
            logger.warning("a record for %s was not delivered: %s", queue.events, error)

    # --- replies and owners

    def _readable(self, value: bytes) -> bool:
        """On the reader's thread, which may wait for a registry. What it cannot read now is
        asked for again by its request.
        """
        try:
            self._codec.learn(value)
        except WireError as error:
            self._note_unread(error)
            return False
        self._unread = None
        return True

    def _note_unread(self, error: WireError) -> None:
        logger.warning("a reply cannot be read, its request will be asked again: %s", error)
        self._unread = time.monotonic() + _UNREAD_S, f"what came cannot be read: {error}"

    def _deliver(self, values: list[bytes]) -> None:
        replies = []
        for value in values:
            try:
                record = self._codec.decode(value)
            except WireError as error:
                self._note_unread(error)
                continue
            if isinstance(record, Reply):
                replies.append(record)
        if replies and self._on_replies is not None:
            self._on_replies(replies)

    def _gap(self, _: None) -> None:
        if self._on_owners is not None:
            self._on_owners(None)

    def _owners_changed(self, queues: set[str]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._tell_owners, queues)

    def _tell_owners(self, queues: set[str]) -> None:
        if self._on_owners is not None:
            self._on_owners(queues)

    def _reader(self) -> MembersReader:
        if self._members is None:
            topic = self._topics.members
            self._members = MembersReader(
                self._settings,
                topic,
                self._codec,
                partial(_end_of, self._admin, topic, 0, committed=True),
                weak_method(self._owners_changed),
                self._clients,
            )
        return self._members

    def owner(self, task_queue: str, workflow_id: str, *, silence_s: float = SILENCE_S) -> Owner:
        """See `Transport.owner`."""
        queue = self._queues.get(task_queue)
        if queue is None or self._closed:
            return Owner.UNKNOWN
        self._look_again(task_queue, queue, LOOK_SLOW_S)
        partition, now = partition_for(workflow_id.encode(), queue.partitions), time.monotonic()
        self._look_after()
        found = self._reader().view.owner(task_queue, partition, now, silence_s)
        return (
            Owner.UNKNOWN
            if found is Owner.NONE and (self.trouble or now < self._in_doubt_until)
            else found
        )

    def _look_after(self) -> None:
        """Something is slow: see whether the topics that everybody shares are there."""
        if self._upkeep is None and self._shared:
            self._upkeep = TopicUpkeep(
                self._admin, self._shared, weak_method(self._made_anew), asked=True
            )
            self._upkeep.start()
        if self._upkeep is not None:
            self._upkeep.look()

    @property
    def trouble(self) -> str:
        """See `Transport.trouble`."""
        missing = self._upkeep.missing if self._upkeep is not None else None
        if missing is not None:
            return str(missing)
        unread = self._unread
        return unread[1] if unread is not None and time.monotonic() < unread[0] else ""

    def _made_anew(self, topic: TopicFacts) -> None:
        """Somebody had deleted it. On the thread that looks after them."""
        if topic.name == self._topics.replies and self._replies is not None:
            self._replies.made_anew(partition_for(self._client_id.encode(), topic.partitions))
        elif topic.name == self._topics.members:  # its reader goes on by itself
            self._in_doubt_until = time.monotonic() + SILENCE_S
        elif topic.name == self._topics.schemas:
            self._schemas.made_anew()

    async def queues(self) -> dict[str, bool]:
        """See `Transport.queues`."""
        reader = self._reader()
        self._look_after()
        names, _ = await asyncio.gather(
            asyncio.to_thread(self._admin.topic_names),
            asyncio.to_thread(reader.wait_complete, MEMBERS_TIMEOUT_S),
        )
        living = reader.view.living_queues(time.monotonic())
        return {queue: queue in living for queue in self._queues_of(names)}

    async def served(self, task_queues: Sequence[str]) -> set[str]:
        """See `Transport.served`."""
        return await asyncio.to_thread(self._served, list(task_queues))

    def _served(self, task_queues: list[str]) -> set[str]:
        self._ever_served.update(
            queue
            for queue in task_queues
            if queue not in self._ever_served and self._has_state(queue)
        )
        return self._ever_served.intersection(task_queues)

    async def unapplied(
        self, task_queues: Sequence[str], workflow_id: str, timeout_s: float
    ) -> set[str]:
        """See `Transport.unapplied`."""
        return await asyncio.to_thread(
            queues_with_requests, self._settings, self._admin, task_queues, workflow_id, timeout_s
        )

    def _has_state(self, task_queue: str) -> bool:
        """Whether anything was ever written to its `state`; what cannot be looked at may have
        been.
        """
        topic = self._topics.state(task_queue)
        try:
            facts = self._admin.describe([topic]).get(topic)
            return facts is not None and any(
                self._admin.end_offsets(topic, range(facts.partitions), committed=False).values()
            )
        except (KafkaException, OdradekError) as error:
            logger.debug(
                "whether task queue %r was ever served cannot be seen: %s", task_queue, error
            )
            return True

    def _queues_of(self, topic_names: Sequence[str]) -> list[str]:
        parsed = [self._topics.parse(name) for name in topic_names]
        return [
            name.task_queue
            for name in parsed
            if name is not None
            and name.kind == EVENTS
            and name.namespace == self._settings.namespace
        ]

    # --- end

    @property
    def is_of_this_process(self) -> bool:
        """Not in a fork of the process that opened it."""
        return self._pid == os.getpid()

    @property
    def is_forsaken(self) -> bool:
        """Whether the loop that it belongs to is closed: no call can be made any more, whoever
        still holds its client.
        """
        return self.is_of_this_process and self._loop is not None and self._loop.is_closed()

    def close(self) -> None:
        """See `Transport.close`."""
        if self._closed:
            return
        self._closed = True
        with _open_lock:
            _open.discard(self)
        if self._upkeep is not None:
            self._upkeep.stop()
        readers = [reader for reader in (self._replies, self._members) if reader is not None]
        for reader in readers:
            reader.stop()
        if self._producer is not None:
            self._producer.close(1.0)
        for reader in readers:
            reader.join(2.0)
        self._schemas.close()
        self._admin.close()


class _Queue:
    """What is known of a task queue's `events`."""

    __slots__ = ("events", "limit", "looked_at", "partitions", "topic_id")

    def __init__(self, facts: TopicFacts, limit: int) -> None:
        self.events = facts.name
        self.topic_id = facts.topic_id
        self.looked_at = time.monotonic()
        self.partitions = facts.partitions
        self.limit = limit


def _end_of(admin: ClusterAdmin, topic: str, partition: int, *, committed: bool) -> int:
    return admin.end_offsets(topic, [partition], committed=committed)[partition]


def _close_all() -> None:
    # Daemon threads inside librdkafka while the interpreter goes away are asking for trouble: end
    # them first.
    with _open_lock:
        found = [transport for transport in _open if transport.is_of_this_process]
    for transport in found:
        transport.close()


atexit.register(_close_all)
