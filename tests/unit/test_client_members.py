"""The reader of `members`: a broker that does not answer is one line in the log, and tried again."""

from __future__ import annotations

import logging
import socket
import threading

import pytest

from odradek.client import members
from odradek.config import Settings
from odradek.exceptions import BrokerUnreachableError
from odradek.wire.codec import Codec


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

    with socket.socket() as unused, caplog.at_level(logging.INFO, "odradek.client.members"):
        unused.bind(("127.0.0.1", 0))  # nobody listens on it
        settings = Settings(address=f"127.0.0.1:{unused.getsockname()[1]}")
        reader = members.MembersReader(settings, "odradek.default.members", Codec(), end, lambda queues: None)
        try:
            assert reader.wait_complete(20)
        finally:
            reader.stop()
            reader.join(10)
    assert looks == 4 and died == [] and reader.view.complete
    (line,) = [record for record in caplog.records if record.name == "odradek.client.members"]
    assert line.levelname == "WARNING" and "odradek.default.members" in line.getMessage() and "nowhere:1" in line.getMessage()
    assert line.exc_info is None and "\n" not in line.getMessage()
