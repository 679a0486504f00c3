"""`odradek completion …`: a script for the shell, which `shtab` makes of the parser. Completing
starts no Python.
"""

from __future__ import annotations

import argparse

from odradek.cli.app import Commands, add_command, add_group, build_parser
from odradek.cli.status import Status

#: How a shell reads its script.
SHELLS = {
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
        examples=[f"odradek completion {shell}" for shell in SHELLS],
        notes="\n".join(SHELLS.values()),
    )
    for shell, install in SHELLS.items():
        add_command(
            actions,
            shell,
            run,
            help=f"a script for {shell}",
            examples=(f"odradek completion {shell}",),
            notes=install,
            statuses=(Status.OK, Status.USAGE),
        ).set_defaults(shell=shell)


def run(options: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    print(shtab.complete(build_parser(), options.shell))
    return 0
