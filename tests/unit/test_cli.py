"""The command line without a broker: parsing, JSON inputs, exit statuses, one-line errors, help
with examples.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from odradek import cli, client
from odradek.activation.logs import logger as workflow_logger
from odradek.activities.log import logger as activity_logger
from odradek.cli import Status, app, common, inputs, output, worker
from odradek.cli.status import UsageError, status_of
from odradek.client import RPCError, RPCStatusCode, WorkflowFailureError, WorkflowQueryFailedError
from odradek.exceptions import (
    ApplicationError,
    BrokerUnreachableError,
    ConfigurationError,
    TopicMissingError,
    WorkflowAlreadyStartedError,
)
from odradek.wire.errors import TopicNameError

#: What is no length of time, or one that no clock counts.
_NO_LENGTHS = ("inf", "1e400", "nan", "99999999999999999999s", "99999999d", "-5", "soon")
#: What Python makes of a byte that is no UTF-8.
_NO_TEXT = "w\udcff"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (WorkflowFailureError(cause=ApplicationError("x")), Status.FAILED),
        (WorkflowQueryFailedError("x"), Status.FAILED),
        (ConfigurationError("x"), Status.USAGE),
        (UsageError("x"), Status.USAGE),
        (TopicNameError("x"), Status.USAGE),
        (RPCError("x", RPCStatusCode.INVALID_ARGUMENT), Status.USAGE),
        (BrokerUnreachableError("a:1"), Status.UNAVAILABLE),
        (TopicMissingError("t"), Status.UNAVAILABLE),
        (RPCError("x", RPCStatusCode.UNAVAILABLE), Status.UNAVAILABLE),
        (RPCError("x", RPCStatusCode.DEADLINE_EXCEEDED), Status.UNAVAILABLE),
        (RPCError("x", RPCStatusCode.NOT_FOUND), Status.NOT_FOUND),
        (WorkflowAlreadyStartedError("w", "W", run_id="r"), Status.ALREADY_STARTED),
        (KeyboardInterrupt(), Status.INTERRUPTED),
    ],
)
def test_exit_statuses(error: BaseException, status: Status) -> None:
    found, message = status_of(error)
    assert found == status and message and "\n" not in message


def test_defects_are_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        status_of(ZeroDivisionError())


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["workflow"],
        ["nonsense"],
        ["workflow", "start", "-w", "x"],
        ["worker", "--processes", "0", "m:x"],
        *[["workflow", "describe", "-w", "x", "--rpc-timeout", length] for length in _NO_LENGTHS],
        *[
            ["workflow", "start", "-t", "q", "--type", "T", "--run-timeout", length]
            for length in _NO_LENGTHS
        ],
        *[["topic", "-w", "x", "--since", length] for length in _NO_LENGTHS],
        ["task-queue", "describe", "-t", "q", "--interval", "-5"],
        ["workflow", "describe", "-w", _NO_TEXT],
        ["workflow", "list", "-q", _NO_TEXT],
        ["workflow", "list", "--server-address", _NO_TEXT],
        ["workflow", "start", "-w", "x", "-t", "q", "--type", _NO_TEXT],
        ["workflow", "start", "-w", "x", "-t", "q", "--type", "T", "--memo", f"a={_NO_TEXT}"],
        ["workflow", "signal", "-w", "x", "--name", _NO_TEXT],
        ["workflow", "cancel", "-w", "x", "--reason", _NO_TEXT],
        ["topic", "-w", _NO_TEXT],
        ["worker", _NO_TEXT, "-t", "q"],
        [_NO_TEXT],
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    err = capsys.readouterr().err
    assert (
        caught.value.code == 2
        and err.startswith("odradek: ")
        and err.count("\n") == 1
        and "--help`" in err
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "workflow strat -w x",
            "unknown command 'strat': did you mean `start`? See `odradek workflow --help`",
        ),
        (
            "worklfow start",
            "unknown command 'worklfow': did you mean `workflow`? See `odradek --help`",
        ),
        (
            "unpark -w x",
            "unknown command 'unpark': did you mean `workflow unpark`? See `odradek --help`",
        ),
        (
            "list",
            (
                "did you mean `workflow list` or `task-queue list` or `batch list` or `operator"
                " namespace list` or"
            ),
        ),
        ("xyzzy", "unknown command 'xyzzy': it is one of dev, worker"),
        ("workflow", "name a command: start, execute"),
        (
            "workflow describe -w x --rpc-timout 1s",
            (
                "unknown option --rpc-timout: did you mean `--rpc-timeout`? See `odradek workflow"
                " describe"
            ),
        ),
        (
            "workflow describe --workflw-id=x",
            "unknown option --workflw-id: did you mean `--workflow-id`?",
        ),
        (
            "workflow describe --workflow x",
            "unknown option --workflow: did you mean `--workflow-id`? See `odradek workflow",
        ),
        (
            "workflow start --task=q --type T",
            "unknown option --task: did you mean `--task-queue` or `--task-timeout`? See",
        ),
        ("workflow start --ty T -t q", "unknown option --ty: did you mean `--type`? See"),
        ("batch describe --job x", "unknown option --job: did you mean `--job-id`? See"),
        (
            "workflow describe --namespace x",
            "missing: --workflow-id/-w. See `odradek workflow describe --help`",
        ),
        ("workflow describe -w x --zzz", "unknown option --zzz. See"),
        ("workflow describe -w x y", "unexpected argument 'y'. See"),
        ("workflow describe -w x -o jsn", "invalid choice: 'jsn'"),
        ("workflow describe -w x --rpc-timeout soon", "'soon' is no duration: write 500ms"),
        (
            "worker m:f --processes two",
            "argument --processes: 'two' is no whole number: give 1 or more. See",
        ),
        (
            "worker m:f --processes 0",
            "argument --processes: 0 is out of range: give 1 or more. See",
        ),
        (
            "worker m:f --max-concurrent-activities -1",
            "argument --max-concurrent-activities: -1 is out of range: give 1 or more. See",
        ),
        ("workflow cancel -q x --rps many", "argument --rps: 'many' is no number. See"),
        ("workflow cancel -q x --rps inf", "argument --rps: must be more than 0. See"),
        (
            "dev --port 99999",
            "argument --port: 99999 is out of range: give 0 to 65535. See `odradek dev --help`",
        ),
        ("dev --port -1", "argument --port: -1 is out of range: give 0 to 65535. See"),
        ("dev --ui-port 99999", "argument --ui-port: 99999 is out of range: give 0 to 65535. See"),
        ("dev --brokers 0", "argument --brokers: 0 is out of range: give 1 or more. See"),
        ("server --port 99999", "argument --port: 99999 is out of range: give 0 to 65535. See"),
        (
            "dead-letter list -q x --limit -1",
            "argument --limit: -1 is out of range: give 1 or more. See",
        ),
    ],
)
def test_usage_errors_are_one_line_with_the_cure(
    arguments: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments.split())
    err = capsys.readouterr().err
    assert (
        caught.value.code == 2
        and said in err
        and err.startswith("odradek: ")
        and err.count("\n") == 1
    )


@pytest.mark.parametrize("name", ["q" * 300, "w\udcff"])
def test_names_that_make_no_topic_are_status_2(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """Also those of the environment, which argparse does not see."""
    monkeypatch.setenv("ODRADEK_TASK_QUEUE", name)
    monkeypatch.delenv("ODRADEK_NAMESPACE", raising=False)
    assert cli.main(["worker", f"{module}:Twice", "--address", "127.0.0.1:1"]) == Status.USAGE
    err = capsys.readouterr().err
    assert err.startswith("odradek: ") and err.count("\n") == 1
    monkeypatch.setenv("ODRADEK_NAMESPACE", name)
    assert cli.main(["workflow", "list", "--server-address", "127.0.0.1:1"]) == Status.USAGE
    err = capsys.readouterr().err
    assert err.startswith("odradek: ") and err.count("\n") == 1


def test_errors_are_one_line_with_the_cure(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["workflow", "start", "-w", "w", "--type", "T", "-t", "q", "-i", "{oops"])
    err = capsys.readouterr().err
    assert (
        status == Status.USAGE
        and err.startswith("odradek: ")
        and err.count("\n") == 1
        and "not JSON" in err
    )


# --- options


def parse(*arguments: str) -> argparse.Namespace:
    return app.build_parser().parse_args(list(arguments))


def test_settings_come_from_file_environment_and_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("address: from-file:1\nnamespace: from-file\ntask_queue: from-file\n")
    monkeypatch.setenv("ODRADEK_NAMESPACE", "from-environment")
    settings = common.settings_of(
        parse("workflow", "describe", "-w", "w", "--config", str(file), "--address", "argument:1")
    )
    assert (settings.address, settings.namespace, settings.task_queue) == (
        "argument:1",
        "from-environment",
        "from-file",
    )


def test_inputs_from_files(tmp_path: Path) -> None:
    file = tmp_path / "in.json"
    file.write_text('{"a": 1}')
    assert inputs.inputs_of(
        parse("workflow", "signal", "-w", "w", "--name", "s", "--input-file", str(file))
    ) == [{"a": 1}]
    for wrong in (["--input-file", str(tmp_path / "none")], ["-i", "1", "--input-file", str(file)]):
        with pytest.raises(UsageError):
            inputs.inputs_of(parse("workflow", "signal", "-w", "w", "--name", "s", *wrong))


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("10s", 10), ("5 min", 300), ("1h", 3600), ("2.5", 2.5)]
)
def test_durations(text: str, seconds: float) -> None:
    assert common.duration(text).total_seconds() == seconds


def test_output_of_values(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_fields({"a": 1, "empty": None, "longer": "text"})
    output.print_table(["ID", "TYPE"], [["1", "x"], ["22", "y"]])
    assert capsys.readouterr().out == "a       1\nlonger  text\nID  TYPE\n1   x\n22  y\n"


# --- worker

MODULE = """
    from odradek import activity, workflow

    @workflow.defn
    class A:
        @workflow.run
        async def run(self) -> None: ...

    @workflow.defn
    class B:
        @workflow.run
        async def run(self) -> None: ...

    @activity.defn
    async def act() -> None: ...

    WORKFLOWS = [A]
    EMPTY = []
    WRONG = [int]
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"cli_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(MODULE))
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def test_what_a_module_names(module: str) -> None:
    def names(of: str) -> list[str]:
        return [one.__name__ for one in worker.load(of, worker._is_workflow, "workflow class")]

    assert (
        names(f"{module}:WORKFLOWS") == ["A"]
        and names(f"{module}:B") == ["B"]
        and names(module) == ["A", "B"]
    )
    assert [
        one.__name__ for one in worker.load(module, worker._is_activity, "activity function")
    ] == ["act"]


INTERCEPTORS = """
    from odradek import worker

    class Plain(worker.Interceptor): ...

    class Needs(worker.Interceptor):
        def __init__(self, what): ...

    class Fails(worker.Interceptor):
        def __init__(self):
            raise RuntimeError("no collector\\nthere")

    plain = Plain()
    BOTH = [Plain, plain]
    other = 7
"""


@pytest.mark.parametrize(
    ("suffix", "says"),
    [
        ("", "which interceptor? MODULE:NAME"),
        (":Needs", "Needs cannot be made: TypeError: "),
        (":Fails", "Fails cannot be made: RuntimeError: no collector"),
        (":other", "7 is no interceptor: one derives from"),
    ],
)
@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_interceptor_that_cannot_be_is_said_before_anything_starts(
    module: str,
    tmp_path: Path,
    suffix: str,
    says: str,
    processes: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: Any) -> int:
        raise AssertionError("nothing starts")

    monkeypatch.setattr(worker, "_supervise", never)
    monkeypatch.setattr(worker, "_serve", never)
    name = f"{module}_i"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(INTERCEPTORS))
    arguments = [
        "worker",
        f"{module}:A",
        "-t",
        "q",
        "--processes",
        processes,
        "--interceptor",
        f"{name}{suffix}",
    ]
    assert cli.main(arguments) == Status.USAGE
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1 and "decorator" not in said


CONVERTERS = """
    from odradek.converter import DataConverter

    class Own(DataConverter): ...

    own = Own()
    BOTH = [Own, own]
    other = 7
"""


@pytest.mark.parametrize(
    ("suffix", "says"),
    [
        ("", "which data converter? MODULE:NAME"),
        (":BOTH", "2 data converters; a worker has one"),
        (":other", "7 is no data converter: a `Da"),
    ],
)
def test_a_data_converter_that_cannot_be_is_said_before_anything_starts(
    module: str, tmp_path: Path, suffix: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{module}_c"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(CONVERTERS))
    assert (
        cli.main(["worker", f"{module}:A", "-t", "q", "--data-converter", f"{name}{suffix}"])
        == Status.USAGE
    )
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
    assert [type(worker.data_converter_of(f"{name}:{one}")).__name__ for one in ("Own", "own")] == [
        "Own",
        "Own",
    ]


@pytest.mark.parametrize("arguments", [["-t", "q"], ["json"]])
def test_worker_without_work_or_queue(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["worker", *arguments]) == Status.USAGE
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("log_format", "logged", "lines"), [("text", True, 1), ("json", True, 2), ("text", False, 1)]
)
def test_a_worker_says_its_error_once(
    log_format: str,
    logged: bool,
    lines: int,
    module: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On a terminal; a log store and whoever reads the last line of a command are two readers."""

    class Failing:
        def __init__(
            self, *_: Any, on_fatal_error: Callable[[BaseException], Awaitable[None]], **__: Any
        ) -> None:
            self.on_fatal_error = on_fatal_error

        async def run(self) -> None:
            error = TopicMissingError("orders.events")
            if logged:
                logging.getLogger("odradek.worker").error("Worker failed, shutting down: %s", error)
                await self.on_fatal_error(error)
            raise error

    async def connect(**_: Any) -> Any:
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr("odradek.worker.Worker", Failing)
    monkeypatch.setattr(
        "odradek.processor.ending.Ending", lambda *_: SimpleNamespace(tell=lambda: None)
    )  # it would end this process
    monkeypatch.setattr(client.Client, "connect", connect)
    monkeypatch.setattr("odradek.cli.garbage.tune", lambda: None)
    for own, name in (
        (workflow_logger, "workflow_info_on_message"),
        (activity_logger, "activity_info_on_message"),
    ):
        monkeypatch.setattr(own, name, True)  # JSON lines change them, for good
    assert (
        cli.main(["worker", f"{module}:A", "-t", "q", "--log-format", log_format])
        == Status.UNAVAILABLE
    )
    said = [line for line in capsys.readouterr().err.splitlines() if "orders.events" in line]
    assert len(said) == lines


def test_children_get_the_same_command_less_what_is_the_parents(
    monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    made: list[Any] = []

    class Supervisor:
        def __init__(self, command: list[str], processes: int) -> None:
            made.append((command, processes))

        def run(self) -> int:
            return 0

    monkeypatch.setattr("odradek.processor.supervisor.Supervisor", Supervisor)
    assert (
        cli.main(
            [
                "--log-level",
                "info",
                "worker",
                f"{module}:A",
                "-t",
                "q",
                "--processes",
                "3",
                "--address",
                "a:1",
            ]
        )
        == 0
    )
    assert cli.main(["worker", f"{module}:A", "-t", "q", "--processes=2", "--supervise"]) == 0
    start = [sys.executable, "-m", "odradek.cli"]
    assert made[0] == (
        [*start, "--log-level", "info", "worker", f"{module}:A", "-t", "q", "--address", "a:1"],
        3,
    )
    assert made[1] == ([*start, "worker", f"{module}:A", "-t", "q"], 2)


def test_the_package_is_the_command_too() -> None:
    """For whoever has no script on the PATH."""
    said = subprocess.run(
        [sys.executable, "-m", "odradek", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert said.startswith("usage: odradek ")
