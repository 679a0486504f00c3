"""Plain JSON events, headers, dead letters: what people and programs without our code see."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odradek.wire import dead_letters, headers
from odradek.wire.errors import JsonInputError
from odradek.wire.events import ActivityTaskCompleted, CancelWorkflow, SignalWorkflow, StartWorkflow
from odradek.wire.json_input import decode_json, is_json
from odradek.wire.payload import Payload, RetryPolicy
from odradek.wire.tasks import ActivityTask

JSON = {"encoding": b"json/plain"}


def test_start() -> None:
    text = b"""{"kind": "StartWorkflow", "workflow_type": "OrderWorkflow", "input": [{"amount": 12.50}, null, "x"],
      "memo": {"shop": "s"}, "execution_timeout_ms": 1000, "retry_policy": {"maximum_attempts": 3}, "id_conflict_policy": "USE_EXISTING",
      "signal_name": "hello", "signal_input": [1], "request_id": "q", "reply_to": "me"}"""
    assert decode_json(text, b"order-1") == StartWorkflow(
        "order-1",
        "OrderWorkflow",
        request_id="q",
        reply_to="me",
        input=[Payload(JSON, b'{"amount": 12.50}'), Payload(JSON, b"null"), Payload(JSON, b'"x"')],
        memo={"shop": Payload(JSON, b'"s"')},
        execution_timeout_ms=1000,
        retry_policy=RetryPolicy(maximum_attempts=3),
        id_conflict_policy="USE_EXISTING",
        signal_name="hello",
        signal_input=[Payload(JSON, b"1")],
    )


def test_signal_and_cancel() -> None:
    signal = (
        b'{"kind": "SignalWorkflow", "workflow_id": "order-1", "signal_name": "cancel-order",'
        b' "input": ["late"]}'
    )
    assert decode_json(signal, None) == SignalWorkflow(
        "order-1", "cancel-order", input=[Payload(JSON, b'"late"')]
    )
    assert decode_json(b'{"kind": "CancelWorkflow", "reason": "r"}', b"order-1") == CancelWorkflow(
        "order-1", reason="r"
    )


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("{", "w", "truncated"),
        ("{}", "w", "missing required field `kind`"),
        ('{"kind": "TerminateWorkflow"}', "w", "Invalid value 'TerminateWorkflow' - at `$.kind`"),
        ('{"kind": "StartWorkflow"}', "w", "missing required field `workflow_type`"),
        (
            '{"kind": "StartWorkflow", "workflow_type": ""}',
            "w",
            "length >= 1 - at `$.workflow_type`",
        ),
        (
            '{"kind": "StartWorkflow", "workflow_type": "t", "args": []}',
            "w",
            "unknown field `args`",
        ),
        (
            '{"kind": "StartWorkflow", "workflow_type": "t", "input": {}}',
            "w",
            "Expected `array`, got `object` - at `$.input`",
        ),
        (
            '{"kind": "StartWorkflow", "workflow_type": "t", "run_timeout_ms": "1m"}',
            "w",
            "Expected `int`, got `str` - at `$.run_timeout_ms`",
        ),
        (
            '{"kind": "StartWorkflow", "workflow_type": "t", "run_timeout_ms": -1}',
            "w",
            "at `$.run_timeout_ms`",
        ),
        (
            '{"kind": "StartWorkflow", "workflow_type": "t", "retry_policy": {"x": 1}}',
            "w",
            "unknown field `x` - at `$.retry_policy`",
        ),
        (
            '{"kind": "StartWorkflow", "workflow_type": "t", "id_reuse_policy": "ANY"}',
            "w",
            "Invalid enum value 'ANY' - at `$.id_reuse_policy`",
        ),
        (
            '{"kind": "StartWorkflow", "workflow_type": "t", "signal_input": [1]}',
            "w",
            "`signal_input` without `signal_name`",
        ),
        (
            '{"kind": "SignalWorkflow", "signal_name": 5}',
            "w",
            "Expected `str`, got `int` - at `$.signal_name`",
        ),
        (
            '{"kind": "CancelWorkflow", "reason": "a", "reason": "b"}',
            "w",
            "`reason` is given twice",
        ),
        (
            '{"kind": "CancelWorkflow", "reason": "a", "re\\u0061son": "b"}',
            "w",
            "`reason` is given twice",
        ),
        ('{"kind": "CancelWorkflow", "kind": "CancelWorkflow"}', "w", "`kind` is given twice"),
        (
            '{"kind": "StartWorkflow", "workflow_type": "t", "input": [1], "input": [2]}',
            "w",
            "`input` is given twice",
        ),
        (
            (
                '{"kind": "StartWorkflow", "workflow_type": "t", "retry_policy":'
                ' {"maximum_attempts": 1, "maximum_attempts": 2}}'
            ),
            "w",
            "`maximum_attempts` is given twice - at `$.retry_policy`",
        ),
        (
            '{"kind": "StartWorkflow", "workflow_type": "t", "memo": {"a": 1, "a": 2}}',
            "w",
            "`a` is given twice - at `$.memo`",
        ),
        ('{"kind": "CancelWorkflow"}', None, "`workflow_id` is missing"),
        (
            '{"kind": "CancelWorkflow", "workflow_id": "a"}',
            "b",
            "`workflow_id` is 'a', the record's key is 'b'",
        ),
    ],
)
def test_wrong_json_names_the_field(text: str, key: str | None, said: str) -> None:
    with pytest.raises(JsonInputError) as caught:
        decode_json(text.encode(), key.encode() if key is not None else None)
    assert said in str(caught.value)


def test_what_arguments_hold_is_their_own_affair() -> None:
    """Names of our fields inside them, names given twice: they travel as they stand."""
    argument = b'{"reason": 1, "input": {"kind": "a", "kind": "b"}, "x": "\\u00e9"}'
    text = b'{"kind": "SignalWorkflow", "signal_name": "s", "input": [%s]}' % argument
    assert decode_json(text, b"w") == SignalWorkflow("w", "s", input=[Payload(JSON, argument)])


def test_a_number_that_python_does_not_read_is_refused() -> None:
    """No workflow could decode its arguments. Digits in a text are no number."""
    text = b'{"kind": "SignalWorkflow", "signal_name": "s", "input": [%s]}'
    with pytest.raises(JsonInputError, match="4300 digits"):
        decode_json(text % (b"9" * 100_000), b"w")
    assert decode_json(text % (b'"' + b"9" * 100_000 + b'"'), b"w")


@pytest.mark.parametrize(
    "text",
    [
        *[
            b'{"kind": "CancelWorkflow", "reason": "\xff"}',
            b"{\xff",
            b'{"kind": "CancelWorkflow", "\xff": 1}',
        ],
        b'{"kind": "SignalWorkflow", "signal_name": "s", "input": ["caf\xe9"]}',
        b'{"kind": "SignalWorkflow", "signal_name": "s", "input": [{"a": [{"caf\xe9": 1}]}]}',
        # half a surrogate pair
        b'{"kind": "SignalWorkflow", "signal_name": "s", "input": ["\xed\xa0\x80"]}',
        b'{"kind": "StartWorkflow", "workflow_type": "t", "memo": {"a": "caf\xe9"}}',
        (
            b'{"kind": "StartWorkflow", "workflow_type": "t", "signal_name": "s", "signal_input":'
            b' ["caf\xe9"]}'
        ),
    ],
)
def test_not_utf8(text: bytes) -> None:
    """Wherever it stands, in what travels unread too."""
    with pytest.raises(JsonInputError, match=r"JSON event: not UTF-8: .* in position"):
        decode_json(text, b"w")


def test_a_key_that_is_not_utf8() -> None:
    with pytest.raises(JsonInputError, match="is not UTF-8"):
        decode_json(b'{"kind": "CancelWorkflow"}', b"\xff")


@pytest.mark.parametrize(
    "depth", [1_500 if sys.version_info < (3, 12) else 150_000, 1_000_000]
)  # 3.12 allows more
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nested_without_end(depth: int, opening: str, closing: str) -> None:
    """What msgspec answers with RecursionError is an error of this record like any other."""
    nested = opening * depth + "1" + closing * depth
    with pytest.raises(JsonInputError, match="nested too deeply"):
        decode_json(
            f'{{"kind": "StartWorkflow", "workflow_type": "t", "input": [{nested}]}}'.encode(), b"w"
        )


@given(st.binary(max_size=60))
def test_anything_that_begins_like_json_ends_in_a_record_or_an_error(rest: bytes) -> None:
    assert is_json(b"{" + rest)
    with pytest.raises(JsonInputError):
        decode_json(b"{" + rest, b"w")


def test_headers_say_what_routes() -> None:
    task = ActivityTask(
        "ns", "orders", "w-é", "r", "OrderWorkflow", "payments", "5", "FreezePayment", 5, 2
    )
    assert headers.headers_for(task) == [
        ("odradek-kind", b"ActivityTask"),
        ("odradek-namespace", b"ns"),
        ("odradek-workflow-task-queue", b"orders"),
        ("odradek-workflow-id", "w-é".encode()),
        ("odradek-run-id", b"r"),
        ("odradek-workflow-type", b"OrderWorkflow"),
        ("odradek-task-queue", b"payments"),
        ("odradek-activity-id", b"5"),
        ("odradek-activity-type", b"FreezePayment"),
        ("odradek-scheduled-event-id", b"5"),
        ("odradek-attempt", b"2"),
    ]
    routing = headers.parse_headers(headers.headers_for(task))
    assert (routing.workflow_id, routing.scheduled_event_id, routing.attempt, routing.kind) == (
        "w-é",
        5,
        2,
        "ActivityTask",
    )
    assert headers.headers_for(SignalWorkflow("w", "s")) == [
        ("odradek-kind", b"SignalWorkflow"),
        ("odradek-workflow-id", b"w"),
    ]


def test_headers_from_anybody_never_raise() -> None:
    found = [
        ("x", b"\xff"),
        (headers.RUN_ID, None),
        (headers.ATTEMPT, b"two"),
        (headers.SCHEDULED_EVENT_ID, b"9" * 40),
        (headers.WORKFLOW_ID, b"\xff"),
        (headers.KIND, b"first"),
        (headers.KIND, "last"),
        (headers.FORWARDED_FROM, headers.place("t", 3, 17)),
    ]
    assert headers.parse_headers(found) == headers.Routing(
        kind="last", workflow_id="�", forwarded_from="t/3/17"
    )
    assert headers.parse_headers(None) == headers.Routing()


def test_dead_letters_carry_reason_place_and_trace() -> None:
    original = headers.headers_for(ActivityTaskCompleted("w", "r", 5, "5", 1))
    try:
        raise ValueError("no such order: ä")
    except ValueError as error:
        made = dead_letters.dead_letter_headers(
            dead_letters.NOT_APPLIED,
            topic="odradek.default.q.events",
            partition=3,
            offset=17,
            time_ms=99,
            error=error,
            original=original,
        )
    assert made[: len(original)] == original
    letter = dead_letters.parse_dead_letter(made)
    assert (letter.reason, letter.topic, letter.partition, letter.offset, letter.time_ms) == (
        "NOT_APPLIED",
        "odradek.default.q.events",
        3,
        17,
        99,
    )
    assert (letter.message, letter.error_type) == ("no such order: ä", "ValueError")
    assert "raise ValueError" in letter.stack_trace
    assert dead_letters.original_headers(made) == original
    again = dead_letters.dead_letter_headers("UNDECODABLE", topic="t", time_ms=1, original=made)
    assert len(again) == len(original) + 6, "the headers of an earlier death do not pile up"


def test_dead_letter_of_an_output_stood_nowhere() -> None:
    letter = dead_letters.parse_dead_letter(
        dead_letters.dead_letter_headers(
            dead_letters.REFUSED, topic="t", time_ms=1, message="too large"
        )
    )
    assert (letter.partition, letter.offset, letter.message) == (-1, -1, "too large")
    assert dead_letters.parse_dead_letter([(dead_letters.PARTITION, b"x")]).partition == -1
