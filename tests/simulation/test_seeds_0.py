"""Random programs and faults: the first 500 of 2,000 seeds; a file each, so that workers share them."""

from __future__ import annotations

import pytest

from tests.simulation.checking import require_seeds


@pytest.mark.parametrize("first", range(0, 500, 50))
def test_nothing_is_lost_doubled_or_early(first: int) -> None:
    require_seeds(first, 50)
