"""The changelog of the windows without Kafka: what is noted as not published, what is taken
over, since when windows are whole then.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odradek.exceptions import OdradekError
from odradek.kafka.admin import TopicFacts
from odradek.visibility import VisibilityStore
from odradek.visibility.changelog import keeper
from odradek.visibility.changelog.checkpoints import complete_since_ms
from odradek.visibility.changelog.restore import Restored
from odradek.visibility.intake.app import IntakeProgress
from odradek.visibility.store.windows import WINDOW_MS
from odradek.wire.topics import Topics
from odradek.wire.windows import LatencyBucket, Window, WindowsCheckpoint
from tests.unit.test_visibility_store import T0, change

HOUR_MS = 3_600_000
LATER = T0 + HOUR_MS


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., VisibilityStore]:
    """The store, again and again; its clock stands at `now_ms`. With `began` it has the
    retention of runs, an hour, alone.
    """

    def open_it(name: str = "store", now_ms: int = LATER) -> VisibilityStore:
        return VisibilityStore.open(
            tmp_path / f"{name}.sqlite", clock_ms=lambda: now_ms, runs_kept_ms=HOUR_MS
        )

    return open_it


def unpublished(store: VisibilityStore, until_ms: int = LATER, limit: int = 100) -> list[Window]:
    return [each.window for each in store.changelog.unpublished("source", until_ms, limit)]


def publish(store: VisibilityStore) -> list[Window]:
    windows = store.changelog.unpublished("source", LATER, 100)
    store.changelog.published(windows)
    return [each.window for each in windows]


def restore(store: VisibilityStore, windows: list[Window], since_ms: int = 0) -> None:
    store.changelog.begin_restore()
    store.changelog.keep(windows)
    store.changelog.restore(since_ms)


# --- since when


@pytest.mark.parametrize(
    ("stretches", "expected"),
    [
        ([], 100),
        ([(0, 99)], 100),  # ends before what the store has itself
        ([(0, 100)], 0),
        ([(50, 200)], 50),
        ([(120, 200)], 100),
        (
            [(60, 100), (20, 60), (0, 19)],
            20,
        ),  # one begins where another ends; the last leaves a gap
        ([(0, 60), (60, 100)], 0),
        ([(0, 500), (90, 100)], 0),
    ],
)
def test_windows_are_whole_since(stretches: list[tuple[int, int]], expected: int) -> None:
    assert (
        complete_since_ms(
            100,
            [
                WindowsCheckpoint("s", str(n), since, until)
                for n, (since, until) in enumerate(stretches)
            ],
        )
        == expected
    )


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=6), st.integers(0, 12))
def test_no_moment_that_is_told_by_nobody(stretches: list[tuple[int, int]], bound: int) -> None:
    since = complete_since_ms(
        bound, [WindowsCheckpoint("s", str(n), *each) for n, each in enumerate(stretches)]
    )
    told = {moment for begin, end in stretches for moment in range(begin, end)}
    assert set(range(since, bound)) <= told
    assert since == 0 or since > bound or since - 1 not in told, "nor one less than there is"


# --- what is not published


def test_a_window_is_published_with_all_that_it_has_and_again_when_it_changes(
    opened: Callable[..., VisibilityStore],
) -> None:
    with opened() as store:
        store.apply(
            [
                change(0, "a"),
                change(1, "b", "COMPLETED"),
                change(2, "c", "FAILED", close_time_ms=T0 + 61_000),
            ]
        )
        first = Window(
            "source",
            T0,
            "Order",
            started=3,
            completed=1,
            latency_sum_ms=1_500,
            latencies=[LatencyBucket(85, 1)],
        )
        assert unpublished(store) == [first, Window("source", T0 + 60_000, "Order", failed=1)]
        assert unpublished(store, limit=1) == unpublished(store, until_ms=T0 + 60_000) == [first]
        publish(store)
        assert store.changelog.waiting == 0
        store.apply([change(1, "b", "COMPLETED")])  # comes again: nothing changes
        assert unpublished(store) == []
        store.apply([change(3, "a", "CANCELED")])
        first.canceled = 1
        assert publish(store) == [first]


def test_one_that_changes_while_it_is_published_stays_noted(
    opened: Callable[..., VisibilityStore],
) -> None:
    with opened() as store:
        store.apply([change(0, "a")])
        taken = store.changelog.unpublished("source", LATER, 100)
        store.apply([change(1, "b")])
        store.changelog.published(taken)
        assert [window.started for window in unpublished(store)] == [2]


def test_notes_stand_with_the_counts(opened: Callable[..., VisibilityStore]) -> None:
    """A process that is killed leaves neither without the other."""
    with opened() as store:
        store.apply([change(0, "a")])
        with sqlite3.connect(store.path) as broken:
            broken.execute(
                "CREATE TRIGGER broken BEFORE INSERT ON positions BEGIN SELECT RAISE(ABORT,"
                " 'no'); END"
            )
        publish(store)
        with pytest.raises(sqlite3.IntegrityError):
            store.apply([change(1, "b")])
        assert unpublished(store) == []
        with sqlite3.connect(store.path) as mended:
            mended.execute("DROP TRIGGER broken")
        store.apply([change(1, "b")])
    with opened() as store:
        assert [window.started for window in unpublished(store)] == [2]


def test_parts_are_not_published(opened: Callable[..., VisibilityStore]) -> None:
    """Windows before the time since when they are whole, the one that holds that moment among
    them.
    """
    with opened(now_ms=LATER + 1) as store:
        store.apply(
            [
                change(n, f"r{n}", start_time_ms=T0 + minute * 60_000)
                for n, minute in enumerate((-1, 0, 1, 2))
            ]
        )
        store.caught_up()
        assert store.changelog.since_ms == T0 + 60_000 and not store.changelog.restored
        assert [window.start_ms for window in unpublished(store)] == [T0 + 60_000, T0 + 120_000]
        store.changelog.forget_parts()
        assert store.changelog.waiting == 4, "another server may have what makes them whole"
        restore(store, [], store.changelog.since_ms)
        store.changelog.forget_parts()
        assert store.changelog.waiting == 2


def test_a_topic_that_was_made_anew_gets_all(opened: Callable[..., VisibilityStore]) -> None:
    with opened() as store:
        store.apply([change(0, "a")])
        assert not store.changelog.topic_is("first")
        publish(store)
    with opened() as store:
        assert not store.changelog.topic_is("first") and unpublished(store) == []
        assert store.changelog.topic_is("second") and [
            window.started for window in publish(store)
        ] == [1]
        assert not store.changelog.topic_is("second")


def test_a_store_from_before_there_was_a_changelog_goes_on_and_publishes_all(
    opened: Callable[..., VisibilityStore],
) -> None:
    with opened() as store:
        store.apply([change(0, "a"), change(1, "b", "COMPLETED")])
        store.caught_up()
        path = store.path
    with sqlite3.connect(path) as older:
        for table in ("unpublished_windows", "restored_windows", "restored_latencies"):
            older.execute(f"DROP TABLE {table}")
        older.execute(
            "DELETE FROM meta WHERE key IN ('store_id', 'windows_since_ms', 'windows_restored')"
        )
    with opened() as store:
        assert store.rebuilt_because == "" and store.changelog.since_ms == LATER - HOUR_MS == T0
        assert [(window.started, window.completed) for window in unpublished(store)] == [(2, 1)]
        store_id = store.changelog.store_id
    with opened() as store:
        assert store.changelog.store_id == store_id


def test_windows_that_are_pruned_are_not_noted_any_more(
    opened: Callable[..., VisibilityStore],
) -> None:
    with opened(now_ms=T0) as store:
        store.apply([change(0, "a")])
    with opened(now_ms=T0 + 31 * 24 * HOUR_MS) as store:
        store.caught_up()
        assert store.changelog.waiting == 0


# --- what is taken over


def test_a_store_that_begins_anew_has_what_the_lost_one_published(
    opened: Callable[..., VisibilityStore],
) -> None:
    with opened("lost") as lost:
        lost.apply([change(0, "a"), change(1, "b", "COMPLETED"), change(2, "c", "FAILED")])
        lost.apply([change(3, "b", None), change(4, "c", None)])  # their retention has ended
        lost.caught_up()
        published, before = publish(lost), lost.windows(T0, T0 + 60_000)
    with opened("new") as store:
        store.apply([change(0, "a"), change(3, "b", None), change(4, "c", None)])
        store.caught_up()
        assert [(w.started, w.completed) for w in store.windows(T0, T0 + 60_000)] == [(1, 0)]
        restore(store, [published[0], Window("source", T0, "Order", started=2), published[0]])
        assert store.windows(T0, T0 + 60_000) == before
        assert store.changelog.restored and store.changelog.since_ms == 0
        assert unpublished(store) == [], "it stands there as it is"
        store.apply([change(5, "a", "COMPLETED"), change(6, "d")])  # what comes adds to it
        (window,) = store.windows(T0, T0 + 60_000)
        assert (window.started, window.completed, window.failed, window.latency_buckets) == (
            4,
            2,
            1,
            {85: 2},
        )
        assert [each.started for each in unpublished(store)] == [4]
    with opened("new") as store:
        assert store.changelog.restored and store.changelog.since_ms == 0


def test_what_is_here_and_not_there_stays_and_is_published(
    opened: Callable[..., VisibilityStore],
) -> None:
    with opened() as store:
        store.apply([change(0, "a"), change(1, "b", workflow_type="Other")])
        restore(
            store,
            [Window("source", T0, "Order"), Window("source", T0 - 60_000, "Order", started=7)],
        )
        assert [(w.start_ms, w.workflow_type, w.started) for w in unpublished(store)] == [
            (T0, "Order", 1),
            (T0, "Other", 1),
        ]
        assert [w.started for w in store.windows(T0 - 60_000, T0 + 60_000, together=True)] == [7, 2]


def test_a_reading_that_did_not_end_leaves_nothing(opened: Callable[..., VisibilityStore]) -> None:
    with opened() as store:
        store.changelog.keep([Window("source", T0, "Order", started=9)])
    with opened() as store:
        restore(store, [])
        assert store.windows(T0, T0 + 60_000) == []


def test_a_store_that_was_away_for_longer_than_runs_are_kept_restores_again(
    opened: Callable[..., VisibilityStore],
) -> None:
    with opened(now_ms=T0) as store:
        store.apply([change(0, "a")])
        store.caught_up()
        restore(store, [], T0 - HOUR_MS)
    with opened(now_ms=T0 + 2 * HOUR_MS) as store:
        assert store.changelog.restored
        store.caught_up()
        assert not store.changelog.restored and store.changelog.since_ms == T0 + HOUR_MS
    with opened() as store:
        assert not store.changelog.restored


MINUTE_MS = 60_000


@pytest.mark.parametrize(
    ("run", "status", "minute", "back", "deleted", "whole_from"),
    [
        # It closed and was deleted: nobody knows when it closed.
        ("open", "COMPLETED", 8.5, 10, 0, 9),
        ("open", "COMPLETED", 8, 10, 0, 9),
        ("open", "COMPLETED", 1.1, 1.2, 0, 2),
        ("open", "COMPLETED", None, 10, 0, 11),  # a tombstone without a time
        ("open", "COMPLETED", 90, 10, 0, 11),  # the clock of who deleted it is ahead
        # Its retention may have ended, an hour after it closed: that is before all that is whole in
        # any case.
        ("open", "COMPLETED", 110, 120, 0, 0),
        # It was open.
        ("open", "RUNNING", 8.5, 10, 1, 0),
        ("open", "RUNNING", 110, 120, 1, 0),
        # A tombstone that does not say it.
        ("open", "", 8.5, 10, 0, 9),
        ("open", "", 110, 120, 0, 111),
        # All that was told before it came and went meanwhile.
        ("new", "COMPLETED", 8.5, 10, 0, 9),
        ("new", "RUNNING", 8.5, 10, 0, 9),
        ("new", "", 8.5, 10, 0, 9),
        ("new", "COMPLETED", 110, 120, 0, 0),
        ("new", "RUNNING", 110, 120, 0, 111),
        # It comes twice to who was there, or nobody could read its summaries.
        ("new", "RUNNING", 1, 1, 0, 0),
        ("open", "COMPLETED", 1, 1, 0, 0),
        ("open", "", 1, 1, 1, 0),
        ("closed", "COMPLETED", 8.5, 10, 0, 0),
    ],
)
def test_what_a_store_that_was_away_makes_of_a_tombstone(
    opened: Callable[..., VisibilityStore],
    run: str,
    status: str,
    minute: float | None,
    back: float,
    deleted: int,
    whole_from: int,
) -> None:
    """It was whole, and there, until minute 1. Compaction may have taken what came since."""

    def after(minutes: float) -> int:
        return T0 + round(minutes * MINUTE_MS)

    with opened(now_ms=T0) as store:
        store.caught_up()
        store.apply([change(0, "open"), change(1, "closed", "COMPLETED")])
        restore(store, [])
    with opened(now_ms=after(1)) as store:
        store.caught_up()
    with opened(now_ms=after(back)) as store:
        if back == 1:  # it never was away
            store.caught_up()
        store.apply(
            [
                change(9, run, None, time_ms=0 if minute is None else after(minute))._replace(
                    status=status
                )
            ]
        )
    with opened(now_ms=after(back)) as store:  # killed right after it
        assert store.changelog.since_ms == (after(whole_from) if whole_from else 0)
        assert store.changelog.restored == (whole_from == 0)
        store.caught_up()
        windows = store.windows(T0, after(back) + 1)
        assert [
            sum(counts)
            for counts in zip(*((w.started, w.completed, w.deleted) for w in windows), strict=True)
        ] == [2, 1, deleted]
        longer = back - 1 > 60  # than runs are kept
        assert store.changelog.since_ms == (
            after(max(whole_from, back - 60)) if longer else after(whole_from) if whole_from else 0
        )


def test_tombstones_that_a_first_copy_cannot_explain(
    opened: Callable[..., VisibilityStore],
) -> None:
    """Of runs that were deleted open; those that had closed are gone with their retention,
    before the time that is whole by itself.
    """
    for name, status, expected in (
        ("a", "COMPLETED", LATER - HOUR_MS),
        ("b", "RUNNING", LATER - 60_000),
    ):
        with opened(name) as store:
            store.apply(
                [
                    change(0, "a"),
                    change(7, "gone", None, time_ms=LATER - 61_000)._replace(status=status),
                ]
            )
            store.caught_up()
            assert store.changelog.since_ms == expected


counts = st.integers(0, 3)
windows = st.lists(
    st.builds(
        Window,
        st.just("source"),
        st.sampled_from([T0, T0 + WINDOW_MS]),
        st.sampled_from("AB"),
        counts,
        counts,
    )
)


@given(windows, windows)
def test_taking_over_never_takes_away_and_happens_once(
    tmp_path_factory: pytest.TempPathFactory, own: list[Window], found: list[Window]
) -> None:
    with VisibilityStore.open(
        tmp_path_factory.mktemp("store") / "s.sqlite", clock_ms=lambda: LATER
    ) as store:
        restore(store, own)
        restore(store, found)
        restore(store, list(reversed(found)))
        greatest: dict[tuple[int, str], tuple[int, int]] = {}
        for window in own + found:
            before = greatest.get((window.start_ms, window.workflow_type), (0, 0))
            greatest[window.start_ms, window.workflow_type] = (
                max(before[0], window.started),
                max(before[1], window.completed),
            )
        shown = {
            (w.start_ms, w.workflow_type): (w.started, w.completed)
            for w in store.windows(T0, T0 + 2 * WINDOW_MS)
        }
        assert {key: value for key, value in shown.items() if key in greatest} == greatest


# --- when: the keeper, with a topic that is a list


class Topic:
    """Admin, reader and publisher of a topic `windows`."""

    def __init__(self, *held: Window | WindowsCheckpoint) -> None:
        self.held = list(held)
        self.topics = Topics("default")
        self.rights = frozenset({"Read", "Write", "DescribeConfigs"})
        self.settings = {"cleanup.policy": "compact,delete", "retention.ms": "2678400000"}
        self.refusal: Exception | None = None
        self.unreadable = 0
        self.reads = 0

    def ensure(self, names: Sequence[str]) -> dict[str, TopicFacts]:
        return {name: TopicFacts(name, "id", 1, self.rights) for name in names}

    def topic_settings(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        return dict.fromkeys(names, self.settings)

    def read(
        self,
        topic: TopicFacts,
        source: str,
        since_ms: int,
        keep: Callable[[Sequence[Window]], None],
    ) -> Restored:
        keep([record for record in self.held if isinstance(record, Window)])
        self.reads += 1
        checkpoints = {
            record.store_id: record for record in self.held if isinstance(record, WindowsCheckpoint)
        }
        return Restored(checkpoints, self.unreadable)

    def publish(self, records: Sequence[Window | WindowsCheckpoint]) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.held += records


class Kept:
    """A store that is kept together with a topic; `look` is the intake's, that finds nothing
    behind.
    """

    def __init__(self, store: VisibilityStore, topic: Topic) -> None:
        self.store, self.topic, self.progress = store, topic, IntakeProgress(lag=0)
        anything: Any = topic
        self.writer = ThreadPoolExecutor(1)
        self.keeper = keeper.WindowsKeeper(
            store, "source", self.writer, self.progress, anything, anything, anything
        )

    def look(self) -> None:
        self.progress.began_s = time.monotonic()

    async def until(self, condition: Callable[[], object], *, looking: bool = True) -> None:
        async with asyncio.timeout(20):
            while not condition():
                if looking:
                    self.look()
                await asyncio.sleep(0.01)

    async def __aenter__(self) -> Kept:
        self.task = asyncio.create_task(self.keeper.run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.writer.shutdown()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "EVERY_S", 0.02)
    monkeypatch.setattr(keeper, "_LOOK_S", 0.005)
    monkeypatch.setattr(keeper, "BATCH", 2)


async def test_what_was_read_is_taken_over_once_all_that_came_meanwhile_is_in(
    quick: None, opened: Callable[..., VisibilityStore]
) -> None:
    """Another server has counted a run whose record is not here yet: taken over before it, the
    run would count twice.
    """
    theirs = (
        Window("source", T0, "Order", started=2),
        WindowsCheckpoint("source", "other", 0, LATER),
    )
    with opened() as store:
        store.apply([change(0, "a")])
        store.caught_up()
        async with Kept(store, topic := Topic(*theirs)) as kept:
            await kept.until(lambda: topic.reads)
            await asyncio.sleep(0.1)
            assert not store.changelog.restored, "the last look began before the reading ended"
            kept.progress.lag = 1
            await asyncio.sleep(0.1)
            store.apply([change(1, "b")])
            kept.progress.lag = 0
            await kept.until(lambda: store.changelog.restored)
        assert (
            [w.started for w in store.windows(T0, T0 + 60_000)] == [2]
            and store.changelog.since_ms == 0
            and topic.reads == 1
        )


async def test_a_checkpoint_comes_when_all_before_it_is_in_the_topic(
    quick: None, opened: Callable[..., VisibilityStore]
) -> None:
    with opened(now_ms=LATER + 30_000) as store:
        store.caught_up()
        store.apply(
            [
                change(n, f"r{n}", start_time_ms=start_ms)
                for n, start_ms in enumerate((T0, T0, T0 + 60_000, LATER - 60_000, LATER))
            ]
        )
        async with Kept(store, topic := Topic()) as kept:
            topic.refusal = OdradekError("no")
            await kept.until(lambda: kept.keeper.error)
            assert topic.held == [] and store.changelog.waiting == 4
            topic.refusal = None
            await kept.until(lambda: WindowsCheckpoint in map(type, topic.held))
        windows, checkpoint = topic.held[:2], topic.held[2]
        assert windows == [
            Window("source", T0, "Order", started=2),
            Window("source", T0 + 60_000, "Order", started=1),
        ]
        assert checkpoint == WindowsCheckpoint(
            "source", store.changelog.store_id, 0, LATER - keeper.SETTLED_MS
        )
        assert store.changelog.waiting == 2, "those that are not settled"


async def test_records_that_nobody_can_read_leave_a_gap(
    quick: None, opened: Callable[..., VisibilityStore]
) -> None:
    with opened() as store:
        store.apply([change(0, "a")])
        store.caught_up()
        topic = Topic(
            Window("source", T0 - 60_000, "Order", started=3),
            WindowsCheckpoint("source", "other", 0, LATER),
        )
        topic.unreadable = 1
        async with Kept(store, topic) as kept:
            await kept.until(lambda: store.changelog.restored)
        assert store.changelog.since_ms == LATER - HOUR_MS
        assert store.windows(T0 - 60_000, T0)[0].started == 3, "more is better than less"


async def test_a_topic_whose_records_expire_too_early_is_whole_no_further(
    quick: None, opened: Callable[..., VisibilityStore], caplog: pytest.LogCaptureFixture
) -> None:
    """Made by hand with Kafka's defaults: what checkpoints say of the time before has been
    deleted.
    """
    with opened() as store:
        store.apply([change(0, "a")])
        store.caught_up()
        topic = Topic(WindowsCheckpoint("source", "other", 0, LATER))
        topic.settings = {"cleanup.policy": "delete", "retention.ms": str(2 * HOUR_MS)}
        async with Kept(store, topic) as kept:
            await kept.until(lambda: store.changelog.restored)
        assert store.changelog.since_ms == LATER - 2 * HOUR_MS
        (said,) = [record.getMessage() for record in caplog.records]
        assert "has retention.ms=7200000" in said and said.endswith(
            "--add-config retention.ms=2678400000 (docs/operate.md, Topics made by hand)"
        )


async def test_what_is_in_the_way_is_said_once_and_nothing_is_published_before_the_reading(
    quick: None, opened: Callable[..., VisibilityStore], caplog: pytest.LogCaptureFixture
) -> None:
    with opened() as store:
        store.apply([change(0, "a")])
        store.caught_up()
        async with Kept(store, topic := Topic()) as kept:
            topic.rights = frozenset({"Write", "DescribeConfigs"})
            await kept.until(lambda: kept.keeper.error)
            for _ in range(5):
                await asyncio.sleep(0.05)
                kept.look()
            (said,) = [record.getMessage() for record in caplog.records]
            assert (
                "ACL Read on topic odradek.default.windows" in said
                and topic.held == []
                and not store.changelog.restored
            )
            topic.rights |= {"Read"}
            await kept.until(lambda: not kept.keeper.error and store.changelog.restored)
        assert caplog.records[1].getMessage().endswith("are kept there again")


async def test_who_lacks_runs_is_whole_by_what_others_vouch_for_and_misleads_nobody(
    quick: None, opened: Callable[..., VisibilityStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One server was away while a run closed and was deleted; another one was there. And a third
    one that begins after it.
    """
    back_ms = T0 + 10 * MINUTE_MS
    gone = change(9, "r", None, time_ms=back_ms - 30_000)._replace(status="COMPLETED")
    closed = change(5, "r", "COMPLETED", close_time_ms=T0 + 120_000)

    def shown(store: VisibilityStore) -> list[tuple[int, int, int, int]]:
        return [
            (w.started, w.completed, w.deleted, w.open_runs)
            for w in store.windows(T0, T0 + 180_000, together=True)
        ]

    topic, later_ms = Topic(), back_ms + 10 * MINUTE_MS
    with opened("there", T0) as store:
        store.caught_up()
    with opened("away", T0) as store:
        store.apply([change(0, "r")])  # it read the topic from its first record on
        store.caught_up()
        store.changelog.begin_at(0)
        restore(store, [])
    with opened("there", later_ms) as store:
        store.caught_up()  # it never was away
        store.changelog.begin_at(0)
        store.apply([change(0, "r"), closed])
        store.apply([gone])
        async with Kept(store, topic) as kept:
            await kept.until(lambda: WindowsCheckpoint in map(type, topic.held))
        expected = shown(store)
        assert expected == [(1, 0, 0, 1), (0, 0, 0, 1), (0, 1, 0, 0)]
    held = list(topic.held)
    with opened("away", back_ms) as store:
        store.apply([gone])
        store.caught_up()
        assert store.changelog.since_ms == back_ms
        async with Kept(store, topic) as kept:
            reads = topic.reads
            await kept.until(
                lambda: not kept.keeper.error and kept.keeper._expires_after_ms is not None
            )
            for _ in range(5):
                await asyncio.sleep(0.02)
                kept.look()
            assert topic.reads == reads and not store.changelog.restored, (
                "others vouch for that moment some minutes later"
            )
    with opened("away", later_ms) as store:
        store.caught_up()
        async with Kept(store, topic) as kept:
            await kept.until(lambda: store.changelog.restored and len(topic.held) > len(held))
        assert shown(store) == expected and store.changelog.since_ms == 0
    with opened("new", later_ms) as store:
        store.apply([gone])
        store.caught_up()
        async with Kept(store, topic) as kept:
            await kept.until(lambda: store.changelog.restored)
        assert shown(store) == expected and store.changelog.since_ms == 0


async def test_what_comes_to_lack_while_others_windows_are_read_is_not_taken_for_whole(
    quick: None, opened: Callable[..., VisibilityStore]
) -> None:
    with opened() as store:
        store.apply([change(0, "a")])
        store.caught_up()
        bound_ms = store.changelog.since_ms
        store.changelog.begin_at(LATER - 60_000)
        assert store.changelog.restore(0, bound_ms) == 0
        assert not store.changelog.restored and store.changelog.since_ms == LATER - 60_000
