"""Lone surrogates, which JSON in a payload may hold: whoever shows such text shows it escaped,
and never fails over it.
"""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from odradek.cli.app import main
from odradek.cli.logs import JsonFormatter
from odradek.cli.output import print_json
from odradek.web.api import operation
from odradek.web.hub import sse
from odradek.web.temporal.endpoint import json_response
from odradek.web.temporal.shorthand import _json as shorthand_json

BAD = "bad-\udcff 😀"


def test_temporals_api() -> None:
    assert json.loads(json_response({"memo": BAD}).body) == {"memo": BAD}
    assert json.loads(shorthand_json({"memo": BAD})) == {"memo": BAD}


class _Found(msgspec.Struct):
    memo: dict[str, str]
    size: int = 0


class _None(msgspec.Struct):
    pass


def test_our_api(monkeypatch: pytest.MonkeyPatch) -> None:
    async def show(asked: Any) -> _Found:
        return _Found({BAD: BAD})

    shown = operation.Operation("GET", "/shown", "shown", "Shown.", "runs", show, _Found, _None)

    class Options:
        request_limit_s = 5

    class Server:
        options = Options()

    monkeypatch.setattr(operation, "server_of", lambda request: Server())
    response = TestClient(Starlette(routes=[shown.route()])).get(f"{operation.PREFIX}/shown")
    assert response.status_code == 200 and json.loads(response.content) == {
        "memo": {BAD: BAD},
        "size": 0,
    }


def test_events_of_a_stream() -> None:
    line = sse("runs", {"memo": BAD}).decode().splitlines()[1]
    assert json.loads(line.removeprefix("data: ")) == {"memo": BAD}


def test_log_lines() -> None:
    record = logging.LogRecord("odradek", logging.WARNING, __file__, 1, "%s", (BAD,), None)
    line = JsonFormatter().format(record)
    assert json.loads(line.encode())["message"] == BAD


def test_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "utf-8"))
    assert main(["completion", "bash"]) == 0
    raw.seek(0)
    raw.truncate()
    print_json({"memo": BAD})
    sys.stdout.flush()
    assert json.loads(raw.getvalue()) == {"memo": BAD}
