"""Live runs, least recently used first out. Eviction costs a replay, never correctness."""

from __future__ import annotations

from collections import OrderedDict

from odradek.engine.run import LiveRun


class RunCache:
    """LRU of LiveRun by run id. Grows beyond `limit` inside a step only; `trim` cuts it back."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._runs: OrderedDict[str, LiveRun] = OrderedDict()
        self.hits = 0
        self.misses = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._runs)

    def get(self, run_id: str) -> LiveRun | None:
        """The run, now the most recently used."""
        run = self._runs.get(run_id)
        if run is None:
            self.misses += 1
        else:
            self.hits += 1
            self._runs.move_to_end(run_id)
        return run

    def add(self, run: LiveRun) -> None:
        """Keep a run."""
        self._runs[run.row.run_id] = run

    def evict(self, run_id: str) -> None:
        """Drop a run, if it is here."""
        run = self._runs.pop(run_id, None)
        if run is not None:
            self.evictions += 1
            run.drop_instance()

    def release(self, run_id: str) -> None:
        """The run has closed: it goes at once, as in Temporal's workers. A query on it replays;
        kept, thousands of closed runs are memory that the garbage collector walks over again and
        again.
        """
        run = self._runs.pop(run_id, None)
        if run is not None:
            run.drop_instance()

    def evict_all(self) -> None:
        """Drop every run."""
        for run_id in list(self._runs):
            self.evict(run_id)

    def trim(self) -> None:
        """Drop the least recently used runs beyond the limit."""
        while len(self._runs) > self._limit:
            self.evict(next(iter(self._runs)))
