"""What commands on the Kafka beneath stand on: the readers that the server has too, opened for
the time of one command.

Creates nothing: a namespace that was never used says so.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from odradek.cli.common import never_used, settings_of
from odradek.cli.status import CommandFailedError, Status
from odradek.config import Settings
from odradek.exceptions import TopicMissingError

if TYPE_CHECKING:
    from odradek.kafka.admin import ClusterAdmin
    from odradek.web.kafka.follower import Board
    from odradek.wire.codec import Codec

_ADMIN_TIMEOUT_S = 5.0
_BOARD_TIMEOUT_S = 10.0


class Cluster:
    """Settings, admin and codec of one command."""

    def __init__(self, settings: Settings, admin: ClusterAdmin, codec: Codec) -> None:
        self.settings = settings
        self.admin = admin
        self.codec = codec

    @contextlib.contextmanager
    def board(self) -> Iterator[Board]:
        """Who says what of itself, read to its end."""
        from odradek.web.kafka.follower import Board, BoardReader

        board = Board()
        if self.admin.topics.members not in self.admin.describe([self.admin.topics.members]):
            yield board  # nobody has ever said anything
            return
        reader = BoardReader(self.settings, board, self.codec)
        reader.start()
        try:
            deadline_s = time.monotonic() + _BOARD_TIMEOUT_S
            while not board.complete:
                if time.monotonic() > deadline_s:
                    raise CommandFailedError(
                        f"{self.admin.topics.members} could not be read within {_BOARD_TIMEOUT_S:g}"
                        " s: try again",
                        Status.UNAVAILABLE,
                    )
                time.sleep(0.02)
            yield board
        finally:
            reader.close()


def unknown_queue(kafka: Cluster, name: str) -> CommandFailedError:
    """The error of a task queue without topics."""
    text = (
        f"task queue {name!r} was never used in namespace {kafka.settings.namespace!r}: `odradek"
        " task-queue list` shows those that were"
    )
    return CommandFailedError(text, Status.NOT_FOUND)


@contextlib.contextmanager
def cluster(options: argparse.Namespace) -> Iterator[Cluster]:
    """Connect. Raises BrokerUnreachableError; CommandFailedError for a namespace that was never
    used.
    """
    from odradek.kafka.admin import ClusterAdmin
    from odradek.kafka.registry import make_codec
    from odradek.kafka.schemas_topic import SchemasTopic

    settings = settings_of(options).replace(create_topics=False)
    admin = ClusterAdmin(settings, request_timeout_s=_ADMIN_TIMEOUT_S)
    admin.cluster_id()
    schemas = SchemasTopic(settings, admin)
    try:
        schemas.open()
    except TopicMissingError as error:
        raise never_used(settings) from error
    try:
        yield Cluster(settings, admin, make_codec(settings, schemas))
    finally:
        schemas.close()
