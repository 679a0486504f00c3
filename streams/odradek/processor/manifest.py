"""Looks a store's files over before RocksDB opens them.

Over some garbage in a MANIFEST, RocksDB's open never returns and keeps the interpreter
(`rocksdb::log::Reader::ReadRecord`, 10.x), so the process is not live any more. So each record's
checksum is read here first. What a power cut may leave, a torn end, counts as damage too: the
store is a copy, and rebuilding it costs time only.

Format: https://github.com/facebook/rocksdb/wiki/Write-Ahead-Log-File-Format (a MANIFEST is
written in the same one).
"""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import google_crc32c

_BLOCK_BYTES = 32 * 1024
_HEADER = struct.Struct("<IHB")  # masked CRC-32C of type and payload, length of the payload, type
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_FOLLOWS = {
    _FULL: (_FULL, _FIRST),
    _FIRST: (_MIDDLE, _LAST),
    _MIDDLE: (_MIDDLE, _LAST),
    _LAST: (_FULL, _FIRST),
}


class DamagedFileError(Exception):
    """Says what is wrong, and where."""


def check_files(path: Path) -> None:
    """Raise DamagedFileError for a store (a folder with CURRENT) whose MANIFEST cannot be read
    from end to end, or whose log, which is never written, is not empty.
    """
    for log in path.glob("*.log"):
        if log.stat().st_size:
            raise DamagedFileError(
                f"{log.name} holds {log.stat().st_size} bytes, nothing ever writes there"
            )
    current = (path / "CURRENT").read_bytes()
    name = current.removesuffix(b"\n").decode("ascii", "replace")
    if not name.startswith("MANIFEST-") or "/" in name or "\0" in name:
        raise DamagedFileError(f"CURRENT names no MANIFEST: {current[:40]!r}")
    try:
        data = (path / name).read_bytes()
    except FileNotFoundError:
        raise DamagedFileError(f"{name} is missing") from None
    check_log(data, name)


def check_log(data: bytes, name: str) -> None:
    """Every record of a file in RocksDB's log format. Raises DamagedFileError."""
    if not data:
        raise DamagedFileError(f"{name} is empty")
    place, before = 0, _LAST
    while place < len(data):
        left = _BLOCK_BYTES - place % _BLOCK_BYTES
        if left < _HEADER.size:  # a header never spans blocks
            place += left
            continue
        if len(data) - place < _HEADER.size:
            raise DamagedFileError(f"{name} ends within a header, at {place}")
        masked, length, kind = _HEADER.unpack_from(data, place)
        end = place + _HEADER.size + length
        if kind not in _FOLLOWS[before]:
            raise DamagedFileError(f"{name} has a record of type {kind} at {place}")
        if length > left - _HEADER.size or end > len(data):
            raise DamagedFileError(
                f"{name} has a record at {place} that ends beyond its block or file"
            )
        if google_crc32c.value(data[place + _HEADER.size - 1 : end]) != _unmasked(masked):
            raise DamagedFileError(f"{name} has a record at {place} whose checksum is wrong")
        place, before = end, kind
    if before not in (_FULL, _LAST):
        raise DamagedFileError(f"{name} ends within a record")


def is_open(path: Path) -> bool:
    """Some process, this one included, has the store open: then its files may be half written,
    and are not ours to judge.

    Asked by a child: a process that closes any descriptor of the lock file loses the lock that
    RocksDB took in it.
    """
    try:
        return (
            subprocess.run(
                [sys.executable, "-S", "-c", _TAKE_LOCK, str(path / "LOCK")],
                check=False,
                timeout=60,
            ).returncode
            == _TAKEN
        )
    except subprocess.TimeoutExpired:
        return True


_TAKEN = 17
_TAKE_LOCK = f"""
import fcntl, sys
try:
    with open(sys.argv[1], "r+b") as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except FileNotFoundError:
    pass
except BlockingIOError:
    sys.exit({_TAKEN})
"""


def _unmasked(masked: int) -> int:
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated >> 17) | (rotated << 15) & 0xFFFFFFFF
