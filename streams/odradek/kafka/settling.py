"""Whether a member of a classic group may believe what it was assigned when it joined.

A cooperative rebalance (KIP-429) has two rounds: in the first members give partitions back, and
what they do next, join once more, begins the second, which gives those to others. A member that
ends between the two and comes back under its static identity is taken back by the broker without
a rebalance (KIP-345), with what the first round left it. What it had given back is nobody's
then, in a group that is stable, until some member joins or leaves for another reason. A process
whose interpreter hangs stands between the two until it is killed: librdkafka's threads have
answered the group, and no callback runs.

So a member keeps in its slot's directory what it has while the group is at rest, and from the
first move on that it moves. One that comes back to something else, or in between, leaves and
joins once more, if no rebalance comes by itself: a member that leaves and one that joins make
the group share out everything. One that finds nothing there may have lost its disk: it does so
too if it was assigned anything.

Never: ask a coordinator through an AdminClient (docs/decisions/0010), or touch the membership
(whoever has the consumer does).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection
from pathlib import Path

logger = logging.getLogger(__name__)

FILE_NAME = "assignment.json"
MOVING = "moving"  # what stands there instead, while the group is not at rest


class Settling:
    """Told of what the group does, by the thread of the consumer. directory: its own, kept over
    restarts; None: no static member.

    quiet_seconds: without a callback of the group, after which it is at rest.
    """

    def __init__(
        self,
        directory: Path | None,
        quiet_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = directory / FILE_NAME if directory is not None else None
        self._quiet_seconds = quiet_seconds
        self._clock = clock
        self._kept, self._moving = self._read()
        self._came_back_moving = False
        self._closing = False
        self._rounds = 0
        self._moved_at = clock()

    def begin(self) -> None:
        """A new consumer joins. Not for one that leaves and joins once more: the group shares
        out anew then.
        """
        self._closing = False
        self._rounds = 0
        self._came_back_moving = self._moving
        self._moved_at = self._clock()

    def end(self) -> None:
        """The consumer is about to close, which gives back all it has: to nobody, the broker
        keeps it for a static member.

        A mark of before stays. If a round of the group comes to light while it closes, one at
        most, what the broker has for it then is not what is kept here.
        """
        self._closing = True

    def moved(self) -> None:
        """The group takes something: told before it is given back."""
        if self._closing:
            return
        self._moved_at = self._clock()
        if not self._moving:
            self._moving = True
            self._write(MOVING)

    def assigned(self) -> None:
        """The group assigns something, or nothing: a rebalance has ended."""
        self._rounds += 1
        self.moved()

    def must_rejoin(self, owned: Collection[int], partitions: int) -> bool:
        """Once the group is at rest: whether to leave and join once more. partitions: of the
        topic; 0: not known.

        Not if it has all, or what it had, or the group has shared out anew since it joined: then
        this is kept.
        """
        if (
            self._path is None
            or self._rounds == 0
            or self._clock() - self._moved_at < self._quiet_seconds
        ):
            return False
        has = sorted(owned)
        new = (
            self._kept is None and not self._came_back_moving and not has
        )  # or a directory was lost: then others ask
        as_before = has == self._kept and not self._came_back_moving
        if self._rounds == 1 and not as_before and not new and not 0 < partitions <= len(has):
            self._moved_at = self._clock()
            return True
        if self._moving or has != self._kept:
            self._moving = not self._write(has)
            self._kept = has
        return False

    def _read(self) -> tuple[list[int] | None, bool]:
        """What it had at rest, None if that is not known; whether it was moving."""
        if self._path is None:
            return None, False
        try:
            found = json.loads(self._path.read_text())
        except (
            OSError,
            ValueError,
            RecursionError,
        ):  # none yet, or a damaged one: it joins once more at most
            return None, False
        if isinstance(found, list) and all(type(partition) is int for partition in found):
            return sorted(found), False
        return None, found == MOVING

    def _write(self, found: list[int] | str) -> bool:
        """Whether it stands there."""
        if self._path is None:
            return True
        try:
            draft = self._path.with_suffix(".new")
            draft.write_text(json.dumps(found))
            draft.replace(self._path)
        except OSError as error:
            logger.debug("%s cannot be written: %s", self._path, error)
            return False
        return True
