"""A real Prometheus with the configuration, the alerts and the dashboard of `deploy/`, over real
processes.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from odradek.broker.ports import free_ports
from odradek.client import Client
from odradek.config import Settings
from tests.kafka.telemetry_process import REPOSITORY, Process
from tests.kafka.telemetry_workflows import Traced
from tests.support.until import until_async

DEPLOY = REPOSITORY / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana/dashboards/odradek.json").read_text())
PROMETHEUS = shutil.which("prometheus")
#: Without an event of that kind in this test.
NOTHING_TO_SHOW = {"Requests by route", "Until the response began, p95"}

pytestmark = pytest.mark.skipif(
    PROMETHEUS is None, reason="no Prometheus here (Debian: apt-get install prometheus)"
)


class Prometheus:
    """One process, which scrapes `targets` by job every second."""

    def __init__(self, folder: Path, targets: dict[str, list[str]]) -> None:
        assert PROMETHEUS is not None
        config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        config["rule_files"] = [str(DEPLOY / "prometheus/alerts.yml")]
        for job in config["scrape_configs"]:
            job["static_configs"] = [{"targets": targets[job["job_name"]]}]
        file, port = folder / "prometheus.yml", free_ports(1)[0]
        file.write_text(yaml.safe_dump(config))
        self.url = f"http://127.0.0.1:{port}"
        command = [
            PROMETHEUS,
            f"--config.file={file}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with (folder / "prometheus.log").open("w") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def get(self, path: str, **parameters: str) -> Any:
        """The answer's data; None while nothing listens."""
        try:
            with urllib.request.urlopen(
                f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=10
            ) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
        except (urllib.error.URLError, ConnectionError):
            return None

    def query(self, expression: str) -> list[dict[str, Any]]:
        return list(self.get("query", query=expression)["result"])

    def up(self) -> set[str]:
        """Targets that answer."""
        found = self.get("targets")
        return (
            {one["labels"]["instance"] for one in found["activeTargets"] if one["health"] == "up"}
            if found
            else set()
        )

    def close(self) -> None:
        self.process.kill()
        self.process.wait(20)


@pytest.fixture
def processes(bootstrap: str, namespace: str, tmp_path: Path) -> Iterator[dict[str, Process]]:
    started = {
        "server": Process(bootstrap, namespace, tmp_path, "server"),
        "processors": Process(
            bootstrap, namespace, tmp_path, "processor", CACHED="0"
        ),  # so that there are replays
        "services": Process(bootstrap, namespace, tmp_path, "activities", "far"),
    }
    yield started
    for process in started.values():
        process.close()


@pytest.fixture
def prometheus(processes: dict[str, Process], tmp_path: Path) -> Iterator[Prometheus]:
    made = Prometheus(
        tmp_path, {job: [f"127.0.0.1:{process.port}"] for job, process in processes.items()}
    )
    yield made
    made.close()


def _panels() -> list[tuple[str, str]]:
    """Title and expression of each curve, as Grafana would ask for all queues."""
    found = []
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            expression = (
                target["expr"]
                .replace("$__rate_interval", "1m")
                .replace("$namespace", ".*")
                .replace("$task_queue", ".*")
            )
            found.append((panel["title"], expression))
    return found


async def test_dashboard_and_alerts_over_real_processes(
    bootstrap: str,
    namespace: str,
    tmp_path: Path,
    processes: dict[str, Process],
    prometheus: Prometheus,
) -> None:
    for process in processes.values():
        await until_async(
            lambda process=process: process.status("ready") == 200,
            60,
            what=lambda process=process: process.reasons("ready"),
        )  # type: ignore[misc]
    await until_async(
        lambda: len(prometheus.up()) == 3, 60, what=(tmp_path / "prometheus.log").read_text
    )

    settings = Settings(
        address=bootstrap, namespace=namespace, partitions=2, state_dir=tmp_path / "client"
    )
    panels, begun = [each for each in _panels() if each[0] not in NOTHING_TO_SHOW], 0

    async with await Client.connect(settings=settings) as client:

        async def work() -> None:
            nonlocal begun
            begun += 1
            handle = await client.start_workflow(Traced.run, "far", id=f"w{begun}", task_queue="q")
            await handle.signal(Traced.say, "bye")
            await handle.result()

        async def empty() -> list[tuple[str, str]]:
            await work()
            return [
                (title, expression)
                for title, expression in panels
                if not await asyncio.to_thread(prometheus.query, expression)
            ]

        for _ in range(30):
            if not (without := await empty()):
                break
            await asyncio.sleep(1)
        assert not without, without

        closed = await asyncio.to_thread(
            prometheus.query,
            f'odradek_workflow_closes_total{{namespace="{namespace}", status="COMPLETED"}}',
        )
        assert 0 < sum(float(one["value"][1]) for one in closed) <= begun

    rules = prometheus.get("rules")["groups"][0]["rules"]
    assert (
        rules
        and [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] != "ok"] == []
    )
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []

    processes["services"].kill()
    gone = f"127.0.0.1:{processes['services'].port}"
    await until_async(
        lambda: (
            {
                one["metric"]["instance"]
                for one in prometheus.query('ALERTS{alertname="OdradekTargetDown"}')
            }
            == {gone}
        ),
        60,
    )
