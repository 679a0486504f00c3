"""What users and workflows name cannot steer the terminal: control characters are written as
escapes, in tables, texts and on stderr.
"""

from __future__ import annotations

import argparse
import json

import pytest

from odradek import cli
from odradek.cli import app, common, confirm, output, topic
from odradek.cli.status import UsageError
from odradek.client import RPCError, RPCStatusCode
from odradek.web.kafka.facts import RecordView

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


def test_records_and_their_values(capsys: pytest.CaptureFixture[str]) -> None:
    record = RecordView("t", "events", 0, 1, 2, EVIL, EVIL, {}, {"signal_name": EVIL}, 3)
    topic._print(argparse.Namespace(output="text", detailed=True), [record])
    topic._print(argparse.Namespace(output="text", detailed=False), [record])
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())


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


def test_usage_errors_and_questions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["workflow", "describe", "-w", "w", "--x\x1b[2J\u202e"])
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    confirm.confirm(argparse.Namespace(output="text", yes=False), f"delete {EVIL}?")
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.replace("\n", "").isprintable()


# --- tokens, which go into a header


@pytest.mark.parametrize("token", ["two\nlines", "two\r\nlines", "nul\x00", "zażółć", "…"])
def test_tokens_that_fit_no_header(
    token: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    list_them = ["workflow", "list", "--server-address", "127.0.0.1:1"]
    assert cli.main([*list_them, "--api-key", token]) == 2
    err = capsys.readouterr().err
    assert err.startswith("odradek: --api-key: ") and err.count("\n") == 1 and token not in err
    if "\x00" in token:
        return  # no environment holds it
    monkeypatch.setenv("ODRADEK_API_KEY", token)
    assert cli.main(list_them) == 2 and capsys.readouterr().err.startswith(
        "odradek: ODRADEK_API_KEY: "
    )
    monkeypatch.delenv("ODRADEK_API_KEY")
    monkeypatch.setenv("ODRADEK_SERVER_TOKEN", token)
    assert cli.main(list_them) == 2 and "`server_token`" in capsys.readouterr().err


def test_tokens_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODRADEK_API_KEY", "from-the-environment\n")
    parse = app.build_parser().parse_args
    assert common.api_key_of(parse(["workflow", "list"])) == "from-the-environment"
    assert common.api_key_of(parse(["workflow", "list", "--api-key", "given"])) == "given"
    with pytest.raises(UsageError, match="--api-key"):
        common.api_key_of(parse(["workflow", "list", "--api-key", "a\nb"]))
