"""How each topic is created: partitions and Kafka's topic settings, in one place. Pure data;
`odradek.kafka.admin` creates by it.

Also what of the settings of a topic that somebody else made does not do. A value that only costs
something (small segments, a low dirty ratio) is his choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from odradek.wire import topics

_SECOND = 1_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_MIB = 1024 * 1024

#: `max.message.bytes` of `state`: a history row holds what one step appended, payloads included.
STATE_MAX_MESSAGE_BYTES = 16 * _MIB
#: `delete.retention.ms` that compacted topics are created with. A local store that is older than
#: what its topic *has* is rebuilt, as it may have missed tombstones.
TOMBSTONE_RETENTION_MS = _DAY


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """Partitions and settings of one kind of topic."""

    partitions: int
    settings: dict[str, str]


def topic_config(kind: str, *, partitions: int, results_retention_ms: int) -> TopicConfig:
    """How to create a topic of this kind.

    partitions: the setting of that name (`events` and `state` of a queue must have the same).
    Topics that every process reads whole (`control`, `schemas`, `members`) have one.
    results_retention_ms: how long `results` are kept; -1 for ever.
    """
    match kind:
        # Nothing expires unread: no time retention, their owner deletes records behind what is
        # committed.
        case topics.EVENTS | topics.COMMANDS:
            return TopicConfig(partitions, _delete(-1, segment_mib=64))
        case topics.STATE:
            # Small segments and a low dirty ratio: an active segment is never compacted, and a
            # restore reads all that is not.
            return TopicConfig(
                partitions,
                _compact(segment_mib=64, dirty_ratio="0.1", max_lag_ms=_HOUR)
                | {"max.message.bytes": str(STATE_MAX_MESSAGE_BYTES)},
            )
        case topics.CONTROL:
            # Read whole by every service at its start: what it names must not begin. A day, as long
            # as a queue may be without any.
            return TopicConfig(1, _delete(_DAY, segment_mib=16))
        case topics.DEAD_LETTERS:
            # What was refused may be as large as the largest topic takes.
            return TopicConfig(
                1,
                _delete(30 * _DAY, segment_mib=64)
                | {"max.message.bytes": str(STATE_MAX_MESSAGE_BYTES)},
            )
        case topics.RESULTS:
            return TopicConfig(partitions, _delete(results_retention_ms, segment_mib=64))
        case topics.EXECUTIONS:
            return TopicConfig(
                partitions, _compact(segment_mib=64, dirty_ratio="0.1", max_lag_ms=_HOUR)
            )
        case topics.SCHEMAS:
            return TopicConfig(1, _compact(segment_mib=16, dirty_ratio="0.5"))
        case topics.MEMBERS:
            return TopicConfig(1, _compact(segment_mib=16, dirty_ratio="0.1", max_lag_ms=_HOUR))
        case topics.REPLIES:
            return TopicConfig(
                partitions,
                _delete(10 * _MINUTE, segment_mib=64)
                | {"max.message.bytes": str(STATE_MAX_MESSAGE_BYTES)},
            )
    raise ValueError(f"no such kind of topic: {kind}")


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """A setting of a topic that should be another. `stops`: with it records are lost for
    certain, or none are taken.
    """

    setting: str
    value: str
    wanted: str
    reason: str
    stops: bool = False


#: A record that waits for its partition to have a leader gets as old as this before it is sent or
#: given up.
_WAITS_MS = 2 * _MINUTE
#: So old at most is the end of a transaction when its partition's broker looks at it
#: (`tests/facts`, `-k refuses_its_own`).
_MARKERS_WAIT_MS = 1_000
_COMPACTED = frozenset({topics.STATE, topics.EXECUTIONS, topics.SCHEMAS})
_WHAT_EXPIRES = {
    topics.STATE: (
        "open runs and what closed ones keep would be deleted by age or size, without a word"
    ),
    topics.EXECUTIONS: "runs would vanish from lists that are built anew",
    topics.SCHEMAS: "records that older versions wrote could not be read any more",
}
_WHAT_IS_COMPACTED = {
    topics.EVENTS: (
        "of the inputs of a workflow that are not applied yet all but the last would be deleted"
    ),
    topics.COMMANDS: (
        "of the commands of a workflow that no service has taken yet all but the last would be"
        " deleted"
    ),
    topics.RESULTS: "of the results of a workflow id all but the last would be deleted",
    topics.DEAD_LETTERS: "of the dead letters of a workflow all but the last would be deleted",
    topics.CONTROL: "of the requests for an activity all but the last would be deleted",
    topics.REPLIES: (
        "of the replies to a client all but the last may be deleted before it reads them"
    ),
}
_COMPACTION_STOPS = frozenset({topics.EVENTS, topics.COMMANDS, topics.RESULTS})


def setting_problems(
    kind: str, settings: Mapping[str, str | None], *, replicas: int = 0
) -> list[SettingProblem]:
    """What the settings of a topic of this kind do not do that they must; the worst first.

    settings: as Kafka describes them; what is not in there is not judged.  replicas: of its
    partitions; 0: not known.
    """
    found = [*_cleanup_problems(kind, settings), *_taking_problems(settings, replicas)]
    return sorted(found, key=lambda problem: not problem.stops)


def _cleanup_problems(kind: str, settings: Mapping[str, str | None]) -> list[SettingProblem]:
    policy = settings.get("cleanup.policy") or ""
    policies = {word.strip() for word in policy.split(",")} - {""}
    limits = [
        (name, settings[name] or "")
        for name in ("retention.ms", "retention.bytes")
        if _number(settings, name, -1) >= 0
    ]
    expires = "delete" in policies and bool(limits)
    if kind in _COMPACTED and policies:
        if expires:
            return [
                SettingProblem(
                    "cleanup.policy",
                    policy,
                    "compact",
                    _WHAT_EXPIRES[kind],
                    stops=kind == topics.STATE,
                )
            ]
        if policies != {"compact"}:
            return [
                SettingProblem(
                    "cleanup.policy",
                    policy,
                    "compact",
                    "it grows for ever, and each restore reads all of it",
                )
            ]
    if kind in _WHAT_IS_COMPACTED and "compact" in policies:
        return [
            SettingProblem(
                "cleanup.policy",
                policy,
                "delete",
                _WHAT_IS_COMPACTED[kind],
                stops=kind in _COMPACTION_STOPS,
            )
        ]
    if kind in (topics.EVENTS, topics.COMMANDS) and expires:
        why = (
            "records that wait to be read would be deleted by age or size (what has been read is"
            " deleted by Odradek)"
        )
        return [SettingProblem(name, value, "-1", why) for name, value in limits]
    return []


def _taking_problems(settings: Mapping[str, str | None], replicas: int) -> list[SettingProblem]:
    found = []
    in_sync = _number(settings, "min.insync.replicas", 1)
    if 0 < replicas < in_sync:
        why = (
            f"its partitions have {replicas} replicas: older brokers take no record then (or give"
            " them more)"
        )
        found.append(
            SettingProblem("min.insync.replicas", str(in_sync), str(max(1, replicas - 1)), why)
        )
    oldest_ms = _number(settings, "message.timestamp.before.max.ms", _WAITS_MS)
    if settings.get("message.timestamp.type") != "LogAppendTime" and oldest_ms < _WAITS_MS:
        stops = oldest_ms < _MARKERS_WAIT_MS
        why = (
            "a broker refuses the ends of its own transactions there, and then their partitions"
            " until it starts anew"
            if stops
            else ("records that waited for a leader of their partition for longer are refused")
        )
        found.append(
            SettingProblem(
                "message.timestamp.before.max.ms", str(oldest_ms), str(_DAY), why, stops=stops
            )
        )
    return found


def _number(settings: Mapping[str, str | None], name: str, default: int) -> int:
    """A broker that is not Apache Kafka may lack a setting, or tell it without a value."""
    try:
        return int(settings.get(name) or default)
    except ValueError:
        return default


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
