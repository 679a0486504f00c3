"""What one partition's lane has counted, over all lanes that owned it in this process: a
partition that leaves and comes back goes on.

Everything about workflows is read off a *committed* transaction (`Tally.committed`), from the
rows and outputs that went with it. So a replay, which commits nothing, counts nothing; a batch
that was aborted and done again counts once; and a run that closes has counted exactly one close,
as it has exactly one record in `results`.

One writer, the lane's thread; others read snapshots (`odradek.processor.statistics`). A
transaction costs some microseconds here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import Message

from odradek.engine.ports import EXECUTIONS, HISTORY, RESULTS, StepResult
from odradek.processor.decoder import DecodedBatch
from odradek.statistics import (
    COUNTS,
    OTHER,
    SECONDS,
    SHORT_SECONDS,
    Counts,
    Histogram,
    Histograms,
    Labels,
)
from odradek.wire import dead_letters
from odradek.wire.outcomes import WorkflowResult
from odradek.wire.state import TimerRow

#: Runs may last for weeks.
RUN_SECONDS = (*SECONDS, 21_600.0, 86_400.0, 604_800.0)


@dataclass(slots=True)
class Counters:
    """What a lane has done, for statistics."""

    inputs: int = 0
    timers: int = 0
    transactions: int = 0
    records: int = 0
    steps: int = 0
    forwarded: int = 0
    expired: int = 0
    dead_letters: int = 0
    parked: int = 0
    refused: int = 0
    dropped: int = 0
    restored: int = 0


class Tally:
    """Counters of one partition. `workflow_types`: those that are registered."""

    __slots__ = (
        "_labels",
        "batch_inputs",
        "cache_evictions",
        "cache_hits",
        "cache_misses",
        "closes",
        "commit_seconds",
        "counters",
        "dead_letters",
        "events",
        "input_age_seconds",
        "replay_seconds",
        "restore_seconds",
        "restores",
        "run_seconds",
        "starts",
        "step_seconds",
        "task_seconds",
    )

    def __init__(self, workflow_types: Iterable[str]) -> None:
        self.counters = Counters()
        self._labels = Labels(workflow_types)
        #: by workflow type
        self.starts: Counts[str] = Counts(OTHER)
        #: by workflow type and status
        self.closes: Counts[tuple[str, str]] = Counts((OTHER, OTHER))
        self.run_seconds: Histograms[str] = Histograms(OTHER, RUN_SECONDS)
        #: time that workflow code took for a task, by workflow type, and to bring one run back
        self.task_seconds: Histograms[str] = Histograms(OTHER, SHORT_SECONDS)
        self.replay_seconds = Histogram(SHORT_SECONDS)
        #: history events by the class of their attributes
        self.events: dict[type, int] = {}
        #: by reason
        self.dead_letters: Counts[str] = Counts(OTHER)
        #: begin to applied
        self.commit_seconds = Histogram(SHORT_SECONDS)
        self.step_seconds = Histogram(SHORT_SECONDS)
        self.batch_inputs = Histogram(COUNTS)
        #: of the oldest input of each transaction, from its record's timestamp
        self.input_age_seconds = Histogram(SECONDS)
        self.restores = 0
        self.restore_seconds = 0.0
        # Of engines that are gone; the present one has its own.
        self.cache_hits = self.cache_misses = self.cache_evictions = 0

    def committed(
        self,
        messages: list[Message],
        decoded: DecodedBatch,
        timers: list[TimerRow],
        result: StepResult,
        now_ms: int,
    ) -> None:
        """A transaction is durable. `now_ms`: of its engine step."""
        counters = self.counters
        counters.inputs += len(messages)
        counters.timers += len(timers)
        counters.forwarded += len(decoded.forwards)
        counters.expired += decoded.expired
        counters.dead_letters += len(decoded.letters) + len(result.dead_letters)
        counters.steps += result.steps
        counters.parked += len(result.quarantined)
        if messages:
            self.batch_inputs.observe(len(messages))
            if decoded.inputs and (written_ms := decoded.inputs[0].time_ms) > 0:
                self.input_age_seconds.observe(max(0, now_ms - written_ms) / 1000)
        for output in result.outputs:
            kind = output.kind
            if kind == EXECUTIONS:
                # A run's first step writes its first summary; a tombstone when the run leaves.
                if output.record.state_transition_count == 1 and not output.tombstone:
                    self.starts.add(self._labels.of(output.record.workflow_type))
            elif kind == RESULTS:
                self._closed(output.record)
        for workflow_type, seconds in result.task_seconds:
            self.task_seconds.of(self._labels.of(workflow_type)).observe(seconds)
        for seconds in result.replay_seconds:
            self.replay_seconds.observe(seconds)
        events = self.events
        for change in result.rows:
            if change.table == HISTORY and change.row is not None:
                # rows of this table are HistoryRows
                for event in change.row.events:  # type: ignore[union-attr]
                    attributes = type(event.attributes)
                    if attributes in events:
                        events[attributes] += 1
                    else:
                        events[attributes] = 1
        for letter in decoded.letters:
            self.dead_letters.add(letter.reason)
        for unapplied in result.dead_letters:
            self.dead_letters.add(
                dead_letters.REJECTED if unapplied.rejected else dead_letters.NOT_APPLIED
            )

    def _closed(self, result: WorkflowResult) -> None:
        kind = self._labels.of(result.workflow_type)
        self.closes.add((kind, result.status))
        self.run_seconds.of(kind).observe(
            max(0, result.close_time_ms - result.start_time_ms) / 1000
        )

    def restored(self, rows: int, began: float) -> None:
        """The local store has caught up. `began`: monotonic seconds."""
        self.counters.restored += rows
        self.restores += 1
        self.restore_seconds += time.monotonic() - began

    def engine_gone(self, figures: dict[str, int]) -> None:
        """An engine is let go: its counters are kept."""
        self.cache_hits += figures.get("cache_hits", 0)
        self.cache_misses += figures.get("cache_misses", 0)
        self.cache_evictions += figures.get("evictions", 0)


class Tallies:
    """Tallies by partition. Used by the group's thread alone; others read a copy."""

    def __init__(self, workflow_types: Iterable[str] = ()) -> None:
        self._workflow_types = tuple(workflow_types)
        self._found: dict[int, Tally] = {}

    def of(self, partition: int) -> Tally:
        """The tally of a partition, made at its first use."""
        found = self._found.get(partition)
        if found is None:
            found = self._found[partition] = Tally(self._workflow_types)
        return found

    def all(self) -> dict[int, Tally]:
        """Every partition that this process has ever owned."""
        return self._found.copy()
