"""Values to payloads and back: encodings, their order, custom ones, the codec, what is
remembered, and what must stay as in `json`.
"""

from __future__ import annotations

import dataclasses
import json
import pickle
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address
from threading import Thread
from typing import Any, Self

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from odradek import converter as converter_module
from odradek.api.common.v1 import Payload, Payloads
from odradek.common import RawValue, SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from odradek.converter import (
    ActivitySerializationContext,
    AdvancedJSONEncoder,
    BinaryNullPayloadConverter,
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    EncodingPayloadConverter,
    JSONPlainPayloadConverter,
    JSONTypeConverter,
    PayloadCodec,
    PayloadConverter,
    SerializationContext,
    TransferTypeConverter,
    WithSerializationContext,
    WorkflowSerializationContext,
    decode_search_attributes,
    decode_typed_search_attributes,
    encode_search_attributes,
    encode_typed_search_attribute_value,
    transfer_type_convertible,
)
from odradek.converter._json import loads, make_encode

DEFAULT = DataConverter.default.payload_converter


@dataclass
class Order:
    user_id: str
    amount: int
    placed: datetime | None = None


def payload(encoding: str, data: bytes = b"") -> Payload:
    return Payload({"encoding": encoding.encode()}, data)


PAYLOADS: list[tuple[Any, Payload]] = [
    (None, payload("binary/null")),
    (b"\x00x", payload("binary/plain", b"\x00x")),
    ("é", payload("json/plain", b'"\\u00e9"')),
    (5, payload("json/plain", b"5")),
    (True, payload("json/plain", b"true")),
    (1e16, payload("json/plain", b"1e+16")),
    ({"b": [1, None], "a": {"c": 1.5}}, payload("json/plain", b'{"a":{"c":1.5},"b":[1,null]}')),
    ({2: "x", 1: "y"}, payload("json/plain", b'{"1":"y","2":"x"}')),
    (Order("u", 3), payload("json/plain", b'{"amount":3,"placed":null,"user_id":"u"}')),
    (
        Order("u", 3, datetime(2026, 1, 2, tzinfo=UTC)),
        payload("json/plain", b'{"amount":3,"placed":"2026-01-02T00:00:00+00:00","user_id":"u"}'),
    ),
    ({"raw": b"\x01\xff"}, payload("json/plain", b'{"raw":[1,255]}')),
    ((1, 2), payload("json/plain", b"[1,2]")),
    ({3}, payload("json/plain", b"[3]")),
    (uuid.UUID(int=1), payload("json/plain", b'"00000000-0000-0000-0000-000000000001"')),
]


@pytest.mark.parametrize(("value", "expected"), PAYLOADS, ids=lambda value: repr(value)[:30])
def test_payloads(value: Any, expected: Payload) -> None:
    for _ in range(2):  # the second time by the remembered way
        assert DEFAULT.to_payloads([value]) == [expected]


def test_every_value_has_its_payload_and_hints_stand_in_order() -> None:
    values = [None, b"x", "s", Order("u", 1)]
    payloads = DEFAULT.to_payloads(values)
    assert DEFAULT.from_payloads(payloads, [str, bytes, str, Order]) == values
    assert DEFAULT.from_payloads(payloads) == [
        None,
        b"x",
        "s",
        {"user_id": "u", "amount": 1, "placed": None},
    ]
    assert DEFAULT.from_payloads_wrapper(DEFAULT.to_payloads_wrapper(values[:2])) == values[:2]
    assert DEFAULT.from_payloads_wrapper(None) == []
    assert DEFAULT.from_payload(DEFAULT.to_payload(values[3]), Order) == values[3]
    assert DEFAULT.to_payloads([]) == []


def test_raw_values_pass_through() -> None:
    raw = payload("whatever", b"\x00")
    assert DEFAULT.to_payloads([RawValue(raw)])[0] is raw
    assert DEFAULT.from_payloads([raw], [RawValue]) == [RawValue(raw)]


def test_errors() -> None:
    with pytest.raises(KeyError, match="Unknown payload encoding strange"):
        DEFAULT.from_payloads([payload("strange")])
    with pytest.raises(KeyError, match="<unknown>"):
        DEFAULT.from_payloads([Payload()])
    with pytest.raises(RuntimeError, match="index 1 with encoding json/plain"):
        DEFAULT.from_payloads([payload("json/plain", b"1"), payload("json/plain", b"{")])
    with pytest.raises(RuntimeError, match="index 0 with encoding binary/null"):
        DEFAULT.from_payloads([payload("binary/null", b"x")])
    with pytest.raises(TypeError, match="not JSON serializable"):
        DEFAULT.to_payloads([object()])
    with pytest.raises(TypeError, match="Expected value to be str"):
        DEFAULT.from_payloads([payload("json/plain", b"5")], [str])
    with pytest.raises(RuntimeError, match=r"Value at index 0 of type .* has no known converter"):
        CompositePayloadConverter(BinaryNullPayloadConverter()).to_payloads(["x"])


def test_circular_values_are_refused_as_json_does() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="Circular reference"):
        DEFAULT.to_payloads([loop])
    assert DEFAULT.to_payloads([[1]]) == [payload("json/plain", b"[1]")]


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=[])), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(json_values)
@example("\ud800")
@example("\ud800abc")
@example("\udc00\ud800")
@example(10**400)
@example(float("inf"))
@example({"a": float("nan")})
def test_json_is_the_standard_librarys(value: Any) -> None:
    text = json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
    assert make_encode(AdvancedJSONEncoder)(value) == text
    assert repr(loads(text)) == repr(json.loads(text))


@given(
    st.binary(max_size=20)
    | st.text('0123456789+-.eE[]{}",:untrefalsINy \n\\dc8', max_size=12).map(str.encode)
)
def test_bytes_are_read_as_the_standard_library_reads_them(data: bytes) -> None:
    try:
        expected = json.loads(data)
    except ValueError:
        with pytest.raises(RuntimeError, match="Failed parsing"):
            loads(data)
    else:
        assert repr(loads(data)) == repr(expected)


def test_threads_share_a_converter() -> None:
    shared = [Order("u", 1)] * 50
    expected = DEFAULT.to_payloads([shared])
    wrong: list[Any] = []

    def work() -> None:
        wrong.extend(
            payloads for _ in range(100) if (payloads := DEFAULT.to_payloads([shared])) != expected
        )

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# ---------------------------------------------------------------------------------------------------------------------
# What users plug in


class AddressEncoder(AdvancedJSONEncoder):
    def default(self, o: Any) -> Any:
        return str(o) if isinstance(o, IPv4Address) else super().default(o)


class AddressDecoder(JSONTypeConverter):
    def to_typed_value(self, hint: type, value: Any) -> Any:
        return IPv4Address(value) if hint is IPv4Address else JSONTypeConverter.Unhandled


class AddressConverter(CompositePayloadConverter):
    def __init__(self) -> None:
        own = JSONPlainPayloadConverter(
            encoder=AddressEncoder, custom_type_converters=[AddressDecoder()]
        )
        super().__init__(
            *(
                own if isinstance(c, JSONPlainPayloadConverter) else c
                for c in DefaultPayloadConverter.default_encoding_payload_converters
            )
        )


@dataclass
class Host:
    name: str
    address: IPv4Address


def test_custom_encoder_and_type_converter() -> None:
    converter = DataConverter(payload_converter_class=AddressConverter).payload_converter
    host = Host("a", IPv4Address("127.0.0.1"))
    [encoded] = converter.to_payloads([host])
    assert encoded.data == b'{"address":"127.0.0.1","name":"a"}'
    assert converter.from_payloads([encoded], [Host]) == [host]


class Whole(json.JSONEncoder):
    def encode(self, o: Any) -> str:
        return f"<{o}>"


class Halved(json.JSONDecoder):
    def decode(self, s: str) -> Any:  # type: ignore[override]
        return super().decode(s) / 2


def test_encoder_and_decoder_classes_with_ways_of_their_own() -> None:
    assert JSONPlainPayloadConverter(encoder=Whole).to_payload(1) == payload("json/plain", b"<1>")
    assert (
        JSONPlainPayloadConverter(decoder=Halved, encoding="json/halved").from_payload(
            payload("json/halved", b"4")
        )
        == 2
    )
    with pytest.raises(TypeError):
        JSONPlainPayloadConverter(encoder=None).to_payload(Order("u", 1))
    copy = pickle.loads(pickle.dumps(JSONPlainPayloadConverter(encoder=AddressEncoder)))
    assert copy.to_payload(IPv4Address("127.0.0.1")).data == b'"127.0.0.1"'


class Even(EncodingPayloadConverter):
    """Takes even numbers only: by value, so the composite must ask it every time."""

    @property
    def encoding(self) -> str:
        return "even"

    def to_payload(self, value: Any) -> Payload | None:
        return (
            payload("even", str(value // 2).encode())
            if isinstance(value, int) and value % 2 == 0
            else None
        )

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        return int(payload.data) * 2


class LoudNull(BinaryNullPayloadConverter):
    """A subclass of a built-in encoding that takes more than it."""

    def to_payload(self, value: Any) -> Payload | None:
        return payload("binary/null") if value in (None, 7) else None


def test_encodings_that_look_at_the_value_are_always_asked() -> None:
    composite = CompositePayloadConverter(LoudNull(), Even(), JSONPlainPayloadConverter())
    values = [1, 2, 3, 4, 7, 5, None, 7]
    encodings = [p.metadata["encoding"] for p in composite.to_payloads(values)]
    assert encodings == [
        b"json/plain",
        b"even",
        b"json/plain",
        b"even",
        b"binary/null",
        b"json/plain",
        b"binary/null",
        b"binary/null",
    ]
    assert composite.from_payloads(composite.to_payloads([1, 2, 4])) == [1, 2, 4]


class Zlib(PayloadCodec):
    """Wraps each payload whole, as an encrypting codec does."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [payload("binary/zlib", zlib.compress(p.SerializeToString())) for p in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload.FromString(zlib.decompress(p.data)) for p in payloads]


async def test_codec() -> None:
    data_converter = dataclasses.replace(DataConverter.default, payload_codec=Zlib())
    values = [None, b"x", Order("u", 1)]
    payloads = await data_converter.encode(values)
    assert {p.metadata["encoding"] for p in payloads} == {b"binary/zlib"}
    assert await data_converter.decode(payloads, [str, bytes, Order]) == values
    wrapper = await data_converter.encode_wrapper(values)
    assert isinstance(wrapper, Payloads)
    assert await data_converter.decode_wrapper(wrapper, [str, bytes, Order]) == values
    assert await data_converter.decode_wrapper(None) == []
    await Zlib().decode_wrapper(wrapper)
    assert wrapper.payloads == DEFAULT.to_payloads(values)


def test_replace_makes_new_converters() -> None:
    changed = dataclasses.replace(DataConverter.default, payload_converter_class=AddressConverter)
    assert changed.payload_codec is None
    assert changed.payload_converter is not DEFAULT
    assert converter_module.default() is DataConverter.default
    assert PayloadConverter.default is DEFAULT


class Signed(EncodingPayloadConverter, WithSerializationContext):
    def __init__(self, who: str = "") -> None:
        self.who = who

    @property
    def encoding(self) -> str:
        return "signed"

    def to_payload(self, value: Any) -> Payload | None:
        return payload("signed", f"{value}@{self.who}".encode())

    def from_payload(self, payload: Payload, type_hint: Any = None) -> Any:
        return payload.data.decode()

    def with_context(self, context: SerializationContext) -> Self:
        return (
            type(self)(context.workflow_id)
            if isinstance(context, WorkflowSerializationContext)
            else self
        )


class SignedConverter(CompositePayloadConverter):
    def __init__(self) -> None:
        super().__init__(Signed())


async def test_serialization_context() -> None:
    data_converter = DataConverter(payload_converter_class=SignedConverter)
    in_workflow = data_converter.with_context(WorkflowSerializationContext("ns", "w1"))
    assert (await in_workflow.encode(["a"]))[0].data == b"a@w1"
    assert (await data_converter.encode(["a"]))[0].data == b"a@"
    activity = ActivitySerializationContext("ns", "1", "charge", "q", "w1", "order", False)
    assert data_converter.with_context(activity) is data_converter
    assert DataConverter.default.with_context(activity) is DataConverter.default


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents


class MoneyConverter(TransferTypeConverter[Money, Order]):
    transfer_type = Order

    def to_transfer_type(self, value: Money) -> Order:
        return Order("money", value.cents)

    def from_transfer_type(self, value: Order, type_hint: type[Money]) -> Money:
        return type_hint(value.amount)


def test_transfer_types() -> None:
    transfer_type_convertible(MoneyConverter)(Money)
    with pytest.raises(TypeError, match="already has"):
        transfer_type_convertible(MoneyConverter)(Money)
    [encoded, plain] = DEFAULT.to_payloads([Money(5), 1])
    assert b'"amount":5' in encoded.data
    money, number = DEFAULT.from_payloads([encoded, plain], [Money, int])
    assert (type(money), money.cents, number) == (Money, 5, 1)
    assert DEFAULT.from_payloads([plain]) == [1]


def test_payload_validation_error() -> None:
    error = converter_module.create_payload_validation_error({"field": "amount"})
    assert (error.type, error.non_retryable, error.details) == (
        "PayloadValidationError",
        True,
        ({"field": "amount"},),
    )
    assert converter_module.create_payload_validation_error(None).details == ()


# ---------------------------------------------------------------------------------------------------------------------
# Search attributes

ATTRIBUTES = TypedSearchAttributes(
    [
        SearchAttributePair(SearchAttributeKey.for_keyword("k"), "x"),
        SearchAttributePair(SearchAttributeKey.for_float("f"), 2.0),
        SearchAttributePair(SearchAttributeKey.for_bool("b"), True),
        SearchAttributePair(SearchAttributeKey.for_datetime("d"), datetime(2026, 1, 2, tzinfo=UTC)),
        SearchAttributePair(SearchAttributeKey.for_keyword_list("l"), ["a", "b"]),
    ]
)


def test_search_attributes_round_trip() -> None:
    fields = encode_search_attributes(ATTRIBUTES)
    assert fields["f"].metadata == {"encoding": b"json/plain", "type": b"Double"}
    assert decode_typed_search_attributes(fields) == ATTRIBUTES
    assert decode_search_attributes(fields)["d"] == [datetime(2026, 1, 2, tzinfo=UTC)]
    fields["k"].metadata["type"] = b"Strange"
    fields["f"].data = b"[1, 2]"
    assert {pair.key.name for pair in decode_typed_search_attributes(fields)} == {"b", "d", "l"}


def test_search_attributes_that_nobody_can_read_are_left_out() -> None:
    """Starts had them before they were refused: one of them must not take a whole list along."""

    def json_of(value_type: bytes, data: bytes) -> Payload:
        return Payload({"encoding": b"json/plain", "type": value_type}, data)

    fields = {
        "no encoding": Payload({}, b"x"),
        "bad encoding": Payload({"encoding": b"\xff\xfe", "type": b"Keyword"}, b'"x"'),
        "no JSON": json_of(b"Keyword", b"{bad"),
        "deep": json_of(b"KeywordList", b"[" * 100_000),
        "no time": json_of(b"Datetime", b'"yesterday"'),
        "number as time": json_of(b"Datetime", b"7"),
        "too large": json_of(b"Double", b"1" * 400),
        "bad type": json_of(b"\xff", b'"x"'),
        "good": json_of(b"Keyword", b'"x"'),
    }
    assert decode_search_attributes(fields) == {
        "good": ["x"],
        "bad type": ["x"],
        "too large": [int("1" * 400)],
    }
    assert [(pair.key.name, pair.value) for pair in decode_typed_search_attributes(fields)] == [
        ("good", "x")
    ]


def test_search_attribute_errors() -> None:
    count = SearchAttributeKey.for_int("n")
    assert encode_typed_search_attribute_value(count, None) == payload("binary/null")
    assert decode_search_attributes(encode_search_attributes({"n": [1, 2]})) == {"n": [1, 2]}
    for key, value, error in [
        (count, "x", TypeError),
        (SearchAttributeKey.for_keyword_list("l"), [1], TypeError),
        (SearchAttributeKey.for_datetime("d"), datetime(2026, 1, 2), ValueError),
    ]:
        with pytest.raises(error):
            encode_typed_search_attribute_value(key, value)
    for values in ("text", [1, "a"], [object()], [datetime(2026, 1, 2)]):
        with pytest.raises((TypeError, ValueError)):
            encode_search_attributes({"n": values})  # type: ignore[dict-item]
