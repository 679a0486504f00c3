"""Kafka's murmur2, bit for bit that of the Java client (`Utils.murmur2`), so that Java,
Faust/aiokafka and we agree.

librdkafka hashes with CRC32 by default: producers need `partitioner=murmur2_random`.
"""

from __future__ import annotations

from functools import lru_cache

_SEED = 0x9747B28C
_M = 0x5BD1E995
_MASK = 0xFFFFFFFF


def murmur2(key: bytes) -> int:
    """The 32-bit hash as Java's signed int."""
    length = len(key)
    hashed = _SEED ^ length
    whole = length & ~3
    for at in range(0, whole, 4):
        k = (int.from_bytes(key[at : at + 4], "little") * _M) & _MASK
        k = ((k ^ (k >> 24)) * _M) & _MASK
        hashed = ((hashed * _M) & _MASK) ^ k
    if length & 3:
        hashed = ((hashed ^ int.from_bytes(key[whole:], "little")) * _M) & _MASK
    hashed = ((hashed ^ (hashed >> 13)) * _M) & _MASK
    hashed ^= hashed >> 15
    return hashed - (1 << 32) if hashed & 0x80000000 else hashed


@lru_cache(maxsize=65_536)  # keys are workflow ids; each comes with many records
def partition_for(key: bytes, partitions: int) -> int:
    """Partition of a key: `(murmur2(key) & 0x7fffffff) % partitions`."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
