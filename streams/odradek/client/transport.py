"""The port between the client's calls and what carries them. `kafka_transport.py` is the one for
Kafka; the in-memory host has its own.

A transport serves one namespace. It takes requests for the owner of a workflow id, brings
replies back, and tells what it knows about owners. It never decides what an unanswered request
means: that is `requests.py`.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Sequence
from typing import Protocol

from odradek.wire.events import Event
from odradek.wire.outcomes import Reply

OnReplies = Callable[[Sequence[Reply]], None]
OnDelivery = Callable[[BaseException | None], None]
OnOwners = Callable[[set[str] | None], None]

# A member that has not written for this long is taken for dead: some of its periods, and longer
# than a takeover.
SILENCE_S = 15.0
# The same of one that has left a request unanswered all the while: two of its periods of 3 s, and a
# little.
QUIET_S = 7.0


class Owner(enum.Enum):
    """What is known about the owner of a workflow id's partition. A hint: members publish every
    few seconds, outside transactions.
    """

    ALIVE = "alive"
    NONE = "none"
    UNKNOWN = "unknown"


class Transport(Protocol):
    """Carries requests and replies of one namespace. All methods are called on the loop given to
    `open`.
    """

    @property
    def client_id(self) -> str:
        """Where replies to this client go: `reply_to` of its requests, unique to this object."""
        ...

    @property
    def address(self) -> str:
        """What it is connected to, for messages."""
        ...

    async def open(
        self, loop: asyncio.AbstractEventLoop, on_replies: OnReplies, on_owners: OnOwners
    ) -> None:
        """Begin to receive. Replies to every request sent after this returns are handed to
        `on_replies` on `loop`, in batches. `on_owners` is called on `loop` with the queues whose
        owners changed, or with None when replies may have been lost. Raises
        `BrokerUnreachableError`, `TopicError`.
        """
        ...

    async def prepare(self, task_queue: str, *, create: bool) -> None:
        """See that requests to `task_queue` can be sent. With `create`, its topics are made when
        they are missing (a setting may forbid that). Raises `TopicMissingError` when they are
        not there.
        """
        ...

    def prepared(self, task_queue: str) -> bool:
        """Whether `send` to this queue works without `prepare`."""
        ...

    def send(self, task_queue: str, record: Event, on_delivery: OnDelivery | None) -> None:
        """Send without waiting. `on_delivery(None)` once it is durable, on any thread, so it may
        only note that; `on_delivery(error)`, on the loop, if it will never be. Raises
        `RecordTooLargeError` at once, `BufferError` when nothing can be taken just now.
        """
        ...

    def owner(self, task_queue: str, workflow_id: str, *, silence_s: float = SILENCE_S) -> Owner:
        """What is known about the owner of that id. The first call begins to find out, so it may
        say UNKNOWN for a while. silence_s: who has said nothing of himself for so long is dead.
        """
        ...

    @property
    def trouble(self) -> str:
        """Why replies cannot come or owners cannot be seen, with its cure: a topic that
        everybody shares is gone, or what came cannot be read. "" otherwise, and while nothing
        has been slow: `owner` begins to find out.
        """
        ...

    async def queues(self) -> dict[str, bool]:
        """Every queue of the namespace that has workflows, and whether one of its owners seems
        to be alive.
        """
        ...

    async def served(self, task_queues: Sequence[str]) -> set[str]:
        """Those of the queues that an owner has ever written state for, or may have: the others
        hold nothing but requests that nobody has applied yet.
        """
        ...

    def close(self) -> None:
        """Stop receiving; idempotent. Records already given to `send` still leave, as far as
        they do within a second.
        """
        ...
