"""`odradek server` and `odradek dev` in an installation without the extra `server`; ports; their
help.
"""

from __future__ import annotations

import importlib.util
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from odradek import cli
from odradek.broker import dev as broker_dev
from odradek.cli import dev
from odradek.cli.status import Status


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if uvicorn and jinja2 were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name in ("uvicorn", "jinja2") else find(name, *more),
    )


@pytest.fixture
def brokers(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the broker was started with; none starts."""
    started: list[dict[str, Any]] = []

    def run(**options: Any) -> int:
        started.append(options)
        return 0

    monkeypatch.setattr(broker_dev, "run", run)
    return started


@pytest.mark.usefixtures("bare")
def test_dev_runs_the_broker_alone_and_says_how_to_get_the_rest(
    brokers: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["dev", "--port", "9092"]) == 0
    assert brokers == [{"port": 9092, "data_dir": None, "brokers": 1}]
    (line,) = capsys.readouterr().err.splitlines()
    assert "broker alone" in line and "pip install 'odradek[server]'" in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (bytes(range(128, 228)), "is no text"),
        (b"1" * 16 + b"\n" + b"2" * 16 + b"\n", "has 2 lines: a token is one line"),
    ],
)
def test_a_token_file_that_holds_no_token(
    content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_bytes(content)
    assert (
        cli.main(
            [
                "server",
                "--address",
                "127.0.0.1:1",
                "--port",
                "0",
                "--token-file",
                str(tmp_path / "token"),
            ]
        )
        == Status.USAGE
    )
    err = capsys.readouterr().err
    assert (
        err.startswith(f"odradek: token file {tmp_path / 'token'} {said}") and err.count("\n") == 1
    )


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_the_default_port_gives_way_and_says_so(
    taken: int,
    brokers: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    served: list[Any] = []

    def serve(settings: Any, options: Any, *, on_ready: Callable[..., None]) -> None:
        served.append((settings.address, settings.state_dir, options.port))

    monkeypatch.setattr("odradek.web.server.serve", serve)
    monkeypatch.setattr(dev, "DEFAULT_PORT", taken)
    assert cli.main(["dev"]) == 0
    assert brokers[0]["beside"]("127.0.0.1:9", tmp_path, threading.Event()) is True
    ((address, state_dir, port),) = served
    assert (address, state_dir) == ("127.0.0.1:9", tmp_path / "server") and port > taken
    assert (
        capsys.readouterr().err
        == f"port {taken} is in use by another program: the server takes {port}\n"
    )
