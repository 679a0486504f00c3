"""The local store: what is applied together is there together, in key order, for its own
identity only.
"""

from __future__ import annotations

import gc
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from rocksdict import Rdict, WriteBatch

from odradek.engine import ports
from odradek.exceptions import DiskFullError, StateFormatError, StateStoreError
from odradek.kafka.registry import SchemaRegistryUnreachableError
from odradek.processor import store as store_module
from odradek.processor.errors import TopicUnavailableError
from odradek.processor.store import (
    PartitionStore,
    StoreCorruptError,
    StoreIdentity,
    StoreLockedError,
    prune,
    translate,
)
from odradek.wire.codec import encode_row
from odradek.wire.rows import state_key
from odradek.wire.state import RequestRow, TimerRow

ME = StoreIdentity("cluster", "state-id", "events-id", 3)


def _timer(key: str, number: int) -> tuple[bytes, bytes]:
    return state_key(ports.TIMER, key), encode_row(TimerRow(number, "w", "r", "USER", number))


@pytest.fixture
def store(tmp_path: Path) -> PartitionStore:
    return PartitionStore.open(tmp_path / "s", ME)


def test_get_and_delete(store: PartitionStore) -> None:
    key, value = _timer("a", 1)
    store.apply([(key, value)], 10, 1_000)
    row = store.get(ports.TIMER, "a")
    assert isinstance(row, TimerRow)
    assert row.id == 1
    assert store.get(ports.TIMER, "b") is None
    store.apply([(key, None)], 20, 2_000)
    assert store.get(ports.TIMER, "a") is None
    assert (store.changelog_offset, store.as_of_ms) == (20, 2_000)


def test_a_row_whose_schema_a_registry_cannot_tell_now_is_nobodys_fault(
    store: PartitionStore,
) -> None:
    def away(_: bytes) -> NoReturn:
        raise SchemaRegistryUnreachableError("http://registry", "it is away")

    store.apply([_timer("a", 1)], 10, 1_000)
    store.decode_row = away
    for read in (lambda: store.get(ports.TIMER, "a"), lambda: list(store.scan(ports.TIMER, ""))):
        with pytest.raises(TopicUnavailableError, match="it is away"):
            read()


def test_scan(store: PartitionStore) -> None:
    names = ["a/1", "a/2", "a/3", "b/1", "é/1"]
    store.apply(
        [_timer(name, n) for n, name in enumerate(names)]
        + [(state_key(ports.REQUEST, "a/9"), encode_row(RequestRow("r", "k", "OK")))],
        1,
        1,
    )

    def keys(prefix: str, **options: object) -> list[str]:
        return [key for key, _ in store.scan(ports.TIMER, prefix, **options)]  # type: ignore[arg-type]

    assert keys("") == names
    assert keys("a/") == names[:3]
    assert keys("a/", start="a/2") == ["a/2", "a/3"]
    assert keys("a/", limit=2) == ["a/1", "a/2"]
    assert keys("a/", reverse=True) == ["a/3", "a/2", "a/1"]
    assert keys("a/", reverse=True, start="a/2") == ["a/2", "a/1"]
    assert keys("", start="a/31") == ["b/1", "é/1"]
    assert keys("é/") == ["é/1"]
    assert keys("c") == []


def test_reopened_with_what_it_had(tmp_path: Path) -> None:
    store = PartitionStore.open(tmp_path / "s", ME)
    store.apply([_timer("a", 1)], 10, 1_000)
    store.close()
    again = PartitionStore.open(tmp_path / "s", ME)
    assert (again.changelog_offset, again.as_of_ms) == (10, 1_000)
    assert again.get(ports.TIMER, "a") is not None


@pytest.mark.parametrize(
    "other",
    [
        StoreIdentity("another", "state-id", "events-id", 3),
        StoreIdentity("cluster", "another", "events-id", 3),
        StoreIdentity("cluster", "state-id", "another", 3),
        StoreIdentity("cluster", "state-id", "events-id", 4),
        StoreIdentity("cluster", "state-id", "events-id", 3, store_format=99),
        StoreIdentity("cluster", "state-id", "events-id", 3, row_format=99),
    ],
)
def test_another_identity_is_rebuilt(other: StoreIdentity, tmp_path: Path) -> None:
    store = PartitionStore.open(tmp_path / "s", other)
    store.apply([_timer("a", 1)], 10, 1_000)
    store.close()
    mine = PartitionStore.open(tmp_path / "s", ME)
    assert (mine.changelog_offset, list(mine.items())) == (0, [])


def test_locked(store: PartitionStore) -> None:
    with pytest.raises(StoreLockedError):
        PartitionStore.open(store.path, ME)
    store.apply([_timer("a", 1)], 1, 1)  # and it still works


def _piled(path: Path, damaged_at: int) -> None:
    """A store of five files, so many that a compaction begins with its opening, which meets the
    damage in the newest.
    """
    PartitionStore.open(path, ME).close()
    db = Rdict(os.fspath(path), store_module._options())
    db.set_options({"disable_auto_compactions": "true"})
    for number in range(4):
        batch = WriteBatch(raw_mode=True)
        for key in range(400):
            batch.put(f"run/{key:03d}-{number}".encode(), os.urandom(100))
        batch.put(store_module._APPLIED, db.get(store_module._APPLIED))
        db.write(batch)
        db.flush()
    db.close()
    for file in path.glob("OPTIONS-*"):  # which are read again with the files
        file.write_text(
            file.read_text().replace(
                "disable_auto_compactions=true", "disable_auto_compactions=false"
            )
        )
    newest = max(path.glob("*.sst"), key=lambda file: file.name)
    data = bytearray(newest.read_bytes())
    data[damaged_at] ^= 1
    newest.write_bytes(data)


@pytest.mark.parametrize(
    ("damaged_at", "identity", "oldest_ms"),
    [
        (5, ME, 0),
        (20_000, ME, 1 << 60),
        (20_000, StoreIdentity("another", "state-id", "events-id", 3), 0),
    ],
    ids=["its mark", "too old", "of another cluster"],
)
def test_a_damaged_store_is_rebuilt_also_where_its_close_tells_of_the_damage(
    damaged_at: int, identity: StoreIdentity, oldest_ms: int, tmp_path: Path
) -> None:
    """Each time: whether the compaction has met the damage before the close is a race."""
    _piled(tmp_path / "piled", damaged_at)
    for number in range(5):
        path = shutil.copytree(tmp_path / "piled", tmp_path / str(number))
        store = PartitionStore.open(path, identity, oldest_ms=oldest_ms)
        assert (store.changelog_offset, list(store.items())) == (0, [])
        store.close()


def test_newer_row_is_refused(store: PartitionStore) -> None:
    key = state_key(ports.TIMER, "a")
    store.apply([(key, encode_row(TimerRow(1, "w", "r", "USER", format=99)))], 1, 1)
    with pytest.raises(StateFormatError):
        store.get(ports.TIMER, "a")


def test_row_of_a_schema_that_nobody_knows(store: PartitionStore) -> None:
    key, value = _timer("a", 1)
    store.apply([(key, value[:2] + bytes(8) + value[10:])], 1, 1)
    with pytest.raises(StoreCorruptError, match="fingerprint 0000000000000000"):
        store.get(ports.TIMER, "a")


def test_a_damaged_row_says_which_it_is(store: PartitionStore) -> None:
    key, value = _timer("a", 1)
    store.apply([(key, value[:-1])], 1, 1)
    with pytest.raises(StoreCorruptError, match="row 'timer/a' cannot be read"):
        store.get(ports.TIMER, "a")


@pytest.mark.parametrize("left", ["by its reader", "by an error, whose traceback is kept"])
def test_a_scan_that_was_left_keeps_no_closed_store_locked(
    store: PartitionStore, left: str
) -> None:
    """The next owner of the partition met the lock, until the garbage collector came by."""
    gc.disable()
    try:
        (first, value), (second, _) = _timer("a", 1), _timer("b", 2)
        store.apply([(first, value), (second, value[:-1])], 1, 1)
        rows = store.scan(ports.TIMER, "")
        assert next(rows)[0] == "a"
        kept: list[StoreCorruptError] = []
        if left != "by its reader":
            with pytest.raises(StoreCorruptError) as caught:
                next(rows)
            kept.append(caught.value)
        store.close()
        PartitionStore.open(store.path, ME).close()
        if left == "by its reader":
            with pytest.raises(StateStoreError, match="closed while it was read"):
                next(rows)
    finally:
        gc.enable()


def test_stores_that_nobody_came_back_to(tmp_path: Path) -> None:
    for name in ("1", "2"):
        PartitionStore.open(tmp_path / name, ME).close()
    for file in (tmp_path / "1").glob("*"):
        os.utime(file, (1_000, 1_000))
    (tmp_path / "LOCK").touch()
    assert prune(tmp_path, 2_000_000) == [tmp_path / "1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "LOCK"]


def test_errors_by_their_text() -> None:
    assert isinstance(
        translate(Exception("IO error: No space left on device: While appending"), "p"),
        DiskFullError,
    )
    assert isinstance(
        translate(Exception("Corruption: block checksum mismatch"), "p"), StoreCorruptError
    )
    assert type(translate(Exception("IO error: Permission denied"), "p")) is StateStoreError


def test_killed_store_stands_at_a_commit(tmp_path: Path) -> None:
    """There is no write-ahead log: after kill -9 it is as of some earlier commit, rows and
    offset together.
    """
    script = f"""
import os, signal
from pathlib import Path
from tests.unit.test_partition_store import ME, _timer
from odradek.processor.store import PartitionStore
store = PartitionStore.open(Path({str(tmp_path / "s")!r}), ME)
for n in range(1, 400):
    store.apply([_timer(f"{{n}}/{{k}}" , n) for k in range(5)], n, n)
    if n == 250: store.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["streams", "."])}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=Path(__file__).parents[2],
        check=False,
        timeout=60,
    )
    assert done.returncode == -9
    store = PartitionStore.open(tmp_path / "s", ME)
    assert store.changelog_offset >= 250
    assert len(list(store.items())) == store.changelog_offset * 5


def test_full_disk(tmp_path: Path) -> None:
    """Said as such; and what was applied before is whole."""
    script = f"""
import os, resource, sys
from pathlib import Path
from tests.unit.test_partition_store import ME
from odradek.exceptions import DiskFullError
from odradek.processor.store import PartitionStore
store = PartitionStore.open(Path({str(tmp_path / "s")!r}), ME)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.RLIM_INFINITY))
try:
    for n in range(1, 2_000):
        store.apply([(b"run/%d/%d" % (n, k), os.urandom(10_000)) for k in range(5)], n, n)
except DiskFullError as error:
    print("full", error)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(["streams", "."])}
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command,
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.startswith("full no space left on the disk"), done
    store = PartitionStore.open(tmp_path / "s", ME)
    assert len(list(store.items())) == store.changelog_offset * 5
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
