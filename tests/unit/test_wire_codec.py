"""Codec: fastavro as judge of our bytes, framings, foreign schemas, garbage."""

from __future__ import annotations

import copy
import io
import json
import threading
import time
from typing import Any, NoReturn

import fastavro
import msgspec
import pytest
from fastavro.schema import parse_schema
from hypothesis import given, settings
from hypothesis import strategies as st

from odradek.wire import history
from odradek.wire.codec import Codec, decode, decode_row, encode, encode_row
from odradek.wire.errors import (
    NewerFormatError,
    UndecodableRecord,
    UnencodableRecord,
    UnknownSchemaError,
)
from odradek.wire.events import (
    ActivityTaskCompleted,
    ActivityTaskFailed,
    QueryWorkflow,
    SignalWorkflow,
    StartWorkflow,
)
from odradek.wire.history import HistoryEvent, TimerFired
from odradek.wire.outcomes import ExecutionSummary, LaneStatus, MemberStatus
from odradek.wire.payload import Failure, Payload, RetryPolicy
from odradek.wire.schema import (
    RECORD_TYPES,
    RecordType,
    avro_schema,
    schema_fingerprint,
    schema_json,
)
from odradek.wire.state import HistoryRow, RunRow, WorkflowRow
from odradek.wire.tasks import ActivityTask
from tests.unit.wire_samples import records, sample

SCHEMAS = {
    record_type: parse_schema(copy.deepcopy(avro_schema(record_type)))
    for record_type in RECORD_TYPES
}


class Schemas(dict[bytes, str]):
    """A SchemaLookup over a dict, which counts how often it was asked."""

    asked = 0

    def publish(self, schema: dict[str, Any]) -> bytes:
        fingerprint = schema_fingerprint(schema)
        self[fingerprint] = json.dumps(schema)
        return fingerprint

    def find(self, fingerprint: bytes) -> str | None:
        self.asked += 1
        return self.get(fingerprint)


class Registry:
    """A Framing: ids from 1 on."""

    def __init__(self) -> None:
        self.schemas: list[str] = []

    def schema_id(self, record_type: RecordType) -> int:
        self.schemas.append(schema_json(record_type))
        return len(self.schemas)

    def find_by_id(self, schema_id: int) -> str | None:
        return self.schemas[schema_id - 1] if 0 < schema_id <= len(self.schemas) else None


def fastavro_body(schema: Any, fields: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, fields)
    return out.getvalue()


def framed(fingerprint: bytes, body: bytes) -> bytes:
    return b"\xc3\x01" + fingerprint + body


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_fastavro_agrees_with_us(data: st.DataObject) -> None:
    record_type = data.draw(st.sampled_from(RECORD_TYPES))
    record = data.draw(records(record_type))
    ours = encode(record)
    assert decode(ours) == record
    schema = SCHEMAS[record_type]
    body = io.BytesIO(ours[10:])
    theirs = fastavro.schemaless_reader(
        body, schema, None, return_record_name=True, return_record_name_override=True
    )
    assert body.read() == b""
    assert fastavro_body(schema, theirs) == ours[10:]


def test_list_and_map_blocks_of_other_writers() -> None:
    """Several blocks, and negative counts, as Java and Go writers may make."""
    whole = encode(SignalWorkflow("w", "s", input=[Payload({"a": b"1", "b": b"2"}, b"x")] * 3))
    item = b"\x04\x02a\x021\x02b\x022\x00\x02x"
    assert whole.count(item) == 3
    one_block = b"\x06" + item * 3 + b"\x00"
    blocks = b"\x02" + item + b"\x03" + bytes([len(item) * 2 * 2]) + item * 2 + b"\x00"
    assert decode(whole.replace(one_block, blocks)) == decode(whole)
    with_map_blocks = b"\x02\x02a\x021\x01\x08\x02b\x022\x00\x02x"
    assert decode(whole.replace(item, with_map_blocks)) == decode(whole)


def test_failure_chain_of_any_depth() -> None:
    failure = None
    for depth in range(60):
        failure = Failure(message=f"{depth}", cause=failure)
    assert failure is not None
    record = ActivityTaskFailed("w", "r", 5, "5", 1, failure)
    assert decode(encode(record)) == record


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (SignalWorkflow("w", 7), "Expected `str`, got `int` - at `$.signal_name`"),  # type: ignore[arg-type]
        (SignalWorkflow("w", None), "Expected `str`, got `null` - at `$.signal_name`"),  # type: ignore[arg-type]
        (SignalWorkflow("w", "s", input=None), "Expected `array`, got `null` - at `$.input`"),  # type: ignore[arg-type]
        (
            ActivityTaskCompleted("w", "r", 1.5, "a", 1),
            "Expected `int`, got `float` - at `$.scheduled_event_id`",
        ),  # type: ignore[arg-type]
        (
            ActivityTaskCompleted("w", "r", 1, "a", None),
            "Expected `int`, got `null` - at `$.attempt`",
        ),  # type: ignore[arg-type]
        (
            ActivityTaskCompleted("w", "r", 1 << 63, "a", 1),
            "9223372036854775808 does not fit a long",
        ),
        (
            StartWorkflow("w", "t", await_result=None),
            "Expected `bool`, got `null` - at `$.await_result`",
        ),  # type: ignore[arg-type]
        (
            StartWorkflow("w", "t", retry_policy=Payload()),
            "'Payload' object has no attribute 'initial_interval_ms'",
        ),  # type: ignore[arg-type]
        (StartWorkflow("w\ud800", "t"), "surrogates not allowed"),
        (Payload(), "Payload is no record of the wire contract by itself"),
    ],
)
def test_a_wrong_value_is_named(record: msgspec.Struct, said: str) -> None:
    with pytest.raises(UnencodableRecord) as caught:
        encode(record)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc3",
        b"\xc3\x01",
        b"\xc3\x01abc",
        b"hello, world",
        b"{}",
        b"\x00\x00\x00",
        b"\xff" * 40,
    ],
)
def test_garbage(data: bytes) -> None:
    with pytest.raises(UndecodableRecord):
        decode(data)


@pytest.mark.parametrize("record_type", RECORD_TYPES)
def test_every_truncation_is_seen(record_type: RecordType) -> None:
    whole = encode(sample(record_type))
    cuts = range(len(whole)) if len(whole) < 2_000 else range(0, len(whole), 97)
    for cut in cuts:
        with pytest.raises(UndecodableRecord):
            decode(whole[:cut])
    with pytest.raises(UndecodableRecord, match="its schema accounts for"):
        decode(whole + b"\x00")


@given(st.sampled_from(RECORD_TYPES), st.binary(max_size=300))
@settings(max_examples=500, deadline=None)
def test_random_bodies_end_in_a_record_or_an_error(record_type: RecordType, body: bytes) -> None:
    head = encode(sample(record_type))[:10]
    began_s = time.thread_time()  # of the processor: this machine may stand still meanwhile
    try:
        assert type(decode(head + body)) is record_type
    except UndecodableRecord:
        pass
    assert time.thread_time() - began_s < 1


def test_damaged_lengths_never_loop() -> None:
    head = encode(SignalWorkflow("w", "s"))[:10]
    for body in (
        b"\x01",
        b"\xff" * 12,
        b"\x02w\x02s\x00\x00\x00\x00\x00\xfe\xff\xff\xff\x7f",
        b"\x02w\x02s" + b"\x01" * 9,
    ):
        with pytest.raises(UndecodableRecord):
            decode(head + body)


# --- other versions
# ---------------------------------------------------------------------------------------------------


def newer(record_type: RecordType, **fields: Any) -> dict[str, Any]:
    """Our schema plus fields with defaults, as a later version would have it."""
    schema = copy.deepcopy(avro_schema(record_type))
    schema["fields"] += [
        {"name": name, "type": "string", "default": value} for name, value in fields.items()
    ]
    return schema


def test_unknown_fingerprint_is_looked_up_once() -> None:
    schemas = Schemas()
    schema = newer(SignalWorkflow, mood="")
    body = encode(SignalWorkflow("w", "s", input=[Payload({}, b"1")]))[10:] + b"\x08good"
    codec = Codec(lookup=schemas)
    data = framed(schemas.publish(schema), body)
    for _ in range(3):
        assert codec.decode(data) == SignalWorkflow("w", "s", input=[Payload({}, b"1")])
    assert schemas.asked == 1


def test_older_writer_lacks_fields() -> None:
    schema = copy.deepcopy(avro_schema(StartWorkflow))
    schema["fields"] = [
        field
        for field in schema["fields"]
        if field["name"] in ("workflow_id", "workflow_type", "input")
    ]
    schemas = Schemas()
    body = fastavro_body(
        parse_schema(copy.deepcopy(schema)), {"workflow_id": "w", "workflow_type": "t", "input": []}
    )
    assert Codec(lookup=schemas).decode(framed(schemas.publish(schema), body)) == StartWorkflow(
        "w", "t"
    )


@pytest.mark.parametrize(
    ("record_type", "added", "default"),
    [
        (ExecutionSummary, "reported_problems", []),
        (RunRow, "parked_until_ms", 0),
        (LaneStatus, "progress_time_ms", 0),
    ],
)
def test_a_writer_from_before_a_field_was_added(
    record_type: RecordType, added: str, default: Any
) -> None:
    """Fields are appended, with a default: what older versions wrote lies in compacted topics
    for ever.
    """
    outer = MemberStatus if record_type is LaneStatus else record_type
    record = sample(outer)
    schema = copy.deepcopy(avro_schema(outer))
    inner = (
        schema
        if outer is record_type
        else next(f["type"]["items"] for f in schema["fields"] if f["name"] == "lanes")
    )
    assert inner["fields"][-1]["name"] == added, "behind what older writers know"
    inner["fields"] = inner["fields"][:-1]
    schemas = Schemas()
    older = fastavro_body(
        parse_schema(copy.deepcopy(schema)), msgspec.to_builtins(record, builtin_types=(bytes,))
    )
    found = Codec(lookup=schemas).decode(framed(schemas.publish(schema), older))
    for one in record.lanes if outer is not record_type else [record]:
        setattr(one, added, default)
    assert found == record


def test_schema_without_a_needed_field_is_undecodable() -> None:
    schema = copy.deepcopy(avro_schema(SignalWorkflow))
    schema["fields"] = [field for field in schema["fields"] if field["name"] != "signal_name"]
    schemas = Schemas()
    data = framed(
        schemas.publish(schema), encode(SignalWorkflow("w", "s"))[10:].replace(b"\x02s", b"", 1)
    )
    with pytest.raises(UndecodableRecord, match="signal_name"):
        Codec(lookup=schemas).decode(data)


def test_unknown_schema_names_fingerprint_and_place() -> None:
    data = framed(b"12345678", b"\x00")
    with pytest.raises(
        UnknownSchemaError, match="3132333435363738, which the schemas topic does not hold"
    ):
        Codec(lookup=Schemas()).decode(data)
    with pytest.raises(UnknownSchemaError, match="which this process does not hold"):
        decode(data)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "7",
        '{"type": "record"}',
        '{"type": "record", "name": "x.Other", "fields": []}',
        '["null"]',
        '"nope"',
        pytest.param("[" * 100_000, id="nested lists"),
        pytest.param(
            '{"type": "array", "items": ' * 1_500 + '"int"' + "}" * 1_500, id="nested arrays"
        ),
        pytest.param(
            f'{{"type": "record", "name": "x.SignalWorkflow", "fields": {"[" * 400 + "]" * 400}}}',
            id="nested fields",
        ),
    ],
)
def test_published_nonsense(text: str) -> None:
    schemas = Schemas({b"12345678": text})
    with pytest.raises(UndecodableRecord):
        Codec(lookup=schemas).decode(framed(b"12345678", b"\x00"))


def test_damaged_body_of_another_version() -> None:
    schemas = Schemas()
    head = framed(schemas.publish(newer(SignalWorkflow, mood="")), b"")
    codec = Codec(lookup=schemas)
    body = encode(SignalWorkflow("w", "s"))[10:] + b"\x08good"
    assert codec.decode(head + body) == SignalWorkflow("w", "s")
    for cut in range(len(body)):
        with pytest.raises(UndecodableRecord):
            codec.decode(head + body[:cut])
    with pytest.raises(UndecodableRecord):
        codec.decode(head + body + b"\x00")


def test_failure_chain_without_end_of_another_version() -> None:
    """fastavro's C reader has no limit of its own: 20,000 causes would end the process, not the
    read.
    """
    schemas = Schemas()
    head = framed(schemas.publish(newer(ActivityTaskFailed, mood="")), b"")
    codec = Codec(lookup=schemas)
    link = encode(
        ActivityTaskFailed("w", "r", 5, "5", 1, Failure(message="m", cause=Failure(message="m")))
    )[10:]
    once = encode(ActivityTaskFailed("w", "r", 5, "5", 1, Failure(message="m")))[10:]
    assert codec.decode(head + link + b"\x08good").failure.cause == Failure(message="m")
    before = next(
        n for n in range(len(once)) if once[n] != link[n]
    )  # the branch of the union: null or a cause
    repeated = link[link.index(b"\x02m") : before + 1]
    chain = link[: before + 1] + repeated * 20_000
    with pytest.raises(UndecodableRecord, match="RecursionError"):
        codec.decode(head + chain)


@pytest.mark.parametrize(
    "items",
    [
        "null",
        {"type": "null"},
        {"type": "record", "name": "x.Empty", "fields": []},
        {"type": "record", "name": "x.Empty", "fields": [{"name": "nothing", "type": "null"}]},
        {"type": "fixed", "name": "x.Zero", "size": 0},
    ],
)
def test_items_that_take_no_bytes_are_refused(items: Any) -> None:
    """Ten bytes could claim 2**62 of them, and keep the reader of a partition busy for ever."""
    schemas = Schemas()
    for harmful in (
        {"type": "array", "items": items},
        ["null", {"type": "map", "values": {"type": "array", "items": items}}],
    ):
        schema = json.loads(schema_json(SignalWorkflow))
        schema["fields"].append({"name": "mood", "type": harmful})
        head = framed(schemas.publish(schema), b"")
        with pytest.raises(UndecodableRecord, match="whose items take no bytes"):
            Codec(lookup=schemas).decode(head + encode(SignalWorkflow("w", "s"))[10:])


@pytest.mark.parametrize(
    "items",
    [
        "int",
        ["null"],
        {"type": "array", "items": "string"},
        {"type": "fixed", "name": "x.One", "size": 1},
    ],
)
def test_items_that_take_bytes_are_read(items: Any) -> None:
    schemas = Schemas()
    schema = json.loads(schema_json(SignalWorkflow))
    schema["fields"].append({"name": "mood", "type": {"type": "array", "items": items}})
    head = framed(schemas.publish(schema), b"")
    assert Codec(lookup=schemas).decode(
        head + encode(SignalWorkflow("w", "s"))[10:] + b"\x00"
    ) == SignalWorkflow("w", "s")
    huge = b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"
    with pytest.raises(UndecodableRecord):
        Codec(lookup=schemas).decode(head + encode(SignalWorkflow("w", "s"))[10:] + huge)


def test_history_event_that_only_newer_code_knows_becomes_other_event() -> None:
    schema = newer(HistoryRow, note="")
    attributes = next(
        f for f in schema["fields"][0]["type"]["items"]["fields"] if f["name"] == "attributes"
    )
    attributes["type"].append(
        {
            "type": "record",
            "name": "NexusOperationScheduled",
            "fields": [{"name": "endpoint", "type": "string"}],
        }
    )
    schemas = Schemas()
    fields = {
        "events": [
            {
                "event_id": 5,
                "event_time_ms": 1,
                "attributes": ("odradek.NexusOperationScheduled", {"endpoint": "e"}),
                "offset": 9,
            },
            {
                "event_id": 6,
                "event_time_ms": 2,
                "attributes": ("odradek.TimerFired", {"timer_id": "t", "started_event_id": 4}),
                "offset": -1,
            },
        ],
        "format": 1,
        "note": "",
    }
    data = framed(
        schemas.publish(schema), fastavro_body(parse_schema(copy.deepcopy(schema)), fields)
    )
    row = Codec(lookup=schemas).decode_row(data)
    assert row == HistoryRow(
        [
            HistoryEvent(
                5, 1, history.OtherEvent("NexusOperationScheduled", '{"endpoint":"e"}'), 9
            ),
            HistoryEvent(6, 2, TimerFired("t", 4), -1),
        ]
    )


# --- registry
# ---------------------------------------------------------------------------------------------------------


def test_confluent_framing() -> None:
    registry = Registry()
    codec = Codec(framing=registry)
    record = ActivityTaskCompleted("w", "r", 5, "5", 1)
    data = codec.encode(record)
    assert data[:5] == b"\x00\x00\x00\x00\x01"
    assert data[5:] == encode(record)[10:]
    assert codec.decode(data) == record
    assert Codec(framing=registry).decode(data) == record
    assert codec.decode(encode(record)) == record, "readers accept both"
    codec.encode(record)
    assert len(registry.schemas) == 1


def test_what_it_has_written_itself_is_read_without_asking() -> None:
    registry = Registry()
    codec = Codec(framing=registry)
    codec.prepare([SignalWorkflow])
    registry.find_by_id = None  # type: ignore[assignment]  # it is away
    assert codec.decode(codec.encode(SignalWorkflow("w", "s"))) == SignalWorkflow("w", "s")


def test_a_registry_is_asked_for_several_ids_at_once() -> None:
    """A start would take a minute with a slow one. The first refusal is raised, whatever others
    say.
    """
    registry = Registry()
    together = threading.Barrier(2)

    def schema_id(record_type: RecordType) -> int:
        together.wait(20)
        return len(record_type.__name__)

    registry.schema_id = schema_id  # type: ignore[method-assign]
    codec = Codec(framing=registry)
    codec.prepare([SignalWorkflow, StartWorkflow])
    assert codec.encode(SignalWorkflow("w", "s"))[:5] == b"\0\0\0\0\x0e"
    registry.schema_id = refuse  # type: ignore[method-assign]
    with pytest.raises(UnencodableRecord, match="no QueryWorkflow"):
        codec.prepare([SignalWorkflow, QueryWorkflow])


def refuse(record_type: RecordType) -> NoReturn:
    raise UnencodableRecord(f"no {record_type.__name__}")


def test_confluent_framing_of_another_version() -> None:
    registry = Registry()
    registry.schemas.append(json.dumps(newer(SignalWorkflow, mood="")))
    body = encode(SignalWorkflow("w", "s"))[10:] + b"\x08good"
    assert Codec(framing=registry).decode(b"\x00\x00\x00\x00\x01" + body) == SignalWorkflow(
        "w", "s"
    )


def test_confluent_framing_without_a_registry_says_so() -> None:
    with pytest.raises(UnknownSchemaError, match="it has no `schema_registry_url`") as nobody:
        decode(b"\x00\x00\x00\x00\x07abc")
    assert not nobody.value.may_come, "nobody could ever say what it is"
    with pytest.raises(
        UnknownSchemaError, match="id 7, which the schema registry does not hold"
    ) as missing:
        Codec(framing=Registry()).decode(b"\x00\x00\x00\x00\x07abc")
    assert missing.value.may_come


# --- state rows
# -------------------------------------------------------------------------------------------------------


def test_rows() -> None:
    row = WorkflowRow("w", "r", "r")
    assert decode_row(encode_row(row)) == row
    with pytest.raises(
        NewerFormatError, match="WorkflowRow has format 2, this version reads up to 1"
    ):
        decode_row(encode_row(WorkflowRow("w", "r", "r", format=2)))
    with pytest.raises(UndecodableRecord, match="SignalWorkflow is no row"):
        decode_row(encode(SignalWorkflow("w", "s")))


def test_many_different_values_do_not_confuse_the_memories() -> None:
    """More names and times than the memories of the encoders and decoders hold."""
    for n in range(20_000):
        record = ActivityTask(
            "ns",
            "q",
            f"w-{n}",
            f"r-{n}",
            "t",
            "q",
            f"{n}",
            "a",
            n,
            scheduled_time_ms=1_700_000_000_000 + n * 7,
        )
        assert decode(encode(record)) == record


def test_policy_numbers() -> None:
    record = StartWorkflow(
        "w", "t", retry_policy=RetryPolicy(1, 1.5, -1, 2**62, ["ValueError", ""])
    )
    assert decode(encode(record)) == record


def test_event_type_is_temporals() -> None:
    assert history.event_type(history.ActivityTaskStartedEvent(5)) == "ActivityTaskStarted"
    assert history.event_type(TimerFired("t", 1)) == "TimerFired"
    assert (
        history.event_type(history.OtherEvent("NexusOperationStarted", "{}"))
        == "NexusOperationStarted"
    )
