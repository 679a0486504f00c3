"""`python -m benchmarks.compare OLD_DIR NEW_DIR`: the order saga in two working trees by turns, on
one machine in one run; CPU a saga, throughput and latency with their ratio (new / old).

Each turn has a broker of its own and one's own code alone (`PYTHONPATH`); before it the machine
is calibrated. The ratio of CPU is taken relative to the calibration.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.calibration import calibrate

#: Of our own processes; the broker stands beside them.
OURS = ("processor", "activities", "client")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--workflows", type=int, default=3_000, help="sagas with 500 in flight")
    parser.add_argument("--sequential", type=int, default=100, help="sagas one at a time")
    parser.add_argument("--turns", type=int, default=2, help="runs of each tree")
    options = parser.parse_args()
    found: dict[Path, list[dict[str, float]]] = {options.old: [], options.new: []}
    for _ in range(options.turns):
        for tree in (options.old, options.new):
            found[tree].append(measure(tree, options.workflows, options.sequential))
    show(found[options.old], found[options.new])


def measure(tree: Path, workflows: int, sequential: int) -> dict[str, float]:
    """One run of a tree."""
    tree = tree.resolve()
    speed = calibrate()
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        subprocess.run(
            f"{sys.executable} -m benchmarks --visibility-runs 0 --workflows {workflows}"
            f" --sequential {sequential}".split(),
            cwd=tree,
            env={**os.environ, "PYTHONPATH": f"{tree}:{tree / 'streams'}", "BENCH_OUT": out.name},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        figures: dict[str, Any] = json.loads(Path(out.name).read_text())
    cpu = figures["cpu_ms_per_workflow"]
    ours = sum(cpu[name] for name in OURS)
    row = {
        "calibration, ms": speed,
        **{f"CPU a saga, {name}, ms": cpu[name] for name in (*OURS, "broker")},
        "CPU a saga, our parts, ms": ours,
        "CPU a saga, with the broker, ms": ours + cpu["broker"],
        "CPU a saga, our parts, calibrated": ours / speed * 100,
        "sagas a second": figures["saga"]["workflows_per_second"],
        "p50 with 500 in flight, ms": figures["saga"]["p50_ms"],
        "p50 one at a time, ms": figures["sequential"]["p50_ms"],
    }
    print(f"{tree}: " + ", ".join(f"{name} {value:.3f}" for name, value in row.items()), flush=True)
    return row


def show(old: list[dict[str, float]], new: list[dict[str, float]]) -> None:
    """A table of medians."""
    print(f"\n{'median of ' + str(len(old)) + ' turns':<38}{'old':>10}{'new':>10}{'new/old':>10}")
    for name in old[0]:
        before, after = (statistics.median(row[name] for row in rows) for rows in (old, new))
        print(f"{name:<38}{before:>10.3f}{after:>10.3f}{after / before:>10.2f}")


if __name__ == "__main__":
    main()
