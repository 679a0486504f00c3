"""Faust's Kafka transport with five things changed, under a URL scheme of its own.

- Committed records only. Faust reads uncommitted ones unless it runs exactly_once, and has no
  setting for it: a summary of an aborted transaction would be listed.
- It begins where the app says (the positions that stand in SQLite beside the rows), not at a
  group's committed offsets: those are another store, and two stores disagree after a crash.
- A fetch of a partition is handed to the streams as one message, `RecordBatch`. Faust's own way
  costs two asyncio tasks a record, which limits it to a few thousand records a second.
- It ends in a second, also while no broker answers: aiokafka's consumer looks for its group's
  coordinator until it finds one, even when it is told to stop.
- It has no topic made: `executions` would come back with settings that lose summaries.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

import aiokafka
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP
from faust.types.tuples import Message
from mode.threads import QueueServiceThread, WorkerThread

logger = logging.getLogger("odradek.visibility")

SCHEME = "odradek-committed"
# To leave the group, then to close connections: milliseconds with a broker, in vain without one.
_LEAVE_S = 1.0
_CLOSE_S = 0.3


class Positions(Protocol):
    """What an app of this transport is: it knows where to go on."""

    def position(self, partition: int) -> int | None:
        """Offset of the last record of a partition that is durable here; None: begin at its start."""
        ...


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Records of one partition in order of their offsets: `key`, `value`, `offset`, `timestamp`
    each, as aiokafka gives them.

    after: offset of the record before them, None at the start of the log. Offsets have holes
    (markers, compaction), so they alone do not tell whether a batch was lost between two; this
    does.
    """

    partition: int
    after: int | None
    records: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Fetched:
    """How far a partition was fetched: the offset behind it, markers of transactions included,
    and the last record's.
    """

    end: int
    last: int | None


def _seen(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


class _DaemonThread(WorkerThread):
    """The end of the process does not wait for it, and what ends it is the app's to say: it was
    given to `crash`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.daemon = True

    def run(self) -> None:
        """Called by threading, which would print the stack."""
        with contextlib.suppress(Exception):
            super().run()


class CommittedThread(AIOKafkaConsumerThread):
    """Makes Faust's consumer, then sets the isolation level before it starts."""

    Worker = _DaemonThread

    def __post_init__(self) -> None:
        super().__post_init__()
        self._handed_over: dict[int, int | None] = {}

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        return consumer

    def on_crash(self, msg: str, *fmt: Any, **kwargs: Any) -> None:
        """Not Faust's, which prints a stack: the error reaches the app, and who runs that says it."""
        logger.debug("%s", msg.format(*fmt))

    async def crash(self, exc: BaseException) -> None:
        """Called in the thread. One that is quicker than its `start` leaves it an error that
        nobody awaits, which asyncio would print.
        """
        started = self._thread_running
        if started is not None:
            self.parent_loop.call_soon_threadsafe(started.add_done_callback, _seen)
        await super().crash(exc)

    def _stopped_set(self) -> None:
        with contextlib.suppress(RuntimeError):  # a thread that crashed has closed its loop
            super()._stopped_set()

    async def on_thread_stop(self) -> None:
        """Close the consumer, or drop it: its positions are the store's, and its group is its
        own, so nobody misses its farewell.
        """
        await QueueServiceThread.on_thread_stop(self)
        consumer = self._consumer
        if consumer is not None and not await _within(_LEAVE_S, consumer.stop()):
            logger.info("the read side leaves its group without a word: no broker answers")
            await _within(
                _CLOSE_S, consumer._client.close()
            )  # what else it has running is cancelled with this thread's loop

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek to the app's positions; the name is Faust's."""
        return cast(Mapping[TP, int], await self.call_thread(self._seek_to_positions))

    async def _seek_to_positions(self) -> Mapping[TP, int]:
        consumer = self._ensure_consumer()
        positions = cast(Positions, self.app)
        assigned = list(consumer.assignment())
        starts = await consumer.beginning_offsets(assigned) if assigned else {}
        offsets = {}
        for tp in assigned:
            position = positions.position(tp.partition)
            offsets[tp] = starts[tp] if position is None else position + 1
            consumer.seek(tp, offsets[tp])
            self._handed_over[tp.partition] = position
        return offsets

    async def _fetch_records(self, *args: Any, **kwargs: Any) -> dict[TP, Any]:
        # Runs in the thread in which seeks run, and nothing comes between: a batch belongs to the
        # seek that it was fetched after.
        fetched = await super()._fetch_records(*args, **kwargs)
        batches = {}
        for tp, records in fetched.items():
            if records:
                batches[tp] = RecordBatch(
                    tp.partition, self._handed_over.get(tp.partition), records
                )
                self._handed_over[tp.partition] = records[-1].offset
        return batches

    async def fetched(self) -> Mapping[int, Fetched]:
        """How far each partition was fetched."""
        return cast(Mapping[int, Fetched], await self.call_thread(self._fetched))

    async def _fetched(self) -> Mapping[int, Fetched]:
        consumer = self._ensure_consumer()
        ends = {tp.partition: await consumer.position(tp) for tp in consumer.assignment()}
        # Asked for after the positions: a batch that came in between counts.
        return {
            partition: Fetched(end, self._handed_over.get(partition))
            for partition, end in ends.items()
        }


class CommittedConsumer(Consumer):
    """Hands fetches over whole."""

    _thread: CommittedThread

    def _new_consumer_thread(self) -> CommittedThread:
        return CommittedThread(self, loop=self.loop, beacon=self.beacon)

    async def fetched(self) -> Mapping[int, Fetched]:
        """See CommittedThread."""
        return await self._thread.fetched()

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:  # noqa: ASYNC109 Faust's signature
        """One message for the records of each partition. Its offset is the last one's."""
        generation = self.app.consumer_generation_id
        fetched, active = await self._wait_next_records(timeout)
        if not fetched or self.should_stop:
            return
        for tp, batch in cast(Mapping[TP, Any], fetched).items():
            if not self.flow_active or self.app.consumer_generation_id != generation:
                # A rebalance began: what is not handed over is fetched again from the app's
                # positions.
                await self.perform_seek()
                return
            if active is not None and tp not in active and tp not in self._buffered_partitions:
                continue
            message = self._to_message(tp, batch.records[-1])
            message.key = None
            message.value = batch
            yield tp, message


class CommittedTransport(Transport):
    """Faust's transport with that consumer."""

    Consumer = CommittedConsumer


TRANSPORTS.aliases[SCHEME] = f"{__name__}:CommittedTransport"

# Of all clients in this process: aiokafka's own has a broker make missing topics, where it may
# (`auto.create.topics.enable`), and has no setting against it.
aiokafka.client.MetadataRequest = partial(
    aiokafka.client.MetadataRequest, allow_auto_topic_creation=False
)


async def _within(limit_s: float, ending: Coroutine[Any, Any, None]) -> bool:
    """Whether this came to its end in time; else it is cancelled. What it raises is logged:
    there is nothing left to save.
    """
    task = asyncio.ensure_future(ending)
    done, _ = await asyncio.wait({task}, timeout=limit_s)
    if not done:
        task.cancel()
        await asyncio.wait({task}, timeout=limit_s)
    if task.done() and not task.cancelled() and task.exception() is not None:
        logger.info("the read side's consumer did not close well: %r", task.exception())
    return bool(done)
