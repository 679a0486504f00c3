"""What one partition counts: children of the metrics, bound once.

Workflows are counted from the rows and outputs of a *committed* transaction: a replay and an
aborted batch add nothing, and a run that closes counts one close, as it has one record in
`results`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from prometheus_client import Counter

from odradek.engine.ports import EXECUTIONS, HISTORY, RESULTS, Effects
from odradek.processor.work import Work
from odradek.telemetry import metrics
from odradek.wire import dead_letters
from odradek.wire.history import (
    WorkflowTask,
    WorkflowTaskCompleted,
    WorkflowTaskScheduled,
    WorkflowTaskStarted,
)
from odradek.wire.outcomes import CLOSED, WorkflowResult

#: One row of a workflow task that completed stands for three events.
_TASK_EVENTS = (WorkflowTaskScheduled, WorkflowTaskStarted, WorkflowTaskCompleted)


class PartitionCounters:
    """Counters of one partition. workflow_types: those that are registered: each counts from 0,
    as `increase` sees nothing of a series that begins at 1.
    """

    def __init__(
        self, namespace: str, task_queue: str, partition: int, workflow_types: Collection[str]
    ) -> None:
        self._queue = queue = (namespace, task_queue)
        where = (*queue, str(partition))
        self._types = frozenset(workflow_types)
        self._events: dict[type, list[Counter]] = {}
        self._cache = (0, 0, 0)
        self.inputs = metrics.PARTITION_INPUTS.labels(*where)
        self.transactions = metrics.PARTITION_TRANSACTIONS.labels(*where)
        self.records = metrics.PARTITION_RECORDS.labels(*where)
        self.rejected = metrics.REJECTED_BATCHES.labels(*where)
        self.resets = metrics.RESETS.labels(*where)
        self.forwarded = metrics.PARTITION_FORWARDED.labels(*where)
        self.expired = metrics.PARTITION_EXPIRED.labels(*where)
        self.timers = metrics.TIMERS_FIRED.labels(*where)
        self.quarantined = metrics.QUARANTINED.labels(*where)
        self.batch_inputs = metrics.PARTITION_BATCH.labels(*queue)
        self.step_seconds = metrics.PARTITION_STEP_SECONDS.labels(*queue)
        self.commit_seconds = metrics.PARTITION_COMMIT_SECONDS.labels(*queue)
        self.input_age_seconds = metrics.PARTITION_INPUT_AGE.labels(*queue)
        self.replay_seconds = metrics.REPLAY_SECONDS.labels(*queue)
        self.replay_activations = metrics.REPLAY_ACTIVATIONS.labels(*queue)
        self._restores = metrics.RESTORES.labels(*where)
        self._restore_seconds = metrics.RESTORE_SECONDS.labels(*where)
        self._restored_rows = metrics.RESTORED_ROWS.labels(*where)
        self._cached = [
            metrics.CACHE_HITS.labels(*where),
            metrics.CACHE_MISSES.labels(*where),
            metrics.CACHE_EVICTIONS.labels(*where),
        ]
        for kind in workflow_types:
            metrics.WORKFLOW_STARTS.labels(*queue, kind)
            for status in CLOSED:
                metrics.WORKFLOW_CLOSES.labels(*queue, kind, status)
        for reason in dead_letters.INPUT_REASONS:
            metrics.DEAD_LETTERS.labels(*queue, "processor", reason)

    def task_seconds(self, workflow_type: str) -> Any:
        """The histogram of the workflow tasks of a type."""
        return metrics.TASK_SECONDS.labels(*self._queue, self._label(workflow_type))

    def committed(self, work: Work, effects: Effects, now_ms: int) -> None:
        """A transaction is durable. now_ms: of its engine step."""
        self.transactions.inc()
        if work.messages:
            self.inputs.inc(len(work.messages))
            self.batch_inputs.observe(len(work.messages))
            if work.sorted.inputs and (written_ms := work.sorted.inputs[0].time_ms) > 0:
                self.input_age_seconds.observe(max(0, now_ms - written_ms) / 1000)
        if work.timers:
            self.timers.inc(len(work.timers))
        if work.sorted.forwards:
            self.forwarded.inc(len(work.sorted.forwards))
        if work.sorted.expired:
            self.expired.inc(work.sorted.expired)
        if effects.parked:
            self.quarantined.inc(len(effects.parked))
        for output in effects.outputs:
            if output.kind == EXECUTIONS:
                # A run's first step writes its first summary; the value is None when it leaves.
                if output.record.state_transition_count == 1 and output.value is not None:
                    kind = self._label(output.record.workflow_type)
                    metrics.WORKFLOW_STARTS.labels(*self._queue, kind).inc()
            elif output.kind == RESULTS:
                self._closed(output.record)
        for change in effects.rows:
            if change.table == HISTORY and change.row is not None:
                for event in change.row.events:  # type: ignore[union-attr]
                    for counter in self._of_event(type(event.attributes)):
                        counter.inc()
        for letter in work.sorted.letters:
            self.dead_letter(letter.reason)
        for unapplied in effects.dead_letters:
            self.dead_letter(
                dead_letters.REJECTED if unapplied.rejected else dead_letters.NOT_APPLIED
            )

    def dead_letter(self, reason: str) -> None:
        """A record was written to `dead-letters`."""
        metrics.DEAD_LETTERS.labels(*self._queue, "processor", reason).inc()

    def restored(self, rows: int, seconds: float) -> None:
        """The local store has caught up with `state`."""
        self._restores.inc()
        self._restore_seconds.inc(seconds)
        self._restored_rows.inc(rows)

    def cache(self, figures: dict[str, int]) -> None:
        """What the engine of this partition has counted since it was made."""
        now = (
            figures.get("cache_hits", 0),
            figures.get("cache_misses", 0),
            figures.get("evictions", 0),
        )
        for counter, count, before in zip(self._cached, now, self._cache, strict=True):
            counter.inc(count - before)
        self._cache = now

    def engine_made(self) -> None:
        """The next `cache` counts from 0."""
        self._cache = (0, 0, 0)

    def _label(self, workflow_type: str) -> str:
        return metrics.label_of(workflow_type, self._types)

    def _closed(self, result: WorkflowResult) -> None:
        kind = self._label(result.workflow_type)
        metrics.WORKFLOW_CLOSES.labels(*self._queue, kind, result.status).inc()
        metrics.WORKFLOW_SECONDS.labels(*self._queue, kind).observe(
            max(0, result.close_time_ms - result.start_time_ms) / 1000
        )

    def _of_event(self, attributes: type) -> list[Counter]:
        """Counters by Temporal's names of events."""
        found = self._events.get(attributes)
        if found is None:
            kinds = _TASK_EVENTS if attributes is WorkflowTask else (attributes,)
            found = self._events[attributes] = [
                metrics.HISTORY_EVENTS.labels(*self._queue, kind.__name__.removesuffix("Event"))
                for kind in kinds
            ]
        return found
