"""The command line as a user runs it: processes, exit statuses, signals."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka.admin import AdminClient

from odradek import cli
from tests.support.server import accepted
from tests.support.until import until

REPOSITORY = Path(__file__).parents[2]
TARGET = "tests.kafka.client_workflows"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(bootstrap: str, namespace: str, tmp_path: Path) -> dict[str, str]:
    ours = {
        "ODRADEK_ADDRESS": bootstrap,
        "ODRADEK_NAMESPACE": namespace,
        "ODRADEK_PARTITIONS": "2",
        "ODRADEK_STATE_DIR": str(tmp_path),
        "PYTHONPATH": f"{REPOSITORY / 'streams'}:{REPOSITORY}",
    }
    return os.environ | ours


@pytest.fixture
def odradek(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """One command, in this process: importing everything anew for each would take most of the
    time.
    """
    for name in ("ADDRESS", "NAMESPACE", "PARTITIONS", "STATE_DIR"):
        monkeypatch.setenv(f"ODRADEK_{name}", environment[f"ODRADEK_{name}"])
    logger = logging.getLogger("odradek.kafka")
    level = logger.level

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        status = cli.main(arguments)
        said = capsys.readouterr()
        return subprocess.CompletedProcess(list(arguments), status, said.out, said.err)

    yield run
    logger.setLevel(level)


@pytest.fixture
def start_worker(environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, target: str = TARGET, stderr: Any = None) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            "odradek.cli",
            "worker",
            f"{target}:WORKFLOWS",
            "--activities",
            target,
            "-t",
            "q",
            *arguments,
        ]
        process = subprocess.Popen(command, env=environment, start_new_session=True, stderr=stderr)
        started.append(process)
        return process

    yield start
    for process in started:
        children = (
            psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        )
        for one in [*children, process]:
            one.kill()
        process.wait(10)


def test_a_namespace_that_was_never_used_is_not_made(
    odradek: Run, bootstrap: str, namespace: str
) -> None:
    """By commands about what is there; a start makes it."""
    other = f"{namespace}-mistyped"

    def topics() -> list[str]:
        return [
            name
            for name in AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).topics
            if other in name
        ]

    commands = [
        ["describe"],
        ["show"],
        ["result"],
        ["query", "--name", "s"],
        ["signal", "--name", "s"],
        ["cancel"],
        ["terminate"],
        ["trace"],
    ]
    for command in commands:
        done = odradek("workflow", *command, "-w", "w", "-n", other)
        assert done.returncode == 4 and f"namespace {other!r} was never used" in done.stderr, (
            command,
            done,
        )
    assert topics() == []
    done, _ = accepted(
        odradek,
        "workflow",
        "start",
        "-w",
        "w",
        "--type",
        "T",
        "-t",
        "q",
        "-n",
        other,
        "--rpc-timeout",
        "300ms",
    )
    assert done.returncode == 0 and topics()
    done = odradek("workflow", "describe", "-w", "unknown", "-n", other)
    assert done.returncode == 4 and "workflow not found" in done.stderr


def test_a_workflow_by_hand(
    odradek: Run, start_worker: Callable[..., subprocess.Popen[bytes]]
) -> None:
    start_worker()
    done = odradek(
        "workflow",
        "execute",
        "-w",
        "b",
        "--type",
        "Buy",
        "-t",
        "q",
        "-i",
        '{"product": "spool", "quantity": 2}',
        "-o",
        "json",
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert (
        list(told)
        == "workflowId runId type namespace taskQueue durationMillis status closeEvent result".split()
    ), "as `temporal` has it"
    assert (
        told["result"] == {"product": "spool", "quantity": 2}
        and told["status"] == "COMPLETED"
        and told["durationMillis"] > 0
    )
    assert (
        told["closeEvent"]["workflowExecutionCompletedEventAttributes"]["result"]
        == [told["result"]]
        and told["runId"]
    )
    done = odradek(
        "workflow",
        "execute",
        "--type",
        "Buy",
        "-t",
        "q",
        "-i",
        '{"product": "a", "quantity": 1}',
        "--detailed",
    )
    assert json.loads(done.stdout) == {"product": "a", "quantity": 1}, "stdout has the result alone"
    lines = done.stderr.splitlines()
    assert [line.split()[0] for line in lines[:6]] == [
        "Running",
        "WorkflowId",
        "RunId",
        "Type",
        "Namespace",
        "TaskQueue",
    ]
    kinds = [line.split()[2] for line in lines[6:] if line.split()[0].isdigit()]
    assert (kinds[0], kinds[-1]) == (
        "WorkflowExecutionStarted",
        "WorkflowExecutionCompleted",
    ) and 'result: [{"product"' in done.stderr
    done = odradek(
        "workflow", "execute", "--type", "Buy", "-t", "q", "-i", '{"product": "a", "quantity": 1}'
    )
    assert [line.split()[2] for line in done.stderr.splitlines()[6:]] == kinds, (
        "progress, a line an event"
    )
    done = odradek(
        "workflow",
        "execute",
        "--type",
        "Buy",
        "-t",
        "q",
        "-i",
        '{"product": "a", "quantity": 1}',
        "--detailed",
        "-o",
        "none",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = odradek(
        "workflow",
        "execute",
        "-w",
        "t",
        "--type",
        "Gate",
        "-t",
        "q",
        "--run-timeout",
        "1s",
        "--detailed",
        "-o",
        "json",
    )
    told = json.loads(done.stdout)
    assert (done.returncode, told["status"], "result" in told) == (
        1,
        "TIMEOUT",
        False,
    ), "as `temporal` calls it"
    assert told["closeEvent"]["eventType"] == "EVENT_TYPE_WORKFLOW_EXECUTION_TIMED_OUT"
    assert told["history"]["events"][-1]["eventId"] == told["closeEvent"]["eventId"]

    done = odradek("workflow", "start", "-w", "g", "--type", "Gate", "-t", "q", "-o", "json")
    run_id = json.loads(done.stdout)["runId"]
    assert done.returncode == 0 and run_id
    assert odradek("workflow", "start", "-w", "g", "--type", "Gate", "-t", "q").returncode == 5
    assert (
        odradek("workflow", "signal", "-w", "g", "--name", "say", "-i", '"hello"').returncode == 0
    )
    done = odradek("workflow", "query", "-w", "g", "--name", "heard")
    assert (done.returncode, json.loads(done.stdout)) == (0, ["hello"])
    done = odradek("workflow", "describe", "-w", "g", "-o", "json")
    described = json.loads(done.stdout)
    info = described["workflowExecutionInfo"]
    assert (
        info["execution"] == {"workflowId": "g", "runId": run_id}
        and info["status"] == "WORKFLOW_EXECUTION_STATUS_RUNNING"
    )
    assert (info["type"], info["taskQueue"]) == ({"name": "Gate"}, "q")
    assert odradek("workflow", "query", "-w", "g", "--name", "nothing").returncode == 1
    assert odradek("workflow", "signal", "-w", "g", "--name", "finish", "-t", "q").returncode == 0
    done = odradek("workflow", "result", "-w", "g")
    assert (done.returncode, json.loads(done.stdout)) == (0, ["hello"])
    done = odradek("workflow", "signal", "-w", "g", "--name", "finish")
    assert (
        done.returncode == 4
        and done.stderr.startswith("odradek: ")
        and done.stderr.count("\n") == 1
    )
    done = odradek("workflow", "show", "-w", "g")
    assert done.returncode == 0 and done.stdout.splitlines()[1].split()[0::2] == [
        "1",
        "WorkflowExecutionStarted",
    ]
    done = odradek("workflow", "show", "-w", "g", "-o", "json")
    assert (
        json.loads(done.stdout)["events"][-1]["eventType"]
        == "EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED"
    )


def test_start_first_worker_later(
    odradek: Run, start_worker: Callable[..., subprocess.Popen[bytes]]
) -> None:
    start = ("workflow", "start", "--type", "Gate", "-t", "q", "--rpc-timeout", "500ms")
    done, _ = accepted(odradek, *start, "-w", "g", "--start-signal", "finish")
    assert (
        done.returncode == 0
        and "accepted: no processor of task queue 'q' has answered yet" in done.stdout
    ), done.stderr
    done, _ = accepted(odradek, *start, "-w", "h", "-o", "json")
    told = json.loads(done.stdout)
    assert done.returncode == 0 and told["verdict"] == "pending" and told["runId"], (
        "the run id that it gets, if it is applied"
    )
    for command in (
        ("terminate",),
        ("cancel",),
        ("delete",),
        ("unpark",),
        ("signal", "--name", "say"),
    ):
        arguments = ("workflow", *command, "-w", "nonesuch", "-t", "q", "--rpc-timeout", "1s")
        done, _ = accepted(odradek, *arguments, "-o", "json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["verdict"] == "pending" and "done" not in told, (
            "nothing is claimed that did not happen"
        )
    done, _ = accepted(odradek, *arguments)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith(
        "nonesuch: accepted: no processor"
    )
    done, _ = accepted(
        odradek, "workflow", "query", "-w", "g", "--name", "heard", "-t", "q", "--rpc-timeout", "1s"
    )
    assert done.returncode == 3 and "'q'" in done.stderr
    start_worker()
    done = odradek("workflow", "result", "-w", "g", "-t", "q")
    assert (done.returncode, json.loads(done.stdout)) == (0, [])


def test_worker_drains_on_sigterm(
    odradek: Run, start_worker: Callable[..., subprocess.Popen[bytes]]
) -> None:
    worker = start_worker()
    assert odradek("workflow", "start", "-w", "g", "--type", "Gate", "-t", "q").returncode == 0
    until(
        lambda: odradek("workflow", "describe", "-w", "g", "-t", "q").returncode == 0
    )  # it serves: the start is taken without it too
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0


@pytest.mark.timeout(240)
def test_result_over_a_killed_member(
    odradek: Run, environment: dict[str, str], start_worker: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """Two members of one command; one is killed while somebody waits for a result that it owned
    or not.
    """
    worker = start_worker("--processes", "2")
    for n in range(4):
        assert (
            odradek("workflow", "start", "-w", f"g{n}", "--type", "Gate", "-t", "q").returncode == 0
        )
    command = [
        sys.executable,
        "-m",
        "odradek.cli",
        "workflow",
        "result",
        "-o",
        "json",
        "-t",
        "q",
        "-w",
    ]
    waiting = [
        subprocess.Popen([*command, f"g{n}"], env=environment, stdout=subprocess.PIPE, text=True)
        for n in range(4)
    ]
    children = until(
        lambda: found if len(found := psutil.Process(worker.pid).children()) == 2 else None
    )
    children[0].kill()
    for n in range(4):
        done = odradek(
            "workflow",
            "signal",
            "-w",
            f"g{n}",
            "--name",
            "finish",
            "-t",
            "q",
            "--rpc-timeout",
            "40s",
        )
        assert done.returncode == 0, done.stderr
    for process in waiting:
        out, _ = process.communicate(timeout=90)
        assert process.returncode == 0
        result = json.loads(out)
        assert (result["status"], result["result"]) == ("COMPLETED", [])
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0
