"""What counting costs: `python -m benchmarks.telemetry`. CPU of the increments alone, beside
nothing, so it is an upper bound.

The transaction is one of the order saga: an input, an activation, its rows and outputs. A
workflow of it has about eight.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

from odradek.engine.ports import (
    COMMANDS,
    EXECUTIONS,
    HISTORY,
    RESULTS,
    RUN,
    Input,
    Output,
    RowChange,
    StepResult,
)
from odradek.processor.decoder import DecodedBatch
from odradek.processor.tally import Tally
from odradek.statistics import Histogram
from odradek.wire.events import SignalWorkflow
from odradek.wire.history import HistoryEvent, WorkflowExecutionSignaled, WorkflowTask
from odradek.wire.outcomes import COMPLETED, ExecutionSummary, WorkflowResult
from odradek.wire.state import HistoryRow, RunRow

ROUNDS = 20_000


def microseconds(call: Callable[[], Any]) -> float:
    """The best of five, a call."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(ROUNDS):
            call()
        best = min(best, (time.process_time() - began) / ROUNDS)
    return best * 1e6


def transaction(*, closes: bool) -> tuple[Any, StepResult]:
    """One as a lane commits it: a step on the way, or the one that closes the run."""
    events = [
        HistoryEvent(5, 1, WorkflowExecutionSignaled("s", [], {}, "", "")),
        HistoryEvent(6, 1, WorkflowTask(1)),
    ]
    outputs = [Output(COMMANDS, "q", "w", None)]
    if closes:
        summary = ExecutionSummary(
            "default", "q", "w", "r", "OrderSaga", COMPLETED, state_transition_count=4
        )
        result = WorkflowResult(
            "default", "q", "w", "r", "OrderSaga", COMPLETED, start_time_ms=1, close_time_ms=900
        )
        outputs = [
            Output(EXECUTIONS, "", "w/r", summary),
            Output(RESULTS, "", "w", result),
        ]
    rows = [
        RowChange(RUN, "r", RunRow("w", "r", "OrderSaga", "r")),
        RowChange(HISTORY, "r/5", HistoryRow(events)),
    ]
    effects = StepResult(rows=rows, outputs=outputs, steps=1)
    inputs = [Input(SignalWorkflow("w", "s"), 3, "x/0/3", 1)]
    work = ([cast(Any, None)], DecodedBatch(inputs=inputs), [])
    return work, effects


def main() -> None:
    """Print a line each."""
    tally, histogram = Tally(["T"]), Histogram()
    (work, effects), (last, closing) = transaction(closes=False), transaction(closes=True)
    nothing = microseconds(lambda: None)
    commit = microseconds(lambda: tally.committed(*work, effects, 500)) - nothing
    close = microseconds(lambda: tally.committed(*last, closing, 500)) - nothing
    clocks = microseconds(lambda: (time.monotonic(), time.monotonic(), time.monotonic())) - nothing
    observe = microseconds(lambda: histogram.observe(0.003)) - nothing
    beside = clocks + 2 * observe
    print(f"a histogram's value          {observe:6.2f} µs")
    print(f"a committed transaction      {commit + beside:6.2f} µs")
    print(f"... that closes a run        {close + beside:6.2f} µs")
    print(f"a saga: 7, 1, 8 activations  {7 * commit + close + 8 * beside:6.2f} µs")


if __name__ == "__main__":
    main()
