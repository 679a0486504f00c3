"""The reader of `members`: a broker that does not answer is one line in the log, and tried again."""

from __future__ import annotations

import logging
import socket
import threading
import time
from typing import Any, NoReturn, cast

import pytest
from confluent_kafka import Message

from odradek.client import readers as members
from odradek.client.transport import SILENCE_S, Owner
from odradek.config import Settings
from odradek.exceptions import BrokerUnreachableError
from odradek.kafka.registry import SchemaRegistryUnreachableError
from odradek.wire.codec import Codec
from odradek.wire.errors import UndecodableRecord, WireError


def test_a_first_look_without_a_broker_is_one_line_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(members, "RETRY_S", 0.01)
    died: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", died.append)
    looks = 0

    def end() -> int:
        nonlocal looks
        looks += 1
        if looks < 4:
            raise BrokerUnreachableError("nowhere:1")
        return 0  # nothing was there: all has been read

    with socket.socket() as unused, caplog.at_level(logging.INFO, "odradek.client.readers"):
        unused.bind(("127.0.0.1", 0))  # nobody listens on it
        settings = Settings(address=f"127.0.0.1:{unused.getsockname()[1]}")
        reader = members.MembersReader(
            settings, "odradek.default.members", Codec(), end, lambda queues: None
        )
        try:
            assert reader.wait_complete(20)
        finally:
            reader.stop()
            reader.join(10)
    assert looks == 4 and died == [] and reader.view.complete
    (line,) = [record for record in caplog.records if record.name == "odradek.client.readers"]
    assert (
        line.levelname == "WARNING"
        and "odradek.default.members" in line.getMessage()
        and "nowhere:1" in line.getMessage()
    )
    assert line.exc_info is None and "\n" not in line.getMessage()


class Record:
    """Of a member."""

    def value(self) -> bytes:
        return b"value"

    def key(self) -> bytes:
        return b"member"


@pytest.mark.parametrize(
    ("problem", "owner"),
    [
        (SchemaRegistryUnreachableError("http://registry", "it is away"), Owner.UNKNOWN),
        (UndecodableRecord("garbage"), Owner.NONE),
    ],
)
def test_a_member_that_a_registry_keeps_from_being_read_may_be_alive(
    monkeypatch: pytest.MonkeyPatch, problem: WireError, owner: Owner
) -> None:
    """Else a client says that no processor answers, while there is one."""

    def decode(_: bytes) -> NoReturn:
        raise problem

    codec = Codec()
    monkeypatch.setattr(codec, "decode", decode)
    settings = Settings(address="host:1")
    reader = members.MembersReader(
        settings, "odradek.default.members", codec, _nowhere, lambda queues: None
    )
    reader.stop()
    reader.join(10)
    reader.view.complete = True
    reader._read(cast(Message, cast(Any, Record())))
    now = time.monotonic()
    assert reader.view.owner("q", 0, now) is owner
    assert reader.view.owner("q", 0, now + SILENCE_S) is Owner.NONE, "it has said nothing since"


def _nowhere() -> NoReturn:
    raise BrokerUnreachableError("nowhere:1")
