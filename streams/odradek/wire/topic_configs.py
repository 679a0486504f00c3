"""How each topic is created: partitions and Kafka's topic settings, in one place. Pure data; `odradek.kafka.admin` creates by it."""

from __future__ import annotations

from dataclasses import dataclass

from odradek.wire import topics

_SECOND = 1_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_MIB = 1024 * 1024

#: `max.message.bytes` of `state`: a history row holds what one step appended, payloads included.
STATE_MAX_MESSAGE_BYTES = 16 * _MIB
#: `delete.retention.ms` that compacted topics are created with. A local store that is older than what its topic *has* is rebuilt, as it may
#: have missed tombstones.
TOMBSTONE_RETENTION_MS = _DAY


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """Partitions and settings of one kind of topic."""

    partitions: int
    settings: dict[str, str]


def topic_config(kind: str, *, partitions: int, results_retention_ms: int) -> TopicConfig:
    """How to create a topic of this kind.

    partitions: the setting of that name (`events` and `state` of a queue must have the same). Topics that every process reads whole
    (`control`, `schemas`, `members`) have one.  results_retention_ms: how long `results` are kept; -1 for ever.
    """
    match kind:
        # Nothing expires unread: no time retention, their owner deletes records behind what is committed.
        case topics.EVENTS | topics.COMMANDS:
            return TopicConfig(partitions, _delete(-1, segment_mib=64))
        case topics.STATE:
            # Small segments and a low dirty ratio: an active segment is never compacted, and a restore reads all that is not.
            return TopicConfig(
                partitions,
                _compact(segment_mib=64, dirty_ratio="0.1", max_lag_ms=_HOUR) | {"max.message.bytes": str(STATE_MAX_MESSAGE_BYTES)},
            )
        case topics.CONTROL:
            # Read whole by every service at its start: what it names must not begin. A day, as long as a queue may be without any.
            return TopicConfig(1, _delete(_DAY, segment_mib=16))
        case topics.DEAD_LETTERS:
            # What was refused may be as large as the largest topic takes.
            return TopicConfig(1, _delete(30 * _DAY, segment_mib=64) | {"max.message.bytes": str(STATE_MAX_MESSAGE_BYTES)})
        case topics.RESULTS:
            return TopicConfig(partitions, _delete(results_retention_ms, segment_mib=64))
        case topics.EXECUTIONS:
            return TopicConfig(partitions, _compact(segment_mib=64, dirty_ratio="0.1", max_lag_ms=_HOUR))
        case topics.SCHEMAS:
            return TopicConfig(1, _compact(segment_mib=16, dirty_ratio="0.5"))
        case topics.MEMBERS:
            return TopicConfig(1, _compact(segment_mib=16, dirty_ratio="0.1", max_lag_ms=_HOUR))
        case topics.REPLIES:
            return TopicConfig(partitions, _delete(10 * _MINUTE, segment_mib=64) | {"max.message.bytes": str(STATE_MAX_MESSAGE_BYTES)})
    raise ValueError(f"no such kind of topic: {kind}")


def _delete(retention_ms: int, segment_mib: int) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(retention_ms),
        "retention.bytes": "-1",
        "segment.bytes": str(segment_mib * _MIB),
    }


def _compact(segment_mib: int, dirty_ratio: str, max_lag_ms: int | None = None) -> dict[str, str]:
    settings = {
        "cleanup.policy": "compact",
        "segment.bytes": str(segment_mib * _MIB),
        "min.cleanable.dirty.ratio": dirty_ratio,
        "delete.retention.ms": str(TOMBSTONE_RETENTION_MS),
    }
    return settings if max_lag_ms is None else settings | {"max.compaction.lag.ms": str(max_lag_ms)}
