"""`Processor`: one member of a task queue's group, with all that its partitions share. Threads
underneath, no asyncio.

Threads: one that polls the group's consumer, one a partition, one for member reports, one that
purges, one that looks after topics, and those of librdkafka. `start` returns once the cluster
answered and the topics are there; `wait_ready` waits for the partitions.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from odradek.common.clock import Clock, SystemClock
from odradek.config import Settings
from odradek.engine.activation import Activator
from odradek.engine.ports import Engine, EngineLimits
from odradek.exceptions import OdradekError
from odradek.kafka.admin import ClusterAdmin, TopicFacts
from odradek.kafka.client_config import consumer_config, topics_of
from odradek.kafka.clients import ConfluentKafka, Consumer, KafkaClients
from odradek.kafka.producer import PlainProducer, ProducerStatistics
from odradek.kafka.registry import make_codec
from odradek.kafka.schemas_topic import SchemasTopic
from odradek.kafka.settling import Settling
from odradek.kafka.slots import Slot, take_slot
from odradek.kafka.upkeep import TopicUpkeep
from odradek.processor.context import PartitionContext, make_context
from odradek.processor.crash_recorder import CrashRecorder, RecordingActivator
from odradek.processor.group import Group
from odradek.processor.members import MemberReports
from odradek.processor.partition import Partition, PartitionThread
from odradek.processor.partition_state import PartitionControl, PartitionState
from odradek.processor.purge import Purger
from odradek.processor.statistics import (
    ProcessorStatistics,
    Totals,
    lane_statistics,
    lane_status,
    partition_totals,
)
from odradek.processor.store import prune
from odradek.wire.codec import Codec
from odradek.wire.outcomes import LaneStatus
from odradek.wire.schema import RECORD_TYPES
from odradek.wire.topics import escape

logger = logging.getLogger(__name__)

STOP_SECONDS = 30.0
_READY_POLL_SECONDS = 0.02
#: Values for the librdkafka settings that this room owns; everything else is `odradek.kafka`'s and
#: the user's.
_GROUP_TUNING = {
    "fetch.wait.max.ms": 100,
    "queued.min.messages": 20_000,
    "queued.max.messages.kbytes": 32 * 1024,
}

EngineFactory = Callable[[Activator, EngineLimits], Engine]


class Processor:
    """Hosts the workflows of one task queue.

    settings: address, names, limits; see `odradek.config`.  activator_factory: one activator for
    each lane's engine.  workflow_types: those that are registered, for `members` and statistics
    only.  on_fatal: told, from a thread of ours, when the whole membership ended (another
    process under the same identity, ...).  on_lane_failed: told when one partition stopped and
    needs a person; the others go on. engine_factory: another engine, for tests.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        task_queue: str,
        activator_factory: Callable[[], Activator],
        workflow_types: Iterable[str] = (),
        on_fatal: Callable[[BaseException], None] | None = None,
        on_lane_failed: Callable[[int, OdradekError], None] | None = None,
        engine_factory: EngineFactory | None = None,
        codec: Codec | None = None,
        instance: str | None = None,
        clients: KafkaClients | None = None,
        members_every_seconds: float | None = None,
        purge_every_seconds: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._settings = settings
        self._task_queue = task_queue
        self._activator_factory = activator_factory
        self._workflow_types = sorted(workflow_types)
        self._on_fatal = on_fatal
        self._on_lane_failed = on_lane_failed
        self._engine_factory = engine_factory
        self._given_codec = codec
        self._clients = clients or ConfluentKafka()
        self._instance = instance
        self._members_every_seconds = members_every_seconds
        self._purge_every_seconds = purge_every_seconds
        self._clock = clock or SystemClock()
        self._fatal: BaseException | None = None
        self._started = False
        self._stop_lock = threading.Lock()
        self._stopped = False
        # In the order in which `start` makes them.
        self._slot: Slot | None = None
        self._producer: PlainProducer | None = None
        self._admin: ClusterAdmin | None = None
        self._schemas: SchemasTopic | None = None
        self._recorder: CrashRecorder | None = None
        self._context: PartitionContext | None = None
        self._group: Group | None = None
        self._members: MemberReports | None = None
        self._purger: Purger | None = None
        self._upkeep: TopicUpkeep | None = None

    # --- life

    def start(self) -> None:
        """Have the topics, join the group. BrokerUnreachableError, TopicError, StateStoreError
        or ConfigurationError, with its cure.
        """
        if self._started:
            raise RuntimeError("a Processor starts once; make another")
        self._started = True
        try:
            self._start()
        except BaseException:
            self.stop(drain=False)
            raise

    def _start(self) -> None:
        settings, queue = self._settings, self._task_queue
        admin = self._admin = ClusterAdmin(settings, clients=self._clients)
        admin.cluster_id()  # whether a broker answers at all
        topics = admin.topics
        events_facts, state_facts = admin.ensure_queue(queue)
        written = [
            topics.dead_letters(queue),
            topics.results,
            topics.executions,
            topics.members,
            topics.replies,
        ]
        found = admin.ensure([*written, topics.schemas])
        events_facts.require("Read", "Write", "Delete", "DescribeConfigs")
        state_facts.require("Read", "Write", "DescribeConfigs")
        for topic in written:
            found[topic].require(
                "Write", *(() if topic == topics.members else ("DescribeConfigs",))
            )

        base = (
            Path(settings.state_dir)
            / f"{settings.topic_prefix}{escape(settings.namespace)}.{escape(queue)}"
        )
        self._slot = take_slot(base)
        directory = self._slot.directory
        retention_ms = admin.tombstone_retention_ms(topics.state(queue))
        prune(directory, self._clock.time_ms() - retention_ms)
        self._recorder = CrashRecorder(directory / "executing", settings.partitions)
        self._producer = PlainProducer(settings, clients=self._clients)
        self._schemas = SchemasTopic(settings, admin, clients=self._clients)
        self._schemas.open()
        self._schemas.publish(self._producer, RECORD_TYPES)
        codec = (
            self._given_codec
            if self._given_codec is not None
            else make_codec(settings, self._schemas)
        )
        codec.prepare(RECORD_TYPES)  # a registry is asked now, not in the middle

        context = self._context = make_context(
            settings,
            queue,
            admin=admin,
            clients=self._clients,
            codec=codec,
            new_engine=self._new_engine,
            store_base=directory,
            producer=self._producer,
            clock=self._clock,
            recorder=self._recorder,
            workflow_types=self._workflow_types,
        )
        context.topic_limits.look_at(found[topics.schemas])
        events = topics.events(queue)
        instance = self._instance or self._slot.instance_id
        self._group = Group(
            self._group_consumer(instance),
            events,
            instance,
            self._new_partition,
            lambda partitions: admin.start_offsets(events, partitions),
            self._note_fatal,
            settling=Settling(directory, settings.session_timeout.total_seconds() / 2),
            partitions=events_facts.partitions,
        )
        self._group.start()
        self._members = MemberReports(
            self._producer,
            codec,
            topics.members,
            member_id=f"{topics.processor_group(queue)}/{instance}",
            namespace=settings.namespace,
            task_queue=queue,
            identity=settings.identity,
            workflow_types=self._workflow_types,
            lanes=self.lane_statuses,
            **(
                {"every_seconds": self._members_every_seconds}
                if self._members_every_seconds
                else {}
            ),
        )
        self._members.start()
        self._purger = Purger(
            admin,
            context.new_reader,
            topics.events(queue),
            audit_window_ms=int(settings.audit_window.total_seconds() * 1000),
            positions=self._running_positions,
            **({"every_seconds": self._purge_every_seconds} if self._purge_every_seconds else {}),
        )
        self._purger.start()
        shared = [topics.members, topics.replies, topics.schemas, topics.results, topics.executions]
        self._upkeep = TopicUpkeep(admin, [found[topic] for topic in shared], self._made_anew)
        self._upkeep.start()

    def stop(self, drain: bool = True) -> None:
        """End. drain: lanes finish their transaction and partitions are given back first; else
        nothing is waited for.

        Safe to call twice and from any thread. Without draining the next owner fences what is
        left: slower for it, never wrong.
        """
        with self._stop_lock:
            if self._stopped:
                return
            self._stopped = True
        if self._group is not None:
            self._group.stop()
            self._group.join(STOP_SECONDS if drain else 0.0)
            if drain and self._group.is_alive():
                logger.warning(
                    "the processor of %s did not drain in %g s", self._task_queue, STOP_SECONDS
                )
        for thread in (self._members, self._purger):
            if thread is not None:
                thread.stop()
                if drain:
                    thread.join(5.0)
        if self._upkeep is not None:
            self._upkeep.stop()
        if self._schemas is not None:
            self._schemas.close()
        if self._producer is not None:
            self._producer.close(5.0 if drain else 0.5)
        if self._group is None or not self._group.is_alive():
            if self._recorder is not None:
                self._recorder.close()
            if self._slot is not None:
                self._slot.release()
            if self._admin is not None:
                self._admin.close()

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Until the group has assigned and every lane of this process runs. Raises the error of
        one that failed, or TimeoutError.
        """
        deadline = time.monotonic() + timeout
        while True:
            if self._fatal is not None:
                raise self._fatal
            group = self._group
            if group is not None and group.assigned_once.is_set():
                partitions = [thread.partition for thread in group.threads.values()]
                for partition in partitions:
                    if partition.state is PartitionState.FAILED and partition.error:
                        raise partition.error
                if all(partition.state is PartitionState.RUNNING for partition in partitions):
                    return
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"the partitions of {self._task_queue} are not ready after {timeout:g} s:"
                    f" {self.statistics().lanes}"
                )
            time.sleep(_READY_POLL_SECONDS)

    # --- what it knows

    @property
    def fatal_error(self) -> BaseException | None:
        """Why the membership ended, if it did."""
        return self._fatal

    def lane_statuses(self) -> list[LaneStatus]:
        """One a partition that the group gave to this process."""
        return [lane_status(partition) for _, partition in sorted(self._partitions().items())]

    def statistics(self) -> ProcessorStatistics:
        """Figures for people, metrics and probes; `totals` sums every partition that was here.
        Waits for nobody.
        """
        group, context, members = self._group, self._context, self._members
        owned = self._partitions()
        partitions = (
            {
                number: partition_totals(tally, owned.get(number))
                for number, tally in context.tallies.all().items()
            }
            if context
            else {}
        )
        now = time.monotonic()
        return ProcessorStatistics(
            namespace=self._settings.namespace,
            task_queue=self._task_queue,
            slot=self._slot.number if self._slot is not None else -1,
            assigned=group is not None and group.assigned_once.is_set(),
            lanes={
                number: lane_statistics(
                    partition,
                    group.lag(number) if group is not None else None,
                    alive=group is not None
                    and (thread := group.threads.get(number)) is not None
                    and thread.is_alive(),
                )
                for number, partition in sorted(owned.items())
            },
            partitions=partitions,
            totals=sum((found.totals for found in partitions.values()), Totals()),
            replies=context.replies.sent if context is not None else 0,
            replies_failed=context.replies.failed if context is not None else 0,
            group_silent_seconds=(
                now - group.turned_at if group is not None and group.turned_at else 0.0
            ),
            group_alive=group is not None and group.is_alive(),
            producer=(
                self._producer.statistics() if self._producer is not None else ProducerStatistics()
            ),
            contact_seconds=(
                now - members.contact_at if members is not None and members.contact_at else None
            ),
            contact_error=members.contact_error if members is not None else "",
            fatal=str(self._fatal) if self._fatal is not None else "",
            stopping=self._stopped,
            workflow_types=tuple(self._workflow_types),
            missing_topic=str(self._upkeep.missing or "") if self._upkeep is not None else "",
        )

    def _partitions(self) -> dict[int, Partition]:
        threads = self._group.threads if self._group is not None else {}
        return {number: thread.partition for number, thread in threads.items()}

    # --- what partitions need made

    def _new_partition(self, number: int, control: PartitionControl) -> PartitionThread:
        assert self._context is not None
        partition = Partition(number, self._context, control, self._note_partition_failed)
        fields = {"namespace": self._settings.namespace, "task_queue": self._task_queue}
        return PartitionThread(partition, fields)

    def _new_engine(self, partition: int) -> Engine:
        settings = self._settings
        limits = EngineLimits(
            history_max_events=settings.history_max_events,
            history_suggest_continue_as_new_events=settings.history_suggest_continue_as_new_events,
            history_max_bytes=settings.history_max_bytes,
            history_suggest_continue_as_new_bytes=settings.history_suggest_continue_as_new_bytes,
            retention_ms=int(settings.retention.total_seconds() * 1000),
            max_cached_workflows=settings.max_cached_workflows,
            pending_activities_max=settings.pending_activities_max,
        )
        activator: Activator = self._activator_factory()
        if self._recorder is not None:
            activator = RecordingActivator(activator, self._recorder, partition)
        if self._engine_factory is not None:
            return self._engine_factory(activator, limits)
        from odradek.engine.engine import WorkflowEngine

        return WorkflowEngine(
            activator, namespace=settings.namespace, task_queue=self._task_queue, limits=limits
        )

    def _group_consumer(self, instance: str) -> Callable[[], Consumer]:
        assert self._context is not None
        config = consumer_config(self._settings, self._context.group_id, group_instance_id=instance)
        session_ms = int(self._settings.session_timeout.total_seconds() * 1000)
        config |= {
            "session.timeout.ms": session_ms,
            "heartbeat.interval.ms": max(100, session_ms // 4),
        }
        config = _GROUP_TUNING | config
        return lambda: self._clients.consumer(config)

    def _running_positions(self) -> dict[int, int]:
        return {
            number: partition.position
            for number, partition in self._partitions().items()
            if partition.state is PartitionState.RUNNING and partition.position > 0
        }

    # --- errors

    def _made_anew(self, topic: TopicFacts) -> None:
        """A topic of the namespace had been deleted. On the thread that looks after them."""
        topics = topics_of(self._settings)
        if topic.name == topics.schemas and self._schemas is not None:
            self._schemas.made_anew()
        elif topic.name == topics.members and self._members is not None:
            self._members.made_anew()
        if self._context is not None:
            self._context.topic_limits.invalidate()  # it may have another number of partitions

    def _note_fatal(self, error: OdradekError) -> None:
        self._fatal = error
        if self._on_fatal is not None:
            self._on_fatal(error)

    def _note_partition_failed(self, partition: int, error: OdradekError) -> None:
        if self._on_lane_failed is not None:
            self._on_lane_failed(partition, error)
