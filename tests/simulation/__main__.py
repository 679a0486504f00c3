"""`python -m tests.simulation --seed N`: one seed, with what happened. `--seeds M`: M seeds from
it on. `--mutant NAME`: with a defect of `mutations.py`.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.checking import command, violations
from tests.simulation.mutations import MUTATIONS, mutated


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--mutant", choices=sorted(MUTATIONS), default="")
    parser.add_argument("--log", action="store_true", help="log as a worker does")
    given = parser.parse_args()
    began, failed = time.perf_counter(), 0
    with mutated(given.mutant):
        for seed in range(given.seed, given.seed + given.seeds):
            trace: list[str] = []
            found = violations(seed, trace, log=given.log)
            if found:
                failed += 1
                print("\n".join([f"seed {seed}:", *found, f"  {command(seed, given.mutant)}"]))
            if given.seeds == 1:
                print("\n".join(trace))
            elif seed % 100 == 99:
                rate = (seed - given.seed + 1) / (time.perf_counter() - began)
                print(f"{seed + 1 - given.seed} of {given.seeds}, {rate:.0f} a second", flush=True)
    print(f"{given.seeds} seeds, {failed} failed, {time.perf_counter() - began:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
