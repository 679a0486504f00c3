"""Names in the position row that count for nothing: whoever reads the row next, and whatever
became of the cluster.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from msgspec.structs import replace

from odradek.processor.care import OWNS_BEFORE_CARE, Care
from odradek.processor.errors import Stopping
from odradek.processor.released import Released
from odradek.wire.state import PositionRow

ROW = PositionRow(
    offset=7,
    events_topic_id="e",
    state_topic_id="s",
    partitions=2,
    time_ms=1_000,
    processing="input/7/wörk",
    owns=3,
    timer_owns=3,
    deaths=1,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "slot-0" / "1.released"


@pytest.fixture
def released(path: Path) -> Released:
    path.parent.mkdir()
    return Released(path)


def _named(released: Released, row: PositionRow = ROW) -> Released:
    """It has been named, and this is committed."""
    released.sends(row, names=True)
    released.stands(names=True)
    return released


def _next(path: Path) -> Released:
    """Of the next process."""
    return Released(path)


def test_an_own_that_ended_over_the_cluster_forgives_its_own_row_alone(
    released: Released, path: Path
) -> None:
    _named(released).begins()
    assert not _next(path).forgives(ROW), "who dies now has died over it"
    assert released.ended(blameless=True)
    after = _next(path)
    assert after.forgives(ROW) and after.forgives(replace(ROW)), (
        "as often as it is read, before another row stands"
    )
    for other in (
        {"time_ms": 1_001},
        {"owns": 4, "timer_owns": 4},
        {"deaths": 2},
        {"processing": "input/8/w"},
        {"events_topic_id": "new"},
    ):
        assert not after.forgives(replace(ROW, **other))
    after.sends(replace(ROW, time_ms=2_000, processing=""), names=False)
    assert after.forgives(ROW), "it is not committed"
    after.stands(names=False)
    assert not path.exists() and not after.forgives(ROW)
    _named(after).begins()
    assert not _next(path).forgives(ROW)


def test_a_name_whose_own_commit_failed(released: Released, path: Path) -> None:
    """It may stand all the same."""
    released.sends(ROW, names=True)
    released.ended(blameless=True)
    assert _next(path).forgives(ROW)


def test_an_own_that_is_to_blame_forgives_nothing(released: Released, path: Path) -> None:
    _named(released).begins()
    assert not released.ended(blameless=False)
    assert not released.ended(blameless=True), "nor does its end afterwards"
    released.leave()
    assert not _next(path).forgives(ROW)


def test_what_has_no_name_needs_no_file(released: Released, path: Path) -> None:
    released.begins()
    released.sends(replace(ROW, processing=""), names=False)
    assert not released.ended(blameless=True)
    released.stands(names=False)
    released.leave()
    released.begins()
    assert not list(path.parent.iterdir())


def test_a_stop_while_the_code_runs_is_written_once_it_is_over(
    released: Released, path: Path
) -> None:
    """The commit behind it may hang for longer than the process lives."""
    _named(released).begins()
    released.leave()
    assert not _next(path).forgives(ROW)
    released.sends(replace(ROW, processing=""), names=False)
    assert _next(path).forgives(ROW)
    with pytest.raises(Stopping):
        released.begins()  # refused: it would run once more
    released.stands(names=False)
    assert not path.exists()


@pytest.mark.parametrize("committed", [True, False])
def test_a_stop_before_the_code_runs_keeps_it_from_running(
    released: Released, path: Path, committed: bool
) -> None:
    released.sends(ROW, names=True)
    if committed:
        released.stands(names=True)
    released.leave()
    assert _next(path).forgives(ROW)
    if not committed:
        released.stands(names=True)
    with pytest.raises(Stopping):
        released.begins()


def test_a_stop_while_a_commit_hangs(released: Released, path: Path) -> None:
    _named(released).begins()
    released.sends(replace(ROW, processing=""), names=False)
    assert not _next(path).forgives(ROW)
    released.leave()
    assert _next(path).forgives(ROW)


@pytest.mark.parametrize(
    "found", [b"", b"{", b'{"offset": "x"}', b"[" * 100_000, b"\xff\xfe", b"null"]
)
def test_a_damaged_file_is_as_none(released: Released, path: Path, found: bytes) -> None:
    path.write_bytes(found)
    assert not released.forgives(ROW)
    _named(released).ended(blameless=True)
    assert _next(path).forgives(ROW)


def test_a_disk_that_takes_nothing_is_as_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = tmp_path / "gone" / "1.released"
    released = _named(Released(path))
    released.ended(blameless=True)
    released.leave()
    assert not released.forgives(ROW) and "is not written" in caplog.text
    path.mkdir(parents=True)  # in place of the file
    released.ended(blameless=True)
    assert not released.forgives(ROW)
    released.stands(names=False)


def test_who_is_spared_by_it_is_not_counted(path: Path, released: Released) -> None:
    """Seven processes that are stopped in the middle of a cluster's trouble, each with its input
    named.
    """
    row: PositionRow | None = replace(
        ROW, processing="", owns=OWNS_BEFORE_CARE, timer_owns=OWNS_BEFORE_CARE, deaths=0
    )
    for life in range(7):
        care = Care()
        if row is not None and released.forgives(row):
            care.spare(row.processing)
        care.own(row)
        assert care.deaths_over("input/7/w") == 0 and care.owns == OWNS_BEFORE_CARE + 1
        released = Released(path)
        assert care.careful and not care.blames
        care.accuse("input/7/w")
        assert care.blames
        row = replace(
            ROW,
            processing=care.processing,
            deaths=care.deaths,
            owns=care.input_owns,
            timer_owns=care.owns,
            time_ms=life,
        )
        _named(released, row).begins()
        released.ended(blameless=True)
    died = Care()
    died.own(row)
    assert died.deaths_over("input/7/w") == 1, "without the file"
