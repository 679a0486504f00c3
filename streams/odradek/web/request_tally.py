"""What the server was asked: counters that its event loop's thread adds to, read by `metrics.py`."""

from __future__ import annotations

from collections.abc import Callable

from odradek.statistics import OTHER, Counts, Histograms
from odradek.web.kafka.facts import QueueDetail


class RequestTally:
    """Of one server."""

    def __init__(self) -> None:
        #: by method, route and status
        self.requests: Counts[tuple[str, str, str]] = Counts((OTHER, OTHER, OTHER))
        #: by method and route, until the response began
        self.seconds: Histograms[tuple[str, str]] = Histograms((OTHER, OTHER))
        #: as they were found at `queues_at` (monotonic)
        self.queues: list[QueueDetail] = []
        self.queues_at = float("-inf")
        #: open runs by task queue, as the read side has them; None while it does not tell
        self.open_runs: dict[str, int] | None = None
        #: how `/metrics` is answered, once it was asked for
        self.rendering: Callable[[], tuple[int, str, bytes]] | None = None
