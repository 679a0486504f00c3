"""The ingest on real Kafka: what is listed is what was committed, through kill -9, a lost disk,
tombstones, aborts and re-reading.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import admin_config, transactional_producer_config
from odradek.visibility import StoreLockedError, StoreNotOpenError
from odradek.visibility import reader as reader_module
from odradek.visibility.ingest import BATCH_RECORDS
from odradek.visibility.reader import VisibilityReader, store_path
from odradek.wire.codec import encode
from odradek.wire.headers import Headers
from odradek.wire.outcomes import ExecutionSummary
from odradek.wire.state import PositionRow
from tests.support.until import until

PROCESS = Path(__file__).with_name("visibility_process.py")
#: A minute that is over, and that windows still keep.
T0 = time.time_ns() // 60_000_000_000 * 60_000 - 600_000


class Runs:
    """Writes summaries as a processor does: in transactions."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.settings = settings
        self.topic = ClusterAdmin(settings).topics.executions
        ClusterAdmin(settings).ensure([self.topic])
        self._producer = Producer(transactional_producer_config(settings, name))
        self._producer.init_transactions(30)

    def write(
        self, *summaries: ExecutionSummary | str, commit: bool = True, keys: bool = True
    ) -> None:
        """One transaction. A text is the key of a tombstone."""
        self._producer.begin_transaction()
        for one in summaries:
            key = one if isinstance(one, str) else f"{one.workflow_id}/{one.run_id}"
            self._producer.produce(
                self.topic, key=key.encode(), value=None if isinstance(one, str) else encode(one)
            )
        if commit:
            self._producer.commit_transaction(30)
        else:
            assert self._producer.flush(30) == 0  # the records are in the log
            self._producer.abort_transaction(30)

    def write_raw(
        self, key: bytes | None, value: bytes | None, headers: Headers | tuple[()] = ()
    ) -> None:
        """A record that no processor writes."""
        self._producer.begin_transaction()
        self._producer.produce(self.topic, key=key, value=value, headers=list(headers))
        self._producer.commit_transaction(30)


def gone(settings: Settings, topic: str) -> None:
    """Until the broker shows it no more: the controller's answer comes before."""
    admin = AdminClient(admin_config(settings))
    until(lambda: topic not in admin.list_topics(timeout=30).topics)


def run(name: str, status: str = "RUNNING", **more: Any) -> ExecutionSummary:
    closed = 0 if status == "RUNNING" else T0 + 2_000
    fields: dict[str, Any] = {
        "start_time_ms": T0,
        "close_time_ms": closed,
        "state_transition_count": 5 if closed else 1,
    }
    return ExecutionSummary(
        "default", "queue", f"w-{name}", name, "Order", status, **{**fields, **more}
    )


@pytest.fixture
def settings(bootstrap: str, namespace: str, tmp_path: Path) -> Settings:
    return Settings(
        address=bootstrap, namespace=namespace, state_dir=tmp_path / "state", partitions=4
    )


@pytest.fixture
def runs(settings: Settings, unique_name: Callable[[str], str]) -> Runs:
    return Runs(settings, unique_name("lane"))


@contextmanager
def reading(settings: Settings) -> Iterator[VisibilityReader]:
    with VisibilityReader(settings) as reader:
        assert reader.wait_ready(60), reader.statistics()
        yield reader


def listed(reader: VisibilityReader, query: str = "") -> set[tuple[str, str]]:
    assert reader.wait_caught_up(30), reader.statistics()
    found: set[tuple[str, str]] = set()
    token = b""
    while True:
        page = reader.store.list(query, page_size=1_000, page_token=token)
        found |= {(execution.run_id, execution.status) for execution in page.executions}
        token = page.next_page_token
        if not token:
            return found


def windows(reader: VisibilityReader) -> list[tuple[int, int, int, int]]:
    return [
        (w.started, w.completed, w.failed, w.open_runs)
        for w in reader.store.windows(T0, T0 + 60_000)
    ]


def test_an_ingest_that_stands_still_says_so(
    settings: Settings, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that cannot be written (here a trigger, else a full disk): lists go on answering,
    old, so the server must not say ready.
    """
    monkeypatch.setattr(reader_module, "STANDSTILL_S", 1.0)
    runs.write(run("a"))
    with reading(settings) as reader, closing(sqlite3.connect(reader.store.path)) as connection:
        assert listed(reader) == {("a", "RUNNING")}
        until(
            lambda: reader.unready == ""
        )  # which it is not for a moment on a machine that stood still for that second
        connection.execute(
            "CREATE TRIGGER broken BEFORE INSERT ON executions BEGIN SELECT RAISE(ABORT, 'the disk"
            " is full'); END"
        )
        connection.commit()
        runs.write(run("b"))
        why = until(lambda: reader.standstill if "the disk is full" in reader.standstill else "")
        what = reader.unready
        # The probe is open to everybody: what, and no text of an error. And it is the same text at
        # every look.
        assert re.fullmatch(
            r"the ingest has made no progress since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", what
        ) and why.startswith(f"{what}: ")
        assert reader.unready == what
        assert reader.ready and {one.run_id for one in reader.store.list().executions} == {"a"}
        connection.execute("DROP TRIGGER broken")
        connection.commit()
        until(lambda: reader.unready == "", 60)
        assert listed(reader) == {("a", "RUNNING"), ("b", "RUNNING")}


def test_a_registry_that_is_away_is_a_standstill_and_no_outage_of_brokers(
    settings: Settings, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It neither makes readiness come and go with every start of the ingest, nor blames the
    brokers, which are there.
    """
    monkeypatch.setattr(reader_module, "STANDSTILL_S", 6.0)
    runs.write(run("a"))
    settings = settings.model_copy(
        update={"schema_registry_url": "http://user:hidden@127.0.0.1:1"}
    )  # nobody listens there
    with reading(settings) as reader:
        runs.write_raw(b"w-b/b", b"\x00\x00\x00\x00\x07abc")  # Confluent's framing
        outages, whats = set(), set()

        def looked() -> bool:
            outages.add(reader.outage)
            whats.add(reader.unready)
            return bool(reader.standstill) and reader.statistics().restarts >= 4

        until(looked, 60)
        assert outages == {""} and len(whats - {""}) == 1, (outages, whats)
        told = f"{reader.standstill} {reader.statistics()}"
        assert "schema registry http://127.0.0.1:1 does not answer" in told and "hidden" not in told
        assert "registry" not in reader.unready and {
            one.run_id for one in reader.store.list().executions
        } == {"a"}


def test_what_is_committed_is_listed_and_what_is_aborted_is_not(
    settings: Settings, runs: Runs
) -> None:
    runs.write(run("a"), run("b"))
    runs.write(run("a", "FAILED"), run("ghost"), commit=False)
    with reading(settings) as reader:
        assert listed(reader) == {("a", "RUNNING"), ("b", "RUNNING")}
        runs.write(run("ghost2"), "w-a/a", commit=False)
        runs.write(run("b", "COMPLETED"))
        assert listed(reader) == {("a", "RUNNING"), ("b", "COMPLETED")}
        assert listed(reader, "ExecutionStatus = 'Completed' AND CloseTime IS NOT NULL") == {
            ("b", "COMPLETED")
        }
        assert reader.statistics().restarts == 0 and reader.lag == 0


def test_a_record_of_an_open_transaction_is_not_listed_before_its_commit(
    settings: Settings, runs: Runs, unique_name: Callable[[str], str]
) -> None:
    runs.write(run("a"))
    slow = Producer(transactional_producer_config(settings, unique_name("slow")))
    slow.init_transactions(30)
    with reading(settings) as reader:
        slow.begin_transaction()
        slow.produce(runs.topic, key=b"w-b/b", value=encode(run("b")))
        assert slow.flush(30) == 0
        assert listed(reader) == {("a", "RUNNING")}
        slow.commit_transaction(30)
        assert listed(reader) == {("a", "RUNNING"), ("b", "RUNNING")}


def test_kept_disk_reads_nothing_twice_and_lost_disk_reads_everything(
    settings: Settings, runs: Runs
) -> None:
    runs.write(*(run(f"r{n}") for n in range(300)))
    runs.write(*(run(f"r{n}", "COMPLETED") for n in range(100)), run("x", "FAILED"))
    with reading(settings) as reader:
        before, counted = listed(reader), windows(reader)
        assert counted == [(301, 100, 1, 200)]
    with reading(settings) as reader:
        assert reader.statistics().records == 0
        assert (listed(reader), windows(reader)) == (before, counted)
    shutil.rmtree(settings.state_dir)
    with reading(settings) as reader:
        assert reader.statistics().records > 300
        assert (listed(reader), windows(reader)) == (before, counted)


@pytest.mark.parametrize("left", ["", "the file"])
def test_a_store_whose_files_are_removed_beneath_it_begins_anew(
    settings: Settings, runs: Runs, left: str
) -> None:
    """It answered some requests with 500 and was ready, for ever."""
    runs.write(run("a"))
    with reading(settings) as reader:
        assert listed(reader) == {("a", "RUNNING")}
        before, path = reader.store, reader.store.path
        if left:
            path.with_name(path.name + "-wal").unlink()
        else:
            shutil.rmtree(path.parent)
            before.renew()
            with pytest.raises(StoreNotOpenError, match="begins anew by itself"):
                before.list()
        until(lambda: reader.store is not before, 60)
        assert reader.statistics().rebuilt_because == "its files were removed"
        runs.write(run("b"))
        until(lambda: reader.ready, 60)
        assert listed(reader) == {("a", "RUNNING"), ("b", "RUNNING")} and reader.unready == ""


def test_records_that_nobody_can_read_are_stepped_over(settings: Settings, runs: Runs) -> None:
    runs.write(run("a"))
    runs.write_raw(b"w-bad/bad", b"garbage")
    runs.write_raw(
        b"w-other/other", encode(PositionRow(0, "", "", 4))
    )  # a record of ours that is no summary
    with reading(settings) as reader:
        runs.write(run("b"))
        assert listed(reader) == {("a", "RUNNING"), ("b", "RUNNING")}
        assert reader.statistics().undecodable == 2
    with reading(settings) as reader:
        assert reader.statistics().records == 0  # they are behind the position
        assert listed(reader) == {("a", "RUNNING"), ("b", "RUNNING")}


def test_a_topic_made_anew_begins_a_new_store(
    settings: Settings, runs: Runs, unique_name: Callable[[str], str]
) -> None:
    runs.write(run("old"))
    with reading(settings) as reader:
        assert listed(reader) == {("old", "RUNNING")}
    admin = AdminClient(admin_config(settings))
    admin.delete_topics([runs.topic], operation_timeout=30)[runs.topic].result(timeout=30)
    gone(settings, runs.topic)
    again = Runs(settings, unique_name("lane"))
    again.write(run("new"))
    with reading(settings) as reader:
        assert listed(reader) == {("new", "RUNNING")}
        assert "topic_id" in reader.statistics().rebuilt_because


def test_a_store_that_was_away_for_longer_than_its_topic_keeps_tombstones_begins_anew(
    settings: Settings, runs: Runs
) -> None:
    """By the topic's own `delete.retention.ms`, which an operator may have set: a run that is
    gone would be listed for ever.
    """
    runs.write(run("a"))
    retention = ConfigEntry(
        "delete.retention.ms", "1000", incremental_operation=AlterConfigOpType.SET
    )
    resource = ConfigResource(ResourceType.TOPIC, runs.topic, incremental_configs=[retention])
    admin = AdminClient(admin_config(settings))
    admin.incremental_alter_configs([resource])[resource].result(timeout=30)
    with reading(settings):
        pass
    closed_s = time.monotonic()
    while time.monotonic() < closed_s + 1.5:  # what is waited for is the passing of time
        runs.write("w-a/a")
    with reading(settings) as reader:
        assert "may have missed tombstones" in reader.statistics().rebuilt_because
        assert listed(reader) == set()


def test_a_second_instance_on_the_same_store_is_refused_and_one_beside_it_is_whole(
    settings: Settings, runs: Runs, tmp_path: Path
) -> None:
    runs.write(*(run(f"r{n}") for n in range(50)))
    with reading(settings) as reader:
        with pytest.raises(StoreLockedError, match="state_dir"):
            VisibilityReader(settings).start()
        with reading(settings.replace(state_dir=tmp_path / "beside")) as beside:
            assert listed(beside) == listed(reader)
            runs.write(run("late"))
            assert ("late", "RUNNING") in listed(beside) and ("late", "RUNNING") in listed(reader)


# --- kill -9


@contextmanager
def process(settings: Settings, errors: Path, fault: str = "") -> Iterator[subprocess.Popen[str]]:
    command = [
        sys.executable,
        str(PROCESS),
        settings.address,
        settings.namespace,
        str(settings.state_dir),
        *([fault] if fault else []),
    ]
    with errors.open("w") as out:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=out, text=True
        )
    try:
        yield child
    finally:
        child.kill()
        child.communicate(timeout=30)


def line_of(child: subprocess.Popen[str], errors: Path, wanted: Callable[[str], bool]) -> str:
    assert child.stdout is not None
    for line in child.stdout:
        if wanted(line):
            return line.strip()
    raise AssertionError(f"the process ended: {errors.read_text()[-3_000:]}")


def test_a_part_that_a_killed_first_reading_left_is_not_taken_for_all(
    settings: Settings, runs: Runs, tmp_path: Path
) -> None:
    """More records than one transaction takes: the process kills itself in the third."""
    errors, many = tmp_path / "errors", 3 * BATCH_RECORDS + 1
    for begin in range(0, many, 5_000):
        runs.write(*(run(f"r{number}") for number in range(begin, min(begin + 5_000, many))))
    with process(settings, errors, "commit") as child:
        child.wait(60)
        assert child.returncode == -9, errors.read_text()[-2_000:]
    with VisibilityReader(settings.replace(address="127.0.0.1:9")) as unreached:
        assert 0 < unreached.store.count().count < many
        assert unreached.building and unreached.built_percent is None and not unreached.ready
    with reading(settings) as reader:
        assert reader.building == "" and reader.store.count().count == many
    with VisibilityReader(
        settings.replace(address="127.0.0.1:9")
    ) as unreached:  # a copy that was whole only lags
        assert unreached.building == "" and unreached.store.count().count == many


@pytest.mark.promise("lists")
@pytest.mark.parametrize("fault", ["", "begin", "commit"])
def test_kill_9_loses_nothing_and_counts_nothing_twice(
    settings: Settings, runs: Runs, tmp_path: Path, fault: str
) -> None:
    errors = tmp_path / "errors"
    for batch in range(3):
        runs.write(*(run(f"r{batch}-{n}") for n in range(100)))
    with process(settings, errors, fault) as child:
        if fault:  # it kills itself inside its third transaction
            deadline_s = time.monotonic() + 60
            batch = 3
            while child.poll() is None and time.monotonic() < deadline_s:
                runs.write(*(run(f"r{batch}-{n}") for n in range(5)))
                batch += 1
        else:
            line_of(child, errors, lambda line: line == "ready 300\n")
            runs.write(*(run(f"r1-{n}", "COMPLETED") for n in range(50)))
            line_of(child, errors, lambda line: line.startswith("runs"))
            child.kill()
            child.wait(30)
        assert child.returncode == -9, errors.read_text()[-2_000:]
    assert store_path(settings).exists()
    runs.write(*(run(f"r0-{n}", "COMPLETED") for n in range(30)))
    with reading(settings) as reader:
        found = listed(reader)
        completed = sum(status == "COMPLETED" for _, status in found)
        assert completed == (30 if fault else 80)
        assert reader.store.count("GROUP BY ExecutionStatus").count == len(found) >= 300
        assert windows(reader) == [(len(found), completed, 0, len(found) - completed)]
        kept = (found, windows(reader))
    shutil.rmtree(settings.state_dir)
    with reading(settings) as reader:
        assert (listed(reader), windows(reader)) == kept
