"""What has to hold when a world has come to rest, read from its topics alone.

Nothing here comes from the engine but the replay that it checks: rows, histories, commands and
results are folded and compared by this file's own rules.
"""

from __future__ import annotations

import json
import traceback
from collections import Counter, defaultdict
from typing import Any

from odradek.activation.activator import PythonActivator
from odradek.engine.replay import replay_history
from odradek.wire import history as h
from odradek.wire.state import HistoryRow, RunRow
from tests.simulation.programs import Program, expected
from tests.simulation.world import CODEC, NAMESPACE, QUEUE, World

_CLOSING = (
    h.WorkflowExecutionCompleted,
    h.WorkflowExecutionFailed,
    h.WorkflowExecutionTimedOut,
    h.WorkflowExecutionCanceled,
    h.WorkflowExecutionTerminated,
    h.WorkflowExecutionContinuedAsNew,
)


class Auditor:
    """`violations` after `audit`: in words, one a line."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.violations: list[str] = []
        self.rows: dict[str, Any] = {}
        self.histories: dict[str, list[h.HistoryEvent]] = defaultdict(list)

    def require(self, holds: bool, text: str) -> None:
        if not holds:
            self.violations.append(text)

    def audit(self, ended: bool) -> list[str]:
        world = self.world
        for error in world.scheduler.failures:
            text = "".join(traceback.format_exception_only(error)).strip()
            self.violations.append(f"a thread ended: {text}")
        self.violations += [f"needs a person: {text}" for text in world.fatal]
        self.violations += world.early_replies
        if not ended:
            stuck = sorted(set(world.started) - world.closed())
            self.violations.append(f"stuck: {', '.join(stuck)} after {world.scheduler.now_s:.0f} s")
        self._fold()
        self._positions()
        self._results()
        self._commands()
        for run_id, events in sorted(self.histories.items()):
            self._history(run_id, events)
        for started in world.started.values():
            self._outcome(started)
        self._stores()
        letters = world.records_of(world.topics.dead_letters(QUEUE))
        self.require(not letters, f"{len(letters)} dead letters")
        return self.violations

    # --- state

    def _fold(self) -> None:
        """Rows as the changelog has them; the last value of a key wins."""
        for key, value in self.world.folded_state().items():
            name = key.decode()
            self.rows[name] = row = CODEC.decode_row(value)
            if isinstance(row, HistoryRow):
                self.histories[name.split("/")[1]] += row.events
        for events in self.histories.values():
            events.sort(key=lambda event: event.event_id)

    def _positions(self) -> None:
        """Every input was applied: the position of each partition stands behind the last."""
        for number, (position, last) in enumerate(self.world.positions()):
            self.require(
                last < 0 or last < position,
                f"partition {number}: the position is {position}, the last input {last}",
            )

    def _stores(self) -> None:
        """A store of a partition that runs is a copy of the changelog up to where it says."""
        for partition, applied, rows in self.world.open_stores():
            changelog = self.world.folded_state(partition, before=applied)
            wrong = sorted(
                k for k in rows.keys() | changelog.keys() if rows.get(k) != changelog.get(k)
            )
            self.require(not wrong, f"store {partition} at {applied} differs in {wrong[:3]}")

    # --- outputs

    def _results(self) -> None:
        """One result a run, of the run's status."""
        results = self.world.records(self.world.topics.results)
        for run_id, count in Counter(each.run_id for each in results).items():
            self.require(count == 1, f"run {run_id} has {count} results")
        status = {each.run_id: each.status for each in results}
        for name, row in self.rows.items():
            if isinstance(row, RunRow) and row.status != "RUNNING":
                found = status.get(row.run_id)
                self.require(found == row.status, f"{name} is {row.status}, its result {found}")
        for run_id in status:
            self.require(f"run/{run_id}" in self.rows, f"a result of an unknown run {run_id}")

    def _commands(self) -> None:
        """Each attempt was commanded once, and only what was commanded has run."""
        commands = self.world.records(self.world.topics.commands(QUEUE))
        attempts = Counter((c.run_id, c.scheduled_event_id, c.attempt) for c in commands)
        for attempt, count in attempts.items():
            self.require(count == 1, f"{count} commands for {attempt}")
        for effect in self.world.effects:
            key = (effect.run_id, effect.scheduled_event_id, effect.attempt)
            self.require(key in attempts, f"an effect that nobody commanded: {effect}")
        for run_id, _, _ in attempts:
            self.require(run_id in self.histories, f"a command of an unknown run {run_id}")
        for run_id, events in self.histories.items():
            for event in events:
                if isinstance(event.attributes, h.ActivityTaskScheduled):
                    found = (run_id, event.event_id, 1) in attempts
                    self.require(found, f"{run_id}/{event.event_id} was never commanded")

    # --- histories

    def _history(self, run_id: str, events: list[h.HistoryEvent]) -> None:
        expected_id, timers = 1, {}
        ran = {(e.scheduled_event_id, e.name) for e in self.world.effects if e.run_id == run_id}
        scheduled: dict[int, str] = {}
        requests: Counter[str] = Counter()
        for event in events:
            a = event.attributes
            self.require(
                event.event_id == expected_id,
                f"{run_id}: event {event.event_id} where {expected_id} belongs",
            )
            expected_id = event.event_id + (3 if isinstance(a, h.WorkflowTask) else 1)
            if isinstance(a, h.TimerStarted):
                timers[event.event_id] = event.event_time_ms + a.start_to_fire_timeout_ms
            elif isinstance(a, h.TimerFired):
                due = timers.get(a.started_event_id, 0)
                self.require(event.event_time_ms >= due > 0, f"{run_id}: a timer fired early")
            elif isinstance(a, h.ActivityTaskScheduled):
                scheduled[event.event_id] = json.loads(a.input[0].data)
            elif isinstance(a, h.ActivityTaskCompletedEvent):
                one = (a.scheduled_event_id, scheduled.get(a.scheduled_event_id, ""))
                self.require(one in ran, f"{run_id}: {one} completed and never ran")
            elif isinstance(a, h.WorkflowExecutionSignaled):
                requests[a.request_id] += 1
        for request, count in requests.items():
            self.require(count == 1, f"{run_id}: signal {request} {count} times")
        ends = sum(isinstance(event.attributes, _CLOSING) for event in events)
        row = self.rows.get(f"run/{run_id}")
        if isinstance(row, RunRow):
            self.require(row.next_event_id == expected_id, f"{run_id}: its row is of another time")
            self.require(ends == (row.status != "RUNNING"), f"{run_id}: {ends} ends")
            activator = PythonActivator([Program], namespace=NAMESPACE, task_queue=QUEUE)
            try:
                problem: object = replay_history(events, activator)
            except ValueError as error:  # no history at all
                problem = error
            self.require(problem is None, f"{run_id}: its replay differs: {problem}")
        else:
            self.require(False, f"{run_id}: a history without a run")

    def _outcome(self, started: Any) -> None:
        """The program's result is what its steps come to."""
        results = [
            each
            for each in self.world.records(self.world.topics.results)
            if each.workflow_id == started.workflow_id and each.status != "CONTINUED_AS_NEW"
        ]
        self.require(len(results) == 1, f"{started.workflow_id} has {len(results)} outcomes")
        for each in results:
            if each.status == "CANCELED" and started.cancelled:
                continue
            self.require(each.status == "COMPLETED", f"{started.workflow_id} ended {each.status}")
            if each.status == "COMPLETED" and not started.cancelled:
                done, signals = json.loads(each.result[0].data)
                wanted = expected(started.steps)
                self.require(done == wanted, f"{started.workflow_id} did {done}, not {wanted}")
                self.require(
                    signals == started.signals,
                    f"{started.workflow_id} got {signals}, not {started.signals}",
                )
