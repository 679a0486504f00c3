"""Keeps the windows of a store and their changelog together, beside the intake: restores once
where it must, then publishes every minute.

Both wait until the intake has everything. Restoring: then nothing was counted in what the topic
held that is not counted here or gone for good (`store/changelog.py`). Publishing: all of a
window that ended some time ago has been counted then, and a checkpoint may say so.

Nothing of this is in the way of lists, and what goes wrong ends nothing: it is said once and
tried again.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from confluent_kafka import KafkaException

from odradek.exceptions import BrokerUnreachableError, OdradekError, TopicSettingError
from odradek.kafka.admin import ClusterAdmin, TopicFacts
from odradek.kafka.registry import SchemaRegistryUnreachableError
from odradek.visibility.blocking import in_daemon_thread
from odradek.visibility.changelog.checkpoints import complete_since_ms
from odradek.visibility.changelog.publish import WindowsPublisher
from odradek.visibility.changelog.restore import WindowsReader
from odradek.visibility.intake.app import IntakeProgress
from odradek.visibility.store.store import VisibilityStore
from odradek.visibility.store.windows import RETENTION_MS, WINDOW_MS
from odradek.wire.topic_configs import expires_after_ms, setting_problems
from odradek.wire.topics import WINDOWS
from odradek.wire.windows import Window, WindowsCheckpoint

logger = logging.getLogger("odradek.visibility")

P = ParamSpec("P")
T = TypeVar("T")

EVERY_S = 60.0
#: So long ago a window ended when it is published: its last records have come by then, and it is
#: not published for each of them.
SETTLED_MS = 2 * 60_000
#: So long after a moment other servers have vouched for what came before it: who lacks something
#: from before waits for that.
VOUCHED_S = SETTLED_MS / 1_000 + 2 * EVERY_S
BATCH = 5_000  # windows that are published together
_LOOK_S = 0.25


class WindowsKeeper:
    """For one run of the intake. `run` until it is cancelled.

    writer: the store's writing thread.  progress: of the intake.
    """

    def __init__(
        self,
        store: VisibilityStore,
        source: str,
        writer: ThreadPoolExecutor,
        progress: IntakeProgress,
        admin: ClusterAdmin,
        publisher: WindowsPublisher,
        reader: WindowsReader,
    ) -> None:
        self._store = store
        self._source = source
        self._changelog = store.changelog
        self._writer = writer
        self._progress = progress
        self._admin = admin
        self._publisher = publisher
        self._reader = reader
        #: Why windows are not kept in the topic; "" while they are, or no broker answers.
        self.error = ""
        self._expires_after_ms: float | None = None  # not looked at yet

    async def run(self) -> None:
        while True:
            try:
                await self._once()
            except (
                Exception
            ) as error:  # of Kafka, SQLite, a registry, or a defect of ours: lists go on without it
                self._note(error)
            else:
                if self.error:
                    logger.warning(
                        "%s: windows of the statistics are kept there again",
                        self._admin.topics.windows,
                    )
                self.error = ""
            await asyncio.sleep(EVERY_S)

    async def _once(self) -> None:
        await self._caught_up()
        name = self._admin.topics.windows
        topic = (await in_daemon_thread(self._admin.ensure, [name]))[name].require(
            "Read", "DescribeConfigs"
        )
        if self._expires_after_ms is None:
            self._expires_after_ms = await self._look_at_settings(topic)
        if not self._changelog.restored:
            if self._store.now_ms() < self._changelog.since_ms + 1_000 * VOUCHED_S:
                return
            await self._restore(topic, self._expires_after_ms)
        await self._publish(topic.require("Write"))

    async def _look_at_settings(self, topic: TopicFacts) -> float:
        """Warn about those that lose windows; after how long they do."""
        settings = (await in_daemon_thread(self._admin.topic_settings, [topic.name]))[topic.name]
        for each in setting_problems(WINDOWS, settings, replicas=topic.replicas):
            logger.warning(
                "%s",
                TopicSettingError(
                    topic.name,
                    setting=each.setting,
                    value=each.value,
                    wanted=each.wanted,
                    reason=each.reason,
                ),
            )
        return expires_after_ms(settings)

    # --- restoring

    async def _restore(self, topic: TopicFacts, expires_after_ms: float) -> None:
        await self._write(self._changelog.begin_restore)
        now_ms = self._store.now_ms()
        oldest_ms = now_ms - RETENTION_MS
        found = await in_daemon_thread(
            self._reader.read, topic, self._source, oldest_ms, self._keep
        )
        await self._caught_up()  # since the reading
        bound_ms = self._changelog.since_ms
        since_ms = (
            bound_ms
            if found.unreadable
            else complete_since_ms(bound_ms, found.checkpoints.values())
        )
        if (
            expires_after_ms < RETENTION_MS
        ):  # what checkpoints say of the time before is true no more
            since_ms = min(bound_ms, max(since_ms, now_ms - round(expires_after_ms)))
        windows = await self._write(self._changelog.restore, since_ms, bound_ms)
        if windows:
            logger.info("%d windows of the statistics were restored from %s", windows, topic.name)

    def _keep(self, windows: Sequence[Window]) -> None:
        """On the thread that reads."""
        self._writer.submit(self._changelog.keep, windows).result()

    # --- publishing

    async def _publish(self, topic: TopicFacts) -> None:
        if await self._write(self._changelog.topic_is, topic.topic_id):
            logger.warning(
                "%s was deleted: all windows of the statistics are published anew", topic.name
            )
        looked_ms = await self._caught_up()
        until_ms = (looked_ms - SETTLED_MS) // WINDOW_MS * WINDOW_MS
        while windows := await in_daemon_thread(
            self._changelog.unpublished, self._source, until_ms, BATCH
        ):
            await in_daemon_thread(self._publisher.publish, [each.window for each in windows])
            await self._write(self._changelog.published, windows)
        await self._write(self._changelog.forget_parts)
        since_ms = self._changelog.since_ms
        if since_ms < until_ms:
            checkpoint = WindowsCheckpoint(
                self._source, self._changelog.store_id, since_ms, until_ms
            )
            await in_daemon_thread(self._publisher.publish, [checkpoint])

    # --- both

    async def _caught_up(self) -> int:
        """Wait until a look that begins from now on finds everything in the store; the store's
        time at which it began.
        """
        called_s = time.monotonic()
        while True:
            progress = self._progress
            if self._store.complete and progress.lag == 0 and progress.began_s >= called_s:
                return self._store.now_ms() - round(1_000 * (time.monotonic() - progress.began_s))
            await asyncio.sleep(_LOOK_S)

    async def _write(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(
            self._writer, lambda: call(*args, **kwargs)
        )

    def _note(self, error: Exception) -> None:
        if isinstance(error, BrokerUnreachableError) and not isinstance(
            error, SchemaRegistryUnreachableError
        ):
            logger.debug("windows of the statistics are not published now: %s", error)
            return  # the intake says so
        text = (
            str(error)
            if isinstance(error, OdradekError | KafkaException | sqlite3.Error)
            else repr(error)
        )
        if text != self.error:
            what = (
                "windows of the statistics are not kept in %s, and lost with this server's disk"
                " once their runs are gone: %s"
            )
            known = isinstance(error, OdradekError)
            logger.log(
                logging.WARNING if known else logging.ERROR,
                what,
                self._admin.topics.windows,
                text,
                exc_info=not known,
            )
        self.error = text
