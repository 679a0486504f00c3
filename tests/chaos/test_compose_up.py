"""docker-compose.yml as a whole, where Docker runs: orders go through while a broker and
processes are killed, and nothing is lost.

It takes the ports that the file names, and builds the services' image.
`tests/unit/test_compose.py` reads the file where no Docker is.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from odradek.broker.docker import docker_runs
from tests.support.until import until

REPOSITORY = Path(__file__).parents[2]
API = "http://127.0.0.1:8000/orders"
OURS = [
    "processor-1",
    "processor-2",
    "order-api",
    "orders",
    "inventory",
    "payments",
    "notifications",
    "server",
]
STARTS_SECONDS, ENDS_SECONDS = 420.0, 180.0

Compose = Callable[..., str]


def has_compose() -> bool:
    """Whether a daemon answers, and the command has `compose`."""
    if shutil.which("docker") is None or not docker_runs():
        return False
    return (
        subprocess.run(
            ["docker", "compose", "version"], capture_output=True, check=False
        ).returncode
        == 0
    )


@pytest.fixture
def compose() -> Iterator[Compose]:
    """`docker compose ARGUMENTS` of this repository, under a name of its own; nothing of it stays."""
    if not has_compose():
        pytest.skip("docker compose does not run here")
    name = f"odradek-test-{uuid.uuid4().hex[:8]}"

    def run(*arguments: str) -> str:
        command = ["docker", "compose", "-p", name, *arguments]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr[-3000:]}"
        return done.stdout

    try:
        yield run
    finally:
        run("down", "-v", "--timeout", "20")


def call(url: str, order: dict[str, Any] | None = None) -> tuple[int, Any]:
    """Status and body; 0 where nobody listens."""
    data = None if order is None else json.dumps(order).encode()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data, {"content-type": "application/json"}), timeout=30
        ) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, None


def outcome(number: int) -> str:
    """Of an order; "" before it has one, or while nobody can tell."""
    status, told = call(f"{API}/{number}")
    return (
        told["status"]
        if status == 200 and told["status"] in ("completed", "failed", "cancelled")
        else ""
    )


def place(number: int) -> str:
    """One order; what became of it. An answer that is late or lost says nothing: the same number
    again gives the same order.
    """
    order = {
        "order_no": str(number),
        "user_id": "ann",
        "items": [{"product": "tea", "quantity": 1}],
        "amount": 1200,
    }
    until(lambda: call(API, order)[0] in (200, 202), ENDS_SECONDS)
    return str(until(lambda: outcome(number), ENDS_SECONDS))


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_orders_go_through_while_a_broker_and_processes_are_killed(compose: Compose) -> None:
    compose("up", "--build", "-d")
    until(lambda: call(f"{API}/0")[0] == 404, STARTS_SECONDS)  # it answers: there is no such order
    with ThreadPoolExecutor(40) as pool:
        assert set(pool.map(place, range(1, 11))) == {"completed"}
        orders = [pool.submit(place, number) for number in range(11, 31)]
        compose("kill", "kafka-1")
        orders += [pool.submit(place, number) for number in range(31, 51)]
        compose("kill", "processor-1")
        compose("restart", "orders", "payments", "inventory")
        assert {each.result() for each in orders} == {"completed"}
        compose("start", "kafka-1", "processor-1")
        assert set(pool.map(place, range(51, 61))) == {"completed"}
    count = ("workflow", "count", "--query", "ExecutionStatus = 'Completed'", "-o", "json")
    at = ("-e", "ODRADEK_SERVER_ADDRESS=127.0.0.1:8088")
    until(
        lambda: (
            str(json.loads(compose("exec", "-T", *at, "server", "odradek", *count))["count"])
            == "60"
        )
    )
    compose("stop", *OURS)
    ended = [
        json.loads(line) for line in compose("ps", "-a", "--format", "json", *OURS).splitlines()
    ]
    assert {each["Service"]: each["ExitCode"] for each in ended} == dict.fromkeys(OURS, 0), (
        "drained"
    )
