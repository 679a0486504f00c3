"""`odradek batch` and `odradek operator` against the whole server application on a port; Kafka
is scripted.
"""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from odradek import cli
from odradek.cli import times
from odradek.cli.batch_jobs import _state
from odradek.cli.style import GREEN, RED
from odradek.visibility.store import counts
from odradek.web.options import ServerOptions
from odradek.web.security.authentication import TokenAuthenticator
from odradek.web.temporal.cluster import API_VERSION
from tests.support.transport import reply_to
from tests.unit.web_server import WebServer, listening, plain, summary

TOKEN = "a-token-of-some-length"
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


@pytest.mark.parametrize("job", ["~.", "~..", "~~.", "a/b"])
def test_ids_of_batches_are_free(web: WebServer, address: str, odradek: Run, job: str) -> None:
    """Temporal's API knows them as they are, our own writes dots in another way, so that
    addresses can hold them.
    """
    web.add(summary("order-0"))
    written = quote(job, safe="")
    begin(
        address, written, executions=[{"workflowId": "order-0"}], signalOperation={"signal": "go"}
    )
    finished(address, written)
    status, out, err = odradek("batch", "describe", "--job-id", job)
    assert (status, fields(out)["JobId"]) == (0, job), err


def test_a_batch_that_is_ended(web: WebServer, address: str, odradek: Run) -> None:
    for number in range(50):
        web.add(summary(f"order-{number}"))
    begin(
        address,
        "long",
        visibilityQuery="WorkflowType = 'OrderSaga'",
        cancellationOperation={},
        maxOperationsPerSecond=1,
    )
    status, out, _ = odradek("batch", "terminate", "--job-id", "long", "--reason", "wrong query")
    assert (status, out) == (0, "long: terminated\n")
    finished(address, "long")
    told = fields(odradek("batch", "describe", "--job-id", "long")[1])
    assert (
        told["State"] == "Failed"
        and int(told["CompletedCount"].partition("/")[0]) < 50
        and told["Problem"].endswith(": wrong query")
    )
    job = web.context.batches.get("long")
    assert (
        job.stopped
        and job.problem.endswith(": wrong query")
        and job.problem.startswith("stopped by ")
    )
    status, _, err = odradek(
        "batch", "terminate", "--job-id", "long", "--reason", "again", "-o", "json"
    )
    assert status == 4 and "is not running" in err


def test_runs_that_were_refused(web: WebServer, address: str, odradek: Run) -> None:
    web.add(summary("order-1"))
    web.add(summary("order-2"))

    def answer(queue: str, record: Any) -> Any:
        if record.workflow_id == "order-2":
            return reply_to(record, "INVALID_ARGUMENT", message="too\nlarge\x1b")
        return web.owner.answer(queue, record)

    web.transport.serve("orders", answer)
    begin(
        address,
        "part",
        executions=[{"workflowId": "order-1"}, {"workflowId": "order-2"}],
        signalOperation={"signal": "go"},
    )
    finished(address, "part")
    out = odradek("batch", "describe", "--job-id", "part")[1]
    assert fields(out)["FailureCount"] == "1/2" and "\nFailures: 1\n" in out
    assert out.splitlines()[-1].split(maxsplit=2) == ["order-2", "-", "too large\\x1b"]
    told = json.loads(odradek("batch", "describe", "--job-id", "part", "-o", "json")[1])
    assert (
        told["failureOperationCount"] == "1"
        and told["odradek"]["failures"][0]["workflow_id"] == "order-2"
    )


def test_batches_that_are_not_there(odradek: Run) -> None:
    for command in (("describe",), ("terminate", "--reason", "x")):
        status, out, err = odradek("batch", *command, "--job-id", "a/b\x1b")
        assert (
            (status, out) == (4, "")
            and r"batch operation not found for ID: a/b\x1b" in err
            and "NOT_FOUND" in err
        )


def test_pages(odradek: Run, monkeypatch: pytest.MonkeyPatch, web: WebServer, address: str) -> None:
    monkeypatch.setattr("odradek.web.temporal.batches.MAX_PAGE_SIZE", 2)
    web.add(summary("order-0"))
    for number in range(5):
        begin(
            address,
            f"job-{number}",
            executions=[{"workflowId": "order-0"}],
            signalOperation={"signal": "go"},
        )
    lines = odradek("batch", "list", "-o", "jsonl")[1].splitlines()
    assert [json.loads(line)["jobId"] for line in lines] == [
        f"job-{number}" for number in reversed(range(5))
    ]


@pytest.mark.parametrize(("state", "color"), [("COMPLETED", GREEN), ("FAILED", RED)])
def test_states_of_batches_have_colors(state: str, color: int) -> None:
    assert _state({"state": f"BATCH_OPERATION_STATE_{state}"}).color == color


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


def test_namespaces_that_are_not_there(odradek: Run) -> None:
    status, _, err = odradek("operator", "namespace", "describe", "other")
    assert status == 4 and "Namespace other is not found" in err
    status, _, err = odradek("operator", "namespace", "describe", "--namespace-id", "no-such-id")
    assert status == 4 and "no namespace has the id 'no-such-id'" in err
    status, _, err = odradek("operator", "namespace", "describe", "default", "--namespace-id", "x")
    assert status == 2 and "not both" in err
    assert odradek("batch", "list", "-n", "other")[0] == 4


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


@pytest.mark.parametrize("command", COMMANDS)
def test_a_server_that_is_none(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.end_headers()
            self.wfile.write(b"<h1>503</h1>")

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Other)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        assert cli.main([*command, "--server-address", f"127.0.0.1:{server.server_port}"]) == 3
        assert "something that no `odradek server` says" in capsys.readouterr().err
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.mark.parametrize("command", COMMANDS[:2])
def test_a_server_that_hangs(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        began = time.monotonic()
        assert (
            cli.main(
                [
                    *command,
                    "--server-address",
                    f"127.0.0.1:{silent.getsockname()[1]}",
                    "--rpc-timeout",
                    "300ms",
                ]
            )
            == 3
        )
        assert time.monotonic() - began < 30 and "took longer than 0.3 s" in capsys.readouterr().err


@pytest.mark.parametrize(
    "web", [ServerOptions(authenticator=TokenAuthenticator(TOKEN))], indirect=True
)
def test_tokens(odradek: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    status, _, err = odradek("batch", "list")
    assert status == 2 and "UNAUTHENTICATED" in err
    status, _, err = odradek("batch", "terminate", "--job-id", "x", "--reason", "y")
    assert status == 2 and "UNAUTHENTICATED" in err
    assert odradek("operator", "cluster", "health")[0] == 0, "probes are open"
    assert odradek("batch", "list", "--api-key", TOKEN)[0] == 0
    monkeypatch.setenv("ODRADEK_SERVER_TOKEN", TOKEN)
    assert odradek("batch", "list")[0] == 0
    assert odradek("batch", "terminate", "--job-id", "x", "--reason", "y")[0] == 4
    status, _, err = odradek("batch", "list", "--api-key", "two\nlines")
    assert status == 2 and "--api-key" in err


def test_a_count_says_that_there_are_more_groups(
    web: WebServer,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for number in range(5):
        web.add(summary(f"w-{number}"), owner=False)
    command = ["workflow", "count", "--query", "GROUP BY WorkflowId", "--server-address", address]
    assert cli.main(command) == 0 and capsys.readouterr().err == ""
    monkeypatch.setattr(counts, "MAX_GROUPS", 3)
    assert cli.main(command) == 0
    said = capsys.readouterr()
    assert said.out.count("Group total: 1") == 3 and said.out.startswith("Total: 5")
    assert said.err == "the 3 largest groups; 2 workflows are in smaller ones: narrow the query\n"
