"""The page of the command line, made of the parser: `python -m odradek.cli.page`. A test holds
the page against it.
"""

from __future__ import annotations

import re
import shlex

from odradek.cli.anywhere import EACH
from odradek.cli.app import build_parser
from odradek.cli.status import MEANINGS, Status
from odradek.cli.tree import Command, Option, command_tree

_HEAD = """\
<!-- Written by `make docs` from streams/odradek/cli. -->
# The command line

`odradek` has `temporal`'s commands, options and output where `temporal` has them; what is about the Kafka beneath
(`task-queue`, `topic`, `dead-letter`, `workflow unpark`) is its own. Settings come from `ODRADEK_…` variables and `--config FILE`
([settings](settings.md)); arguments win.

- **Output**: tables for people; `-o json` is one value, `-o jsonl` one value a line as it comes, for pipes; `-o none` is nothing but the
  exit status. Errors are one line on stderr with the cure.
- **Lists** (`list`, `count`, `--query`), `batch` and `operator` are answered by `odradek server`: `--server-address HOST:PORT`, or the
  setting `server_address`. The language is in [query.md](query.md). Everything else goes to the owners of workflows over Kafka and needs
  no server.
- **Many workflows**: `signal`, `cancel`, `terminate`, `delete` and `unpark` take `--query`. How many it hits is said and asked;
  `--yes` does not ask, and `-o json` wants `--yes`. What fails in a way that may pass (no answer, a broker away) is asked again under its
  request id, five times in all with pauses, as the server's batches do. Status 1 if one failed; what closed meanwhile is skipped.
  `temporal` has its server do that; here the command does it, and it ends with the command. `batch list|describe|terminate` are about
  the batches that the web UI and the HTTP API begin, which run in the server.
- **Inputs** are JSON, one `--input` (or `--input-file`) an argument. `--input-meta encoding=binary/plain` and the like give the payload
  metadata of its own, once for all arguments or once for each; `--input-base64` takes arguments in base64. The same four stand behind
  `--signal-input` and `--start-signal-input`.
- **Without a processor** (start first, worker later): a start, signal, cancel, terminate, delete or unpark that no processor has answered
  within `--rpc-timeout` is accepted: it lies in Kafka and is applied, or refused, once one is up. The status is 0, since the
  request is safe, and the output claims no more than that: a line `accepted: …`; in JSON `"verdict": "pending"` (and no `done`), so that
  a script can tell: `jq -e '.verdict != "pending"'`. A batch counts them as `pending`, not as `done`. What only reads is status 3 then.
- **Completion**: `source <(odradek completion bash)`; zsh and fish too.
- **Anywhere**: `--output`, `--address`, `--namespace`, `--config`, `--server-address` and `--api-key` stand before the command or behind
  it (a command that has no such option says so), as do `--log-level`, `--log-format`, `--color` and `--time-format`, which every command
  has.
- **Colors**: statuses, types of events, icons of a trace, headings. `--color auto`, the default, has them on a terminal unless `NO_COLOR`
  is set or `TERM` is `dumb`; `always` and `never` do as they say. JSON has none.
- **Times**: `--time-format relative` (`3 minutes ago`), `iso` (UTC, to the millisecond) or `raw` (as Go writes a time). Without it they
  are relative, as with `temporal`, but those of events, records and dead letters are `iso`. JSON has its own, whatever is asked for.
- **What cannot be shown as it is**: a payload that a codec wrote is `unreadable: encoding …`, in JSON its `metadata` and `data` in base64.
  So is one with NaN, Infinity or a number beyond a double in it, which JSON does not have; as an argument it is refused.
  Control characters of ids, messages and keys are written as escapes (`\\x1b`, `\\u202e`), in JSON as JSON's.
- **Not yet**, of what `temporal` has: updates (`workflow update`); `workflow reset`, `pause`, `update-options`; `schedule`; activities
  without a workflow; `nexus`; versions of workers; child workflows (`trace --depth`, `--fold`); priorities and fairness
  (`--priority-key`, `--fairness-key`); `--headers`; `list --archived`; `describe --reset-points`; whatever creates, changes or deletes
  namespaces, search attributes and clusters; `env`, `config`. Each is an error of one line that says why, and what to do instead: status
  2, `workflow update` 1.

## Exit statuses

They are stable: scripts may rely on them.

| status | |
|---|---|
{statuses}

## Commands

"""


def page() -> str:
    """The page as Markdown."""
    tree = command_tree(build_parser())
    statuses = "\n".join(f"| {status.value} | {meaning} |" for status, meaning in MEANINGS.items())
    leaves = [command for command in tree.walk() if not command.commands]
    summary = "| command | |\n|---|---|\n" + "\n".join(
        f"| [`{one.name}`](#{_anchor(one)}) | {_cell(one.help)} |" for one in leaves
    )
    return (
        _HEAD.replace("{statuses}", statuses)
        + summary
        + "\n\n"
        + "\n".join(_section(one) for one in leaves)
    )


def examples_of(command: Command) -> list[str]:
    """The examples below a command's help: command lines, without what is said beside them."""
    found = []
    for line in command.epilog.splitlines():
        if line.startswith("  odradek "):
            found.append(re.split(r"\s{3,}", line.strip())[0])
    return found


def arguments_of(example: str) -> list[str]:
    """An example's arguments, as a shell would give them."""
    return shlex.split(example)[1:]


def statuses_of(command: Command) -> list[Status]:
    """The exit statuses that a command's help lists; every one that any command may end with, if
    it lists none.
    """
    listed = re.findall(r"^  (\d+) +\S", command.epilog.partition("exit status:")[2], re.MULTILINE)
    return [Status(int(number)) for number in listed] or [
        Status.OK,
        Status.FAILED,
        Status.USAGE,
        Status.UNAVAILABLE,
        Status.INTERRUPTED,
    ]


def _section(command: Command) -> str:
    said = command.epilog.partition("exit status:")[0].strip()
    parts = [f"### {command.name}", _sentence(command.help)]
    if said:
        parts.append(f"```\n{said}\n```")
    options = [
        option
        for option in (*command.positionals, *command.options)
        if not {"-h", *EACH}.intersection(option.flags)
    ]
    if options:
        parts.append("| option | |\n|---|---|\n" + "\n".join(_row(option) for option in options))
    parts.append(
        "Exit status: " + ", ".join(str(status.value) for status in statuses_of(command)) + "."
    )
    return "\n\n".join(parts) + "\n"


def _row(option: Option) -> str:
    flags = ", ".join(f"`{flag}`" for flag in option.flags) or f"`{option.metavar}`"
    value = f" `{option.metavar}`" if option.value and option.flags else ""
    return (
        f"| {_cell(flags + value)} |"
        f" {_cell(option.help)}{' (needed)' if option.required and option.flags else ''} |"
    )


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _anchor(command: Command) -> str:
    return command.name.replace(" ", "-")


if __name__ == "__main__":
    print(page(), end="")
