"""The command line on real runs on real Kafka, with a worker and a server (that wants a token)
as processes: lists, batches, parked runs, deletion, task queues, records, dead letters. One
worker and one server for all tests; each has its own workflow ids.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from odradek import cli
from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import producer_config
from odradek.wire.codec import encode
from odradek.wire.dead_letters import NOT_APPLIED, dead_letter_headers
from odradek.wire.events import SignalWorkflow
from odradek.wire.headers import headers_for
from odradek.wire.partitioner import partition_for
from odradek.wire.topics import Topics
from tests.support.server import get
from tests.support.until import until

pytestmark = pytest.mark.timeout(240)
REPOSITORY = Path(__file__).parents[2]
MODULE = "tests.kafka.cli_workflows"
QUEUE = "parcels"
TOKEN = "a-token-for-the-command-line"


@dataclass
class World:
    """A namespace with a worker and a server."""

    settings: Settings
    environment: dict[str, str]
    folder: Path

    def worker(self, queue: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            "odradek.cli",
            "worker",
            f"{MODULE}:WORKFLOWS",
            "--activities",
            MODULE,
            "-t",
            queue,
        ]
        return subprocess.Popen(
            command,
            env=self.environment | {"ODRADEK_STATE_DIR": str(self.folder / queue)},
            cwd=REPOSITORY,
        )


@pytest.fixture(scope="module")
def world(bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    namespace, folder = f"t{secrets.token_hex(4)}-cli", tmp_path_factory.mktemp("cli")
    ours = {
        "ADDRESS": bootstrap,
        "NAMESPACE": namespace,
        "PARTITIONS": "2",
        "REPLICATION_FACTOR": "1",
        "STATE_DIR": str(folder / "server"),
    }
    environment = os.environ | {f"ODRADEK_{name}": value for name, value in ours.items()}
    environment["PYTHONPATH"] = f"{REPOSITORY / 'streams'}:{REPOSITORY}"
    (folder / "token").write_text(TOKEN)
    made = World(
        Settings(
            address=bootstrap,
            namespace=namespace,
            partitions=2,
            replication_factor=1,
            state_dir=folder / "client",
        ),
        environment,
        folder,
    )
    processes = [made.worker(QUEUE)]
    try:
        command = [
            sys.executable,
            "-m",
            "odradek.cli",
            "server",
            "--port",
            "0",
            "--token-file",
            str(folder / "token"),
        ]
        server = subprocess.Popen(
            command, env=environment, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )
        processes.append(server)
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.startswith("ui: http://"), line
        until(
            lambda: get(f"{line.removeprefix('ui: ').strip()}/health/ready")[0] == 200
        )  # before, it lists nothing
        made.environment |= {
            "ODRADEK_SERVER_ADDRESS": line.removeprefix("ui: ").strip(),
            "ODRADEK_SERVER_TOKEN": TOKEN,
        }
        made.settings = made.settings.replace(
            server_address=made.environment["ODRADEK_SERVER_ADDRESS"], server_token=TOKEN
        )
        yield made
    finally:
        for process in processes:
            process.kill()
            process.wait(20)
        admin = ClusterAdmin(made.settings)
        admin.delete_topics([name for name in admin.topic_names() if namespace in name])


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def odradek(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Run]:
    """One command, in this process; `answer` is what somebody types."""
    for name, value in world.environment.items():
        if name.startswith("ODRADEK_"):
            monkeypatch.setenv(name, value)
    logger = logging.getLogger("odradek.kafka")
    level = logger.level

    def run(*arguments: str, answer: str | None = None) -> subprocess.CompletedProcess[str]:
        if answer is None:
            monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("it asked"))
        else:
            monkeypatch.setattr("builtins.input", lambda *_: answer)
        capsys.readouterr()
        status = cli.main(arguments)
        said = capsys.readouterr()
        return subprocess.CompletedProcess(list(arguments), status, said.out, said.err)

    yield run
    logger.setLevel(level)


def started(
    odradek: Run, *ids: str, type: str = "Parcel", argument: str = "a book", queue: str = QUEUE
) -> None:
    for id in ids:
        done = odradek(
            "workflow", "start", "-w", id, "--type", type, "-t", queue, "-i", json.dumps(argument)
        )
        assert done.returncode == 0, done.stderr


def listed(odradek: Run, query: str) -> list[dict[str, Any]]:
    done = odradek("workflow", "list", "--query", query, "-o", "json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def shown(odradek: Run, query: str, count: int) -> list[dict[str, Any]]:
    """The read side has that many."""
    deadline = time.monotonic() + 60
    while len(found := listed(odradek, query)) != count:
        assert time.monotonic() < deadline, f"{count} runs were to be listed: {found}"
        time.sleep(0.2)
    return found


# --- lists


def test_list_and_count(odradek: Run) -> None:
    done = odradek(
        "workflow", "start", "-w", "list-1", "--type", "Parcel", "-t", QUEUE, "-i", '"x"', "--memo", 'note="fragile"',
        "--search-attribute", 'Customer="c-17"', "--search-attribute", 'Due:Datetime="2026-11-24T18:30:00Z"',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    started(odradek, "list-2", "list-3")
    query = "WorkflowId STARTS_WITH 'list-'"
    found = shown(odradek, f"{query} ORDER BY WorkflowId", 3)
    assert [one["execution"]["workflowId"] for one in found] == ["list-1", "list-2", "list-3"]
    assert (
        found[0]["memo"] == {"fields": {"note": "fragile"}}
        and found[0]["status"] == "WORKFLOW_EXECUTION_STATUS_RUNNING"
    )
    assert len(listed(odradek, "Customer = 'c-17' AND Due > '2026-01-01'")) == 1

    lines = odradek(
        "workflow", "list", "--query", f"{query} ORDER BY WorkflowId", "--page-size", "1"
    ).stdout.splitlines()
    assert lines[0].split()[:2] == ["STATUS", "WORKFLOW"] and [
        line.split()[1] for line in lines[1:]
    ] == ["list-1", "list-2", "list-3"]
    assert (
        len(odradek("workflow", "list", "--query", query, "--limit", "2").stdout.splitlines()) == 3
    )
    assert (
        len(odradek("workflow", "list", "--query", query, "-o", "jsonl").stdout.splitlines()) == 3
    )
    assert (
        odradek("workflow", "list", "--query", "WorkflowId = 'nobody'").stdout.splitlines()[1:]
        == []
    )

    done = odradek(
        "workflow", "count", "--query", f"{query} GROUP BY WorkflowType, ExecutionStatus"
    )
    assert done.stdout.splitlines() == ["Total: 3", "Group total: 3, values: Parcel, Running"]
    counted = json.loads(
        odradek(
            "workflow", "count", "--query", f"{query} GROUP BY WorkflowType", "-o", "json"
        ).stdout
    )
    assert counted == {"count": "3", "groups": [{"groupValues": ["Parcel"], "count": "3"}]}


# --- one workflow


# --- batches


def test_a_batch_says_what_it_hits_and_asks(odradek: Run) -> None:
    ids = [f"batch-{number}" for number in range(4)]
    started(odradek, *ids)
    query = "WorkflowId STARTS_WITH 'batch-'"
    shown(odradek, query, 4)
    command = (
        "workflow",
        "signal",
        "--name",
        "address",
        "-i",
        '"Brno"',
        "--query",
        f"{query} ORDER BY WorkflowId",
    )
    done = odradek(*command, answer="n")
    assert (
        done.returncode == 1
        and "4 workflow runs" in done.stderr
        and "batch-3" in done.stderr
        and "not confirmed" in done.stderr
    )
    assert json.loads(odradek("workflow", "query", "-w", "batch-0", "--name", "told").stdout) == []
    done = odradek(*command, "-o", "json")
    assert done.returncode == 2 and "--yes" in done.stderr
    done = odradek(*command, answer="y")
    assert done.returncode == 0 and "signalled: 4" in done.stdout, done.stderr
    for id in ids:
        assert json.loads(odradek("workflow", "query", "-w", id, "--name", "told").stdout) == [
            "Brno"
        ]

    assert (
        odradek("workflow", "terminate", "-w", "batch-0").returncode == 0
    )  # the list may not know it yet: it is skipped then
    done = odradek(
        "workflow",
        "terminate",
        "--query",
        query,
        "--reason",
        "cleanup",
        "--yes",
        "-o",
        "json",
        "--rps",
        "50",
    )
    told = json.loads(done.stdout)
    assert (
        done.returncode == 0
        and told["done"] == 3
        and told["failed"] == 0
        and told["done"] + told["skipped"] == told["matched"]
    )
    assert len(shown(odradek, f"{query} AND ExecutionStatus = 'Terminated'", 4)) == 4
    done = odradek("workflow", "cancel", "--query", query, "--yes")
    assert done.returncode == 0 and "cancel requested: 0" in done.stdout


# --- parked, deleted


def test_unpark(odradek: Run, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    started(odradek, "parked", type="Blocked", argument=str(flag))
    shown(odradek, "WorkflowId = 'parked' AND ParkedReason IS NOT NULL", 1)
    described = odradek("workflow", "describe", "-w", "parked").stdout
    assert "Parked" in described and "TemporalReportedProblems" in described
    table = odradek(
        "workflow",
        "list",
        "--query",
        "TemporalReportedProblems = 'category=Parked' AND WorkflowId = 'parked'",
    ).stdout
    assert "Running (parked)" in table.splitlines()[1]
    (info,) = listed(odradek, "WorkflowId = 'parked'")
    told = info["searchAttributes"]["indexedFields"]["TemporalReportedProblems"]
    assert json.loads(base64.b64decode(told["data"]))[-1] == "category=Parked"
    flag.touch()
    done = odradek("workflow", "unpark", "--query", "WorkflowId = 'parked'", "--yes")
    assert done.returncode == 0 and "unparked: 1" in done.stdout, done.stderr
    assert (
        json.loads(odradek("workflow", "result", "-w", "parked", "--rpc-timeout", "40s").stdout)
        == "through"
    )
    assert odradek("workflow", "unpark", "-w", "parked").returncode == 4


def test_delete(odradek: Run) -> None:
    started(odradek, "gone-1", "gone-2", "gone-3")
    query = "WorkflowId STARTS_WITH 'gone-'"
    shown(odradek, query, 3)
    assert odradek("workflow", "terminate", "-w", "gone-1").returncode == 0
    assert odradek("workflow", "delete", "-w", "gone-1").returncode == 0
    done = odradek("workflow", "describe", "-w", "gone-1", "-t", QUEUE)
    assert done.returncode == 4
    assert odradek("workflow", "delete", "-w", "gone-1", "-t", QUEUE).returncode == 4
    shown(odradek, query, 2)
    done = odradek("workflow", "delete", "--query", query, answer="yes")
    assert (
        done.returncode == 0
        and "2 of them open (they are terminated first)" in done.stderr
        and "deleted: 2" in done.stdout
    )
    shown(odradek, query, 0)
    started(odradek, "gone-1")  # its id is free


# --- the Kafka beneath


def test_task_queue(odradek: Run) -> None:
    started(odradek, "queue-1")
    described: dict[str, Any] = {}

    def served() -> bool:
        done = odradek("task-queue", "describe", "-t", QUEUE, "--interval", "0", "-o", "json")
        assert done.returncode == 0, done.stderr
        described.update(json.loads(done.stdout))
        return bool(
            described["served"]
            and described["lag"] == described["activity_lag"] == 0
            and len(described["members"]) == 2
        )

    until(served)
    assert [one["state"] for one in described["partitions"]] == ["RUNNING", "RUNNING"]
    assert {one["kind"] for one in described["members"]} == {"PROCESSOR", "ACTIVITIES"}
    assert described["rates"]["workflow"]["interval_ms"] == 0
    done = odradek("task-queue", "describe", "-t", QUEUE, "--interval", "500ms")
    assert (
        done.returncode == 0
        and "/s in" in done.stdout
        and "\nMembers" in done.stdout
        and "\nPartitions (of workflows)" in done.stdout
    )
    lines = odradek("task-queue", "list").stdout.splitlines()
    assert lines[0].startswith("TASK QUEUE") and QUEUE in [line.split()[0] for line in lines[1:]]
    done = odradek("task-queue", "describe", "-t", "nobody")
    assert done.returncode == 4 and "never used" in done.stderr
    done = odradek("task-queue", "list", "--namespace", "never")
    assert done.returncode == 4 and "never used" in done.stderr


def test_delete_of_a_task_queue(world: World, odradek: Run) -> None:
    queue = "experiments"
    worker = world.worker(queue)
    try:
        started(odradek, "exp-1", "exp-2", queue=queue)
        assert odradek("workflow", "signal", "-w", "exp-1", "--name", "go").returncode == 0
        shown(odradek, f"TaskQueue = '{queue}'", 2)
        shown(odradek, f"TaskQueue = '{queue}' AND ExecutionStatus = 'Completed'", 1)
        until(
            lambda: json.loads(
                odradek(
                    "task-queue", "describe", "-t", queue, "--interval", "0", "-o", "json"
                ).stdout
            )["members"]
        )
        done = odradek("task-queue", "delete", "-t", queue)
        assert (
            done.returncode == 1
            and "members live" in done.stderr
            and "1 runs are open (exp-2)" in done.stderr
        ), done.stderr
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
    finally:
        worker.kill()
        worker.wait(20)

    def alone() -> bool:  # a member that could not say goodbye counts as living for some seconds
        done = odradek("task-queue", "delete", "-t", queue)
        assert done.returncode == 1 and "runs are open" in done.stderr
        return "members live" not in done.stderr

    until(alone)
    done = odradek("task-queue", "delete", "-t", queue, "--force", answer="")
    assert done.returncode == 1 and "not confirmed" in done.stderr
    names = ClusterAdmin(world.settings).topic_names()
    assert Topics(world.settings.namespace).events(queue) in names
    done = odradek("task-queue", "delete", "-t", queue, "--force", "--yes", "-o", "json")
    told = json.loads(done.stdout)
    assert (
        done.returncode == 0
        and told["runs"] == 2
        and told["openRuns"] == 1
        and len(told["topics"]) >= 3
    )
    assert not set(told["topics"]) & set(ClusterAdmin(world.settings).topic_names())
    shown(odradek, f"TaskQueue = '{queue}'", 0)
    # A group whose member has not left yet stays at first, and goes with the next time.
    until(lambda: odradek("task-queue", "delete", "-t", queue, "--yes").returncode == 4)
    shown(odradek, f"TaskQueue = '{QUEUE}' AND WorkflowId = 'other-queue'", 0)


def test_topic(odradek: Run) -> None:
    started(odradek, "trail")
    assert odradek("workflow", "signal", "-w", "trail", "--name", "go").returncode == 0
    assert odradek("workflow", "result", "-w", "trail").returncode == 0
    records = json.loads(odradek("topic", "-w", "trail", "-o", "json").stdout)
    kinds = [record["kind"] for record in records]
    # No ActivityTask: `commands` is purged right behind what its services have acknowledged, so it
    # is there or gone.
    assert {
        "StartWorkflow",
        "ActivityTaskCompleted",
        "SignalWorkflow",
        "WorkflowResult",
        "ExecutionSummary",
    } <= set(kinds)
    assert kinds[0] == "StartWorkflow" and records[0]["value"]["input"][0]["value"] == "a book"
    assert [record["time_ms"] for record in records] == sorted(
        record["time_ms"] for record in records
    )
    lines = odradek("topic", "-w", "trail", "-t", QUEUE, "--kind", "results").stdout.splitlines()
    assert len(lines) == 2 and lines[1].split()[1] == "results" and "status=COMPLETED" in lines[1]
    assert '"signal_name": "go"' in odradek("topic", "-w", "trail", "--detailed").stdout
    done = odradek("topic", "-w", "trail", "--limit", "2", "-o", "jsonl")
    assert done.returncode == 0 and "there are more records than --limit 2" in done.stderr, (
        done.stderr
    )
    assert 2 <= len(done.stdout.splitlines()) <= 4  # two, and as many requests that only looked
    done = odradek(
        "topic", "-w", "trail", "--limit", "1", "--kind", "results", "-o", "jsonl"
    )  # others take no place in it
    assert (
        done.returncode == 0
        and json.loads(done.stdout)["topic_kind"] == "results"
        and done.stderr == ""
    )
    done = odradek("topic", "-w", "nobody")
    assert done.returncode == 4 and "no record of workflow 'nobody'" in done.stderr


def test_dead_letters(world: World, odradek: Run) -> None:
    started(odradek, "letter")
    settings, topics = world.settings, Topics(world.settings.namespace)
    ClusterAdmin(settings).ensure([topics.dead_letters(QUEUE)])
    record = SignalWorkflow("letter", "go", request_id="once")
    headers = dead_letter_headers(
        NOT_APPLIED,
        topic=topics.events(QUEUE),
        partition=0,
        offset=5,
        time_ms=1_790_000_000_000,
        message="a defect",
        original=headers_for(record),
    )
    producer = Producer(producer_config(settings))
    producer.produce(topics.dead_letters(QUEUE), encode(record), b"letter", headers=list(headers))
    producer.produce(
        topics.dead_letters(QUEUE),
        b"garbage",
        b"letter",
        headers=list(dead_letter_headers("REFUSED", topic="elsewhere", time_ms=1)),
    )
    assert producer.flush(20) == 0

    lines = odradek("dead-letter", "list", "-w", "letter").stdout.splitlines()
    assert lines[0].startswith("TASK QUEUE") and [line.split()[3] for line in lines[1:]] == [
        "REFUSED",
        "NOT_APPLIED",
    ]
    (letter,) = json.loads(
        odradek("dead-letter", "list", "-t", QUEUE, "--reason", "not_applied", "-o", "json").stdout
    )
    offset = letter["place"]["offset"]
    done = odradek("dead-letter", "show", "-t", QUEUE, "--offset", str(offset))
    assert (
        done.returncode == 0
        and "a defect" in done.stdout
        and "SignalWorkflow" in done.stdout
        and "2026" in done.stdout
    )
    assert odradek("dead-letter", "show", "-t", QUEUE, "--offset", "999").returncode == 4
    for command in ("dead-letter list", "task-queue describe"):
        done = odradek(*command.split(), "-t", "nope")
        assert (done.returncode, done.stdout) == (
            4,
            "",
        ) and "task queue 'nope' was never used" in done.stderr, command
    assert odradek("dead-letter", "redrive", "-t", QUEUE).returncode == 2
    assert odradek("dead-letter", "redrive", "-t", QUEUE, "--offset", "999").returncode == 4
    done = odradek("dead-letter", "redrive", "-t", QUEUE, "-w", "letter", answer="no")
    assert (
        done.returncode == 1
        and "put 2 dead letters" in done.stderr
        and "not confirmed" in done.stderr
    )
    done = odradek("dead-letter", "redrive", "-t", QUEUE, "-w", "letter", "--yes", "-o", "json")
    told = json.loads(done.stdout)
    assert (
        done.returncode == 1
        and [one["offset"] for one in told["redriven"]] == [offset]
        and len(told["failed"]) == 1
    )
    assert "it came from" in done.stderr and told["leftOut"] == []
    done = odradek(
        "dead-letter", "redrive", "-t", QUEUE, "--reason", "not_applied", "--yes", "-o", "json"
    )
    assert json.loads(done.stdout) == {
        "taskQueue": QUEUE,
        "redriven": [],
        "failed": [],
        "leftOut": [offset],
    }
    assert done.returncode == 0 and "left out, put back before: 1 " in done.stderr
    assert odradek("dead-letter", "redrive", "-t", QUEUE, "--offset", str(offset)).returncode == 0
    assert (
        json.loads(odradek("workflow", "result", "-w", "letter", "--rpc-timeout", "30s").stdout)
        == []
    )


@pytest.mark.promise("requests")
def test_dead_letter_without_an_id_counts_once(world: World, odradek: Run) -> None:
    """A signal from a shell: put back while its cause lasts, then twice, with the letter that
    came of it.
    """
    topics = Topics(world.settings.namespace)
    producer = Producer(producer_config(world.settings))
    of_shell = ("-t", QUEUE, "-w", "shell", "-o", "json")
    signal = b'{"kind": "SignalWorkflow", "signal_name": "address", "input": ["here"]}'
    producer.produce(topics.events(QUEUE), signal, b"shell", partition=partition_for(b"shell", 2))
    assert producer.flush(20) == 0

    def put_back(count: int) -> None:
        listed = ("dead-letter", "list", *of_shell)
        letters = until(
            lambda: len(found := json.loads(odradek(*listed).stdout)) == count and found
        )
        offsets = [
            text for letter in letters for text in ("--offset", str(letter["place"]["offset"]))
        ]
        assert odradek("dead-letter", "redrive", "-t", QUEUE, *offsets, "--yes").returncode == 0

    put_back(1)  # nobody is there yet: it dies again
    started(odradek, "shell")
    put_back(2)
    put_back(2)
    assert odradek("workflow", "signal", "-w", "shell", "--name", "go").returncode == 0
    assert json.loads(
        odradek("workflow", "result", "-w", "shell", "--rpc-timeout", "30s").stdout
    ) == ["here"]
    told = json.loads(odradek("dead-letter", "redrive", *of_shell, "--yes").stdout)
    assert (len(told["redriven"]), len(told["leftOut"])) == (0, 2)
