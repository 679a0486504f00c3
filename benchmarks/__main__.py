"""`python -m benchmarks [--workflows N] [--sequential N]`: all figures; a table on standard
output, JSON to `$BENCH_OUT`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import psutil

from benchmarks import saga_bench, visibility
from benchmarks.calibration import calibrate
from odradek.broker.environment import forget_settings

PACKAGES = ("odradek", "confluent-kafka", "fastavro", "msgspec", "rocksdict", "faust-streaming")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--workflows", type=int, default=10_000, help="sagas in the throughput measurement"
    )
    parser.add_argument("--sequential", type=int, default=200, help="sagas one at a time")
    parser.add_argument(
        "--visibility-runs",
        type=int,
        default=1_000_000,
        help="runs in the read side's store; 0 leaves the read side out",
    )
    arguments = parser.parse_args()
    forget_settings()  # they are of another Kafka
    speed = calibrate()
    figures = saga_bench.run(arguments.workflows, arguments.sequential)
    total = sum(figures["cpu_ms_per_workflow"].values())
    figures["calibration_ms"] = round(speed, 1)
    figures["cpu_per_workflow_calibrated"] = round(total / speed * 100, 3)
    if arguments.visibility_runs:
        figures["visibility"] = visibility.run(arguments.visibility_runs, visibility.RECORDS)
    figures["machine"] = machine()
    figures["versions"] = {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }
    show(figures)
    out = os.environ.get("BENCH_OUT")
    if out:
        Path(out).write_text(json.dumps(figures, indent=2) + "\n")


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "system": platform.platform(),
    }


def show(figures: dict[str, Any]) -> None:
    """The table."""
    saga, sequential = figures["saga"], figures["sequential"]
    many = f"saga, {saga['in_flight']} in flight"
    print(
        f"{many:<28}{saga['workflows_per_second']:>9} /s   p50 {saga['p50_ms']} ms   p99"
        f" {saga['p99_ms']} ms"
    )
    print(
        f"{'saga, one at a time':<28}{'':>9}      p50 {sequential['p50_ms']} ms   p99"
        f" {sequential['p99_ms']} ms"
    )
    for name, milliseconds in figures["cpu_ms_per_workflow"].items():
        print(
            f"{'CPU a workflow, ' + name:<28}{milliseconds:>9} ms   resident"
            f" {figures['resident_mb'][name]} MB"
        )
    print(
        f"CPU a workflow, all parts, in percent of the calibration's {figures['calibration_ms']} ms:"
        f" {figures['cpu_per_workflow_calibrated']}"
    )
    if "visibility" in figures:
        visibility.show(figures["visibility"])


if __name__ == "__main__":
    main()
