"""What one server has, for every route: settings, options, ports. `request.app.state.server` is
one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar, cast

from starlette.requests import HTTPConnection

from odradek.config import Settings
from odradek.service import RPCStatusCode
from odradek.web.batch import BatchJobs
from odradek.web.errors import DETAIL_TYPE, ApiError, ReadSideBuildingError, unavailable
from odradek.web.hub import Hub
from odradek.web.kafka.backlog import Backlog
from odradek.web.kafka.cluster import QueueReader
from odradek.web.kafka.dead_letters import DeadLetterReader
from odradek.web.kafka.facts import QueueDetail
from odradek.web.kafka.follower import Board
from odradek.web.kafka.trail import RecordReader
from odradek.web.options import ServerOptions
from odradek.web.ports import Owners, Visibility
from odradek.web.runs import RunReader
from odradek.wire.topics import Topics

T = TypeVar("T")


@dataclass
class KnownQueues:
    """What brokers and members last said of the queues, for `/metrics`."""

    queues: list[QueueDetail] = field(default_factory=list)
    #: Open runs by task queue, as the read side has them; None while it does not tell.
    open_runs: dict[str, int] | None = None
    read_at: float = float("-inf")  # monotonic


@dataclass
class ServerContext:
    """Ports may be missing: a server without Kafka (tests, a broken start) answers 503 where it
    would need them.
    """

    settings: Settings
    options: ServerOptions
    hub: Hub = field(default_factory=Hub)
    #: The read side's store as it is now: it may be another one after it was rebuilt.
    read_side: Callable[[], Visibility] | None = None
    #: How far the read side's first copy is; "" once it was whole. Until then it holds a part,
    #: which answers nothing.
    building: Callable[[], str] = lambda: ""
    #: The same in percent; None while that is not known.
    built_percent: Callable[[], int | None] = lambda: None
    #: Why the read side's copy grows old; "" while it is taken further.
    standstill: Callable[[], str] = lambda: ""
    owners: Owners | None = None
    board: Board = field(default_factory=Board)
    queues: QueueReader | None = None
    backlog: Backlog = field(default_factory=Backlog)
    records: RecordReader | None = None
    dead_letters: DeadLetterReader | None = None
    cluster_id: str = ""
    #: Named facts of readiness: "" is ready, anything else says what is missing.
    readiness: dict[str, Callable[[], str]] = field(default_factory=dict)
    known_queues: KnownQueues = field(default_factory=KnownQueues)
    #: Batches of the UI and of Temporal's API: of this process, gone with it.
    batches: BatchJobs = field(default_factory=BatchJobs)
    #: Named numbers for operators: `statistics` of every part.
    statistics: dict[str, Callable[[], dict[str, Any]]] = field(default_factory=dict)

    @property
    def topics(self) -> Topics:
        """Names of the namespace's topics."""
        return Topics(self.settings.namespace, self.settings.topic_prefix)

    @property
    def namespace(self) -> str:
        """The namespace that is served."""
        return self.settings.namespace

    def check_namespace(self, namespace: str) -> None:
        """NOT_FOUND for any other namespace: a server serves the one of its settings."""
        if namespace != self.namespace:
            message = (
                f"Namespace {namespace} is not found. This server serves {self.namespace!r}: start"
                " one for each namespace"
            )
            detail = {"@type": DETAIL_TYPE + "NamespaceNotFoundFailure", "namespace": namespace}
            raise ApiError(RPCStatusCode.NOT_FOUND, message, details=[detail])

    def need_visibility(self) -> Visibility:
        """The read side, or UNAVAILABLE: there is none, or its first copy is not whole yet."""
        if self.read_side is None:
            raise unavailable(
                "the read side of this server is not running: lists and counts are not to be had"
            )
        store = self.read_side()
        if building := self.building():
            raise ReadSideBuildingError(building, self.built_percent())
        return store

    def need_owners(self) -> Owners:
        """The way to owners, or UNAVAILABLE."""
        return _need(self.owners)

    def reader_of(self, workflow_id: str, run_id: str = "", task_queue: str = "") -> RunReader:
        """The reader of a run through its owner, or UNAVAILABLE."""
        return RunReader(
            self.need_owners(),
            workflow_id,
            run_id,
            task_queue=task_queue,
            timeout_s=self.options.request_timeout_s,
        )

    def need_queues(self) -> QueueReader:
        """The reader of queues, or UNAVAILABLE."""
        return _need(self.queues)

    def need_records(self) -> RecordReader:
        """The reader of records, or UNAVAILABLE."""
        return _need(self.records)

    def need_dead_letters(self) -> DeadLetterReader:
        """The reader of dead letters, or UNAVAILABLE."""
        return _need(self.dead_letters)


def _need(port: T | None) -> T:
    if port is None:
        raise unavailable("this server has no connection to Kafka")
    return port


def server_of(connection: HTTPConnection) -> ServerContext:
    """The context of a request."""
    return cast(ServerContext, connection.app.state.server)


def identity_of(connection: HTTPConnection) -> str:
    """Who asks, for histories: the user that the authenticator found, and that it came this way."""
    principal = getattr(connection.state, "principal", None)
    return f"{principal.name if principal is not None else 'anonymous'}@http"


def server_version() -> str:
    """This package's version."""
    try:
        return version("odradek")
    except PackageNotFoundError:
        return "0.0.0"
