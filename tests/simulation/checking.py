"""One seed, from beginning to end."""

from __future__ import annotations

import gc
import logging
import sys

from tests.simulation import world as worlds
from tests.simulation.auditor import Auditor
from tests.simulation.world import World


def violations(seed: int, trace: list[str] | None = None, *, log: bool = False) -> list[str]:
    """What the auditor has against a seed."""
    world = World(seed)
    if log:
        logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
        worlds.loud = True
    gc.disable()  # a collection in the middle runs what belongs to no task
    try:
        return world.run(Auditor(world).audit)
    finally:
        if trace is not None:
            trace += world.trace
        gc.enable()
        world.close()


def command(seed: int, mutant: str = "") -> str:
    """Repeats it."""
    text = f"python -m tests.simulation --seed {seed}"
    return f"{text} --mutant {mutant}" if mutant else text


def require_seeds(first: int, count: int) -> None:
    """None of these seeds has a violation."""
    for seed in range(first, first + count):
        found = violations(seed)
        assert not found, "\n".join([f"seed {seed}:", *found, command(seed)])
