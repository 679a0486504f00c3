"""The activity host: one service of a task queue inside a process. Wires the parts and owns
their life: start, run, drain, end.

    consumer thread   group membership, commands, delivery reports, timers, control, commits
    (consumer_thread.py) event loop        slots, user code, outcomes
    (service.py, runner.py) executor          sync activities
    (thread_cancel.py)

A command is acknowledged once its outcome or its Started event is durable, so a crash before is
redelivered by Kafka, and a crash after is timed out by the engine. Never decides about retries:
the engine does.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from datetime import timedelta
from typing import Any, get_args

from confluent_kafka import KafkaError, TopicPartition

from odradek.activities.attempt import OwnedPartition
from odradek.activities.commands import CommandConsumer
from odradek.activities.consumer_thread import ConsumerThread
from odradek.activities.context import CompositeEvent
from odradek.activities.control import ControlReader
from odradek.activities.definition import ActivityRegistry
from odradek.activities.interceptor import ActivityInterceptor
from odradek.activities.ownership import StartGate
from odradek.activities.rate import RateLimit
from odradek.activities.refusals import Refusals
from odradek.activities.reports import Reports
from odradek.activities.runner import ActivityRunner
from odradek.activities.service import Service
from odradek.activities.share_commands import GROUP_CONFIG, ShareCommands, members_for
from odradek.activities.source import CommandSource
from odradek.activities.statistics import ActivityStatistics
from odradek.activities.timers import DEFAULT_HEARTBEAT_INTERVAL, MAX_HEARTBEAT_INTERVAL
from odradek.common import MetricMeter
from odradek.config import Settings
from odradek.converter import DataConverter
from odradek.exceptions import StateStoreError, TopicMissingError
from odradek.kafka.admin import ClusterAdmin, TopicFacts
from odradek.kafka.client_config import (
    consumer_config,
    producer_config,
    reader_config,
    share_consumer_config,
)
from odradek.kafka.clients import ConfluentKafka, KafkaClients
from odradek.kafka.member import RebalanceMark
from odradek.kafka.producer import PlainProducer
from odradek.kafka.registry import make_codec
from odradek.kafka.schemas_topic import SchemasTopic
from odradek.kafka.slots import Slot, take_slot
from odradek.kafka.upkeep import TopicUpkeep
from odradek.wire.codec import Codec
from odradek.wire.events import ActivityReport
from odradek.wire.headers import Headers, headers_for
from odradek.wire.outcomes import MemberStatus
from odradek.wire.schema import RECORD_TYPES
from odradek.wire.tasks import ActivityTask, CancelActivityTask

logger = logging.getLogger("odradek.activities")

STATUS_INTERVAL_S = 3.0
#: After a failure: time for the outcomes of what still ran. What is not durable then is delivered
#: again.
FAILED_FLUSH_S = 5.0
METADATA_TIMEOUT_S = 10.0
LIMIT_KNOWN_S = 5.0  # what a topic takes; asked for refused records only, which often come together

_instances = itertools.count(1)


class ActivityHost:
    """One service of a queue. `run` until `shutdown`; every other method may be called
    meanwhile, on the same event loop.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        task_queue: str,
        activities: Sequence[Callable[..., Any]],
        activity_executor: Executor | None = None,
        data_converter: DataConverter = DataConverter.default,
        interceptors: Sequence[ActivityInterceptor] = (),
        max_concurrent_activities: int | None = None,
        max_activities_per_second: float | None = None,
        identity: str | None = None,
        graceful_shutdown_timeout: timedelta | None = None,
        max_heartbeat_throttle_interval: timedelta = timedelta(seconds=MAX_HEARTBEAT_INTERVAL),
        default_heartbeat_throttle_interval: timedelta = timedelta(
            seconds=DEFAULT_HEARTBEAT_INTERVAL
        ),
        client: Any = None,
        codec: Codec | None = None,
        clients: KafkaClients | None = None,
        metric_meter: MetricMeter = MetricMeter.noop,
        on_fatal: Callable[[BaseException], None] | None = None,
    ) -> None:
        """Settings fill in what is `None`. `ValueError` or `TypeError` for activities that
        cannot be registered. Opens nothing yet.

        on_fatal: called on the event loop when it fails, before it drains; `run` raises the
        error when it has.
        """
        self.registry = ActivityRegistry(activities, activity_executor)
        self.task_queue = task_queue
        self.identity = identity or settings.identity
        self._settings = settings
        self._slots_total = max_concurrent_activities or settings.max_concurrent_activities
        if graceful_shutdown_timeout is None:
            graceful_shutdown_timeout = settings.graceful_shutdown_timeout
        self._graceful_shutdown_s = graceful_shutdown_timeout.total_seconds()
        self._max_heartbeat_s = max_heartbeat_throttle_interval.total_seconds()
        self._default_heartbeat_s = default_heartbeat_throttle_interval.total_seconds()
        self._rate = (
            RateLimit(max_activities_per_second, time.monotonic)
            if max_activities_per_second
            else None
        )
        self._data_converter = data_converter
        self._clients = clients or ConfluentKafka()
        self._admin = ClusterAdmin(settings, clients=self._clients)
        self._schemas = SchemasTopic(settings, self._admin, clients=self._clients)
        self._codec = codec or make_codec(settings, self._schemas)
        self._topics = self._admin.topics
        # Two polls further apart than half of the session: the process was stopped, and has to
        # learn whether it is still a member.
        self._gate = StartGate(settings.session_timeout.total_seconds() / 2, time.monotonic)
        self._worker_shutdown = CompositeEvent(has_async=True)
        self._runner = ActivityRunner(
            self.registry,
            executor=activity_executor,
            data_converter=data_converter,
            interceptors=interceptors,
            identity=self.identity,
            client=client,
            worker_shutdown=self._worker_shutdown,
            metric_meter=metric_meter.with_additional_attributes(
                {"namespace": settings.namespace, "task_queue": task_queue}
            ),
            on_broken_executor=self._fail,
        )
        self._refusals = Refusals(self._topics, self._settings.namespace, task_queue, self.identity)
        self._limits: dict[str, tuple[int, float]] = {}  # and until when that holds, monotonic
        self._slot: Slot | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Future[None] | None = None
        self._shutdown = False
        self._producer: PlainProducer | None = None
        self._reports: Reports | None = None
        self._service: Service | None = None
        self._thread: ConsumerThread | None = None
        self._commands: CommandSource | None = None
        self._done_before: dict[int, int] = {}
        self._partitions = 0
        self._member_id = ""
        self._next_status = 0.0
        self._contact_at = self._loop_at = (
            0.0  # monotonic: a record was acknowledged; the event loop went round
        )
        self._contact_error = ""
        self._reports_dropped = 0
        self._upkeep: TopicUpkeep | None = None
        self._on_fatal = on_fatal

    # --- life

    async def run(self) -> None:
        """Serve until `shutdown`; then drain. Raises what ended it otherwise (no broker, no
        topic, fenced), after the drain.
        """
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        if self._shutdown:
            return
        try:
            await asyncio.to_thread(self._open)
            self._build()
            thread = self._thread
            assert thread is not None
            thread.start()
            if self._upkeep is not None:
                self._upkeep.start()
            await self._ended
        finally:
            await self._drain()

    async def shutdown(self) -> None:
        """Begin to end: take no new commands, give what runs its grace, then cancel it. `run`
        returns when all of it is done.
        """
        self._shutdown = True
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def notify_shutdown(self) -> None:
        """Tell running activities that the worker is shutting down, before anything else happens."""
        self._worker_shutdown.set()

    def set_client(self, client: Any) -> None:
        """What `activity.client()` gives from the next attempt on."""
        self._runner.client = client

    def _fail(self, error: BaseException) -> None:
        """End with an error. Any thread."""
        assert self._loop is not None

        def fail() -> None:
            if self._ended is not None and not self._ended.done():
                self._ended.set_exception(error)
                if self._on_fatal is not None:
                    self._on_fatal(error)

        try:
            self._loop.call_soon_threadsafe(fail)
        except RuntimeError:
            logger.error(
                "the service of %s failed after its event loop was closed: %s",
                self.task_queue,
                error,
            )

    def _open(self) -> None:
        """Topics and the slot: blocks on the broker."""
        names = self._topics
        commands, control, dead_letters = (
            kind(self.task_queue) for kind in (names.commands, names.control, names.dead_letters)
        )
        found = self._admin.ensure([commands, control, dead_letters, names.members, names.schemas])
        self._upkeep = TopicUpkeep(
            self._admin, [found[names.members], found[names.schemas]], self._made_anew
        )
        found[commands].require("Read", "Write", "Delete")
        self._partitions = found[commands].partitions
        found[control].require("Read")
        found[dead_letters].require("Write", "DescribeConfigs")
        found[names.members].require("Write")
        self._schemas.open()
        with PlainProducer(self._settings, clients=self._clients) as producer:
            self._schemas.publish(producer, RECORD_TYPES)
        # What it writes and what it reads: a registry is asked now, not in the middle.
        self._codec.prepare(
            (*get_args(ActivityReport), MemberStatus, ActivityTask, CancelActivityTask)
        )
        if self._settings.activity_group == "share":
            self._admin.configure_group(names.activities_share_group(self.task_queue), GROUP_CONFIG)
            # The share group starts at the log's start; what a classic group did before it is not
            # done again.
            classic = names.activities_group(self.task_queue)
            self._done_before = self._admin.committed_offsets(
                classic, commands, range(self._partitions)
            )
        base = self._settings.state_dir / "activities" / names.activities_group(self.task_queue)
        try:
            self._slot = take_slot(base)
        except StateStoreError as error:  # a service needs no state: it only restarts less smoothly
            logger.warning(
                "no static identity in the group, so that a restart costs a session timeout: %s",
                error,
            )

    def _build(self) -> None:
        loop, settings, names = self._loop, self._settings, self._topics
        assert loop is not None
        topic = names.commands(self.task_queue)
        instance_id = self._slot.instance_id if self._slot is not None else None
        self._member_id = (
            f"activities/{self.task_queue}/{instance_id or self.identity}/{next(_instances)}"
        )
        self._producer = PlainProducer(settings, clients=self._clients, own_thread=False)
        reports = self._reports = Reports(
            self._producer,
            self._codec,
            limit_of=self._limit_of,
            undeliverable=self._undeliverable,
            on_fatal=self._fail,
        )
        service = self._service = Service(
            self._runner,
            reports,
            topics=names,
            task_queue=self.task_queue,
            slots_total=self._slots_total,
            identity=self.identity,
            data_converter=self._data_converter,
            gate=self._gate,
            clock=time.monotonic,
            max_heartbeat_interval=self._max_heartbeat_s,
            default_heartbeat_interval=self._default_heartbeat_s,
            rate=self._rate,
        )
        control = ControlReader(
            self._clients.consumer(reader_config(settings, partition_eof=True)),
            names.control(self.task_queue),
            self._codec,
        )
        control.start(METADATA_TIMEOUT_S)
        share = settings.activity_group == "share"
        commands = self._commands = (
            self._share_commands(topic) if share else self._classic_commands(topic, instance_id)
        )
        self._thread = ConsumerThread(
            name=f"odradek-activities-{self.task_queue}",
            commands=commands,
            control=control,
            reports=reports,
            refusals=self._refusals,
            service=service,
            codec=self._codec,
            topic=topic,
            gate=self._gate,
            clock=time.monotonic,
            loop=loop,
            every_turn=self._say_status,
            on_fatal=self._fail,
        )

    def _classic_commands(self, topic: str, instance_id: str | None) -> CommandConsumer:
        session_ms = int(self._settings.session_timeout.total_seconds() * 1_000)
        config = consumer_config(
            self._settings,
            self._topics.activities_group(self.task_queue),
            group_instance_id=instance_id,
        )
        config |= {
            "session.timeout.ms": session_ms,
            "heartbeat.interval.ms": max(100, session_ms // 4),
        }
        commands: CommandConsumer

        def on_commit(error: KafkaError | None, places: list[TopicPartition]) -> None:
            commands.on_commit(error, places)

        commands = CommandConsumer(
            lambda: self._clients.consumer(config | {"on_commit": on_commit}),
            self._admin,
            topic,
            instance_id=instance_id or self.identity,
            gate=self._gate,
            clock=time.monotonic,
            on_revoking=self._on_revoking,
            mark=RebalanceMark(
                self._slot.directory if self._slot is not None else None, session_ms / 2_000
            ),
        )
        return commands

    def _share_commands(self, topic: str) -> ShareCommands:
        group = self._topics.activities_share_group(self.task_queue)
        members, records = members_for(self._slots_total)
        config = share_consumer_config(self._settings, group, max_poll_records=records)
        return ShareCommands(
            lambda: self._clients.share_consumer(config),
            topic,
            group,
            members=members,
            partitions=self._partitions,
            done_before=self._done_before,
            gate=self._gate,
        )

    async def _drain(self) -> None:
        """No new commands; grace, cancel, wait for what runs; reports durable, offsets
        committed, members told.
        """
        self._worker_shutdown.set()
        if self._upkeep is not None:
            self._upkeep.stop()
        service, thread = self._service, self._thread
        if service is not None and thread is not None:
            service.draining = True
            logger.info(
                "service of %s drains: %d activities run", self.task_queue, len(service.running)
            )
            try:
                await asyncio.wait_for(service.idle.wait(), self._graceful_shutdown_s)
            except TimeoutError:
                service.cancel_all()
            if not thread.alive:
                service.abandon_unstarted()  # nobody takes the report that their Started is durable
            await service.idle.wait()
            self._say_gone()
            thread.finish()
            await asyncio.to_thread(self._end, thread)
        await asyncio.to_thread(self._schemas.close)
        self._admin.close()
        self._runner.client = None  # who made it needs it no longer than it lives
        if self._slot is not None:
            self._slot.release()

    def _end(self, thread: ConsumerThread) -> None:
        """Blocks until everything said is durable, also when the thread that would have seen to
        it failed.
        """
        thread.join()
        deadline = time.monotonic() + FAILED_FLUSH_S
        while self._reports is not None and self._reports.pending and time.monotonic() < deadline:
            self._reports.serve(0.05)
        if self._reports is not None:
            self._reports.close()

    # --- what the parts ask for

    def _on_revoking(self, leaving: list[OwnedPartition]) -> None:
        assert self._thread is not None
        self._thread.revoking(leaving)

    def _limit_of(self, topic: str) -> int:
        """Bytes that a topic takes, as far as a record of ours goes; what was known last, else
        0, when nobody says. Never raises.
        """
        limit, until = self._limits.get(topic, (0, 0.0))
        if time.monotonic() >= until:
            try:
                found = self._admin.max_message_bytes([topic]).get(topic, 0)
            except Exception as error:  # no right to ask, or no broker: no reason to end
                logger.warning("what topic %s takes is not known: %s", topic, error)
                found = limit
            limit = min(found, int(producer_config(self._settings)["message.max.bytes"]))
            self._limits[topic] = limit, time.monotonic() + LIMIT_KNOWN_S
        return limit

    def _undeliverable(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        why: str,
        on_durable: Callable[[], None] | None,
    ) -> None:
        assert self._reports is not None
        if topic == self._refusals.topic:
            self._fail(TopicMissingError(topic, reason=why))
        else:
            self._refusals.answer(self._reports, topic, key, value, headers, why, on_durable)

    def _say_status(self, now: float) -> None:
        if now < self._next_status or self._reports is None or self._service is None:
            return
        self._next_status = now + STATUS_INTERVAL_S
        status = MemberStatus(
            member_id=self._member_id,
            kind="ACTIVITIES",
            namespace=self._settings.namespace,
            task_queue=self.task_queue,
            identity=self.identity,
            time_ms=int(time.time() * 1_000),
            host=socket.gethostname(),
            pid=os.getpid(),
            activity_types=self.registry.names,
            slots_total=self._slots_total,
            slots_used=len(self._service.running),
        )
        key, headers = self._member_id.encode(), headers_for(status)
        self._reports.status(
            self._topics.members,
            key,
            self._codec.encode(status),
            headers,
            self._note_contact,
            self._note_dropped,
        )
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._note_loop)

    def _note_contact(self) -> None:
        """Reports leave every few seconds whatever activities do, so they tell whether a broker
        acknowledges.
        """
        self._contact_at, self._contact_error = time.monotonic(), ""

    def _note_dropped(self, why: str) -> None:
        self._reports_dropped += 1
        self._contact_error = why

    def _made_anew(self, topic: TopicFacts) -> None:
        """A topic of the namespace had been deleted. On the thread that looks after them."""
        if topic.name == self._topics.schemas:
            self._schemas.made_anew()
        else:
            self._note_contact()  # a broker says so; the statuses before had no topic to go to

    @property
    def _trouble(self) -> str:
        """Why the broker does not acknowledge, as far as is known."""
        found = self._producer.statistics().error if self._producer is not None else ""
        return self._contact_error or found

    def _note_loop(self) -> None:
        self._loop_at = time.monotonic()

    def _say_gone(self) -> None:
        if self._reports is not None:
            self._reports.status(
                self._topics.members, self._member_id.encode(), None, [], None, self._note_dropped
            )

    # --- looking in

    @property
    def is_assigned(self) -> bool:
        """Whether the group has given this member its first assignment, partitions or none."""
        return self._commands is not None and self._commands.assignments > 0

    def statistics(self) -> ActivityStatistics:
        """Counters and gauges of this service, for people, metrics and probes. Waits for nobody."""
        service, thread, commands, reports = (
            self._service,
            self._thread,
            self._commands,
            self._reports,
        )
        if service is None or thread is None or commands is None or reports is None:
            return ActivityStatistics(
                self._settings.namespace,
                self.task_queue,
                slots_total=self._slots_total,
                contact_error=self._trouble,
            )
        now, counts = time.monotonic(), service.counts
        return ActivityStatistics(
            namespace=self._settings.namespace,
            task_queue=self.task_queue,
            assigned=self.is_assigned,
            started=counts["started"],
            completed=counts["completed"],
            failed=counts["failed"],
            canceled=counts["canceled"],
            dropped=counts["dropped"],
            twins=counts["twins"],
            partitions=commands.partitions_owned,
            slots_total=self._slots_total,
            running=len(service.running),
            waiting=len(service.waiting),
            lag=commands.lag,
            handed_on=thread.handed_on,
            pauses=self._gate.pauses,
            reports_pending=reports.pending,
            thread_silent_seconds=now - thread.turned_at if thread.turned_at else 0.0,
            thread_alive=thread.alive,
            loop_silent_seconds=now - self._loop_at if self._loop_at else 0.0,
            contact_seconds=now - self._contact_at if self._contact_at else None,
            contact_error=self._trouble,
            draining=service.draining,
            reports_dropped=self._reports_dropped,
            missing_topic=str(self._upkeep.missing or "") if self._upkeep is not None else "",
        )
