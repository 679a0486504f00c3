"""What `temporal` has and Odradek does not: one line that says why and what to do instead; and
nothing that is there is called missing.
"""

from __future__ import annotations

import re

import pytest

from odradek import cli
from odradek.cli import unserved
from odradek.cli.app import build_parser
from odradek.cli.tree import command_tree

TREE = command_tree(build_parser())


def refused(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        cli.main(line.split())
    err = capsys.readouterr().err
    assert caught.value.code == 2 and err.startswith("odradek: ") and err.count("\n") == 1
    return err


@pytest.mark.parametrize("name", list(unserved._COMMANDS))
def test_commands(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"odradek: `odradek {name}`: {unserved._COMMANDS[name]}" in refused(name, capsys)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("schedule list", "no schedules yet: `workflow start --cron`"),
        ("workflow reset -w x --event-id 4", "runs cannot be reset yet"),
        ("-o json workflow pause -w x", "runs cannot be paused yet"),
        (
            "workflow start -w x --type T -t q --priority-key 1",
            "--priority-key: no priorities or fairness yet",
        ),
        ("workflow start -w x --fairness-key=a", "--fairness-key: no priorities or fairness yet"),
        ("workflow list --archived", "--archived: no archive"),
        ("workflow describe -w x --reset-points", "--reset-points: runs cannot be reset yet"),
        ("workflow trace -w x --depth 1", "--depth: no child workflows yet"),
        ("workflow trace -w x --no-fold", "--no-fold: no child workflows yet"),
        ("workflow list --tls", "--tls: TLS and SASL are in the settings `kafka`"),
        ("--command-timeout 5s workflow list", "--command-timeout: it is --rpc-timeout"),
        ("--profile x workflow list", "--profile: settings come from"),
        ("task-queue describe -t q --select-build-id 1", "no versions of workers"),
        ("task-queue describe -t q --task-queue-type nexus", "invalid choice: 'nexus'"),
        (
            "workflow cancel -w x --archived",
            "unknown option --archived",
        ),  # where temporal has none either
    ],
)
def test_lines(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in refused(line, capsys)


def test_nothing_that_is_there_is_called_missing() -> None:
    names = {" ".join(command.words) for command in TREE.walk()}
    assert not names & set(unserved._COMMANDS)
    flags = {
        " ".join(command.words): {flag for option in command.options for flag in option.flags}
        for command in TREE.walk()
    }
    for name, options in unserved._OPTIONS.items():
        for command in [name] if name else flags:
            assert not flags[command] & set(options), command


def test_what_is_named_instead_is_there() -> None:
    texts = [
        *unserved._COMMANDS.values(),
        *(why for options in unserved._OPTIONS.values() for why in options.values()),
    ]
    named = {
        match.removeprefix("odradek ")
        for text in texts
        for match in re.findall(r"`((?:odradek|workflow|task-queue) [a-z -]+)", text)
    }
    assert len(named) >= 5
    parser = {" ".join(command.words) for command in TREE.walk()}
    assert all(
        any(one == name or one.startswith(f"{name} -") for name in parser)
        for one in (name.strip() for name in named)
    ), named
