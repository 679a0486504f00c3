"""The command line as a user runs it: processes, exit statuses, signals."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import json
import logging
import os
import select
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka.admin import AdminClient

from odradek import cli
from odradek.client import Client
from odradek.config import Settings
from odradek.contrib.pydantic import pydantic_data_converter
from odradek.converter import DataConverter, PayloadCodec
from odradek.wire.payload import Payload
from tests.kafka.priced_workflows import Line, Priced
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


class _Closed(PayloadCodec):
    """A codec that the command line does not have."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [Payload({"encoding": b"binary/encrypted"}, one.data[::-1]) for one in payloads]

    decode = encode


def test_what_the_command_line_cannot_read_or_must_not_write(
    odradek: Run,
    start_worker: Callable[..., subprocess.Popen[bytes]],
    bootstrap: str,
    namespace: str,
) -> None:
    start_worker()
    workflow_id = "g\x1b[2J\u202e"

    async def start() -> None:
        converter = dataclasses.replace(DataConverter.default, payload_codec=_Closed())
        async with await Client.connect(
            bootstrap, namespace=namespace, data_converter=converter
        ) as client:
            await client.start_workflow(
                "Gate", id=workflow_id, task_queue="q", memo={"card": "4711"}
            )
            await client.start_workflow("Sealed", "secret", id="sealed", task_queue="q")

    asyncio.run(start())
    done = odradek("workflow", "describe", "-w", workflow_id)
    assert (done.returncode, done.stderr) == (0, "") and all(
        line.isprintable() for line in done.stdout.splitlines()
    )
    assert r"g\x1b[2J\u202e" in done.stdout
    assert (
        "unreadable: encoding binary/encrypted, 6 bytes, written by a payload codec" in done.stdout
    )
    done = odradek("-o", "json", "workflow", "describe", "-w", workflow_id)
    info = json.loads(done.stdout)["workflowExecutionInfo"]
    assert info["execution"]["workflowId"] == workflow_id
    assert base64.b64decode(info["memo"]["fields"]["card"]["data"]) == b'"1174"'
    words = "unreadable: encoding binary/encrypted, 8 bytes, written by a payload codec"
    for command in (["result"], ["query", "--name", "held"]):
        done = odradek("workflow", *command, "-w", "sealed")
        assert (done.returncode, done.stderr, done.stdout) == (0, "", words + "\n")
    done = odradek("workflow", "show", "-w", "sealed", "--detailed")
    assert f'input: ["{words}"]' in done.stdout and f'result: ["{words}"]' in done.stdout
    done = odradek("workflow", "signal", "-w", workflow_id, "--name", "finish")
    assert done.returncode == 0 and done.stdout.replace("\n", "").isprintable()


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


def test_failed_cancelled_terminated(
    odradek: Run, start_worker: Callable[..., subprocess.Popen[bytes]]
) -> None:
    start_worker()
    done = odradek(
        "workflow",
        "execute",
        "-w",
        "f",
        "--type",
        "Buy",
        "-t",
        "q",
        "-i",
        '{"product": "spool", "quantity": -1}',
    )
    assert (
        done.returncode == 1
        and done.stdout == ""
        and done.stderr.startswith("Running execution:\n  WorkflowId  f\n")
    )
    lines = done.stderr.splitlines()
    assert (
        "less than nothing" in lines[-1]
        and [line.split()[2] for line in lines[6:-1]][-1] == "WorkflowExecutionFailed"
    )
    for command, word in (("cancel", "cancelled"), ("terminate", "because")):
        assert (
            odradek("workflow", "start", "-w", command, "--type", "Gate", "-t", "q").returncode == 0
        )
        assert odradek("workflow", command, "-w", command, "--reason", "because").returncode == 0
        done = odradek("workflow", "result", "-w", command)
        assert done.returncode == 1 and word in done.stderr


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


async def test_a_worker_with_a_data_converter(
    bootstrap: str, namespace: str, start_worker: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """In each of its processes."""
    name = "odradek.contrib.pydantic:pydantic_data_converter"
    worker = start_worker(
        "--data-converter", name, "--processes", "2", target="tests.kafka.priced_workflows"
    )
    settings = Settings(address=bootstrap, namespace=namespace, partitions=2)
    async with await Client.connect(
        settings=settings, data_converter=pydantic_data_converter
    ) as client:
        lines = [Line(product=uuid.uuid4(), price=Decimal(f"{number}.10")) for number in range(3)]
        runs = [
            client.execute_workflow(Priced.run, lines, id=f"priced-{number}", task_queue="q")
            for number in range(6)
        ]
        assert await asyncio.wait_for(asyncio.gather(*runs), 60) == [Decimal("3.30")] * 6
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0


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


def _start_stubborn(odradek: Run) -> None:
    assert odradek("workflow", "start", "-w", "s", "--type", "Stubborn", "-t", "q").returncode == 0

    def runs() -> bool:
        done = odradek("workflow", "describe", "-w", "s", "-o", "json")
        pending = (
            json.loads(done.stdout)["pendingActivities"] if done.returncode == 0 else None
        )  # while the worker begins
        return bool(pending and pending[0]["state"] == "PENDING_ACTIVITY_STATE_STARTED")

    until(runs)


def test_the_grace_of_an_activity_that_does_not_end_has_an_end(
    odradek: Run, start_worker: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """It swallows its cancellation; the engine tries it again after its timeouts."""
    (tmp_path / "worker.yaml").write_text("graceful_shutdown_timeout: 0 s")
    worker = start_worker("--config", str(tmp_path / "worker.yaml"))
    _start_stubborn(odradek)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 1


def test_second_sigterm_ends_at_once(
    odradek: Run, start_worker: Callable[..., subprocess.Popen[bytes]]
) -> None:
    worker = start_worker("--config", str(REPOSITORY / "tests" / "kafka" / "long_grace.yaml"))
    _start_stubborn(odradek)
    worker.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(2)  # the activity has its grace
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 128 + signal.SIGTERM


def test_a_signal_that_reaches_parent_and_child_lets_it_drain(
    odradek: Run, start_worker: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """As systemd sends it, to every process of a unit: the child has its own and its parent's,
    and drains all the same.
    """
    flag, log = tmp_path / "flag", tmp_path / "log"
    options = (
        "--supervise",
        "--log-level",
        "info",
        "--config",
        str(REPOSITORY / "tests" / "kafka" / "long_grace.yaml"),
    )
    with log.open("wb") as stderr:
        worker = start_worker(*options, target="tests.kafka.waiting_workflows", stderr=stderr)
    assert (
        odradek(
            "workflow",
            "start",
            "-w",
            "w",
            "--type",
            "Waits",
            "-t",
            "q",
            "-i",
            json.dumps(str(flag)),
        ).returncode
        == 0
    )
    until(Path(f"{flag}.begun").exists)
    (child,) = psutil.Process(worker.pid).children()
    child.send_signal(signal.SIGTERM)
    until(lambda: "draining" in log.read_text())
    child.send_signal(signal.SIGTERM)
    worker.send_signal(signal.SIGTERM)
    with pytest.raises(psutil.TimeoutExpired):
        child.wait(1)  # the activity has its grace
    flag.touch()
    assert worker.wait(60) == 0
    start_worker(target="tests.kafka.waiting_workflows")
    done = odradek("workflow", "result", "-w", "w", "-t", "q", "--rpc-timeout", "40s")
    assert (done.returncode, json.loads(done.stdout)) == (0, 1), "of its first attempt"


@contextlib.contextmanager
def _with_full_stderr(
    start_worker: Callable[..., subprocess.Popen[bytes]], config: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that serves, and whose log nobody reads any more."""
    read, write = os.pipe()
    worker = start_worker("--log-level", "info", "--config", str(config), stderr=write)
    said = b""
    while b"worker of task queue" not in said:
        assert select.select([read], [], [], 60)[0], said
        said += os.read(read, 4_096)
    filling = os.open(
        f"/proc/self/fd/{write}", os.O_WRONLY | os.O_NONBLOCK
    )  # the worker may write into the last room that there was
    for size in (select.PIPE_BUF, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(filling, b"x" * size)
    os.close(filling)
    yield worker
    os.close(read)
    os.close(write)


def test_second_sigterm_ends_a_worker_that_stands_in_a_line_of_its_log(
    start_worker: Callable[..., subprocess.Popen[bytes]],
) -> None:
    with _with_full_stderr(
        start_worker, REPOSITORY / "tests" / "kafka" / "long_grace.yaml"
    ) as worker:

        def told_and_gone() -> bool:
            worker.send_signal(signal.SIGTERM)
            return worker.poll() is not None

        until(told_and_gone)
        assert worker.returncode == 128 + signal.SIGTERM


def test_the_end_of_the_grace_ends_it_too(
    start_worker: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    (tmp_path / "worker.yaml").write_text("graceful_shutdown_timeout: 0 s")
    with _with_full_stderr(start_worker, tmp_path / "worker.yaml") as worker:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 1


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


def test_dev_prints_its_address(tmp_path: Path, environment: dict[str, str]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "odradek.cli", "dev"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], 90)
        assert ready and process.stdout.readline().startswith("bootstrap: ")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait(10)
