"""The simulation finds what it should: each way to break the transaction, within 2,000 seeds."""

from __future__ import annotations

import pytest

from tests.simulation.checking import violations
from tests.simulation.mutations import MUTATIONS, mutated

SEEDS = 2_000


@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_a_broken_transaction_is_found(name: str) -> None:
    with mutated(name):
        assert any(violations(seed) for seed in range(SEEDS)), f"{name} was not found"


def test_a_seed_repeats_itself() -> None:
    traces: list[list[str]] = [[], []]
    for trace in traces:
        assert not violations(7, trace)
    assert traces[0] == traces[1]
