"""The runs of a workflow id around one of them: its chain, and the chains before and after."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from odradek.web.api.lists import RunView, run_view
from odradek.web.ports import Visibility
from odradek.web.ui.run_filter import quoted

#: Runs shown before a run, and as many after it.
SHOWN = 15
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Chain:
    """runs: latest first, the run itself among them; of those that began in the same millisecond
    nobody knows the order. numbers: place in their chain, from 1, of those whose first run is
    there too; none where more began with the run than are shown. total: how many runs the
    workflow id has in its queue. query: finds them all.
    """

    runs: list[RunView]
    numbers: dict[str, int]
    total: int
    query: str

    def has(self, run_id: str) -> bool:
        """Whether this run is among those shown."""
        return any(run.run_id == run_id for run in self.runs)


def chain_around(visibility: Visibility, run: RunView, *, timeout_s: float) -> Chain:
    """Raises what the reader raises."""
    query = f"WorkflowId = {quoted(run.workflow_id)} AND TaskQueue = {quoted(run.task_queue)}"
    began = quoted((_EPOCH + timedelta(milliseconds=run.start_time_ms)).isoformat())
    latest = visibility.list(
        f"{query} ORDER BY StartTime DESC", page_size=2 * SHOWN + 1, timeout_s=timeout_s
    ).executions
    total = len(latest)
    if total <= 2 * SHOWN:  # all there are: most workflow ids need no count
        runs = [run_view(summary) for summary in latest]
    else:
        total = visibility.count(query, timeout_s=timeout_s).count
        before = visibility.list(
            f"{query} AND StartTime <= {began} ORDER BY StartTime DESC",
            page_size=SHOWN + 1,
            timeout_s=timeout_s,
        )
        after = visibility.list(
            f"{query} AND StartTime > {began} ORDER BY StartTime",
            page_size=SHOWN,
            timeout_s=timeout_s,
        )
        later, earlier = (
            [run_view(summary) for summary in reversed(after.executions)],
            [run_view(summary) for summary in before.executions],
        )
        if len(earlier) > SHOWN and earlier[-1].start_time_ms == run.start_time_ms:
            others = [one for one in earlier if one.run_id != run.run_id]
            return Chain([*later, run, *others[:SHOWN]], {}, total, query)
        runs = [*later, *earlier]
    return Chain(runs, numbers_of(runs), total, query)


def numbers_of(chain: list[RunView]) -> dict[str, int]:
    """The place of each run in its chain, from 1; none of chains whose first run is not among
    them. chain: latest first.
    """
    numbers: dict[str, int] = {}
    last: dict[str, int] = {}
    for run in reversed(chain):
        first = run.first_execution_run_id
        if first in last or run.run_id == first:
            last[first] = numbers[run.run_id] = last.get(first, 0) + 1
    return numbers
