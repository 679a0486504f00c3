"""The runs that the page of a run shows beside it: those around it, however many there are, with
ways to the first and to all.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from odradek.visibility import Change, VisibilityStore
from odradek.web.api.lists import run_view
from odradek.web.ui.run_chain import SHOWN, Chain, chain_around
from tests.unit.test_visibility_store import T0, summary

FIRST_CHAIN, RUNS = 40, 300  # two chains of one workflow id: the first 40 runs, then 260


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VisibilityStore]:
    def name(n: int) -> str:
        return f"run-{n:03}"

    with VisibilityStore.open(Path(tmp_path_factory.mktemp("store")) / "store.sqlite") as opened:
        for n in range(RUNS):
            first = name(0 if n < FIRST_CHAIN else FIRST_CHAIN)
            more: dict[str, Any] = {
                "workflow_id": "w",
                "start_time_ms": T0 + n * 10,
                "first_execution_run_id": first,
            }
            opened.apply([Change(0, n, f"w/{name(n)}".encode(), summary(name(n), **more))])
        opened.apply(
            [
                Change(0, RUNS + n, f"few/{run}".encode(), summary(run, workflow_id="few"))
                for n, run in enumerate("ab")
            ]
        )
        yield opened


def around(store: VisibilityStore, workflow_id: str, run_id: str) -> Chain:
    found = store.get(workflow_id, run_id)
    assert found is not None
    return chain_around(store, run_view(found), timeout_s=5.0)


@pytest.mark.parametrize(
    ("place", "first", "last"),
    [(0, 0, SHOWN), (150, 150 - SHOWN, 150 + SHOWN), (RUNS - 1, RUNS - 1 - SHOWN, RUNS - 1)],
)
def test_runs_before_and_after_are_shown(
    store: VisibilityStore, place: int, first: int, last: int
) -> None:
    chain = around(store, "w", f"run-{place:03}")
    assert [run.run_id for run in chain.runs] == [f"run-{n:03}" for n in range(last, first - 1, -1)]
    assert chain.has(f"run-{place:03}") and chain.total == RUNS
    assert store.count(chain.query).count == RUNS


def test_numbers_are_told_where_the_first_run_is_shown(store: VisibilityStore) -> None:
    assert around(store, "w", "run-005").numbers["run-005"] == 6
    chain = around(store, "w", "run-045")
    assert (chain.numbers["run-045"], "run-039" in chain.numbers) == (6, False)
    far = around(store, "w", "run-200")
    assert far.numbers == {} and not far.has("run-040")


def test_few_are_shown_whole(store: VisibilityStore) -> None:
    chain = around(store, "few", "a")
    assert {run.run_id for run in chain.runs} == {"a", "b"} and chain.total == 2


@pytest.mark.parametrize("place", [0, 5, 20, 39])
def test_a_run_is_among_those_around_it_though_many_started_with_it(
    tmp_path: Path, place: int
) -> None:
    """Of one millisecond nobody knows the order, so there are no numbers either."""
    with VisibilityStore.open(tmp_path / "store.sqlite") as opened:
        for n in range(60):
            more: dict[str, Any] = {
                "workflow_id": "w",
                "start_time_ms": T0 + max(0, n - 39),
                "first_execution_run_id": "run-000",
            }
            opened.apply([Change(0, n, f"w/run-{n:03}".encode(), summary(f"run-{n:03}", **more))])
        chain = around(opened, "w", f"run-{place:03}")
        assert (
            chain.has(f"run-{place:03}")
            and len({run.run_id for run in chain.runs}) == len(chain.runs) == 2 * SHOWN + 1
        )
        assert [run.run_id for run in chain.runs[:SHOWN]] == [
            f"run-{n:03}" for n in range(39 + SHOWN, 39, -1)
        ]
        assert all(run.start_time_ms == T0 for run in chain.runs[SHOWN:]) and chain.numbers == {}
