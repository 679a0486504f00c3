"""The command line on real runs: what it shows of a run as it goes, of batches in the server, of
the cluster; payloads with metadata of their own; colors and times. One worker and one server, as
in `test_cli_operate.py`.
"""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.kafka.test_cli_operate import (
    QUEUE,
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


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "odradek.cli", *arguments]


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
