"""`odradek batch` and `odradek operator` against the whole server application on a port; Kafka
is scripted.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from odradek import cli
from odradek.cli import times
from odradek.web.temporal.cluster import API_VERSION
from tests.unit.web_server import WebServer, listening, plain, summary

BATCHES = "/api/v1/namespaces/default/batch-operations"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def web(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[WebServer]:
    server = WebServer(tmp_path, getattr(request, "param", None))
    yield server
    server.store.close()


@pytest.fixture
def address(web: WebServer) -> Iterator[str]:
    """Where the application listens, in a thread with its own loop."""
    with listening(web) as address:
        yield address


@pytest.fixture
def odradek(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    monkeypatch.setenv("ODRADEK_SERVER_ADDRESS", address)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli.main(arguments)
        said = capsys.readouterr()
        assert (
            said.err == ""
            if status == 0
            else said.err.startswith("odradek: ") and said.err.count("\n") == 1
        )
        return status, said.out, said.err

    return run


def fields(text: str) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in text.splitlines() if line)


def begin(address: str, job: str, **body: Any) -> None:
    answer = httpx.post(
        f"http://{address}{BATCHES}/{job}", json={"reason": "cleanup", **body}, timeout=10
    )
    assert answer.status_code == 200, answer.text


def finished(address: str, job: str) -> None:
    deadline = time.monotonic() + 20
    while (
        httpx.get(f"http://{address}{BATCHES}/{job}", timeout=10).json()["state"]
        == "BATCH_OPERATION_STATE_RUNNING"
    ):
        assert time.monotonic() < deadline
        time.sleep(0.01)


# --- batch


def test_batches(
    web: WebServer, address: str, odradek: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert odradek("batch", "list")[1].split() == [
        "JOB",
        "ID",
        "STATE",
        "TYPE",
        "START",
        "TIME",
        "CLOSE",
        "TIME",
    ]
    assert (
        json.loads(odradek("batch", "list", "-o", "json")[1]) == []
        and odradek("batch", "list", "-o", "jsonl")[1] == ""
    )
    for number in range(3):
        web.add(summary(f"order-{number}"))
    begin(
        address,
        "first",
        visibilityQuery="WorkflowType = 'OrderSaga'",
        signalOperation={"signal": "go", "identity": "me"},
    )
    finished(address, "first")
    begin(
        address,
        "second",
        executions=[{"workflowId": "order-1"}, {"workflowId": "gone"}],
        terminationOperation={},
    )
    finished(address, "second")
    monkeypatch.setattr(times, "now_ms", lambda: int((time.time() + 180) * 1_000))
    lines = odradek("batch", "list")[1].splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [
        ["second", "Completed", "Terminate"],
        ["first", "Completed", "Signal"],
    ]
    assert lines[1].endswith("3 minutes ago") and lines[1].count("3 minutes ago") == 2
    assert len(odradek("batch", "list", "--limit", "1")[1].splitlines()) == 2
    assert [one["jobId"] for one in json.loads(odradek("batch", "list", "-o", "json")[1])] == [
        "second",
        "first",
    ]

    told = fields(odradek("batch", "describe", "--job-id", "first")[1])
    assert (told["State"], told["Type"], told["CompletedCount"], told["FailureCount"]) == (
        "Completed",
        "Signal",
        "3/3",
        "0/3",
    )
    assert (
        told["Reason"] == "cleanup"
        and told["Identity"] == "me"
        and told["Query"].startswith("(WorkflowType = 'OrderSaga')")
    )
    assert told["StartTime"] == "3 minutes ago" and "Executions" not in told
    told = fields(odradek("batch", "describe", "--job-id", "second", "--time-format", "iso")[1])
    assert (
        told["Executions"] == "2"
        and told["CloseTime"].endswith("Z")
        and told["CompletedCount"] == "2/2"
        and told["GoneOrClosed"] == "1"
    )
    assert not {"Problem", "NotAsked", "Unanswered", "NotAppliedYet", "SentAgain"} & set(told)
    told = json.loads(odradek("batch", "describe", "--job-id", "first", "-o", "json")[1])
    assert (
        told["completeOperationCount"] == "3"
        and told["operationType"] == "BATCH_OPERATION_TYPE_SIGNAL_WORKFLOW"
    )


def test_batches_that_are_not_there(odradek: Run) -> None:
    for command in (("describe",), ("terminate", "--reason", "x")):
        status, out, err = odradek("batch", *command, "--job-id", "a/b\x1b")
        assert (
            (status, out) == (4, "")
            and r"batch operation not found for ID: a/b\x1b" in err
            and "NOT_FOUND" in err
        )


# --- operator cluster


def test_health(web: WebServer, odradek: Run) -> None:
    assert odradek("operator", "cluster", "health")[:2] == (0, "SERVING\n")
    assert (
        odradek("operator", "cluster", "health", "--color", "always")[1]
        == "\x1b[32mSERVING\x1b[0m\n"
    )
    assert json.loads(
        odradek("operator", "cluster", "health", "-o", "json", "--color", "always")[1]
    ) == {"status": "SERVING"}
    web.context.readiness["executions"] = lambda: "2 records behind"
    web.context.readiness["broker"] = lambda: ""
    status, out, err = odradek("operator", "cluster", "health", "-o", "json")
    assert (
        (status, out) == (3, "") and "executions: 2 records behind" in err and "broker" not in err
    )


def test_cluster(web: WebServer, odradek: Run) -> None:
    web.context.cluster_id = "kafka-1"
    rows = [line.split() for line in odradek("operator", "cluster", "describe")[1].splitlines()]
    assert rows == [
        ["CLUSTER", "NAME", "PERSISTENCE", "STORE", "VISIBILITY", "STORE"],
        ["active", "kafka", "sqlite"],
    ]
    detailed = odradek("operator", "cluster", "describe", "--detail")[1].splitlines()
    assert (
        "HISTORY SHARD COUNT" in detailed[0]
        and detailed[1].split()[3:5] == ["kafka-1", "-"]
        and len(detailed[1].split()) == 6
    )
    assert (
        json.loads(odradek("operator", "cluster", "describe", "-o", "json")[1])["clusterId"]
        == "kafka-1"
    )
    rows = [line.split() for line in odradek("operator", "cluster", "system")[1].splitlines()]
    assert rows[1] == [API_VERSION, "no", "yes", "no"]
    assert (
        json.loads(odradek("operator", "cluster", "system", "-o", "json")[1])["capabilities"][
            "upsertMemo"
        ]
        is True
    )


# --- operator namespace


def test_namespaces(odradek: Run) -> None:
    listed = odradek("operator", "namespace", "list")[1]
    told = fields(listed)
    assert (told["NamespaceInfo.Name"], told["NamespaceInfo.State"]) == ("default", "Registered")
    assert (
        told["Config.WorkflowExecutionRetentionTtl"].endswith(" d")
        and told["Config.HistoryArchivalState"] == "Disabled"
    )
    assert odradek("operator", "namespace", "describe")[1] == listed
    for named in (("default",), ("-n", "default")):
        assert odradek("operator", "namespace", "describe", *named)[1] == listed
    assert (
        odradek("operator", "namespace", "describe", "--namespace-id", told["NamespaceInfo.Id"])[1]
        == listed
    )
    (one,) = json.loads(odradek("operator", "namespace", "list", "-o", "json")[1])
    assert json.loads(odradek("operator", "namespace", "describe", "-o", "json")[1]) == one
    assert json.loads(odradek("operator", "namespace", "list", "-o", "jsonl")[1]) == one


# --- operator search-attribute


def test_search_attributes(web: WebServer, odradek: Run) -> None:
    web.add(summary("order-0", search_attributes={"Zone": plain("north"), "Amount": plain(3)}))
    lines = [
        line.split() for line in odradek("operator", "search-attribute", "list")[1].splitlines()
    ]
    assert (
        lines[0] == ["NAME", "TYPE"]
        and ["WorkflowId", "Keyword"] in lines
        and ["StartTime", "Datetime"] in lines
    )
    names = [line[0] for line in lines[1:]]
    assert (
        names[-2:] == ["Amount", "Zone"]
        and names[:-2] == sorted(names[:-2])
        and ["TemporalReportedProblems", "KeywordList"] in lines
    )
    assert set(
        json.loads(odradek("operator", "search-attribute", "list", "-o", "json")[1])[
            "customAttributes"
        ]
    ) == {"Amount", "Zone"}


# --- servers that are not there, or are something else


COMMANDS = [
    ("batch", "list"),
    ("batch", "terminate", "--job-id", "x", "--reason", "y"),
    ("operator", "cluster", "health"),
    ("operator", "cluster", "system"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_no_server(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ODRADEK_SERVER_ADDRESS", raising=False)
    assert cli.main(command) == 3
    err = capsys.readouterr().err
    assert "the setting `server_address` names none" in err and err.count("\n") == 1
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert cli.main([*command, "--server-address", address]) == 3
    err = capsys.readouterr().err
    assert f"http://{address}" in err and "does not answer" in err and err.count("\n") == 1
