"""Options that every command on a cluster has, the settings they make, JSON values. Beside it:
`inputs.py`, `output.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from odradek.cli.parser import is_text
from odradek.cli.payloads import SHOWING
from odradek.cli.status import CommandFailedError, Status, UsageError
from odradek.client import Client
from odradek.config import Settings, parse_duration
from odradek.exceptions import TopicMissingError
from odradek.wire import standard_json
from odradek.wire.topics import Topics

T = TypeVar("T")
# What clocks, sleeps and timeouts of every library below can count.
_LONGEST = timedelta(days=36_525)


def cluster_options() -> argparse.ArgumentParser:
    """`--address`, `--namespace`, `--config`, as a parent parser."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("cluster")
    group.add_argument(
        "--address", metavar="HOST:PORT", help="Kafka bootstrap servers (setting `address`)"
    )
    group.add_argument("--namespace", "-n", help="namespace (setting `namespace`)")
    group.add_argument("--config", metavar="FILE", type=Path, help="YAML file with settings")
    return parser


def server_options() -> argparse.ArgumentParser:
    """`--server-address`, `--api-key`: for commands that ask the read side, as a parent parser."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("server")
    group.add_argument(
        "--server-address",
        metavar="HOST:PORT",
        help="address of `odradek server` (setting `server_address`)",
    )
    group.add_argument(
        "--api-key", metavar="TOKEN", help="its token (setting `server_token`, or ODRADEK_API_KEY)"
    )
    return parser


def settings_of(options: argparse.Namespace, **more: Any) -> Settings:
    """Settings of file, environment and arguments, in rising order. Raises `ConfigurationError`,
    and `TopicNameError` for a namespace or task queue that can name no topic: before anything is
    connected.
    """
    given = {
        "address": options.address,
        "namespace": options.namespace,
        "server_address": getattr(options, "server_address", None),
    }
    given |= {"log_format": getattr(options, "log_format", None), **more}
    settings = Settings.load(
        options.config, **{name: value for name, value in given.items() if value is not None}
    )
    topics = Topics(settings.namespace, settings.topic_prefix)
    if task_queue := (
        settings.task_queue if "task_queue" in more else getattr(options, "task_queue", None)
    ):
        topics.dead_letters(task_queue)  # the longest name
    return settings


def with_client(
    options: argparse.Namespace,
    use: Callable[[Client], Awaitable[T]],
    *,
    lazy: bool = False,
    creates: bool = False,
) -> T:
    """Connect, `use` the client, close it. Raises `CommandFailedError` for a namespace that was
    never used.

    lazy: connect to Kafka with the first call that needs it, which lists do not. creates: a
    namespace that was never used gets its topics.
    """

    async def run() -> T:
        settings, token = settings_of(options), api_key_of(options)
        if token is None:
            check_token(settings.server_token, "the setting `server_token`")
        async with await _connected(settings, token, lazy=lazy, creates=creates) as client:
            return await use(client)

    return asyncio.run(run())


async def _connected(settings: Settings, token: str | None, *, lazy: bool, creates: bool) -> Client:
    """A command about what is there already must not make the topics of a namespace whose name
    was mistyped.
    """
    connect = partial(Client.connect, api_key=token, lazy=lazy, data_converter=SHOWING)
    if not (lazy or creates):
        try:
            return await connect(settings=settings.replace(create_topics=False))
        except TopicMissingError as error:
            if not await asyncio.to_thread(_was_used, settings):
                raise never_used(settings) from error
            # It was used, by a version that had fewer topics: what is missing is made where the
            # settings allow it.
    return await connect(settings=settings)


def _was_used(settings: Settings) -> bool:
    from odradek.kafka.admin import ClusterAdmin

    admin = ClusterAdmin(settings)
    return any(
        (name := admin.topics.parse(topic)) is not None and name.namespace == settings.namespace
        for topic in admin.topic_names()
    )


def never_used(settings: Settings) -> CommandFailedError:
    """The error of a namespace without topics."""
    return CommandFailedError(
        f"namespace {settings.namespace!r} was never used on the cluster at {settings.address}:"
        " start a worker, or correct --namespace",
        Status.NOT_FOUND,
    )


def api_key_of(options: argparse.Namespace) -> str | None:
    """The server's token, if an argument or Temporal's variable has it. Raises `UsageError` for
    one that no header holds.
    """
    given = check_token(getattr(options, "api_key", None), "--api-key")
    return (
        given
        or check_token(os.environ.get("ODRADEK_API_KEY", "").strip(), "ODRADEK_API_KEY")
        or None
    )


def check_token(token: str | None, what: str) -> str | None:
    """The token. It travels in an HTTP header: Latin-1 without control characters. What it is
    instead is not said: it is a secret.
    """
    if token and any(ord(one) < 0x20 or ord(one) == 0x7F or ord(one) > 0xFF for one in token):
        raise UsageError(
            f"{what}: a token is one line of Latin-1 characters, and this one has a line break or"
            " others"
        )
    return token


def duration(text: str) -> timedelta:
    """argparse type of `10s`, `5 min`, `1h`, or a number of seconds."""
    try:
        value = parse_duration(text)
        found = value if isinstance(value, timedelta) else timedelta(seconds=float(text))
    except OverflowError:
        found = timedelta.max
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no duration: write 500ms, 10s, 5min, 1h or 3d"
        ) from None
    if found < timedelta(0):
        raise argparse.ArgumentTypeError(f"{text!r} is negative: write 500ms, 10s, 5min, 1h or 3d")
    if found > _LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is longer than 100 years")
    return found


def filled(text: str) -> str:
    """argparse type of a text that is not empty, as a variable of the shell that is not set is."""
    if not text:
        raise argparse.ArgumentTypeError("is empty: is a variable not set?")
    return text


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """argparse type of a whole number from `least` to `most`."""
    bounds = f"{least} or more" if most is None else f"{least} to {most}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no whole number: give {bounds}"
            ) from None
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"{value} is out of range: give {bounds}")
        return value

    return parse


POSITIVE = whole_number(1)
PORT = whole_number(0, 65_535)  # 0: any free one


def json_value(text: str, what: str) -> Any:
    """A JSON value from the command line."""
    if not is_text(text):
        raise UsageError(f"{what} is not UTF-8, which JSON is")
    try:
        return standard_json.loads(text)
    except RecursionError:
        raise UsageError(f"{what} is nested too deeply") from None
    except ValueError as error:
        raise UsageError(
            f"{what} is not JSON: {error}. A text needs its quotes: '\"text\"'"
        ) from error


def key_values(texts: list[str] | None, what: str) -> dict[str, Any]:
    """`KEY=JSON` options."""
    pairs = {}
    for text in texts or []:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise UsageError(f"{what} {text!r}: write KEY=JSON")
        pairs[key] = json_value(value, f"{what} {text!r}")
    return pairs
