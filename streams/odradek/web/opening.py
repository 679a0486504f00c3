"""What a server stands on: the client connection, the board of members and schemas, the readers
of records, the read side. Opened with the application, in an order in which each finds its
topics; closed in the opposite one.

No broker at the start is an error of the start. A broker that goes away later is 503 for what
needs it, until it is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import sqlite3
from collections.abc import AsyncIterator, Collection
from typing import TYPE_CHECKING, Any

from odradek.client.connection import Connection
from odradek.client.kafka_transport import KafkaTransport
from odradek.config import Settings
from odradek.exceptions import StateStoreError
from odradek.kafka.admin import ClusterAdmin, TopicFacts
from odradek.kafka.producer import PlainProducer
from odradek.kafka.registry import make_codec
from odradek.kafka.schemas_topic import SchemasTopic
from odradek.kafka.upkeep import TopicUpkeep
from odradek.web.context import ServerContext
from odradek.web.hub import KEYS_MAX, MEMBERS, RUNS
from odradek.web.kafka.cluster import QueueReader
from odradek.web.kafka.dead_letters import DeadLetterReader
from odradek.web.kafka.follower import Board, BoardReader
from odradek.web.kafka.trail import RecordReader
from odradek.web.owner import ChannelOwners
from odradek.web.threads import Closing, in_thread

if TYPE_CHECKING:
    from odradek.visibility.reader import VisibilityReader
    from odradek.web.ports import Visibility

logger = logging.getLogger(__name__)

# Several such calls make one answer.
_ADMIN_TIMEOUT_S = 5.0
_CONNECT_S = 5.0
# What is still to be delivered at the end gets this long: whoever asked for it has been told 503 by
# now.
_CLOSE_S = 0.5


@contextlib.asynccontextmanager
async def open_server(server: ServerContext) -> AsyncIterator[None]:
    """See above."""
    async with contextlib.AsyncExitStack() as stack:
        settings = server.settings
        closing = Closing()
        stack.push_async_callback(in_thread, closing.wait, _CLOSE_S)  # the last that happens
        admin = ClusterAdmin(settings, request_timeout_s=_ADMIN_TIMEOUT_S)
        server.cluster_id = await in_thread(admin.cluster_id)
        topics = admin.topics
        shared = await in_thread(
            admin.ensure,
            [topics.members, topics.schemas, topics.executions, topics.replies, topics.results],
        )
        schemas = SchemasTopic(settings, admin)
        await in_thread(schemas.open)
        stack.callback(closing.begin, schemas.close)
        codec = make_codec(settings, schemas)
        producer = PlainProducer(settings)
        stack.callback(closing.begin, producer.close, _CLOSE_S)

        server.board = Board(lambda: server.hub.publish(MEMBERS))
        reader = BoardReader(settings, server.board, codec)
        reader.start()
        stack.callback(closing.begin, reader.close)

        def made_anew(topic: TopicFacts) -> None:
            if topic.name == topics.schemas:
                schemas.made_anew()
            if topic.name in (topics.schemas, topics.members):
                reader.made_anew()

        upkeep = TopicUpkeep(admin, shared.values(), made_anew)
        upkeep.start()
        stack.callback(upkeep.stop)
        server.readiness["topics"] = lambda: str(upkeep.missing or "")
        server.board.gone = lambda: (
            str(upkeep.missing)
            if upkeep.missing is not None and upkeep.missing.topic in reader.topics
            else ""
        )
        server.queues = QueueReader(settings, admin, server.board)
        stack.callback(server.queues.close)
        sampling = asyncio.create_task(server.backlog.follow(server.queues.queues))
        stack.callback(sampling.cancel)
        server.records = RecordReader(settings, admin, codec)
        server.dead_letters = DeadLetterReader(settings, admin, codec, producer)
        server.readiness["members"] = lambda: (
            ""
            if server.board.complete or server.board.gone()
            else "the topics `members` and `schemas` are being read"
        )

        await _open_read_side(server, stack)
        connection = Connection(settings, make_transport=lambda given: _Transport(given, closing))
        stack.callback(connection.close)
        await connection.open(settings.namespace)
        server.owners = ChannelOwners(
            connection,
            settings.namespace,
            lambda workflow_id, run_id: _hint(server, workflow_id, run_id),
            server.board.living_queues,
        )
        server.statistics["requests"] = lambda: dataclasses.asdict(
            connection.channel(settings.namespace).statistics()
        )
        yield
        server.hub.close()


class _Transport(KafkaTransport):
    """The client's, closed beside everything else."""

    def __init__(self, settings: Settings, closing: Closing) -> None:
        super().__init__(settings, connect_timeout_s=_CONNECT_S)
        self._closing = closing

    def close(self) -> None:
        """See `Transport.close`."""
        self._closing.begin(super().close)


async def _open_read_side(server: ServerContext, stack: contextlib.AsyncExitStack) -> None:
    try:
        from odradek.visibility.reader import VisibilityReader, store_path
    except ImportError as error:
        logger.warning(
            "no read side: %s. Lists, counts and statistics need `pip install odradek[server]`",
            error,
        )
        server.readiness["read side"] = lambda: "not installed"
        return
    reader = VisibilityReader(server.settings)
    try:
        await in_thread(reader.start)
    except (
        OSError,
        sqlite3.Error,
        # a file where a directory should be, no permission, a file system that is read-only
    ) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise StateStoreError(
            str(store_path(server.settings)), reason, copy_of="executions"
        ) from error
    stack.push_async_callback(in_thread, reader.stop)
    remove = reader.add_listener(lambda applied: _tell(server, applied.changes))
    stack.callback(remove)
    server.read_side = lambda: _store_of(reader)
    server.building = lambda: reader.building
    server.built_percent = lambda: reader.built_percent
    server.standstill = lambda: reader.standstill
    server.readiness["kafka"] = lambda: "no broker answers" if reader.outage else ""
    server.readiness["read side"] = lambda: reader.unready
    server.statistics["read side"] = lambda: dataclasses.asdict(reader.statistics())


def _store_of(reader: VisibilityReader) -> Visibility:
    return reader.store


def _tell(server: ServerContext, changes: list[Any]) -> None:
    """The hub learns which runs changed; a page may then ask for those alone."""
    keys = [change.key.decode("utf-8", "replace") for change in changes[:KEYS_MAX]]
    server.hub.publish(RUNS, keys=keys, many=len(changes) > KEYS_MAX)


async def _hint(server: ServerContext, workflow_id: str, run_id: str) -> Collection[str]:
    """The queues that the read side has for a workflow; it may be behind, so it is a hint and no
    more.
    """
    if server.read_side is None:
        return ()
    try:
        return await in_thread(server.read_side().queues_of, workflow_id, run_id, timeout_s=2.0)
    except Exception as error:
        logger.debug("the read side gives no hint: %s", error)
        return ()
