"""Random programs and faults: 2,000 seeds. A seed that fails says how to repeat it."""

from __future__ import annotations

import pytest

from tests.simulation.checking import command, violations
from tests.simulation.mutations import MUTATIONS, mutated

SEEDS, CHUNK = 2_000, 50


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_nothing_is_lost_doubled_or_early(first: int) -> None:
    for seed in range(first, first + CHUNK):
        found = violations(seed)
        assert not found, "\n".join([f"seed {seed}:", *found, command(seed)])


@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_a_broken_transaction_is_found(name: str) -> None:
    with mutated(name):
        assert any(violations(seed) for seed in range(SEEDS)), f"{name} was not found"


def test_a_seed_repeats_itself() -> None:
    traces: list[list[str]] = [[], []]
    for trace in traces:
        violations(7, trace)
    assert traces[0] == traces[1]
