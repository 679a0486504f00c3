"""Outputs before the transaction: what passes the check is taken by its topic, key and headers
included.
"""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import pytest

from odradek.engine import ports
from odradek.engine.ports import OutletUnavailableError, Output, Refusal
from odradek.exceptions import BrokerUnreachableError, TopicError
from odradek.kafka.admin import ClusterAdmin, TopicFacts
from odradek.kafka.registry import SchemaRegistryUnreachableError
from odradek.kafka.windows import BATCH_BYTES
from odradek.processor.outlet import OVERHEAD_BYTES, UNBOUNDED, Record, TopicOutlet
from odradek.wire.codec import Codec
from odradek.wire.payload import Payload
from odradek.wire.record_size import record_size
from odradek.wire.tasks import ActivityTask
from odradek.wire.topics import Topics
from odradek.wire.tracing import TRACER_DATA

LIMIT = 50_000
NAME = "ö" * 1_000
TRACE = Payload(
    {"encoding": b"json/plain"},
    b'{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "baggage": "'
    + b"a" * 8_000
    + b'"}',
)


class Admin:
    """Every topic is there and takes LIMIT bytes."""

    def __init__(self) -> None:
        self.limits: dict[str, int] = {}

    def ensure(self, topics: list[str]) -> dict[str, Any]:
        return {
            topic: SimpleNamespace(require=lambda _, topic=topic: TopicFacts(topic, "id", 2))
            for topic in topics
        }

    describe = ensure

    def topic_settings(self, topics: list[str]) -> dict[str, dict[str, str]]:
        return {
            topic: {"max.message.bytes": str(self.limits.get(topic, LIMIT))} for topic in topics
        }


def task(size: int, name: str, headers: dict[str, Payload]) -> ActivityTask:
    return ActivityTask(
        "default", "q", name, name, name, "q", name, name, 5, 1, [Payload({}, b"x" * size)], headers
    )


@pytest.mark.parametrize("headers", [{}, {TRACER_DATA: TRACE}], ids=["plain", "traced"])
@pytest.mark.parametrize("name", ["w", NAME], ids=["short names", "long names"])
def test_what_passes_is_taken(name: str, headers: dict[str, Payload]) -> None:
    """The check is exact to a kilobyte: nothing that passes is too large, nothing that would fit
    easily is refused.
    """
    outlet = TopicOutlet(cast(ClusterAdmin, Admin()), Codec(), Topics("default"), "q")
    passed = refused = 0
    for size in range(0, LIMIT + 2_000, 250):
        record = task(size, name, headers)
        value = outlet.check(ports.COMMANDS, "q", record)
        encoded = value if isinstance(value, bytes) else Codec().encode(record)
        ready = outlet.record(Output(ports.COMMANDS, "q", name, record, encoded))
        written = record_size(ready.key, ready.value, cast(Any, ready.headers))
        if isinstance(value, Refusal):
            refused += 1
            assert written > LIMIT - 2 * OVERHEAD_BYTES - len(
                name.encode()
            )  # of some kinds of records the key has the run id too
            assert value.message.startswith(
                f"ActivityTask of {value.size} bytes, with its key, headers and batch,"
            )
            assert (
                value.limit == LIMIT < value.size and f"exceeds the {LIMIT} bytes" in value.message
            )
        else:
            passed += 1
            assert written <= LIMIT
    assert passed and refused


class Away:
    """A registry that does not answer."""

    def schema_id(self, record_type: object) -> NoReturn:
        raise SchemaRegistryUnreachableError("http://registry", "it is away")

    find_by_id = schema_id


def test_a_registry_that_is_away_is_no_records_fault() -> None:
    """Neither of what is written nor of a row that is read: a `Refusal` would fail a task or
    park its run, another error its inputs.
    """
    outlet = TopicOutlet(cast(ClusterAdmin, Admin()), Codec(Away()), Topics("default"), "q")
    with pytest.raises(OutletUnavailableError, match="it is away"):
        outlet.check(ports.COMMANDS, "q", task(1, "w", {}))


def ready(outlet: TopicOutlet, queue: str, size: int) -> Record:
    record = task(1, "w", {})
    outlet.check(ports.COMMANDS, queue, record)
    return outlet.record(Output(ports.COMMANDS, queue, "k", record, bytes(size)))


def test_batches_are_what_the_narrowest_topic_of_every_lane_takes() -> None:
    admin, topics = Admin(), Topics("default")
    limits = dict.fromkeys(
        [topics.results, topics.executions, topics.events("q"), topics.commands("q")], 1_048_588
    )
    admin.limits = limits | {
        topics.state("q"): 16_777_216,
        topics.dead_letters("q"): 16_777_216,
        topics.commands("small"): 9_000,
    }
    outlet = TopicOutlet(cast(ClusterAdmin, admin), Codec(), topics, "q")
    assert outlet.batch_limit() == 1_048_588 > BATCH_BYTES, "ordinary topics take the usual batch"
    wide = [ready(outlet, "q", 900_000)] * 2
    assert outlet.parts(BATCH_BYTES, wide) == [wide]
    ordinary, small = ready(outlet, "q", 4_000), ready(outlet, "small", 4_000)
    assert outlet.batch_limit() == 1_048_588, (
        "a narrow topic of somebody else's queue narrows nobody's batches"
    )
    records = [ordinary] * 3 + [small] * 2
    assert outlet.parts(BATCH_BYTES, records) == [records], "they fit into one"
    assert outlet.parts(BATCH_BYTES, [small, ordinary, small, small, ordinary, small, small]) == [
        [small, ordinary, small, ordinary],
        [small, small],
        [small],
    ]
    assert outlet.parts(9_000, [small] * 3) == [[small] * 3], "no batch is as large"
    assert outlet.parts(BATCH_BYTES, []) == [[]]


def test_a_topic_that_takes_less_than_before_is_seen_by_whoever_had_known_it() -> None:
    admin, topics = Admin(), Topics("default")
    outlet = TopicOutlet(cast(ClusterAdmin, admin), Codec(), topics, "q")
    assert outlet.batch_limit() == LIMIT
    mine, other = outlet.lowered, outlet.lowered
    assert not outlet.narrowed(mine)
    admin.limits[topics.results] = 5_000
    assert outlet.batch_limit() == LIMIT, "known"
    assert outlet.narrowed(other), "it asks"
    assert outlet.narrowed(mine), "somebody else has asked meanwhile"
    assert outlet.batch_limit() == 5_000
    assert not outlet.narrowed(outlet.lowered)
    admin.limits[topics.results] = 9_000
    assert not outlet.narrowed(outlet.lowered) and outlet.batch_limit() == 9_000, "it takes more"


def test_an_owner_that_comes_again_asks_nothing_of_topics_before_it_has_fenced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    admin, topics = Admin(), Topics("default")
    outlet = TopicOutlet(cast(ClusterAdmin, admin), Codec(), topics, "q")
    admin.limits[topics.results] = 5_000
    assert outlet.batch_limit() == 5_000
    outlet.doubt()

    def away(names: list[str]) -> NoReturn:
        asked.append(names)
        raise BrokerUnreachableError("b:1")

    asked: list[list[str]] = []
    monkeypatch.setattr(admin, "ensure", away)
    monkeypatch.setattr(admin, "describe", away)
    assert outlet.batch_limit() == 5_000 and not asked
    unasked = TopicOutlet(cast(ClusterAdmin, admin), Codec(), topics, "q")
    assert unasked.batch_limit() == UNBOUNDED and len(asked) == 1, (
        "one that does not answer is not asked five times"
    )


def test_one_lane_was_refused_while_others_use_queues_that_are_new() -> None:
    """It looks at all topics that are known, and none may come between."""
    outlet = TopicOutlet(cast(ClusterAdmin, Admin()), Codec(), Topics("default"), "q")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        outlet.batch_limit()
        others = threading.Thread(
            target=lambda: [outlet.limit(f"new-{number}") for number in range(2_000)]
        )
        others.start()
        while others.is_alive():
            assert not outlet.narrowed(outlet.lowered)
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("kind", [ports.RESULTS, ports.EXECUTIONS])
def test_a_topic_of_every_lane_that_cannot_be_had_refuses_nothing(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody's output is to blame: what was asked for cannot be done now. An activity's queue is
    another matter, its activity waits.
    """
    admin = Admin()
    outlet = TopicOutlet(cast(ClusterAdmin, admin), Codec(), Topics("default"), "q")
    record = task(10, "w", {})
    assert isinstance(outlet.check(kind, "", record), bytes)
    outlet.doubt()

    def forbidden(topics: list[str]) -> dict[str, dict[str, str]]:
        raise TopicError("grant this principal the ACL DescribeConfigs")

    monkeypatch.setattr(admin, "topic_settings", forbidden)
    with pytest.raises(OutletUnavailableError, match="DescribeConfigs"):
        outlet.check(kind, "", record)
    with pytest.raises(OutletUnavailableError):
        outlet.record(Output(ports.EXECUTIONS, "", "w/r", record, b""))
    with pytest.raises(OutletUnavailableError):
        outlet.require_limit(Topics("default").state("q"))
    with pytest.raises(OutletUnavailableError):
        outlet.dead_letter(b"k", b"v", [])
    with pytest.raises(TopicError):
        outlet.require_fixed()
    refusal = outlet.check(ports.COMMANDS, "elsewhere", record)
    assert isinstance(refusal, Refusal) and refusal.retryable


def test_a_limit_that_a_broker_does_not_tell_is_kafkas_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    admin, topics = Admin(), Topics("default")
    untold: Any = {"max.message.bytes": None}
    monkeypatch.setattr(admin, "topic_settings", lambda names: dict.fromkeys(names, untold))
    assert (
        TopicOutlet(cast(ClusterAdmin, admin), Codec(), topics, "q").limit(topics.results)
        == 1_048_588
    )
