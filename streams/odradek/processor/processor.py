"""`Processor`: one member of a task queue's group, with all that its lanes share. Threads
underneath, no asyncio.

Threads: one that polls the group's consumer, one a lane, one that asks ends for due timers, one
for member reports, one that purges, and those of librdkafka. `start` returns once the cluster answered and the topics are there; `wait_ready`
waits for the lanes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from confluent_kafka import Consumer, Producer

from odradek.config import Settings
from odradek.engine.activation import Activator
from odradek.engine.ports import Engine, EngineLimits
from odradek.exceptions import OdradekError
from odradek.kafka.admin import ClusterAdmin, TopicFacts
from odradek.kafka.client_config import (
    consumer_config,
    reader_config,
    topics_of,
    transactional_producer_config,
)
from odradek.kafka.clients import ConfluentKafka, KafkaClients
from odradek.kafka.member import RebalanceMark
from odradek.kafka.producer import PlainProducer, ProducerStatistics
from odradek.kafka.registry import make_codec
from odradek.kafka.schemas_topic import SchemasTopic
from odradek.kafka.slots import Slot, take_slot
from odradek.kafka.upkeep import TopicUpkeep
from odradek.kafka.windows import batch_bytes
from odradek.processor.counters import PartitionCounters
from odradek.processor.group import Group
from odradek.processor.held import Held, HoldingActivator
from odradek.processor.lane import Lane, Seat
from odradek.processor.lane_state import LaneState
from odradek.processor.measured import MeasuringActivator
from odradek.processor.members import MemberReports
from odradek.processor.offsets import EndOffsets
from odradek.processor.outlet import TopicOutlet
from odradek.processor.purge import Purger
from odradek.processor.replies import Replies
from odradek.processor.restore import Places, Restorer
from odradek.processor.services import RESTORING_AT_A_TIME, LaneServices
from odradek.processor.statistics import (
    ProcessorStatistics,
    lane_statistics,
    lane_status,
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
        self._fatal: BaseException | None = None
        self._started = False
        self._stop_lock = threading.Lock()
        self._stopped = False
        # In the order in which `start` makes them.
        self._slot: Slot | None = None
        self._producer: PlainProducer | None = None
        self._admin: ClusterAdmin | None = None
        self._schemas: SchemasTopic | None = None
        self._services: LaneServices | None = None
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
        prune(
            self._slot.directory,
            time.time_ns() // 1_000_000 - admin.tombstone_retention_ms(topics.state(queue)),
        )
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

        outlet = TopicOutlet(admin, codec, topics, queue)
        outlet.look_at(found[topics.schemas])
        ends = EndOffsets(admin, topics.events(queue))
        ends.start()
        restoring = Places(RESTORING_AT_A_TIME)
        self._services = LaneServices(
            namespace=settings.namespace,
            task_queue=queue,
            events_topic=topics.events(queue),
            state_topic=topics.state(queue),
            group_id=topics.processor_group(queue),
            identity=settings.identity,
            partitions=settings.partitions,
            store_base=self._slot.directory,
            admin=admin,
            codec=codec,
            outlet=outlet,
            replies=Replies(
                self._producer, outlet, codec, topics, self._settings.namespace, self._task_queue
            ),
            ends=ends,
            restorer=Restorer(topics.state(queue), self._restore_consumer, restoring),
            restoring=restoring,
            new_reader=self._restore_consumer,
            new_uncommitted_reader=lambda: self._clients.consumer(
                reader_config(self._settings, read_uncommitted=True, partition_eof=True)
            ),
            new_engine=self._new_engine,
            transactional_producer=self._transactional_producer,
            batch_bytes=batch_bytes(transactional_producer_config(settings, "")),
            workflow_types=tuple(self._workflow_types),
        )
        events = topics.events(queue)
        instance = self._instance or self._slot.instance_id
        self._group = Group(
            self._group_consumer(instance),
            events,
            instance,
            self._new_lane,
            lambda partitions: admin.start_offsets(events, partitions),
            self._note_fatal,
            mark=RebalanceMark(self._slot.directory, settings.session_timeout.total_seconds() / 2),
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
            self._restore_consumer,
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
        for thread in (
            self._members,
            self._purger,
            self._services.ends if self._services else None,
        ):
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
                lanes = list(group.lanes.values())
                failed = next(
                    (lane.error for lane in lanes if lane.state is LaneState.FAILED and lane.error),
                    None,
                )
                if failed is not None:
                    raise failed
                if all(lane.state in (LaneState.RUNNING, LaneState.RETRYING) for lane in lanes):
                    return
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"the lanes of {self._task_queue} are not ready after {timeout:g} s:"
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
        group = self._group
        return (
            [lane_status(lane) for _, lane in sorted(group.lanes.items())]
            if group is not None
            else []
        )

    def statistics(self) -> ProcessorStatistics:
        """Figures for people, metrics and probes; `totals` sums every partition that was here.
        Waits for nobody.
        """
        group, services, members = self._group, self._services, self._members
        lanes = group.lanes if group is not None else {}
        now = time.monotonic()
        return ProcessorStatistics(
            namespace=self._settings.namespace,
            task_queue=self._task_queue,
            slot=self._slot.number if self._slot is not None else -1,
            assigned=group is not None and group.assigned_once.is_set(),
            lanes={
                p: lane_statistics(lane, group.lag(p) if group is not None else None)
                for p, lane in sorted(lanes.items())
            },
            end_requests=services.ends.requests if services is not None else 0,
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
            missing_topic=str(self._upkeep.missing or "") if self._upkeep is not None else "",
        )

    # --- what lanes need made

    def _new_lane(self, partition: int, seat: Seat) -> Lane:
        assert self._services is not None
        return Lane(partition, self._services, seat, self._note_lane_failed)

    def _new_engine(self, held: Held, counters: PartitionCounters) -> Engine:
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
        activator = MeasuringActivator(HoldingActivator(self._activator_factory(), held), counters)
        if self._engine_factory is not None:
            return self._engine_factory(activator, limits)
        from odradek.engine.engine import WorkflowEngine

        return WorkflowEngine(
            activator, namespace=settings.namespace, task_queue=self._task_queue, limits=limits
        )

    def _transactional_producer(self, partition: int, batch: int) -> Producer:
        transactional_id = topics_of(self._settings).transactional_id(self._task_queue, partition)
        config = transactional_producer_config(self._settings, transactional_id)
        config["transaction.timeout.ms"] = int(
            self._settings.transaction_timeout.total_seconds() * 1000
        )
        config["queue.buffering.max.messages"] = 1_000_000
        config["batch.size"] = batch
        return self._clients.producer(config)

    def _restore_consumer(self) -> Consumer:
        return self._clients.consumer(
            {"fetch.wait.max.ms": 50} | reader_config(self._settings, partition_eof=True)
        )

    def _group_consumer(self, instance: str) -> Callable[[], Consumer]:
        assert self._services is not None
        config = consumer_config(
            self._settings, self._services.group_id, group_instance_id=instance
        )
        session_ms = int(self._settings.session_timeout.total_seconds() * 1000)
        config |= {
            "session.timeout.ms": session_ms,
            "heartbeat.interval.ms": max(100, session_ms // 4),
        }
        config = _GROUP_TUNING | config
        return lambda: self._clients.consumer(config)

    def _running_positions(self) -> dict[int, int]:
        group = self._group
        lanes = group.lanes if group is not None else {}
        return {
            p: lane.position
            for p, lane in lanes.items()
            if lane.state is LaneState.RUNNING and lane.position > 0
        }

    # --- errors

    def _made_anew(self, topic: TopicFacts) -> None:
        """A topic of the namespace had been deleted. On the thread that looks after them."""
        topics = topics_of(self._settings)
        if topic.name == topics.schemas and self._schemas is not None:
            self._schemas.made_anew()
        elif topic.name == topics.members and self._members is not None:
            self._members.made_anew()
        if self._services is not None:
            self._services.outlet.doubt()  # it may have another number of partitions

    def _note_fatal(self, error: OdradekError) -> None:
        self._fatal = error
        if self._on_fatal is not None:
            self._on_fatal(error)

    def _note_lane_failed(self, partition: int, error: OdradekError) -> None:
        if self._on_lane_failed is not None:
            self._on_lane_failed(partition, error)
