"""`make demo`: thirty orders, crashes among them, audited; the last line and the exit status are
the promise. KEEP=1: what stays up.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.services.shop import until

REPOSITORY = Path(__file__).parents[2]
COUNT = "/api/v1/namespaces/default/workflow-count"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_demo_ends_with_nothing_lost_and_nothing_doubled() -> None:
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "streams")])
    done = subprocess.run(
        [sys.executable, "-m", "services.demo"],
        cwd=REPOSITORY,
        env=os.environ
        | {
            "KEEP": "",
            "PYTHONPATH": paths,
            "ODRADEK_ADDRESS": "127.0.0.1:1",
            "ODRADEK_NAMESPACE": "shop",
        },  # a shell's
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    last = done.stdout.rstrip().splitlines()[-1]
    found = re.fullmatch(
        r"orders: 30  completed: (\d+)  compensated: (\d+)  cancelled: (\d+)  lost: 0 "
        r" duplicated: 0",
        last,
    )
    assert found, last
    completed, compensated, cancelled = map(int, found.groups())
    assert completed + compensated + cancelled == 30
    assert (compensated, cancelled) == (
        4,
        1,
    ), "two cards declined, two short of stock, one cancelled by signal"
    for story in ("killed with kill -9", "cancel-order"):
        assert story in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_keep_leaves_all_of_it_up_with_the_orders_in_it_until_a_signal() -> None:
    environment = os.environ | {
        "KEEP": "1",
        "PYTHONPATH": f"{REPOSITORY / 'streams'}:{REPOSITORY}",
        "PYTHONUNBUFFERED": "1",
    }
    demo = subprocess.Popen(
        [sys.executable, "-m", "services.demo"],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        said: list[str] = []
        for line in demo.stdout or ():
            said.append(line.rstrip())
            if line.startswith("Ctrl-C"):
                break
        text = "\n".join(said)
        assert re.search(r"^orders: 30 .* lost: 0  duplicated: 0$", text, re.MULTILINE), text[
            -3000:
        ]
        ui = re.search(r"^  (http://\S+)/$", text, re.MULTILINE)
        order_api = re.search(r"(http://\S+)/orders", text)
        folder = re.search(r"databases: (\S+)", text)
        assert ui and order_api and folder, text[-3000:]
        assert _get(ui[1] + COUNT)["count"] == "30"
        order = {
            "order_no": "2001",
            "user_id": "you",
            "items": [{"product": "tea", "quantity": 1}],
            "amount": 450,
        }
        assert _get(f"{order_api[1]}/orders?wait=20", order)["status"] == "completed"
        processes = psutil.Process(demo.pid).children(recursive=True)
        assert len(processes) >= 9, "two processors, four services, order API, server, broker"
        demo.send_signal(signal.SIGTERM)
        assert demo.wait(60) == 0
        assert not psutil.wait_procs(processes, timeout=20)[1]
        assert not Path(folder[1]).exists(), "Ctrl-C ends all of it"
    finally:
        if demo.poll() is None:
            demo.send_signal(signal.SIGINT)
            demo.wait(60)


def _get(url: str, body: object = None) -> dict[str, str]:
    request = urllib.request.Request(
        url,
        None if body is None else json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=40) as answer:
        found: dict[str, str] = json.load(answer)
        return found


def _is_importing(folder: Path, demo: subprocess.Popen[str]) -> bool:
    return "confluent_kafka" in Path(f"/proc/{demo.pid}/maps").read_text()


def _starts_its_broker(folder: Path, demo: subprocess.Popen[str]) -> bool:
    return any(folder.glob("odradek-demo-*/kafka/*"))


def _starts_its_services(folder: Path, demo: subprocess.Popen[str]) -> bool:
    return any(folder.glob("odradek-demo-*/payments.log"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "moment",
    [_is_importing, _starts_its_broker, _starts_its_services],
    ids=lambda moment: moment.__name__[1:],
)
def test_interrupted_early_it_says_so_in_a_line_and_leaves_nothing(
    tmp_path: Path, moment: Callable[[Path, subprocess.Popen[str]], bool], number: signal.Signals
) -> None:
    environment = {
        "TMPDIR": str(tmp_path),
        "KEEP": "",
        "PYTHONPATH": f"{REPOSITORY / 'streams'}:{REPOSITORY}",
    }
    demo = subprocess.Popen(
        [sys.executable, "-m", "services.demo"],
        cwd=REPOSITORY,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: moment(tmp_path, demo), what="the moment has come")
        processes = psutil.Process(demo.pid).children(recursive=True)
        demo.send_signal(number)
        demo.send_signal(number)  # a second one hurries nobody, and breaks nothing
        _, said = demo.communicate(timeout=60)
    finally:
        if demo.poll() is None:
            demo.kill()
    # What a shell shows as 130. CPython ends by SIGINT when the interruption came inside of an
    # `exec`, as dataclasses have it.
    assert demo.returncode in (130, -signal.SIGINT), said
    assert said.splitlines()[-1] == "demo: interrupted" and "Traceback" not in said, said
    assert list(tmp_path.glob("odradek-demo-*")) == []
    assert not psutil.wait_procs(processes, timeout=20)[1]
