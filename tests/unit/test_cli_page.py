"""Every command of the parser: its examples parse, its help shows them and its exit statuses,
the page has it; completion knows it.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from odradek import cli
from odradek.cli import page
from odradek.cli.anywhere import ANYWHERE, EACH
from odradek.cli.app import build_parser
from odradek.cli.completion import SHELLS
from odradek.cli.tree import Command, command_tree

PAGE = page.page()
TREE = command_tree(build_parser())
LEAVES = [command for command in TREE.walk() if not command.commands]
# What a command line tool for workflows must have: those that the issue names.
WANTED = """
    workflow start, workflow execute, workflow signal, workflow query, workflow cancel, workflow terminate, workflow describe,
    workflow list, workflow count, workflow show, workflow stack, workflow result, workflow delete, workflow unpark,
    workflow signal-with-start, workflow update, workflow metadata, workflow trace,
    activity complete, activity fail, batch list, batch describe, batch terminate,
    operator cluster health, operator cluster describe, operator cluster system, operator namespace list, operator namespace describe,
    operator search-attribute list,
    task-queue describe, task-queue delete, topic, dead-letter list, dead-letter show, dead-letter redrive, dev, server, worker,
    completion bash, completion zsh, completion fish
"""


def test_every_command_is_there() -> None:
    wanted = {" ".join(name.split()) for name in WANTED.split(",")}
    assert wanted <= {" ".join(command.words) for command in LEAVES}


@pytest.mark.parametrize("command", LEAVES, ids=lambda command: command.name)
def test_examples_parse(command: Command) -> None:
    examples = page.examples_of(command)
    assert examples
    for example in examples:
        arguments = page.arguments_of(example)
        assert tuple(arguments[: len(command.words)]) == command.words, example
        assert build_parser().parse_args(arguments).run


@pytest.mark.parametrize("command", list(TREE.walk()), ids=lambda command: command.name)
def test_help_has_examples(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([*command.words, "--help"])
    out = capsys.readouterr().out
    assert caught.value.code == 0 and "examples:\n  odradek " in out
    assert "exit status:\n  0 " in out
    assert all(len(line) <= 160 for line in command.epilog.splitlines())


@pytest.mark.parametrize("command", LEAVES, ids=lambda command: command.name)
def test_the_page_has_it(command: Command) -> None:
    text = PAGE
    _, _, section = text.partition(f"\n### {command.name}\n")
    section = section.partition("\n### ")[0]
    assert section, f"{command.name} is missing"
    for example in page.examples_of(command):
        assert example in section
    for option in command.options:
        assert option.flags[0] in ("-h", *EACH) or f"`{option.flags[0]}`" in section, option.flags
    assert "\nExit status: 0" in section


def test_the_page_has_the_options_of_every_command_once() -> None:
    head = PAGE.partition("\n## ")[0]
    assert all(
        f"`{flag}`" in head
        for flag in (*EACH, *(flag for flag in ANYWHERE if flag.startswith("--")))
    )
    assert all(
        {flag for option in command.options for flag in option.flags} >= set(EACH)
        for command in LEAVES
    )


def test_statuses_of_a_command_are_those_it_lists() -> None:
    start = next(command for command in LEAVES if command.words == ("workflow", "start"))
    assert [int(status) for status in page.statuses_of(start)] == [0, 1, 2, 3, 5, 130]


# --- completion


@pytest.mark.parametrize("shell", SHELLS)
def test_completion(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    script = tmp_path / shell
    script.write_text(capsys.readouterr().out)
    assert "workflow" in script.read_text() and "dead" in script.read_text()
    if shell == "bash":
        subprocess.run(["bash", "-n", script], check=True)
