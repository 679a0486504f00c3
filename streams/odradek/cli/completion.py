"""`odradek completion …`: a script for the shell, made of the parser. The script asks nobody:
completing starts no Python.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from odradek.cli.anywhere import ANYWHERE
from odradek.cli.app import Commands, add_command, add_group, build_parser
from odradek.cli.status import Status
from odradek.cli.tree import Command, Option, command_tree

EXAMPLES = (
    "odradek completion bash",
    "odradek completion zsh",
    "odradek completion fish",
)
_INSTALL = {
    "bash": "source <(odradek completion bash)            # in ~/.bashrc",
    "zsh": "source <(odradek completion zsh)             # in ~/.zshrc, after compinit",
    "fish": "odradek completion fish > ~/.config/fish/completions/odradek.fish",
}


def register(commands: Commands) -> None:
    """Add the group and its commands."""
    actions = add_group(
        commands,
        "completion",
        help="completion of commands and options for a shell",
        examples=EXAMPLES,
        notes="\n".join(_INSTALL.values()),
    )
    for shell in SHELLS:
        add_command(
            actions,
            shell,
            run,
            help=f"a script for {shell}",
            examples=(f"odradek completion {shell}",),
            notes=_INSTALL[shell],
            statuses=(Status.OK, Status.USAGE),
        ).set_defaults(shell=shell)


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    print(SHELLS[options.shell](command_tree(build_parser())))
    return 0


def _with_anywhere(tree: Command) -> Command:
    """With the options that may stand before the command, as those that have them say what they
    take.
    """
    known = {flag for option in tree.options for flag in option.flags}
    more: dict[tuple[str, ...], Option] = {}
    for option in (option for command in tree.walk() for option in command.options):
        if known.isdisjoint(option.flags) and not set(option.flags).isdisjoint(ANYWHERE):
            more.setdefault(option.flags, option)
    return replace(tree, options=(*tree.options, *more.values()))


def bash(tree: Command) -> str:
    """For bash 3.2 and later."""
    tree = _with_anywhere(tree)
    commands, words, values, files = [], [], [], []
    for command in tree.walk():
        path = " ".join(command.words)
        for below in command.commands:
            commands.append(f'    "{path}|{below.words[-1]}") path="{" ".join(below.words)}" ;;')
        flags = [flag for option in command.options for flag in option.flags]
        shown = [below.words[-1] for below in command.commands] + [
            flag for flag in flags if flag.startswith("--")
        ]
        words.append(f'    "{path}") words="{" ".join(shown)}" ;;')
        for option in command.options:
            patterns = "|".join(f'"{path}|{flag}"' for flag in option.flags)
            if option.choices:
                values.append(
                    f'    {patterns}) COMPREPLY=($(compgen -P "$prefix" -W'
                    f' "{" ".join(option.choices)}" -- "$current")); return ;;'
                )
            elif option.file:
                files.append(
                    f'    {patterns}) COMPREPLY=($(compgen -P "$prefix" -f -- "$current"));'
                    " return ;;"
                )
            elif option.value:
                values.append(f"    {patterns}) return ;;")
    lines = "\n".join
    return f"""# bash completion of odradek
_odradek() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" previous="${{COMP_WORDS[COMP_CWORD-1]}}" path="" words="" prefix="" behind="" i
  case "$current" in  # bash splits --option=value in three; in one where somebody wants it so
    --*=*) previous="${{current%%=*}}" prefix="${{current%%=*}}=" behind=1 current="${{current#*=}}" ;;
    =) current="" behind=1 ;;
    *) if [[ "$previous" == "=" && $COMP_CWORD -gt 1 ]]; then previous="${{COMP_WORDS[COMP_CWORD-2]}}" behind=1; fi ;;
  esac
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$path|${{COMP_WORDS[i]}}" in
{lines(commands)}
    esac
  done
  case "$path|$previous" in
{lines(values + files)}
  esac
  if [[ -n "$behind" ]]; then return; fi
  case "$path" in
{lines(words)}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _odradek odradek"""


def zsh(tree: Command) -> str:
    """For zsh, after compinit. Each command is a function that its group calls."""
    functions = [_zsh_function(command) for command in _with_anywhere(tree).walk()]
    return "#compdef odradek\n" + "\n".join(functions) + "\ncompdef _odradek odradek"


def _zsh_function(command: Command) -> str:
    name = "_".join(("_odradek", *(word.replace("-", "_") for word in command.words)))
    specs = [spec for option in command.options for spec in _zsh_specs(option)]
    if not command.commands:
        specs += [
            f"'{number}:{_quoted(one.metavar)}:_files'"
            for number, one in enumerate(command.positionals, 1)
        ]
        return f"{name}() {{\n  _arguments -s \\\n    " + " \\\n    ".join(specs) + "\n}"
    described = " ".join(f"'{below.words[-1]}:{_quoted(below.help)}'" for below in command.commands)
    cases = "\n".join(
        f"      {below.words[-1]}) {name}_{below.words[-1].replace('-', '_')} ;;"
        for below in command.commands
    )
    arguments = " \\\n    ".join([*specs, "'1: :->command'", "'*:: :->rest'"])
    return f"""{name}() {{
  local context state line
  typeset -A opt_args
  _arguments -C \\
    {arguments}
  case $state in
    command) local -a commands; commands=({described}); _describe command commands ;;
    rest) case $line[1] in
{cases}
    esac ;;
  esac
}}"""


def _zsh_specs(option: Option) -> list[str]:
    help = _quoted(option.help)
    action = f":{_quoted(option.metavar)}:" if option.value else ""
    if option.choices:
        action += f"({' '.join(option.choices)})"
    elif option.file:
        action += "_files"
    # `=`: the value stands behind it or in the next word
    return [
        f"'*{flag}{'=' if option.value and flag.startswith('--') else ''}[{help}]{action}'"
        for flag in option.flags
    ]


def _quoted(text: str) -> str:
    """Text inside a single-quoted spec: what zsh reads as syntax is escaped."""
    for sign in "\\[]:":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("'", "'\\''")


def fish(tree: Command) -> str:
    """For fish. A condition a command: its words have been seen, none of those below it yet."""
    lines = ["# fish completion of odradek", "complete -c odradek -f"]
    for command in _with_anywhere(tree).walk():
        seen = [f"__fish_seen_subcommand_from {word}" for word in command.words]
        below = " ".join(one.words[-1] for one in command.commands)
        if below:
            seen.append(f"not __fish_seen_subcommand_from {below}")
        condition = f" -n '{'; and '.join(seen)}'" if seen else ""
        for one in command.commands:
            lines.append(
                f"complete -c odradek{condition} -a {one.words[-1]} -d '{_fish_quoted(one.help)}'"
            )
        for option in command.options:
            lines.append(
                f"complete -c odradek{condition}{_fish_option(option)} -d"
                f" '{_fish_quoted(option.help)}'"
            )
    return "\n".join(lines)


def _fish_option(option: Option) -> str:
    flags = "".join(
        f" -l {flag[2:]}" if flag.startswith("--") else f" -s {flag[1:]}" for flag in option.flags
    )
    if option.choices:
        return f"{flags} -x -a '{' '.join(option.choices)}'"
    if option.file:
        return f"{flags} -r -F"
    return f"{flags} -x" if option.value else flags


def _fish_quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}
