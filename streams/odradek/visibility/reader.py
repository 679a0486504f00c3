"""`VisibilityReader`: the read side in a process. Runs the ingest in a thread, restarts it after a
failure, holds the store.

    with VisibilityReader(settings) as reader:  # StoreLockedError if another process has the store
        reader.wait_ready(30)                   # everything that the topic held is in
        reader.store.list("ExecutionStatus = 'Failed' ORDER BY CloseTime DESC")

Lists answer from the local copy as soon as `start` returns, also while no broker answers;
`state` and `lag` say how old it may be. A copy that never was whole is a part of one: `building`
says so, and a server refuses lists until it is.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from odradek.config import Settings
from odradek.exceptions import BrokerUnreachableError, OdradekError
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.registry import SchemaRegistryUnreachableError, make_codec
from odradek.kafka.schemas_topic import SchemasTopic
from odradek.telemetry import metrics
from odradek.visibility.errors import PositionsLostError, StoreNotOpenError
from odradek.visibility.ingest import Ingest, Progress, SummaryDecoder
from odradek.visibility.store.store import Listener, Source, VisibilityStore
from odradek.visibility.store.writer import Applied
from odradek.wire.topic_configs import TOMBSTONE_RETENTION_MS
from odradek.wire.topics import escape

logger = logging.getLogger("odradek.visibility")

STARTING, RUNNING, FAILED, STOPPED = "STARTING", "RUNNING", "FAILED", "STOPPED"

#: After so long without progress, though there is something to read, lists count as old: twice
#: what a record of an unknown schema takes, and the longest pause between two starts.
STANDSTILL_S = 60.0

_PAUSE_FIRST_S = 0.5
_PAUSE_MAX_S = 30.0
_STOP_S = 3.0  # for the thread to end; what it has not written is read again


@dataclass(frozen=True, slots=True)
class IngestStatistics:
    """The ingest at a moment. `lag`: records not in the store yet, None while unknown; `error`:
    why it does not run.
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
        self._progress = Progress()
        self._state = STOPPED
        self._error = ""
        self._last_failure = ""  # what ended the ingest last, until it made progress again
        self._rebuild_because = ""
        self._restarts = 0
        self._records_seen = 0
        self._note_progress()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    # --- life

    def start(self) -> None:
        """Open the store and begin to read. Raises StoreLockedError when the store is in use;
        waits for no broker.
        """
        if self._thread is not None:
            raise RuntimeError("a VisibilityReader starts once")
        self._open(Source(self._settings.namespace))
        self._state = STARTING
        self._thread = threading.Thread(target=self._run, name="odradek-visibility", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop and close the store: in some three seconds at most, also while no broker answers.
        A transaction under way is waited for. Idempotent.
        """
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(_STOP_S)
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
        return self._progress.ready

    @property
    def unready(self) -> str:
        """Why lists should not be asked here: the first copy is not whole, or the ingest made no
        progress for `STANDSTILL_S` though there is something to read. "" otherwise, and while no
        broker answers: `outage` says that.

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
        still, why = self._still, self._error or self._last_failure
        return f"{still}: {why}" if still and why else still

    @property
    def _still(self) -> str:
        """The same without the reason. It says since when, not for how long: a page shows a text
        that changes as news.
        """
        if self._thread is not None and not self._thread.is_alive() and not self._stopping.is_set():
            return "the ingest has ended"
        if self.outage or time.monotonic() - self._progress_s < STANDSTILL_S:
            return ""
        return (
            "the ingest has made no progress since"
            f" {datetime.fromtimestamp(self._progress_at_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
        )

    def _note_progress(self) -> None:
        """Something was read, or there is nothing to read, or no broker answers."""
        self._progress_s, self._progress_at_s = time.monotonic(), time.time()

    @property
    def building(self) -> str:
        """How far the first copy is ("120 of about 5,000 records read"); "" once it was whole, in
        this process or a former one: such a copy may lag. Records are counted since this process
        began; markers of transactions may count among the rest.
        """
        if self.store.complete:
            return ""
        records, lag = self._progress.records, self.lag
        if self.outage:
            return f"{records:,} records read, no broker answers"
        if lag is None:
            return f"{records:,} records read so far"
        return f"{records:,} of about {records + lag:,} records read"

    @property
    def built_percent(self) -> int | None:
        """The same in percent: 0 to 99 while it is built, then 100; None while unknown."""
        if self.store.complete:
            return 100
        records, lag = self._progress.records, self.lag
        if lag is None or self.outage:
            return None
        return min(99, 100 * records // max(1, records + lag))

    @property
    def outage(self) -> str:
        """Why nothing can be read now: no broker answers. "" while one does; known a few seconds
        late.
        """
        return self._progress.outage

    @property
    def lag(self) -> int | None:
        """Records that are not in the store yet; None while unknown."""
        return self._progress.lag if self._state == RUNNING else None

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until `ready`; False when the time ran out."""
        return self._wait(lambda: self.ready, timeout_s)

    def wait_caught_up(self, timeout_s: float) -> bool:
        """Wait until the lag is 0 at a comparison that began after this call; False when the time
        ran out.
        """
        called_s = time.monotonic()
        return self._wait(lambda: self.lag == 0 and self._progress.checked_s >= called_s, timeout_s)

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(condition, timeout_s)

    def statistics(self) -> IngestStatistics:
        """Where the ingest stands."""
        progress, store = self._progress, self._store
        return IngestStatistics(
            state=self._state,
            ready=self.ready,
            lag=self.lag,
            partitions=progress.partitions,
            records=progress.records,
            batches=progress.batches,
            rows_written=store.rows_written if store is not None else 0,
            rows_deleted=store.rows_deleted if store is not None else 0,
            records_skipped=store.records_skipped if store is not None else 0,
            undecodable=progress.undecodable,
            restarts=self._restarts,
            error=self._error,
            rebuilt_because=store.rebuilt_because if store is not None else "",
        )

    def add_listener(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with what each batch changed, in the ingest's thread, also after the
        store was rebuilt. Returns how to remove it.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    # --- the thread

    def _run(self) -> None:
        pause_s = _PAUSE_FIRST_S
        while not self._stopping.is_set():
            began_s = time.monotonic()
            try:
                self._once()
            # whatever Kafka, SQLite or the registry raise: logged, counted, tried again
            except Exception as error:
                if self._stopping.is_set():
                    return
                self._note_failure(error)
            if time.monotonic() - began_s > 2 * _PAUSE_MAX_S:
                pause_s = _PAUSE_FIRST_S
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    def _once(self) -> None:
        """One ingest from its start to its end. Raises what ended it."""
        admin = ClusterAdmin(self._settings)
        schemas = SchemasTopic(self._settings, admin)
        try:
            name = admin.topics.executions
            topic = admin.ensure([name])[name]
            self._adopt(
                Source(self._settings.namespace, admin.cluster_id(), topic.topic_id),
                admin.tombstone_retention_ms(name),
            )
            schemas.open()
            decoder = SummaryDecoder(
                make_codec(self._settings, schemas),
                self._progress,
                self._settings.namespace,
            )
            ingest = Ingest(
                self._settings, self.store, topic, decoder, self._progress, self._on_progress
            )
            if self._progress.outage:
                self._progress.outage = ""
                self._note_progress()
            self._error = ""
            self._set_state(RUNNING)
            ingest.run(self._stopping)
        finally:
            schemas.close()
            admin.close()

    def _note_failure(self, error: Exception) -> None:
        self._progress.lag = None
        self._restarts += 1
        metrics.VISIBILITY_RESTARTS.labels(self._settings.namespace).inc()
        self._error = self._last_failure = f"{type(error).__name__}: {error}"
        if isinstance(error, PositionsLostError):
            self._rebuild_because = "the topic no longer has what follows its positions"
        # Whoever bears a broker that is away bears a registry that is away; but the brokers are
        # there, and answer nothing of what is wrong.
        if isinstance(error, BrokerUnreachableError) and not isinstance(
            error, SchemaRegistryUnreachableError
        ):
            if not self.outage:
                logger.warning(
                    "the read side waits for a broker; lists stay as they are: %s", error
                )
            self._progress.outage = str(error)
            self._note_progress()
        else:
            known = isinstance(error, OdradekError)
            logger.log(
                logging.WARNING if known else logging.ERROR,
                "the read side's ingest failed and starts again: %s",
                self._error,
                exc_info=not known,
            )
        self._set_state(FAILED)

    def _open(
        self, source: Source, retention_ms: int = TOMBSTONE_RETENTION_MS, rebuild: str = ""
    ) -> None:
        store = VisibilityStore.open(
            self._path,
            source,
            tombstone_retention_ms=retention_ms,
            runs_kept_ms=int(self._settings.retention.total_seconds() * 1000),
            begin_anew=rebuild,
        )
        store.add_listener(self._notify)
        self._store = store

    def _notify(self, applied: Applied) -> None:
        for listener in list(self._listeners):
            listener(applied)

    def _adopt(self, source: Source, retention_ms: int) -> None:
        """Go on with the open store if it is a copy of this topic, and a young one; else begin a
        new one.

        retention_ms: how long this topic keeps tombstones; a store that was opened without a
        broker could not know.
        """
        store = self.store
        rebuild, self._rebuild_because = self._rebuild_because, ""
        if store.gone():
            rebuild = "its files were removed"
        if (
            not rebuild
            and not store.closed
            and store.matches(source)
            and not store.may_miss_tombstones(retention_ms)
        ):
            return
        store.close()
        self._progress.ready = False
        if not self._stopping.is_set():
            self._open(source, retention_ms, rebuild)

    def _on_progress(self) -> None:
        progress = self._progress
        if progress.lag == 0 or progress.outage or progress.records > self._records_seen:
            self._records_seen = progress.records
            self._note_progress()
            self._last_failure = ""
        self._notify_waiting()

    def _notify_waiting(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _set_state(self, state: str) -> None:
        self._state = state
        self._notify_waiting()
