"""Options that every command shares stand anywhere on the command line, as with `temporal`;
hints name only what is spelled alike.
"""

from __future__ import annotations

import logging

import pytest

from odradek import cli
from odradek.cli.app import build_parser


@pytest.mark.parametrize(
    "line",
    [
        "-o json --address a:1 -n space workflow describe -w w",
        "--output=json workflow --address a:1 -nspace describe -w w",
        "workflow -ojson --namespace space describe -w w --address=a:1",
        "workflow describe -w w -o json --address a:1 --namespace space",
    ],
)
def test_in_any_position(line: str) -> None:
    options = build_parser().parse_args(line.split())
    assert (options.output, options.address, options.namespace, options.workflow_id) == (
        "json",
        "a:1",
        "space",
        "w",
    )


@pytest.mark.parametrize(
    "line",
    [
        (
            "--log-level debug --log-format json --color never --time-format raw workflow list"
            " --limit 1"
        ),
        (
            "workflow --log-level debug --color=never list --log-format json --time-format=raw"
            " --limit 1"
        ),
        (
            "workflow list --limit 1 --log-level debug --log-format=json --color never"
            " --time-format raw"
        ),
    ],
)
def test_logs_and_color(line: str) -> None:
    options = build_parser().parse_args(line.split())
    assert (options.log_level, options.log_format, options.color, options.limit) == (
        "debug",
        "json",
        "never",
        1,
    )
    assert options.time_format == "raw"


def test_the_level_is_applied(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    level = root.level
    try:
        assert cli.main(["completion", "bash", "--log-level", "error"]) == 0
        assert root.level == logging.ERROR
    finally:
        root.setLevel(level)
    capsys.readouterr()


def test_the_setting_of_the_log_format() -> None:
    from odradek.cli.common import settings_of

    assert (
        settings_of(
            build_parser().parse_args(["worker", "m:x", "-t", "q", "--log-format", "json"])
        ).log_format
        == "json"
    )
    assert (
        settings_of(
            build_parser().parse_args(["--log-format", "json", "worker", "m:x", "-t", "q"])
        ).log_format
        == "json"
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("-o json", "name a command: dev, worker"),
        ("-o json worklfow list", "unknown command 'worklfow': did you mean `workflow`?"),
        (
            "--adress a:1 workflow list",
            "unknown option --adress: did you mean `--address`? See `odradek --help`",
        ),
        ("workflow --zzz list", "unknown option --zzz. See `odradek workflow --help`"),
        ("-o json completion bash", "unknown option -o. See `odradek completion bash --help`"),
        ("workflow -o", "argument -o: expected one argument. See `odradek workflow --help`"),
        ("workflow list --log-level loud", "invalid choice: 'loud'"),
        ("--log-level loud workflow list", "invalid choice: 'loud'"),
        # Only what is spelled alike is offered.
        ("workflow list --newest-first", "unknown option --newest-first. See"),
        ("workflow list --time-format soon", "invalid choice: 'soon'"),
    ],
)
def test_what_is_wrong_is_said(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(line.split())
    err = capsys.readouterr().err
    assert caught.value.code == 2 and said in err and err.count("\n") == 1
