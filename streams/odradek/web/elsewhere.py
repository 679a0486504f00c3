"""Whether another task queue has a workflow id too, asked of its owners while a request to the
queue that is known goes on.

The read side tells of every run, a moment late. In that moment a second server would act on the
run that it knows of; so the queues with a living processor are asked, one request each, and one
that says nothing holds up no more than one request in `QUIET_S`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection

from odradek.client.channel import RequestChannel
from odradek.client.locate import has_workflow

#: For the answer of the other queues: an owner that lives takes milliseconds.
WAIT_S = 1.0
#: A queue that did not answer (its processor has just died, a partition stands still) is not asked
#: again for so long.
QUIET_S = 10.0


class Elsewhere:
    """living: the task queues that have a living processor, as far as is known."""

    def __init__(self, channel: RequestChannel, living: Callable[[], Collection[str]]) -> None:
        self._channel = channel
        self._living = living
        self._quiet_until: dict[str, float] = {}

    async def has(self, workflow_id: str, besides: str) -> bool:
        """Whether a living queue other than `besides` has that id."""
        now = time.monotonic()
        queues = [
            queue
            for queue in self._living()
            if queue != besides and self._quiet_until.get(queue, 0.0) <= now
        ]
        return (
            any(await asyncio.gather(*(self._asked(queue, workflow_id) for queue in queues)))
            if queues
            else False
        )

    async def _asked(self, queue: str, workflow_id: str) -> bool:
        answer = await has_workflow(self._channel, queue, workflow_id, "", WAIT_S)
        if answer is None:
            self._quiet_until[queue] = time.monotonic() + QUIET_S
        else:
            self._quiet_until.pop(queue, None)
        return bool(answer)
