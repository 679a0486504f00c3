"""Windows older than `retention`, whose runs are gone from `executions`: they outlive kill -9
and the loss of a server's disk.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import admin_config
from odradek.visibility.changelog import keeper
from odradek.visibility.changelog.publish import WindowsPublisher
from odradek.visibility.intake import app
from odradek.visibility.reader import VisibilityReader
from odradek.visibility.store.windows import WindowStatistics
from odradek.wire.headers import headers_for
from odradek.wire.windows import Window, WindowsCheckpoint
from tests.kafka.fake_registry import fake_registry
from tests.kafka.lane_records import until
from tests.kafka.test_visibility_intake import (  # fixtures among them
    T0,
    Runs,
    gone,
    line_of,
    listed,
    process,
    reading,
    run,
    runs,
    settings,
)

__all__ = ["runs", "settings"]
DAY_MS = 24 * 3_600_000
OLD = T0 - 10 * DAY_MS
OPEN_SINCE = T0 - 9 * DAY_MS


#: Ids of stores whose checkpoints are in the topic, the latest last.
vouched: list[str] = []


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "EVERY_S", 0.2)
    monkeypatch.setattr(keeper, "_LOOK_S", 0.05)
    monkeypatch.setattr(app, "LOOK_EVERY_S", 0.1)
    publish = WindowsPublisher.publish

    def noted(publisher: WindowsPublisher, records: Sequence[Window | WindowsCheckpoint]) -> None:
        publish(publisher, records)
        vouched.extend(
            record.store_id for record in records if isinstance(record, WindowsCheckpoint)
        )

    monkeypatch.setattr(WindowsPublisher, "publish", noted)


def write_and_purge(runs: Runs, reader: VisibilityReader, *names: str) -> None:
    """Runs that closed ten days ago, and whose retention has ended since: `executions` has
    neither summary nor tombstone of them.
    """
    runs.write(
        *(
            run(f"{name}{n}", status, **when(n))
            for name in names
            for n, status in enumerate(("COMPLETED", "COMPLETED", "FAILED"))
        )
    )
    listed(reader)
    runs.write(*(f"w-{name}{n}/{name}{n}" for name in names for n in range(3)))
    listed(reader)
    compact(runs)


def compact(runs: Runs) -> None:
    """Leave what compaction would of runs that are gone: nothing. It takes minutes, and Kafka
    deletes records of no compacted topic.
    """
    admin, cluster = AdminClient(admin_config(runs.settings)), ClusterAdmin(runs.settings)

    def set_policy(policy: str) -> None:
        entry = ConfigEntry("cleanup.policy", policy, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, runs.topic, incremental_configs=[entry])
        admin.incremental_alter_configs([resource])[resource].result(timeout=30)

    set_policy("delete")
    ends = cluster.end_offsets(runs.topic, range(4), committed=False)

    def deleted() -> bool:
        try:
            for done in admin.delete_records(
                [TopicPartition(runs.topic, partition, end) for partition, end in ends.items()]
            ).values():
                done.result(timeout=30)
        except KafkaException as error:  # the broker hears of the new policy a moment later
            assert error.args[0].code() == KafkaError.POLICY_VIOLATION, error
            return False
        return True

    until(deleted)
    set_policy("compact")
    assert cluster.start_offsets(runs.topic, range(4)) == ends


def when(number: int) -> dict[str, int]:
    return {"start_time_ms": OLD, "close_time_ms": OLD + 40_000 * (number + 1)}


def windows(reader: VisibilityReader) -> list[WindowStatistics]:
    """Of the old minutes, and of the one in which the run that is open still began."""
    stretches = ((OLD, OLD + 180_000), (OPEN_SINCE, OPEN_SINCE + 60_000))
    return [window for stretch in stretches for window in reader.store.windows(*stretch)]


def published(reader: VisibilityReader) -> VisibilityReader:
    """Also the checkpoint, which comes behind the windows: without it others do not know that
    they are whole.
    """
    until(lambda: reader.store.changelog.restored and reader.store.changelog.waiting == 0)
    vouched.clear()
    until(lambda: reader.store.changelog.store_id in vouched)
    return reader


def delete(settings: Settings, topic: str) -> None:
    admin = AdminClient(admin_config(settings))
    admin.delete_topics([topic], operation_timeout=30)[topic].result(timeout=30)


@pytest.mark.promise("lists")
@pytest.mark.parametrize("registry", ["", pytest.param("registry", marks=pytest.mark.slow)])
def test_windows_outlive_the_runs_and_the_disk(
    settings: Settings, runs: Runs, registry: str
) -> None:
    with fake_registry() as framing:
        if registry:
            settings = settings.replace(schema_registry_url=framing.url)
        outlive(settings, runs)
        assert any("WindowsCheckpoint" in schema for schema in framing.schemas) == bool(registry)


def outlive(settings: Settings, runs: Runs) -> None:
    with reading(settings) as reader:
        write_and_purge(runs, reader, "a")
        runs.write(run("open", start_time_ms=OPEN_SINCE))
        listed(reader)
        before = windows(published(reader))
        assert [(w.started, w.completed, w.failed) for w in before] == [
            (3, 1, 0),
            (0, 1, 0),
            (0, 0, 1),
            (1, 0, 0),
        ]
        assert reader.store.changelog.since_ms == 0
    shutil.rmtree(settings.state_dir)
    with reading(settings) as reader:
        until(lambda: reader.store.windows_complete_since_ms <= OLD)
        assert windows(reader) == before and reader.store.changelog.since_ms == 0
        write_and_purge(runs, reader, "b")  # what comes after it adds to it
        assert [w.started for w in windows(published(reader))] == [6, 0, 0, 1]


@pytest.mark.promise("lists")
def test_each_of_two_servers_restores_what_the_other_one_wrote(
    settings: Settings, runs: Runs, tmp_path: Path
) -> None:
    """And a stretch that one of them was not there for."""
    first, second = settings, settings.replace(state_dir=tmp_path / "second")
    with reading(first) as reader:
        write_and_purge(runs, reader, "a")
        published(reader)
    with reading(second) as reader:
        write_and_purge(runs, published(reader), "b")
        before = windows(published(reader))
        assert before[0].started == 6
        shutil.rmtree(first.state_dir)
        with reading(first) as other:
            assert windows(published(other)) == before and other.store.changelog.since_ms == 0
    shutil.rmtree(second.state_dir)
    with reading(second) as reader:
        assert windows(published(reader)) == before and reader.store.changelog.since_ms == 0


@pytest.mark.promise("lists")
def test_a_server_that_was_away_while_a_run_closed_and_was_deleted(
    settings: Settings, runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compaction left the tombstone alone: the run was not deleted open, and what is told to
    others and by them is right.
    """
    monkeypatch.setattr(keeper, "SETTLED_MS", -120_000)  # also of this minute
    away, new = (
        settings.replace(state_dir=tmp_path / "away"),
        settings.replace(state_dir=tmp_path / "new"),
    )
    with reading(away) as reader:
        published(reader)
        runs.write(run("a0", "RUNNING", **{**when(0), "close_time_ms": 0}))
        listed(reader)
        published(reader)
    with reading(settings) as there:
        runs.write(run("a0", "COMPLETED", **when(0)))
        listed(there)
        compact(runs)
        runs.write_raw(b"w-a0/a0", None, headers_for(run("a0", "COMPLETED")))
        listed(there)
        before = windows(published(there))
        assert sum(w.completed for w in before) == 1
        checkpoint = there.store.now_ms()
        with reading(away) as reader:
            listed(reader)
            assert (
                abs(reader.store.changelog.since_ms - checkpoint) < 120_000
                and not reader.store.changelog.restored
            )
            assert (
                sum(
                    w.deleted
                    for w in reader.store.windows(
                        OLD, there.store.now_ms() + 60_000, together=True, step_ms=DAY_MS
                    )
                )
                == 0
            )
            monkeypatch.setattr(keeper, "VOUCHED_S", -120.0)
            assert windows(published(reader)) == before
            assert reader.store.changelog.since_ms == there.store.changelog.since_ms
    with reading(new) as reader:
        assert windows(published(reader)) == before


def test_what_was_counted_from_a_topic_that_is_no_more_is_not_taken(
    settings: Settings, runs: Runs, unique_name: Callable[[str], str]
) -> None:
    with reading(settings) as reader:
        write_and_purge(runs, reader, "a")
        published(reader)
    delete(settings, runs.topic)
    gone(settings, runs.topic)
    Runs(settings, unique_name("lane")).write(run("new"))
    with reading(settings) as reader:
        assert sum(w.started for w in windows(published(reader))) == 0
        assert reader.store.windows_complete_since_ms > T0 - 4 * DAY_MS


@pytest.mark.slow
def test_a_changelog_that_is_deleted_is_written_anew(settings: Settings, runs: Runs) -> None:
    admin = ClusterAdmin(settings)
    with reading(settings) as reader:
        write_and_purge(runs, reader, "a")
        before = windows(published(reader))
        topic = admin.describe([admin.topics.windows])[admin.topics.windows]
        delete(settings, topic.name)
        until(
            lambda: (
                (now := admin.describe([topic.name]).get(topic.name)) is not None
                and now.topic_id != topic.topic_id
            ),
            60,
        )
        until(
            lambda: admin.end_offsets(topic.name, [0], committed=True)[0] >= 4, 30
        )  # three windows, and then a checkpoint
    shutil.rmtree(settings.state_dir)
    with reading(settings) as reader:
        assert windows(published(reader)) == before and reader.store.changelog.since_ms == 0


@pytest.mark.promise("lists")
def test_without_a_changelog_it_says_since_when_and_what_to_do(
    settings: Settings, runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    refused = settings.replace(create_topics=False)
    admin = ClusterAdmin(settings)
    topic = admin.topics.windows
    admin.ensure([admin.topics.schemas])
    runs.write(run("a"))
    with caplog.at_level(logging.WARNING, "odradek.visibility"), reading(refused) as reader:
        until(lambda: reader.statistics().windows_error)
        time.sleep(1.0)  # some rounds
        said = [record.getMessage() for record in caplog.records if topic in record.getMessage()]
        assert len(said) == 1 and "Create it with 1 partitions" in said[0], said
        since_ms = reader.store.windows_complete_since_ms
        assert abs(since_ms - (time.time() * 1_000 - 3 * DAY_MS)) < 120_000
        assert (
            not reader.store.changelog.restored
            and reader.statistics().restarts == 0
            and reader.unready == ""
        )
        admin.ensure([topic])
        published(reader)
        until(lambda: reader.statistics().windows_error == "")
        assert reader.store.windows_complete_since_ms == since_ms


@pytest.mark.promise("lists")
def test_kill_9_between_a_window_that_was_written_and_its_note(
    settings: Settings, runs: Runs, tmp_path: Path
) -> None:
    errors = tmp_path / "errors"
    with reading(settings) as reader:
        published(reader)  # a checkpoint: everything from the first record on
    with process(settings, errors, "published") as child:
        line_of(child, errors, lambda line: line.startswith("ready"))
        runs.write(*(run(f"r{n}", "COMPLETED", **when(n)) for n in range(3)))
        line_of(child, errors, lambda line: line == "runs 3\n")
        child.wait(60)
        assert child.returncode == -9, errors.read_text()[-2_000:]
    runs.write(*(f"w-r{n}/r{n}" for n in range(3)))
    with reading(settings) as reader:
        assert listed(reader) == set()
        compact(runs)
        before = windows(published(reader))
        assert before[0].started == 3
    shutil.rmtree(settings.state_dir)
    with reading(settings) as reader:
        assert windows(published(reader)) == before and reader.store.changelog.since_ms == 0
