"""The command line, `odradek`: a local broker, workers, and workflows by hand. Thin: every
command is a few calls of the library.

Written on argparse alone, so that the base install has all of it
(docs/decisions/0006-command-line-on-argparse.md). A group of commands is a module with a
`register(commands)`; `app.COMMANDS` lists them. Exit statuses, for scripts, stand in
`status.py`.
"""

from odradek.cli.app import main
from odradek.cli.status import Status

__all__ = ["Status", "main"]
