"""Every command of the parser: its examples parse, its help shows them and its exit statuses,
the page has it; completion knows it.
"""

from __future__ import annotations

import shutil
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


def complete(line: str, tmp_path: Path) -> list[str]:
    """What bash offers for the last word of a line."""
    script = tmp_path / "completion.bash"
    script.write_text(SHELLS["bash"](TREE))
    words = line.split(" ")
    asked = f"""source {script}
COMP_WORDS=({" ".join(f"'{word}'" for word in words)}); COMP_CWORD={len(words) - 1}
_odradek; printf '%s\\n' "${{COMPREPLY[@]}}" """
    done = subprocess.run(
        ["bash", "--norc", "-c", asked], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("odradek work", {"worker", "workflow"}),
        ("odradek workflow si", {"signal", "signal-with-start"}),
        ("odradek workflow list -o ", {"text", "table", "json", "jsonl", "none"}),
        ("odradek workflow terminate --query x --re", {"--reason"}),
        ("odradek task-queue d", {"describe", "delete"}),
        ("odradek --log-level debug dead-letter ", {"list", "show", "redrive", "--help"}),
        ("odradek workflow start --type ", set()),
        ("odradek operator ", {"cluster", "namespace", "search-attribute", "--help"}),
        ("odradek operator cluster de", {"describe"}),
        ("odradek operator cluster describe --det", {"--detail"}),
        ("odradek workflow list --time-format ", {"relative", "iso", "raw"}),
        (
            "odradek workflow start --id-conflict-policy ",
            {"Fail", "UseExisting", "TerminateExisting"},
        ),
        (
            "odradek workflow execute --id-reuse-policy Allow",
            {"AllowDuplicate", "AllowDuplicateFailedOnly"},
        ),
        ("odradek -o ", {"text", "table", "json", "jsonl", "none"}),
        ("odradek -o json work", {"worker", "workflow"}),
        ("odradek --namespace ", set()),
        ("odradek --out", {"--output"}),
        # as bash splits them, unless somebody has taken `=` from COMP_WORDBREAKS
        ("odradek workflow list --output =", {"text", "table", "json", "jsonl", "none"}),
        (
            "odradek workflow execute --id-reuse-policy = AllowD",
            {"AllowDuplicate", "AllowDuplicateFailedOnly"},
        ),
        ("odradek workflow list --output=js", {"--output=json", "--output=jsonl"}),
        ("odradek --output = js", {"json", "jsonl"}),
        ("odradek workflow start --type =", set()),
        ("odradek workflow start --unknown=w", set()),
        ("odradek workflow list --output = json --qu", {"--query"}),
    ],
)
def test_completion_in_bash(line: str, offered: set[str], tmp_path: Path) -> None:
    assert set(complete(line, tmp_path)) == offered


def test_completion_of_files(tmp_path: Path) -> None:
    (tmp_path / "order.json").write_text("{}")
    assert complete("odradek workflow start --input-file or", tmp_path) == ["order.json"]
    assert complete("odradek workflow start --input-file = or", tmp_path) == ["order.json"]
    assert complete("odradek workflow start --input-file=or", tmp_path) == [
        "--input-file=order.json"
    ]


def test_what_stands_before_the_command_is_known_to_every_shell() -> None:
    """zsh takes the value of an option that it does not know for the command."""
    zsh, fish = SHELLS["zsh"](TREE), SHELLS["fish"](TREE)
    before = zsh[
        zsh.index("_odradek() {") : zsh.index("'1: :->command'", zsh.index("_odradek() {"))
    ]
    assert (
        "'*--output=[" in before and "'*-o[" in before and "(text table json jsonl none)" in before
    )
    assert "complete -c odradek -n 'not __fish_seen_subcommand_from" in fish
    first = next(line for line in fish.splitlines() if "-l output" in line)
    assert (
        first.startswith("complete -c odradek -n 'not __fish_seen_subcommand_from dev ")
        and "-s o -x -a 'text table" in first
    )


@pytest.mark.parametrize("shell", list(SHELLS))
def test_scripts_are_valid(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for command in LEAVES:
        assert command.words[-1] in script
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here to read it")
    file = tmp_path / "script"
    file.write_text(script)
    assert (
        subprocess.run([shell, "-n", str(file)], capture_output=True, text=True, check=False).stderr
        == ""
    )
