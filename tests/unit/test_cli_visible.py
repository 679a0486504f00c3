"""What users and workflows name cannot steer the terminal: control characters are written as
escapes, in tables, texts and on stderr.
"""

from __future__ import annotations

import argparse
import json

import pytest

from odradek import cli
from odradek.cli import app, output
from odradek.client import RPCError, RPCStatusCode

EVIL = "a\x1b[2J\x07\x9b31m\x7f\u202eb\u2066c\r\nStatus  COMPLETED"
SHOWN = r"a\x1b[2J\x07\x9b31m\x7f\u202eb\u2066c\r\nStatus  COMPLETED"


def test_visible() -> None:
    assert output.visible(EVIL) == SHOWN
    assert output.visible("tab\tnew\nline\r\n", lines=True) == "tab\tnew\nline\\r\n"
    plain = "zażółć 中文 שלום 🧵 C:\\dir"
    assert output.visible(plain) == plain
    for code in (
        *range(0x20),
        *range(0x7F, 0xA0),
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
        0x2028,
        0x2029,
    ):
        assert output.visible(chr(code)).isascii() and output.visible(chr(code)).isprintable()


def test_tables_and_fields(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(["ID", "TYPE"], [[EVIL, "T"], ["b", "U"]])
    output.print_fields({"WorkflowId": EVIL, "Memo": {"k": EVIL}})
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.splitlines()) and out.count("\n") == 5
    head, first, second, id, memo = out.splitlines()
    assert first == f"{SHOWN}  T" and second.index("U") == first.rindex("T") == head.index("TYPE")
    assert id == f"WorkflowId  {SHOWN}" and "\\u202e" in memo


@pytest.mark.parametrize("form", ["text", "json", "jsonl"])
def test_json_has_the_same_value(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.print_value(argparse.Namespace(output=form), {"k": EVIL, "plain": "中"})
    out = capsys.readouterr().out
    assert (
        json.loads(out) == {"k": EVIL, "plain": "中"}
        and out.replace("\n", "").isprintable()
        and "中" in out
    )


def test_errors_are_one_line_that_steers_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: argparse.Namespace) -> int:
        raise RPCError(f"no workflow {EVIL}", RPCStatusCode.NOT_FOUND)

    parser = app.build_parser()
    parser.set_defaults(run=fail)
    monkeypatch.setattr(
        "odradek.cli.workflow.describe.handle_of", lambda *_: fail(argparse.Namespace())
    )
    monkeypatch.setattr(
        "odradek.cli.workflow.describe.with_client", lambda options, use: fail(options)
    )
    assert cli.main(["workflow", "describe", "-w", "w"]) == 4
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err[:-1].isprintable() and "\\x1b[2J" in err


# --- tokens, which go into a header
