"""`--input-meta` and `--input-base64`: the payloads that they make, and what is wrong with them."""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path
from typing import Any

import pytest

from odradek.cli.app import build_parser
from odradek.cli.inputs import inputs_of
from odradek.cli.status import UsageError
from odradek.cli.workflow.start import start_keywords
from odradek.common import RawValue
from odradek.converter import DataConverter
from odradek.wire.payload import Payload

JSON = {"encoding": b"json/plain"}


def given(*arguments: str, name: str = "input") -> list[Any]:
    return inputs_of(
        build_parser().parse_args(["workflow", "signal", "-w", "w", "--name", "s", *arguments]),
        name,
    )


def payloads(*arguments: str) -> list[Payload]:
    found = given(*arguments)
    assert all(isinstance(one, RawValue) for one in found)
    made = DataConverter.default.payload_converter.to_payloads(found)
    assert [one.payload for one in found] == made, "the converter leaves them as they are"
    return made


@pytest.mark.parametrize(
    "command",
    [
        ["workflow", "start", "--type", "T", "-t", "q"],
        ["workflow", "execute", "--type", "T", "-t", "q"],
        ["workflow", "describe"],
        ["workflow", "terminate"],
        ["activity", "complete", "--activity-id", "a", "--result", "1"],
        ["topic"],
        ["dead-letter", "list"],
    ],
)
def test_an_empty_workflow_id(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A variable of the shell that is not set: a start made an id of its own."""
    for given in (["-w", ""], ["--workflow-id="]):
        with pytest.raises(SystemExit) as ended:
            build_parser().parse_args([*command, *given])
        assert ended.value.code == 2 and "--workflow-id/-w: is empty" in capsys.readouterr().err


def test_metadata_once_is_for_every_argument() -> None:
    assert payloads("-i", "1", "-i", '"b"', "--input-meta", "kind=x") == [
        Payload({**JSON, "kind": b"x"}, b"1"),
        Payload({**JSON, "kind": b"x"}, b'"b"'),
    ]


def test_metadata_for_each_argument_in_their_order() -> None:
    metas = [
        word
        for meta in ("encoding=text/odd", "encoding=json/plain", "a=b=c")
        for word in ("--input-meta", meta)
    ]
    found = payloads("-i", "not JSON", "-i", "2", "-i", "3", *metas)
    assert [(one.metadata["encoding"], one.metadata["a"], one.data) for one in found] == [
        (b"text/odd", b"b=c", b"not JSON"),
        (b"json/plain", b"b=c", b"2"),
        (b"text/odd", b"b=c", b"3"),
    ]


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bytes").write_bytes(b"\x00\xff\n")
    (tmp_path / "lines").write_text(
        base64.b64encode(b"x" * 100).decode()[:70]
        + "\n"
        + base64.b64encode(b"x" * 100).decode()[70:]
        + "\n"
    )
    (found,) = payloads(
        "--input-file", str(tmp_path / "bytes"), "--input-meta", "encoding=binary/plain"
    )
    assert found.data == b"\x00\xff\n"
    (found,) = payloads(
        "--input-file",
        str(tmp_path / "lines"),
        "--input-base64",
        "--input-meta",
        "encoding=binary/plain",
    )
    assert found.data == b"x" * 100
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"from": "stdin"}')))
    assert given("--input-file", "-") == [{"from": "stdin"}]
    with pytest.raises(UsageError, match="not UTF-8"):
        given("--input-file", str(tmp_path / "bytes"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-i", "{", "--input-meta", "a=b"), "is not JSON"),
        (("-i", '"\udcff"'), "is not UTF-8, which JSON is"),
        (("-i", "{", "--input-base64"), "is not base64"),
        (("-i", "bm90IEpTT04=", "--input-base64"), "is not JSON"),
        (("-i", "1", "--input-meta", "encoding"), "write KEY=VALUE"),
        (("-i", "1", "--input-meta", "=x"), "write KEY=VALUE"),
        (
            ("-i", "1", "--input-meta", "a=1", "--input-meta", "a=2"),
            "a is given 2 times, for 1 argument",
        ),
        (("--input-meta", "a=1"), "a is given 1 times, for 0 arguments"),
        (
            ("-i", "1", "--input-file", "x", "--input-meta", "a=1"),
            "give --input or --input-file, not both",
        ),
    ],
)
def test_what_is_wrong(arguments: tuple[str, ...], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        given(*arguments)


@pytest.mark.parametrize(
    ("command", "name"), [("start", "start-signal-input"), ("signal-with-start", "signal-input")]
)
def test_inputs_of_the_signal_of_a_start(command: str, name: str) -> None:
    signal = "--start-signal" if command == "start" else "--signal-name"
    line = ["workflow", command, "-w", "w", "--type", "T", "-t", "q", "-i", "1", signal, "s"]
    assert start_keywords(build_parser().parse_args([*line, f"--{name}", '"x"']))[
        "start_signal_args"
    ] == ["x"]
    keywords = start_keywords(
        build_parser().parse_args([*line, f"--{name}", "x", f"--{name}-meta", "encoding=text/x"])
    )
    assert keywords["start_signal_args"] == [
        RawValue(Payload({"encoding": b"text/x"}, b"x"))
    ] and keywords["args"] == [1]
