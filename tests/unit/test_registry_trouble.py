"""A schema registry in trouble: how much of their time those lose who ask it, who asks it at
all, and what its refusals say.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NoReturn, Self

import pytest
from confluent_kafka.schema_registry.error import SchemaRegistryError

from odradek.config import Settings
from odradek.exceptions import OdradekError
from odradek.kafka.registry import RegistryFraming, SchemaRegistryUnreachableError, make_codec
from odradek.wire.codec import CONFLUENT_MARKER, encode
from odradek.wire.errors import UnknownSchemaError
from odradek.wire.events import SignalWorkflow
from odradek.wire.schema import EVENT_TYPES, RECORD_TYPES
from tests.kafka.fake_registry import FakeRegistry, fake_registry

pytest.importorskip("authlib", reason="needs odradek[registry]")

UNKNOWN, ANOTHER = (
    CONFLUENT_MARKER + schema_id.to_bytes(4, "big") + b"body" for schema_id in (4_711, 4_712)
)


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with fake_registry() as registry:
        yield registry


def settings(registry: FakeRegistry) -> Settings:
    return Settings(address="host:1", schema_registry_url=registry.url)


@dataclass
class Away:
    """Confluent's client of a registry that fails after `after_s` each time."""

    after_s: float
    now: float = 0.0
    asked: list[float] = field(default_factory=list)

    def get_schema(self, schema_id: int) -> NoReturn:
        self.asked.append(self.now)
        self.now += self.after_s
        raise TimeoutError("it is away")


def lost(client: Away, until_s: float) -> float:
    """Seconds of `until_s` in which somebody stands who has records with unknown ids, and looks
    at them every half a second.
    """
    framing = RegistryFraming("http://registry", client=client, clock=lambda: client.now)
    stood = 0.0
    while client.now < until_s:
        began = client.now
        for schema_id in range(3):
            with pytest.raises(SchemaRegistryUnreachableError, match="it is away"):
                framing.find_by_id(schema_id)
        stood += client.now - began
        client.now += 0.5
    return stood


@pytest.mark.promise("registry")
@pytest.mark.parametrize("after_s", [0.0, 0.3, 2.0, 4.0])
def test_who_asks_a_registry_that_takes_its_time_to_fail_loses_a_small_part_of_his(
    after_s: float,
) -> None:
    assert lost(Away(after_s), 600.0) < 60.0


def test_a_registry_that_fails_at_once_is_asked_again_soon() -> None:
    client = Away(0.0)
    lost(client, 60.0)
    assert len(client.asked) > 30


def test_a_registry_that_took_for_ever_to_fail_is_asked_again() -> None:
    client = Away(3_600.0)
    lost(client, 3_700.0)
    assert len(client.asked) > 1


def test_one_process_has_one_registry(registry: FakeRegistry) -> None:
    """What one codec of it has learnt, or found away, all have; a start is told what is true now."""
    first, second = make_codec(settings(registry)), make_codec(settings(registry))
    first.prepare(EVENT_TYPES)
    asked = list(registry.asked)
    second.prepare(EVENT_TYPES)
    assert registry.asked == asked and len(asked) == len(EVENT_TYPES)
    registry.always = (503, b"{}")
    for codec in (first, second):
        with pytest.raises(SchemaRegistryUnreachableError):
            codec.decode(UNKNOWN)
    assert len(registry.asked) == len(asked) + 1
    registry.always = None
    late = make_codec(settings(registry))
    assert late.encode(SignalWorkflow("w", "s")) == first.encode(SignalWorkflow("w", "s"))


def test_those_who_start_together_ask_together(registry: FakeRegistry) -> None:
    """A worker's processor and activities: neither asks for what the other has asked for."""
    with ThreadPoolExecutor(4) as starting:
        list(
            starting.map(
                lambda codec: codec.prepare(RECORD_TYPES),
                [make_codec(settings(registry)) for _ in range(4)],
            )
        )
    assert len(registry.asked) == len(RECORD_TYPES)


def test_what_was_read_once_is_read_by_all_while_the_registry_is_away(
    registry: FakeRegistry,
) -> None:
    writer, reader = make_codec(settings(registry)), make_codec(settings(registry))
    value = writer.encode(SignalWorkflow("w", "s"))
    framing = reader._framing
    assert framing is not None and framing.find_by_id(1)
    with pytest.raises(UnknownSchemaError):
        reader.decode(UNKNOWN)
    registry.stop()
    with pytest.raises(SchemaRegistryUnreachableError):
        reader.decode(ANOTHER)
    assert make_codec(settings(registry)).decode(value) == SignalWorkflow("w", "s")


def test_another_registry_is_another(registry: FakeRegistry) -> None:
    with fake_registry() as other:
        other.add("something else")
        codecs = [make_codec(settings(one)) for one in (registry, other)]
        assert [codec.encode(SignalWorkflow("w", "s"))[:5] for codec in codecs] == [
            b"\0\0\0\0\1",
            b"\0\0\0\0\2",
        ]


@dataclass
class Without:
    """Confluent's client of a registry that has no schema, and takes `after_s` to say so."""

    after_s: float
    now: float = 0.0
    asked: int = 0
    schema_str: str | None = None

    def get_schema(self, schema_id: int) -> Self:
        self.asked += 1
        self.now += self.after_s
        if self.schema_str is None:
            raise SchemaRegistryError(404, 40403, "Schema not found")
        return self


@pytest.mark.parametrize(("after_s", "stood_s"), [(0.01, 2.0), (1.8, 12.0)])
def test_many_records_of_an_id_that_a_registry_does_not_have_ask_for_it_once(
    after_s: float, stood_s: float
) -> None:
    """They are looked at again every half a second, in case it comes."""
    client = Without(after_s)
    framing = RegistryFraming("http://registry", client=client, clock=lambda: client.now)
    while client.now < 60.0:
        assert [framing.find_by_id(7) for _ in range(500)] == [None] * 500
        client.now += 0.5
    assert client.asked > 1 and client.asked * after_s < stood_s
    client.schema_str = '"long"'
    client.now += 60.0
    assert framing.find_by_id(7) == '"long"'


def test_any_number_of_ids_that_are_none_is_no_matter() -> None:
    client = Without(0.0)
    framing = RegistryFraming("http://registry", client=client, clock=lambda: client.now)
    assert {framing.find_by_id(schema_id) for schema_id in range(5_000)} == {None}
    assert len(framing._absent) <= 1_000


class Record:
    """As much of a Kafka record as a lane looks at."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    def __len__(self) -> int:
        return len(self._value)

    def value(self) -> bytes:
        return self._value

    def offset(self) -> int:
        return 0

    def timestamp(self) -> tuple[int, int]:
        return 1, 0

    def headers(self) -> None: ...


# --- what it says


@pytest.mark.parametrize(
    ("status", "cure"),
    [
        (401, "Correct user and password in `schema_registry_url`"),
        (403, "Give its user the right to register schemas"),
        (404, "Correct `schema_registry_url`"),
        (
            409,
            (
                "If it calls the schema incompatible, a newer version was registered that this one"
                " cannot read"
            ),
        ),
        (400, "SR code 1)"),
    ],
)
def test_a_refusal_says_what_to_do_about_it(registry: FakeRegistry, status: int, cure: str) -> None:
    registry.always = (status, b'{"error_code": 1, "message": "no"}')
    with pytest.raises(OdradekError, match=r"refuses odradek\.SignalWorkflow: no") as refused:
        make_codec(settings(registry)).encode(SignalWorkflow("w", "s"))
    assert str(refused.value).endswith(cure) and not isinstance(
        refused.value, SchemaRegistryUnreachableError
    )


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_passes_is_no_refusal(registry: FakeRegistry, status: int) -> None:
    registry.always = (status, b'{"error_code": 1, "message": "later"}')
    with pytest.raises(SchemaRegistryUnreachableError, match="later"):
        make_codec(settings(registry)).encode(SignalWorkflow("w", "s"))


@pytest.mark.parametrize("found", [1 << 40, 1 << 32, -1])
def test_an_id_that_no_record_can_have_is_an_error_that_says_so(
    registry: FakeRegistry, found: int
) -> None:
    registry.always = (200, b'{"id": %d}' % found)
    with pytest.raises(
        OdradekError, match=f"{registry.url} gives odradek.SignalWorkflow the id {found}, which"
    ) as odd:
        make_codec(settings(registry)).encode(SignalWorkflow("w", "s"))
    assert not isinstance(odd.value, SchemaRegistryUnreachableError)


@pytest.mark.parametrize("body", [b"{}", b'{"schema": null}', b'{"schema": 7}', b"[]", b"<html>"])
def test_an_answer_that_says_nothing_refuses_no_record(registry: FakeRegistry, body: bytes) -> None:
    """A proxy's, say: its record is none that nobody can read."""
    codec = make_codec(settings(registry))
    value = codec.encode(SignalWorkflow("w", "s"))
    now = [0.0]
    framing = RegistryFraming(registry.url, clock=lambda: now[0])
    registry.always = (200, body)
    with pytest.raises(SchemaRegistryUnreachableError):
        framing.find_by_id(1)
    with pytest.raises(SchemaRegistryUnreachableError):
        framing.schema_id(SignalWorkflow)
    registry.always = None
    now[0] += 60.0
    assert (
        framing.find_by_id(1) == registry.schemas[0]
        and value[5:] == encode(SignalWorkflow("w", "s"))[10:]
    )
