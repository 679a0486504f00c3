"""The command line on real runs: what it shows of a run as it goes, of batches in the server, of
the cluster; payloads with metadata of their own; colors and times. One worker and one server, as
in `test_cli_operate.py`.
"""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.kafka.test_cli_operate import (
    QUEUE,
    REPOSITORY,
    TOKEN,
    Run,
    World,
    odradek,
    shown,
    started,
    until,
    world,
)

__all__ = ["odradek", "world"]

pytestmark = pytest.mark.timeout(240)
ESCAPES = re.compile(r"\x1b\[[\d;]*[A-Za-z]")


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "odradek.cli", *arguments]


def in_a_pipe(world: World, *arguments: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command(*arguments),
        env=world.environment,
        cwd=REPOSITORY,
        stdout=pipe,
        stderr=pipe,
        text=True,
    )


def attempt_of(odradek: Run, workflow_id: str) -> int:
    """At which attempt its activity is; 0 while it has none."""
    described = json.loads(
        odradek(
            "workflow", "describe", "-w", workflow_id, "-o", "json", "--rpc-timeout", "40s"
        ).stdout
    )
    return int((described.get("pendingActivities") or [{}])[0].get("attempt", 0))


def fields(text: str) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in text.splitlines() if len(line.split()) > 1)


def post(world: World, path: str, body: dict[str, Any]) -> None:
    request = urllib.request.Request(
        f"{world.environment['ODRADEK_SERVER_ADDRESS']}/api/v1/namespaces/{world.settings.namespace}{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status == 200


# --- one run


def test_trace(world: World, odradek: Run, tmp_path: Path) -> None:
    """In a pipe: written once, when the run has closed."""
    flag = tmp_path / "flag"
    started(odradek, "visit", type="Visit", argument=str(flag))
    tracing = in_a_pipe(world, "workflow", "trace", "-w", "visit")
    try:
        until(lambda: attempt_of(odradek, "visit") > 1)
        flag.touch()
        out, err = tracing.communicate(timeout=60)
    finally:
        tracing.kill()
        tracing.communicate()
    assert (tracing.returncode, err) == (0, "") and "\x1b" not in out
    lines = out.partition("\nProgress:\n")[2].splitlines()
    assert re.fullmatch(r" ╪ ✓ Visit \([\d.]+ (ms|s|min)\)", lines[0]) and lines[1].startswith(
        " │   wfId: visit, runId: "
    )
    assert re.fullmatch(r" │   ┼ ⧖ Timer 1 \(10 ms\) \(.*s\)", lines[2]) and re.fullmatch(
        r" │   ┼ ✓ ring \(.*, \d+ attempts\)", lines[3]
    )
    assert len(lines) == 4 and fields(out)["TaskQueue"] == QUEUE
    results = odradek("workflow", "describe", "-w", "visit").stdout.partition("\nResults:\n")[2]
    assert (
        fields(results)["Result"] == '"opened"'
        and fields(results)["Status"] == "COMPLETED"
        and fields(results)["RunTime"].endswith("s")
    )
    assert (
        json.loads(odradek("workflow", "describe", "-w", "visit", "-o", "json").stdout)["result"]
        == "opened"
    )


def traced_until_ctrl_c(world: World, odradek: Run, workflow_id: str) -> str:
    """What a trace in a pipe says that is interrupted some attempts later. It waits for the
    owner's last word for two seconds at most.
    """
    tracing = in_a_pipe(world, "workflow", "trace", "-w", workflow_id)
    try:
        assert tracing.stdout is not None
        assert select.select([tracing.stdout], [], [], 60)[0], (
            "the summary, which it writes once it is connected"
        )
        connected = attempt_of(odradek, workflow_id)
        until(lambda: attempt_of(odradek, workflow_id) > connected + 2)
        tracing.send_signal(signal.SIGINT)
        out, err = tracing.communicate(timeout=60)
    finally:
        tracing.kill()
        tracing.communicate()
    assert tracing.returncode == 130 and err == "odradek: interrupted\n"
    return out


def test_trace_at_ctrl_c_says_what_waits(world: World, odradek: Run, tmp_path: Path) -> None:
    started(odradek, "closed-door", type="Visit", argument=str(tmp_path / "none"))
    until(lambda: attempt_of(odradek, "closed-door") > 2)
    out = until(
        lambda: (
            out
            if "nobody opens" in (out := traced_until_ctrl_c(world, odradek, "closed-door"))
            else ""
        )
    )
    assert " ╪ ▷ Visit (" in out and re.search(
        r"┼ [•▷] ring \(.*\d+ attempts\)\n │   │   Failure: nobody opens", out
    ), out
    assert (
        odradek("workflow", "terminate", "-w", "closed-door", "--reason", "enough").returncode == 0
    )
    done = odradek("workflow", "trace", "-w", "closed-door")
    assert (
        done.returncode == 1
        and "is TERMINATED" in done.stderr
        and "Termination reason: enough" in done.stdout
    )
    assert odradek("workflow", "trace", "-w", "nobody", "-t", QUEUE).returncode == 4


def test_trace_on_a_terminal_is_drawn_anew(world: World, odradek: Run) -> None:
    started(odradek, "watched")
    reading, writing = pty.openpty()
    environment = world.environment | {"TERM": "xterm", "NO_COLOR": ""}
    tracing = subprocess.Popen(
        command("workflow", "trace", "-w", "watched"),
        env=environment,
        cwd=REPOSITORY,
        stdout=writing,
        stderr=writing,
    )
    os.close(writing)
    written = ""

    def more() -> bool:
        nonlocal written
        if select.select([reading], [], [], 0.2)[0]:
            try:
                written += os.read(reading, 65_536).decode("utf-8", "ignore")
            except OSError:  # the other end has been closed
                return True
        return tracing.poll() is not None

    try:
        until(lambda: more() or written.count("\x1b[0J") >= 2)
        assert "\x1b[34m▷\x1b[0m Parcel" in written and "\x1b[35mProgress:\x1b[0m" in written
        assert odradek("workflow", "signal", "-w", "watched", "--name", "go").returncode == 0
        until(more)
        assert tracing.wait(60) == 0
    finally:
        tracing.kill()
        tracing.wait(20)
        os.close(reading)
    last = ESCAPES.sub("", written.rpartition("\x1b[0J")[2]).splitlines()
    assert last[0].startswith(" ╪ ✓ Parcel") and last[2].startswith(" │   ┼ ✓ pack"), written


def test_metadata(odradek: Run, tmp_path: Path) -> None:
    started(odradek, "told", type="Visit", argument=str(tmp_path / "none"))
    until(lambda: "before the door" in odradek("workflow", "metadata", "-w", "told").stdout)
    out = odradek("workflow", "metadata", "-w", "told").stdout
    assert (
        re.search(r"^whom +who is asked$", out, re.MULTILINE)
        and out.startswith("Type  Visit\n")
        and "__stack_trace" in out
    )
    started(odradek, "parcel-told")
    metadata = json.loads(
        odradek("workflow", "metadata", "-w", "parcel-told", "-o", "json").stdout
    )["queryResult"][0]
    assert [one["name"] for one in metadata["definition"]["signalDefinitions"]] == ["address", "go"]
    assert odradek("workflow", "terminate", "-w", "told").returncode == 0
    done = odradek("workflow", "metadata", "-w", "told", "--reject-condition", "not_open")
    assert done.returncode == 1 and "rejected" in done.stderr.lower()


def test_described_raw_and_with_other_times(odradek: Run) -> None:
    assert (
        odradek(
            "workflow",
            "start",
            "-w",
            "raw",
            "--type",
            "Parcel",
            "-t",
            QUEUE,
            "-i",
            '"x"',
            "--memo",
            'note="fragile"',
        ).returncode
        == 0
    )
    assert re.fullmatch(
        r"now|\d+ seconds? ago",
        fields(odradek("workflow", "describe", "-w", "raw").stdout)["StartTime"],
    )
    iso = fields(odradek("workflow", "describe", "-w", "raw", "--time-format", "iso").stdout)[
        "StartTime"
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", iso)
    told = fields(odradek("workflow", "describe", "-w", "raw", "--raw").stdout)
    assert told["workflowExecutionInfo.status"] == "WORKFLOW_EXECUTION_STATUS_RUNNING"
    assert base64.b64decode(told["workflowExecutionInfo.memo.fields.note.data"]) == b'"fragile"'
    assert (
        "\x1b[34mRunning\x1b[0m"
        in odradek("workflow", "describe", "-w", "raw", "--color", "always").stdout
    )
    shown(odradek, "WorkflowId = 'raw'", 1)
    done = odradek(
        "workflow",
        "list",
        "--query",
        "WorkflowId = 'raw'",
        "--color",
        "always",
        "--time-format",
        "raw",
    )
    assert "\x1b[34mRunning\x1b[0m" in done.stdout and "+0000 UTC" in done.stdout


def test_payloads_with_metadata_of_their_own(odradek: Run) -> None:
    in_base64 = base64.b64encode('"knižka"'.encode()).decode()
    done = odradek(
        "workflow", "start", "-w", "inputs", "--type", "Parcel", "-t", QUEUE, "-i", in_base64, "--input-base64",
        "--input-meta", "origin=shop",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    done = odradek(
        "workflow",
        "signal",
        "-w",
        "inputs",
        "--name",
        "address",
        "-i",
        '"Brno"',
        "--input-meta",
        "origin=desk",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(odradek("workflow", "query", "-w", "inputs", "--name", "told").stdout) == [
        "Brno"
    ], "the workflow reads it as ever"
    events = json.loads(odradek("workflow", "show", "-w", "inputs", "-o", "json").stdout)["events"]
    (start,) = events[0]["workflowExecutionStartedEventAttributes"]["input"]["payloads"]
    assert (
        base64.b64decode(start["data"]).decode() == '"knižka"'
        and base64.b64decode(start["metadata"]["origin"]) == b"shop"
    )
    (signalled,) = [one for one in events if "workflowExecutionSignaledEventAttributes" in one]
    (payload,) = signalled["workflowExecutionSignaledEventAttributes"]["input"]["payloads"]
    assert {name: base64.b64decode(text) for name, text in payload["metadata"].items()} == {
        "encoding": b"json/plain",
        "origin": b"desk",
    }
    assert (
        odradek(
            "workflow", "signal", "-w", "inputs", "--name", "address", "-i", "{", "--input-base64"
        ).returncode
        == 2
    )


def test_an_activity_that_is_completed_from_outside(odradek: Run) -> None:
    started(odradek, "approved", "refused", type="Approval")
    for workflow_id in (
        "approved",
        "refused",
    ):  # once it runs: a report before that would be of an attempt that is not known yet
        until(lambda id=workflow_id: "STARTED" in odradek("workflow", "describe", "-w", id).stdout)
    done = odradek(
        "activity", "complete", "-w", "approved", "-a", "approval", "--result", '{"by": "Milena"}'
    )
    assert (done.returncode, done.stdout) == (
        0,
        "approved: activity approval reported as completed\n",
    )
    assert json.loads(
        odradek("workflow", "result", "-w", "approved", "--rpc-timeout", "30s").stdout
    ) == {"by": "Milena"}
    done = odradek(
        "activity",
        "fail",
        "-w",
        "refused",
        "-a",
        "approval",
        "--reason",
        "never",
        "--detail",
        "1",
        "-o",
        "json",
    )
    assert json.loads(done.stdout)["reported"] == "failed"
    done = odradek("workflow", "result", "-w", "refused", "--rpc-timeout", "30s")
    assert done.returncode == 1 and "never" in done.stderr
    assert (
        odradek(
            "activity", "complete", "-w", "approved", "-a", "approval", "--result", "1"
        ).returncode
        == 4
    )


# --- the server


def test_batches_of_the_server(world: World, odradek: Run) -> None:
    ids = [f"job-{number}" for number in range(6)]
    started(odradek, *ids)
    shown(odradek, "WorkflowId STARTS_WITH 'job-'", 6)
    query = "WorkflowId STARTS_WITH 'job-'"
    signalling = {"signal": "address", "input": ["Ostrava"], "identity": "the tests"}
    post(
        world,
        "/batch-operations/all",
        {"reason": "move", "visibilityQuery": query, "signalOperation": signalling},
    )

    def state(job: str) -> str:
        done = odradek("batch", "describe", "--job-id", job)
        assert done.returncode == 0, done.stderr
        return fields(done.stdout)["State"]

    until(lambda: state("all") == "Completed")
    told = fields(odradek("batch", "describe", "--job-id", "all").stdout)
    assert (told["CompletedCount"], told["FailureCount"], told["Type"], told["Identity"]) == (
        "6/6",
        "0/6",
        "Signal",
        "the tests",
    )
    assert json.loads(odradek("workflow", "query", "-w", "job-3", "--name", "told").stdout) == [
        "Ostrava"
    ]

    slow = {
        "reason": "x",
        "visibilityQuery": query,
        "terminationOperation": {},
        "maxOperationsPerSecond": 0.01,
    }
    post(world, "/batch-operations/slow", slow)
    assert state("slow") == "Running"
    until(
        lambda: fields(odradek("batch", "describe", "--job-id", "slow").stdout)[
            "CompletedCount"
        ].startswith("1/")
    )
    done = odradek("batch", "terminate", "--job-id", "slow", "--reason", "wrong query")
    assert (done.returncode, done.stdout) == (0, "slow: terminated\n")
    until(lambda: state("slow") == "Failed")
    assert (
        "wrong query" in fields(odradek("batch", "describe", "--job-id", "slow").stdout)["Problem"]
    )
    assert (
        len(shown(odradek, "WorkflowId STARTS_WITH 'job-' AND ExecutionStatus = 'Running'", 5)) == 5
    )
    jobs = [line.split()[0] for line in odradek("batch", "list").stdout.splitlines()[1:]]
    assert jobs[:2] == ["slow", "all"]
    assert odradek("batch", "terminate", "--job-id", "slow", "--reason", "again").returncode == 4
    assert odradek("batch", "describe", "--job-id", "none").returncode == 4


def test_operator(world: World, odradek: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert odradek("operator", "cluster", "health").stdout == "SERVING\n"
    described = json.loads(odradek("operator", "cluster", "describe", "-o", "json").stdout)
    assert described["persistenceStore"] == "kafka" and described["clusterId"]
    assert (
        odradek("operator", "cluster", "describe", "--detail").stdout.splitlines()[1].split()[3]
        == described["clusterId"]
    )
    assert (
        odradek("operator", "cluster", "system").stdout.splitlines()[0].startswith("SERVER VERSION")
    )
    told = fields(odradek("operator", "namespace", "describe").stdout)
    assert told["NamespaceInfo.Name"] == world.settings.namespace
    assert (
        odradek("operator", "namespace", "list").stdout
        == odradek("operator", "namespace", "describe", told["NamespaceInfo.Name"]).stdout
    )
    assert odradek("operator", "namespace", "describe", "elsewhere").returncode == 4
    started(odradek, "attribute")
    done = odradek(
        "workflow",
        "start",
        "-w",
        "zoned",
        "--type",
        "Parcel",
        "-t",
        QUEUE,
        "-i",
        '"x"',
        "--search-attribute",
        'Zone="north"',
    )
    assert done.returncode == 0, done.stderr
    shown(odradek, "WorkflowId = 'zoned'", 1)
    rows = [
        line.split() for line in odradek("operator", "search-attribute", "list").stdout.splitlines()
    ]
    assert rows.index(["Zone", "Keyword"]) > rows.index(["WorkflowId", "Keyword"]), (
        "those of runs behind the system's"
    )
    done = odradek("operator", "cluster", "health", "--server-address", "127.0.0.1:1")
    assert done.returncode == 3 and done.stderr.count("\n") == 1


def test_one_type_of_tasks_of_a_queue(odradek: Run) -> None:
    started(odradek, "typed")
    line = ("task-queue", "describe", "-t", QUEUE, "--interval", "0")
    until(
        lambda: (
            len({one["kind"] for one in json.loads(odradek(*line, "-o", "json").stdout)["members"]})
            == 2
        )
    )
    activity = json.loads(odradek(*line, "--task-queue-type", "activity", "-o", "json").stdout)
    assert {one["kind"] for one in activity["members"]} == {"ACTIVITIES"}
    assert "partitions" not in activity and activity["activity_partitions"]
    workflow = odradek(*line, "--task-queue-type", "workflow").stdout
    assert (
        "(of workflows)" in workflow
        and "(of activity tasks)" not in workflow
        and "ActivityBacklog" not in workflow
    )
    both = odradek(*line, "--task-queue-type", "workflow", "--task-queue-type", "activity").stdout
    assert "(of workflows)" in both and "(of activity tasks)" in both
