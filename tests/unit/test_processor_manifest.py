"""Damaged files of a local store: found before RocksDB meets them, which over some of them never
returns.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import google_crc32c
import pytest

from odradek.processor.manifest import DamagedFileError, check_files, check_log, is_open
from odradek.processor.store import LaneStore, StoreIdentity, StoreLockedError
from odradek.wire.codec import encode_row
from odradek.wire.state import TimerRow

ME = StoreIdentity("cluster", "state-id", "events-id", 3)

#: Over this MANIFEST, RocksDB 10's open spins for ever with the interpreter's lock held.
HANGS = bytes.fromhex(
    "1b2fee6627000181402432666438343561372d353934362d346439332d396131642d363534363234656261643564052b284300000135403f88200001011a6c657665"
    "6c64622e4279746577697365436f6d70617261746f7289400101f4030c5a04000102000400fc2c26f906000109000306040023cb0912650006d1990a0cf8f1afc3f9"
    "52c4ccb9b9aa35b387fe257988a032d526a982528f8ad549288392c99a056c90be82bc1bcd2bbefe7f8ec18ce45ebff34fb4788c09e6b24acd88262f97762fad7e72"
    "f2190a2dce08b0508474cee1a8bd0c9fde5b93af6a98f71e1bc6212af5a8b9388bc197c5599a2e3799c4b54f4817"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store that was opened, filled and flushed some times."""
    path = tmp_path / "s"
    for opening in range(3):
        store = LaneStore.open(path, ME)
        for flush in range(40):
            key = f"timer/{opening}-{flush}".encode()
            store.apply(
                [(key, encode_row(TimerRow(1, "w", "r", "USER", 1)))], opening * 100 + flush + 1, 1
            )
            store.flush()
        store.close()
    return path


def _manifest(path: Path) -> Path:
    return path / (path / "CURRENT").read_text().strip()


def test_sound_files(path: Path) -> None:
    check_files(path)
    assert not is_open(path)
    assert LaneStore.open(path, ME).changelog_offset == 240


def test_records_over_blocks(path: Path) -> None:
    store = LaneStore.open(path, ME)
    manifest = _manifest(path)
    for flush in range(3_000):  # RocksDB's own, of more than one block of 32 KiB
        store.apply([(b"timer/x", b"v")], 1_000 + flush, 1)
        store.flush()
        if manifest.stat().st_size > 70_000:
            break
    else:
        pytest.fail("the MANIFEST did not grow over two blocks")
    check_log(manifest.read_bytes(), manifest.name)
    store.close()

    sound = _log([b"x" * 10, b"y" * 70_000, b"z" * 32_740, b"", b"w" * 100])
    check_log(sound, "MANIFEST")
    for cut in (1, 50, 40_000, len(sound) - 1):
        with pytest.raises(DamagedFileError):
            check_log(sound[:cut], "MANIFEST")


def _log(records: list[bytes]) -> bytes:
    """As RocksDB's log::Writer lays them out."""
    out = bytearray()
    for record in records:
        rest, first = record, True
        while True:
            left = 32_768 - len(out) % 32_768
            if left < 7:
                out += bytes(left)
                continue
            part, rest = rest[: left - 7], rest[left - 7 :]
            kind = (1 if first else 4) if not rest else (2 if first else 3)
            crc = google_crc32c.value(bytes([kind]) + part)
            masked = ((crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF
            out += (
                masked.to_bytes(4, "little")
                + len(part).to_bytes(2, "little")
                + bytes([kind])
                + part
            )
            first = False
            if not rest:
                break
    return bytes(out)


def test_every_single_flipped_byte_is_found(path: Path) -> None:
    manifest = _manifest(path)
    data = manifest.read_bytes()
    for place in range(0, len(data), max(1, len(data) // 500)):
        with pytest.raises(DamagedFileError):
            check_log(data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :], manifest.name)


def test_other_files(path: Path) -> None:
    (path / "000999.log").write_bytes(b"x")
    with pytest.raises(DamagedFileError, match=r"000999\.log holds 1 bytes"):
        check_files(path)
    (path / "000999.log").unlink()
    _manifest(path).rename(path / "MANIFEST-999999")
    with pytest.raises(DamagedFileError, match="is missing"):
        check_files(path)
    for wrong in (b"", b"\xff\xff", b"MANIFEST-../x\n"):
        (path / "CURRENT").write_bytes(wrong)
        with pytest.raises(DamagedFileError, match="CURRENT names no MANIFEST"):
            check_files(path)


def test_open_by_somebody_else_is_no_damage(path: Path) -> None:
    """What another thread or process is writing may look torn: it is left alone."""
    store = LaneStore.open(path, ME)
    assert is_open(path)
    with (_manifest(path)).open("ab") as file:
        file.write(b"torn")
    with pytest.raises(StoreLockedError):
        LaneStore.open(path, ME)
    assert is_open(path)  # asking did not take the lock away
    store.close()


def test_rebuilt_whatever_the_damage(path: Path, tmp_path: Path) -> None:
    """In a process of its own: one that hangs would take pytest with it."""
    random.seed(7)
    count = 0
    for number in range(150):
        copy = tmp_path / "damaged" / str(number)
        shutil.copytree(path, copy)
        files = [
            f for pattern in ("*.sst", "MANIFEST-*", "CURRENT", "*.log") for f in copy.glob(pattern)
        ]
        for file in files if number % 2 else [_manifest(copy)]:
            data = file.read_bytes()
            file.write_bytes(data[: len(data) // 3] + random.randbytes(len(data) // 3))
        count += 1
    shutil.copytree(path, copy := tmp_path / "damaged" / "hangs")
    _manifest(copy).write_bytes(HANGS)
    code = (
        "import sys; from pathlib import Path; from odradek.processor.store import LaneStore\n"
        "from tests.unit.test_processor_manifest import ME\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    print(path.name, flush=True)\n"
        "    LaneStore.open(path, ME).close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "damaged")],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=_environment(),
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    assert len(done.stdout.split()) == count + 1


def _environment() -> dict[str, str]:
    root = Path(__file__).parents[2]
    return os.environ | {"PYTHONPATH": f"{root / 'streams'}:{root}"}
