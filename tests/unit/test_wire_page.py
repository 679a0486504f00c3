"""docs/wire.md is the contract for people without our code: what it shows works, and nothing of
the contract is missing from it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from odradek.wire import codec, dead_letters, headers
from odradek.wire.events import CancelWorkflow, SignalWorkflow, StartWorkflow
from odradek.wire.json_input import _Cancel, _Signal, _Start, decode_json
from odradek.wire.outcomes import WorkflowResult
from odradek.wire.payload import Payload
from odradek.wire.schema import RECORD_TYPES, RecordType
from odradek.wire.topics import NAMESPACE_KINDS, QUEUE_KINDS, Topics
from tests.unit.wire_samples import plain, sample

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "wire.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    """The functions that the page shows."""
    scope: dict[str, Any] = {}
    exec(PYTHON[0], scope)
    return scope


@pytest.mark.parametrize("record_type", RECORD_TYPES)
def test_the_shown_decoder_reads_ours_and_the_shown_encoder_writes_ours(
    shown: dict[str, Any], record_type: RecordType
) -> None:
    schemas = shown["load"](ROOT / "schemas")
    record = sample(record_type)
    name, fields = shown["decode"](schemas, codec.encode(record))
    assert name == record_type.__name__
    if "attributes" not in str(
        plain(record)
    ):  # fastavro wants the branch of a union of records named
        assert codec.decode(shown["encode"](schemas, name, fields)) == record


def test_shown_encoder_fills_in_defaults(shown: dict[str, Any]) -> None:
    schemas = shown["load"](ROOT / "schemas")
    fields = {
        "namespace": "n",
        "task_queue": "q",
        "workflow_id": "w",
        "run_id": "r",
        "workflow_type": "t",
        "status": "COMPLETED",
    }
    assert codec.decode(shown["encode"](schemas, "WorkflowResult", fields)) == WorkflowResult(
        "n", "q", "w", "r", "t", "COMPLETED"
    )


def test_shown_json_is_taken() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    kinds = [type(decode_json(line.encode(), b"order-1")) for line in block.splitlines()]
    assert kinds == [StartWorkflow, SignalWorkflow, CancelWorkflow]
    for line in re.findall(r"echo 'order-1\|(\{.*?\})'", PAGE):
        start = decode_json(line.encode(), b"order-1")
        assert isinstance(start, StartWorkflow)
        assert start.input == [
            Payload(
                {"encoding": b"json/plain"}, json.dumps({"user_id": "u1", "amount": 1250}).encode()
            )
        ]


@pytest.mark.parametrize("kind", [_Start, _Signal, _Cancel])
def test_every_json_field_is_named(kind: Any) -> None:
    for field in kind.__struct_fields__:
        assert f"`{field}`" in PAGE, field


def test_every_record_topic_and_header_is_named() -> None:
    for record_type in RECORD_TYPES:
        assert f"`{record_type.__name__}`" in PAGE, record_type.__name__
    for kind in QUEUE_KINDS:
        assert f"| `odradek.{{namespace}}.{{queue}}.{kind}` |" in PAGE, kind
    for kind in NAMESPACE_KINDS:
        assert f"| `odradek.{{namespace}}.{kind}` |" in PAGE, kind
    names = [
        value
        for module in (headers, dead_letters)
        for value in vars(module).values()
        if str(value).startswith("odradek-")
    ]
    assert len(names) > 20
    for name in names:
        assert f"`{name}`" in PAGE, name
    topics = Topics("default")
    assert f"`{topics.activities_group('payments')}`" in PAGE.replace('"', "`")


def test_every_reason_of_a_dead_letter_is_named() -> None:
    reasons = [value for name, value in vars(dead_letters).items() if name == value]
    assert len(reasons) == 9
    for reason in reasons:
        assert f"`{reason}`" in PAGE, reason


def test_read_committed_comes_first() -> None:
    assert PAGE.index("READ COMMITTED") < PAGE.index("##")


def test_other_shown_code_compiles() -> None:
    for block in PYTHON:
        compile(block, "docs/wire.md", "exec")
