"""The Faust app: an agent over `executions`, a table with a SQLite store, and one thread that writes.

    fetch (aiokafka's thread) → agent → waiting batches → writer thread: decode, one SQLite
    transaction

While a transaction runs, what comes in waits and makes the next one: batches grow with the load.
What waits is bounded in records; the agent then stops taking, and Faust stops fetching.

Each start is a group of its own: the app is the only member and reads every partition (each
instance holds everything), its positions stand in SQLite, so a group that outlives its member
would only keep the next start waiting for it to be expelled.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import faust

from odradek.config import Settings
from odradek.exceptions import OdradekError, TopicMissingError
from odradek.visibility.blocking import in_daemon_thread
from odradek.visibility.errors import IntakeError
from odradek.visibility.intake import driver
from odradek.visibility.intake.committed import SCHEME, CommittedConsumer, RecordBatch
from odradek.visibility.intake.decode import SummaryDecoder
from odradek.visibility.intake.quiet import quieten
from odradek.visibility.intake.security import broker_credentials
from odradek.visibility.intake.table import TopicTable, TopicTableManager
from odradek.visibility.store.store import VisibilityStore
from odradek.wire.topics import Topics

logger = logging.getLogger("odradek.visibility")

FETCH_RECORDS = 4_000
WAITING_RECORDS_MAX = 20_000
LOOK_EVERY_S = 0.5
_NOTE_EVERY_S = 5.0
_BUFFERED_BATCHES = 64
_MISSED_MAX = 3  # looks without the topic: a broker that has just started may not know of it yet


#: Where readers of committed records end, by partition. Blocks. Not the consumer's: its connection
#: is busy waiting for records.
EndOffsets = Callable[[], Mapping[int, int]]


@dataclass(slots=True)
class IntakeProgress:
    """Where the intake stands. `lag`: records of `executions` that are not in the store yet;
    None while it is not known.

    Behind a transaction's end stands a marker that is no record; a lag of a partition that is
    not yet read may count those.
    """

    lag: int | None = None
    partitions: int = 0
    ready: bool = False
    records: int = 0
    batches: int = 0
    began_s: float = 0.0  # monotonic time at which the look at the ends began
    outage: str = ""  # why the last look could not be had: no broker answers


class VisibilityApp(faust.App):
    """Reads `executions` into a store. Make it inside a running loop; `start`, then `stop`;
    `crashed` when it cannot go on.
    """

    def __init__(
        self,
        settings: Settings,
        store: VisibilityStore,
        decoder: SummaryDecoder,
        writer: ThreadPoolExecutor,
        ends: EndOffsets,
    ) -> None:
        quieten()
        topics = Topics(settings.namespace, settings.topic_prefix)
        hosts = [host.strip() for host in settings.address.split(",") if host.strip()]
        session_s = settings.session_timeout.total_seconds()
        super().__init__(
            f"{topics.executions}.visibility-{secrets.token_hex(6)}",
            broker=";".join(f"{SCHEME}://{host}" for host in hosts),
            broker_credentials=broker_credentials(settings.kafka),
            broker_client_id=f"{settings.client_id}-visibility",
            broker_session_timeout=session_s,
            broker_heartbeat_interval=session_s / 3,
            broker_max_poll_records=FETCH_RECORDS,
            consumer_auto_offset_reset="earliest",
            consumer_max_fetch_size=4 * 1024 * 1024,
            stream_buffer_maxsize=_BUFFERED_BATCHES,
            stream_wait_empty=False,
            stream_recovery_delay=0.0,
            topic_allow_declare=False,
            topic_disable_leader=True,
            store="memory://",
            datadir=str(store.path.with_name("faust")),
            origin="odradek.visibility",
            autodiscover=False,
            web_enabled=False,
            TableManager=TopicTableManager,
        )
        self.progress = IntakeProgress()
        self.on_progress: Callable[[], None] = lambda: None  # called after each look
        self._store = store
        self._writer = writer
        self._ends = ends
        self._waiting: list[RecordBatch] = []
        self._waiting_records = 0
        self._taken: dict[int, int] = {}
        self._changed = asyncio.Condition()
        self._noted_s = 0.0
        self._missed = 0  # looks in a row that did not find the topic
        self.executions_topic = self.topic(
            topics.executions, key_serializer="raw", value_serializer="raw", acks=False
        )
        self.executions = cast(
            TopicTable,
            self.tables.add(
                TopicTable(
                    cast(Any, self),
                    name="executions",
                    store=f"{driver.SCHEME}://{store.path.absolute()}",
                    changelog_topic=self.executions_topic,
                    key_type=bytes,
                    value_type=bytes,
                    options={"store": store, "decoder": decoder},
                )
            ),
        )
        self.agent(self.executions_topic, name="executions")(self._take)
        self.task()(self._write)
        self.task()(self._look)

    def position(self, partition: int) -> int | None:
        """See `committed.Positions`."""
        return self._store.position(partition)

    # --- records

    async def _take(self, stream: faust.StreamT[Any]) -> None:
        async for batch in stream:
            if not await self._follows(batch):
                return
            async with self._changed:
                await self._changed.wait_for(lambda: self._waiting_records < WAITING_RECORDS_MAX)
                self._waiting.append(batch)
                self._waiting_records += len(batch.records)
                self._changed.notify_all()

    async def _follows(self, batch: RecordBatch) -> bool:
        """Whether a batch begins where the last one ended. Faust empties its queues when
        partitions are assigned anew: going on behind a lost batch would move the position over
        it for good, so the app stops, and a new one begins at the positions.
        """
        taken = self._taken.get(batch.partition, self._store.position(batch.partition))
        if batch.after is not None and (taken is None or batch.after > taken):
            await self.crash(
                IntakeError(
                    f"executions/{batch.partition}: records between {taken} and {batch.after} were"
                    " not handed over"
                )
            )
            return False
        self._taken[batch.partition] = max(batch.records[-1].offset, -1 if taken is None else taken)
        return True

    async def _write(self) -> None:
        """Write what waits, again and again. A store that cannot be written stops the app."""
        loop = asyncio.get_running_loop()
        while not self.should_stop:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._waiting))
                batches, self._waiting, self._waiting_records = self._waiting, [], 0
                self._changed.notify_all()
            try:
                pairs = [(batch.partition, batch.records) for batch in batches]
                await loop.run_in_executor(
                    self._writer, self.executions.driver.apply_batches, pairs
                )
            except Exception as error:
                await self.crash(error)
                return
            self.progress.records += sum(len(batch.records) for batch in batches)
            self.progress.batches += 1

    # --- where it stands

    async def _look(self) -> None:
        while not self.should_stop:
            await self._look_once()
            self.on_progress()
            await self.sleep(LOOK_EVERY_S)

    async def _look_once(self) -> None:
        began_s = time.monotonic()
        progress = self.progress
        if await in_daemon_thread(self._store.gone):
            await self.crash(
                IntakeError("the store's files were removed beneath it: the read side begins anew")
            )
            return
        try:
            ends = await in_daemon_thread(self._ends)
        except (
            TopicMissingError
        ) as error:  # no outage: a new app makes it anew, or says that it may not
            progress.lag = None
            self._missed += 1
            if self._missed >= _MISSED_MAX:
                await self.crash(error)
            return
        except OdradekError as error:
            progress.lag = None
            if not progress.outage:
                logger.warning(
                    "the read side takes nothing in until a broker answers again; lists stay as"
                    " they are: %s",
                    error,
                )
            progress.outage = str(error)
            return
        self._missed = 0
        if progress.outage:
            logger.warning("a broker answers the read side again")
            progress.outage = ""
        fetched = await cast(CommittedConsumer, self.consumer).fetched()
        lag = 0
        for partition, end in ends.items():
            position = self._store.position(partition)
            so_far = fetched.get(partition)
            if (
                so_far is not None
                and so_far.end >= end
                and (so_far.last is None or (position is not None and position >= so_far.last))
            ):
                # all was fetched, and its last record is in the store; what is behind it are
                # markers
                continue
            lag += max(0, end - (0 if position is None else position + 1))
        # Noted first: what is ready answers, and who sees that nothing lags sees what the store
        # says of itself then.
        if lag == 0 and (not self._store.complete or began_s - self._noted_s >= _NOTE_EVERY_S):
            self._noted_s = began_s
            # A topic may be empty now and have had records.
            noted = partial(self._store.caught_up, first=not any(ends.values()))
            await asyncio.get_running_loop().run_in_executor(self._writer, noted)
        progress.partitions = len(ends)
        progress.lag = lag
        progress.began_s = began_s
        progress.ready = progress.ready or lag == 0
