"""Each promise of docs/guarantees.md has a test, and no test names another promise."""

from __future__ import annotations

from tests.promises import promises, shown


def test_each_promise_has_a_test_and_each_mark_a_promise() -> None:
    assert len(promises()) > 20
    assert set(promises()) == set(shown())
