"""`VisibilityReader`: the read side in a process. Starts the Faust app in a thread of its own,
keeps it going, holds the store.

    with VisibilityReader(settings) as reader:      # StoreLockedError if another process has
    this store
        reader.wait_ready(30)                       # everything that the topic held is in
        reader.store.list("ExecutionStatus = 'Failed' ORDER BY CloseTime DESC")

Lists answer from the local copy as soon as `start` returns, also while no broker answers;
`state` and `lag` say how old it may be. A copy that never was whole is a part of one: `building`
says so, and a server refuses lists until it is. A failure of the app (broker gone, topic made
anew, the store's files removed, records handed over with a gap) ends it and starts it again,
with a pause that doubles.

Never in the path of a workflow: it joins groups of its own, and all it writes to Kafka is the
changelog of its windows (`changelog/`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aiokafka.errors import KafkaConnectionError

from odradek.config import Settings
from odradek.exceptions import BrokerUnreachableError, OdradekError
from odradek.kafka.admin import ClusterAdmin, TopicFacts
from odradek.kafka.errors import unreachable
from odradek.kafka.registry import SchemaRegistryUnreachableError, make_codec
from odradek.kafka.schemas_topic import PATIENCE_S, SchemasTopic
from odradek.visibility.blocking import in_daemon_thread
from odradek.visibility.changelog.keeper import WindowsKeeper
from odradek.visibility.changelog.publish import WindowsPublisher
from odradek.visibility.changelog.restore import WindowsReader
from odradek.visibility.errors import IntakeError, StoreNotOpenError
from odradek.visibility.intake.app import IntakeProgress, VisibilityApp
from odradek.visibility.intake.decode import SummaryDecoder
from odradek.visibility.store.store import Listener, Source, VisibilityStore
from odradek.visibility.store.writer import Applied
from odradek.wire.topic_configs import TOMBSTONE_RETENTION_MS
from odradek.wire.topics import escape

logger = logging.getLogger("odradek.visibility")

STARTING, RUNNING, FAILED, STOPPED = "STARTING", "RUNNING", "FAILED", "STOPPED"

#: So long the intake may take nothing in, though there is something to take, until lists count as
#: standing still: twice what a record of an unknown schema, and the longest pause between two
#: starts, take.
STANDSTILL_S = 60.0

_PAUSE_FIRST_S = 0.5
_PAUSE_MAX_S = 30.0
_TOPIC_CHECK_S = 30.0  # between two looks whether the topic is still the one that was opened
_LOOK_TIMEOUT_S = 5.0  # a look at the ends of partitions; longer, and an outage shows late
# For the app to end. What it has not written is read again.
_STOP_S = 2.0


@dataclass(frozen=True, slots=True)
class IntakeStatistics:
    """The intake at a moment. `lag`: records not in the store yet, None while unknown; `error`:
    why it does not run; `windows_error`: why the changelog of its windows is not kept.
    """

    state: str
    ready: bool
    lag: int | None
    partitions: int
    records: int
    batches: int
    rows_written: int
    rows_deleted: int
    records_skipped: int
    undecodable: int
    restarts: int
    error: str = ""
    rebuilt_because: str = ""
    windows_error: str = ""


def store_path(settings: Settings) -> Path:
    """Where the store of these settings lies."""
    return (
        settings.state_dir
        / "visibility"
        / f"{settings.topic_prefix}{escape(settings.namespace)}.sqlite"
    )


class VisibilityReader:
    """One instance of the read side. `start` and `stop` once each.

    path: the store's file; default under `state_dir`.
    """

    def __init__(self, settings: Settings, *, path: Path | None = None) -> None:
        self._settings = settings
        self._path = path if path is not None else store_path(settings)
        self._store: VisibilityStore | None = None
        self._listeners: list[Listener] = []
        self._progress = IntakeProgress()
        self._was_ready = False
        self._state = STOPPED
        self._error = ""
        self._unreachable = ""  # while the app does not run for this reason
        self._ended_by = ""  # what ended the app last, until the intake got on again
        self._get_on()
        self._got_on_records = 0
        self._restarts = 0
        self._undecodable = 0  # of former apps
        self._decoder: SummaryDecoder | None = None
        self._keeper: WindowsKeeper | None = None
        self._counted = (0, 0)  # records and batches of former apps
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._writer: ThreadPoolExecutor | None = None

    # --- life

    def start(self) -> None:
        """Open the store and begin to take records in. Raises StoreLockedError when the store is
        in use; waits for no broker.
        """
        if self._thread is not None:
            raise RuntimeError("a VisibilityReader starts once")
        self._open(Source(self._settings.namespace))
        self._state = STARTING
        self._writer = ThreadPoolExecutor(1, "odradek-visibility-writer")
        self._thread = threading.Thread(target=self._run, name="odradek-visibility", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop and close the store: in some three seconds at most, also while no broker answers.
        The transaction that runs is waited for. Idempotent.
        """
        self._stopping.set()
        if self._loop is not None and self._wake is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                self._loop.call_soon_threadsafe(self._wake.set)
        if self._thread is not None:
            self._thread.join(_STOP_S + 1.0)
        if self._writer is not None:
            self._writer.shutdown()
        if self._store is not None:
            self._store.close()
        self._set_state(STOPPED)

    def __enter__(self) -> VisibilityReader:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    # --- what it is

    @property
    def store(self) -> VisibilityStore:
        """The store as it is now; do not keep it: it is another one after it was rebuilt."""
        store = self._store
        if store is None:
            raise StoreNotOpenError("the read side is not running: start it first")
        return store

    @property
    def ready(self) -> bool:
        """Whether everything that the topic held at some moment since the start is in the store."""
        return self._was_ready or self._progress.ready

    @property
    def unready(self) -> str:
        """What makes that lists should not be asked here: the first copy is not whole, or it
        grows old, as the intake has ended or takes nothing in for `STANDSTILL_S` though there is
        something to take. "" otherwise, and while no broker answers: `outage` says that.

        For everybody's eyes: no text of an error is in it, `standstill` and `statistics` have
        that.
        """
        still = self._still
        if self.ready:
            return still
        return "the topic `executions` is being read" + (f"; {still}" if still else "")

    @property
    def standstill(self) -> str:
        """What makes lists grow old though a broker answers, and why; "" while they do not. See
        `unready`.
        """
        still, why = self._still, self._error or self._ended_by
        return f"{still}: {why}" if still and why else still

    @property
    def _still(self) -> str:
        """The same without the reason. It says since when, not for how long: pages read a text
        that changes out anew.
        """
        if self._thread is not None and not self._thread.is_alive() and not self._stopping.is_set():
            return "the intake has ended"
        if self.outage or time.monotonic() - self._got_on_s < STANDSTILL_S:
            return ""
        return (
            "the intake has taken in nothing since"
            f" {datetime.fromtimestamp(self._got_on_at_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
        )

    def _get_on(self) -> None:
        """Note that there is nothing to take in, or that something was, or that no broker
        answers, which is another matter.
        """
        self._got_on_s, self._got_on_at_s = time.monotonic(), time.time()

    @property
    def building(self) -> str:
        """How far the first copy is ("120 of about 5,000 records read"); "" from when it was
        whole once, in this process or a former one: such a copy may lag. Records are counted
        since this process began; markers of transactions may count among the rest.
        """
        if self.store.complete:
            return ""
        records, lag = self._records, self.lag
        if self.outage:
            return f"{records:,} records read, no broker answers"
        return (
            f"{records:,} records read so far"
            if lag is None
            else f"{records:,} of about {records + lag:,} records read"
        )

    @property
    def built_percent(self) -> int | None:
        """The same in percent: 0 to 99 while it is built, then 100; None while the end is not
        known.
        """
        if self.store.complete:
            return 100
        records, lag = self._records, self.lag
        return (
            None if lag is None or self.outage else min(99, 100 * records // max(1, records + lag))
        )

    @property
    def _records(self) -> int:
        return self._counted[0] + self._progress.records

    @property
    def outage(self) -> str:
        """Why nothing can be taken in now: no broker answers. "" while one does; known a few
        seconds late.
        """
        return self._unreachable or self._progress.outage

    @property
    def lag(self) -> int | None:
        """Records that are not in the store yet; None while it is not known."""
        return self._progress.lag if self._state == RUNNING else None

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until `ready`; False when the time ran out."""
        return self._wait(lambda: self.ready, timeout_s)

    def wait_caught_up(self, timeout_s: float) -> bool:
        """Wait until the lag was 0 at a look that began after this call; False when the time ran
        out.
        """
        called_s = time.monotonic()
        return self._wait(lambda: self.lag == 0 and self._progress.began_s >= called_s, timeout_s)

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, timeout_s)

    def statistics(self) -> IntakeStatistics:
        """Where the intake stands."""
        progress, store, decoder = self._progress, self._store, self._decoder
        records, batches = self._counted
        return IntakeStatistics(
            state=self._state,
            ready=self.ready,
            lag=self.lag,
            partitions=progress.partitions,
            records=records + progress.records,
            batches=batches + progress.batches,
            rows_written=store.rows_written if store is not None else 0,
            rows_deleted=store.rows_deleted if store is not None else 0,
            records_skipped=store.records_skipped if store is not None else 0,
            undecodable=self._undecodable + (decoder.undecodable if decoder is not None else 0),
            restarts=self._restarts,
            error=self._error,
            rebuilt_because=store.rebuilt_because if store is not None else "",
            windows_error=self._keeper.error if self._keeper is not None else "",
        )

    def add_listener(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with what each batch changed, in the writer's thread, also after the
        store was rebuilt.

        Returns how to remove it.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    # --- the thread

    def _open(
        self, source: Source, retention_ms: int = TOMBSTONE_RETENTION_MS, begin_anew: str = ""
    ) -> None:
        kept_ms = int(self._settings.retention.total_seconds() * 1000)
        store = VisibilityStore.open(
            self._path,
            source,
            tombstone_retention_ms=retention_ms,
            runs_kept_ms=kept_ms,
            begin_anew=begin_anew,
        )
        store.add_listener(self._tell)
        self._store = store

    def _tell(self, applied: Applied) -> None:
        for listener in list(self._listeners):
            listener(applied)

    def _run(self) -> None:
        try:
            asyncio.run(self._supervise())
        except BaseException as error:
            self._error = f"{type(error).__name__}: {error}"
            self._set_state(FAILED)
            raise

    async def _supervise(self) -> None:
        self._loop, self._wake = asyncio.get_running_loop(), asyncio.Event()
        pause_s = _PAUSE_FIRST_S
        while not self._stopping.is_set():
            began_s = time.monotonic()
            if await self._until_stopped(self._once()):
                return
            self._restarts += 1
            self._set_state(FAILED)
            if time.monotonic() - began_s > 2 * _PAUSE_MAX_S:
                pause_s = _PAUSE_FIRST_S
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    async def _until_stopped(self, running: Coroutine[None, None, None]) -> bool:
        """Let it run to its end or that of this reader, which comes first: True for the latter.
        What ended it is noted.
        """
        assert self._wake is not None
        app, stop = asyncio.ensure_future(running), asyncio.ensure_future(self._wake.wait())
        await asyncio.wait({app, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not app.done():
            app.cancel()
        try:
            await app
        except asyncio.CancelledError:
            return True
        # whatever Faust, aiokafka, SQLite or the registry raise: said, counted, tried again
        except Exception as error:
            self._note(error)
        return self._stopping.is_set()

    def _note(self, error: Exception) -> None:
        self._error = self._ended_by = f"{type(error).__name__}: {error}"
        # Who bears a broker that is away bears a registry that is; but the brokers are there, and
        # say nothing of what is in the way.
        brokers_away = isinstance(error, BrokerUnreachableError) and not isinstance(
            error, SchemaRegistryUnreachableError
        )
        unreachable = str(error) if brokers_away else ""
        if not unreachable:
            level = logging.WARNING if isinstance(error, OdradekError) else logging.ERROR
            logger.log(
                level,
                "the read side's intake stopped and starts again: %s",
                self._error,
                exc_info=level == logging.ERROR,
            )
        elif not self._unreachable:
            logger.warning("the read side waits for a broker; lists stay as they are: %s", error)
        if unreachable or self._unreachable:
            self._get_on()
        self._unreachable = unreachable

    async def _once(self) -> None:
        """One app from start to its end. Raises what ended it; cancelled by `stop`."""
        admin = ClusterAdmin(self._settings)
        topic = admin.topics.executions
        facts = (await in_daemon_thread(admin.ensure, [topic]))[topic]
        source = Source(
            self._settings.namespace, await in_daemon_thread(admin.cluster_id), facts.topic_id
        )
        retention_ms = await in_daemon_thread(admin.tombstone_retention_ms, topic)
        await asyncio.get_running_loop().run_in_executor(
            self._writer, self._adopt, source, retention_ms
        )
        schemas = SchemasTopic(self._settings, admin)
        try:
            await in_daemon_thread(schemas.open)
            await self._run_app(schemas, admin, facts)
        except KafkaConnectionError as error:
            raise unreachable(self._settings, str(error)) from error
        finally:
            await in_daemon_thread(schemas.close)

    def _adopt(self, source: Source, retention_ms: int) -> None:
        """Go on with the open store if it is a copy of this topic, and a young one; else begin a
        new one.

        retention_ms: how long this topic keeps tombstones; a store that was opened without a
        broker could not know.
        """
        store = self.store
        removed = "its files were removed" if store.gone() else ""
        if (
            not removed
            and not store.closed
            and store.matches(source)
            and not store.may_miss_tombstones(retention_ms)
        ):
            return
        store.close()
        self._was_ready = False
        self._open(source, retention_ms, removed)

    def _wait_for_schema(self, schemas: SchemasTopic, name: str) -> bool:
        try:
            fingerprint = bytes.fromhex(name)
        except ValueError:  # an id of a registry, which was asked already
            return False
        deadline_s = time.monotonic() + PATIENCE_S
        while not self._stopping.is_set() and time.monotonic() < deadline_s:
            if schemas.wait_for(fingerprint, timeout_s=0.5) is not None:
                return True
        return False

    async def _run_app(self, schemas: SchemasTopic, admin: ClusterAdmin, topic: TopicFacts) -> None:
        assert self._writer is not None

        codec = make_codec(self._settings, schemas)

        def wait_for_schema(name: str) -> bool:
            return self._wait_for_schema(schemas, name)

        decoder = SummaryDecoder(codec, wait_for_schema)
        looking = ClusterAdmin(self._settings, request_timeout_s=_LOOK_TIMEOUT_S)

        def ends() -> Mapping[int, int]:
            return looking.end_offsets(topic.name, range(topic.partitions), committed=True)

        app = VisibilityApp(self._settings, self.store, decoder, self._writer, ends)
        app.on_progress = self._on_look
        publisher = WindowsPublisher(self._settings, codec, schemas)
        windows = WindowsReader(self._settings, admin, codec, wait_for_schema)
        keeper = WindowsKeeper(
            self.store, topic.topic_id, self._writer, app.progress, admin, publisher, windows
        )
        self._progress, self._decoder, self._keeper = app.progress, decoder, keeper
        tasks = [
            asyncio.ensure_future(app.wait_until_stopped()),
            asyncio.ensure_future(self._watch_topic(admin, topic)),
            asyncio.ensure_future(keeper.run()),
        ]
        try:
            await app.start()
            if self._unreachable:
                self._get_on()
            self._error = self._unreachable = ""
            self._set_state(RUNNING)
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            raise app.crash_reason or OdradekError("the Faust app ended by itself")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await _stopped(app)
            self._was_ready = self._was_ready or app.progress.ready
            self._undecodable += decoder.undecodable
            self._decoder = None
            self._counted = (
                self._counted[0] + app.progress.records,
                self._counted[1] + app.progress.batches,
            )
            self._progress = IntakeProgress()

    async def _watch_topic(self, admin: ClusterAdmin, topic: TopicFacts) -> None:
        """A topic that is deleted and made anew begins at offset 0 again: everything in it would
        be taken for old.

        One that gets more partitions is opened again, so that their lag counts.
        """
        while True:
            await asyncio.sleep(_TOPIC_CHECK_S)
            try:
                found = await in_daemon_thread(admin.describe, [topic.name])
            except OdradekError:
                continue  # no broker just now: the app waits for it too
            now = found.get(topic.name)
            if now is None or now.topic_id != topic.topic_id:
                raise IntakeError(
                    f"topic {topic.name} was deleted and made anew: the read side begins anew"
                    " with it"
                )
            if now.partitions != topic.partitions:
                raise IntakeError(
                    f"topic {topic.name} has {now.partitions} partitions now, {topic.partitions}"
                    " before: it is opened again"
                )

    def _on_look(self) -> None:
        progress, records = self._progress, self._records
        if progress.lag == 0 or progress.outage or records > self._got_on_records:
            self._got_on_records = records
            self._get_on()
            self._ended_by = ""
        self._on_progress()

    def _on_progress(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _set_state(self, state: str) -> None:
        self._state = state
        self._on_progress()


async def _stopped(app: VisibilityApp) -> None:
    """Stop it, in `_STOP_S` at most: what of it still runs then is dropped with the loop."""
    stopping = asyncio.ensure_future(app.stop())
    done, _ = await asyncio.wait({stopping}, timeout=_STOP_S)
    if not done:
        logger.warning("the read side's Faust app did not stop within %g s and is dropped", _STOP_S)
        stopping.cancel()
    elif (error := stopping.exception()) is not None:
        logger.warning("the read side's Faust app did not stop well: %r", error)
