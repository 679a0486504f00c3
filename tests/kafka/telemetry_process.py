"""Processes of `telemetry_workflows` for tests: started with settings, asked over HTTP, their
log lines read.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from odradek.broker.ports import free_ports

REPOSITORY = Path(__file__).parents[2]


class Process:
    """One worker process. `close` kills it."""

    def __init__(
        self,
        address: str,
        namespace: str,
        folder: Path,
        what: str,
        queue: str = "q",
        **settings: str,
    ) -> None:
        self.port = free_ports(1)[0]
        self.log = folder / f"{what}-{self.port}.log"
        ours = {
            "ODRADEK_ADDRESS": address,
            "ODRADEK_NAMESPACE": namespace,
            "ODRADEK_PARTITIONS": "2",
            "ODRADEK_STATE_DIR": str(folder / what),
            "ODRADEK_TELEMETRY_PORT": str(self.port),
            "ODRADEK_LOG_FORMAT": "json",
            "ODRADEK_LOG_LEVEL": "info",
            "PYTHONPATH": f"{REPOSITORY / 'streams'}:{REPOSITORY}",
        }
        with self.log.open("w") as log:
            command = [sys.executable, "-m", "tests.kafka.telemetry_workflows", what, queue]
            if what == "cli":  # two members of the group, the second at the port behind
                target = "tests.kafka.telemetry_workflows:WORKFLOWS"
                command = [
                    sys.executable,
                    "-m",
                    "odradek.cli",
                    "worker",
                    target,
                    "-t",
                    queue,
                    "--processes",
                    "2",
                ]
            if what == "server":
                code = (
                    "from odradek.config import Settings; from odradek.web.server import main;"
                    " main(Settings(), port=0)"
                )
                command = [sys.executable, "-c", code]
            self.process = subprocess.Popen(command, env=os.environ | ours | settings, stderr=log)

    def ask(self, path: str, *, number: int = 0) -> tuple[int, str]:
        """Status and body; 0 when nothing listens (yet). number: of several processes."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port + number}{path}", timeout=20
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return 0, ""

    def status(self, what: str) -> int:
        """Of a probe."""
        return self.ask(f"/health/{what}")[0]

    def reasons(self, what: str) -> str:
        """Why a probe says no."""
        body = self.ask(f"/health/{what}")[1]
        return "; ".join(json.loads(body).get("reasons", [])) if body else ""

    def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every sample by name and labels."""
        text = self.ask("/metrics")[1]
        samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]
        return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in samples}

    def total(self, name: str, **labels: str) -> float:
        """Sum over all samples of a name that have these labels."""
        return sum(
            value
            for (found, having), value in self.metrics().items()
            if found == name and set(labels.items()) <= having
        )

    def lines(self) -> list[dict[str, Any]]:
        """Its log lines so far. Every one must be JSON, but for what Python itself prints."""
        return [
            json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")
        ]

    def kill(self, number: int = signal.SIGKILL) -> None:
        self.process.send_signal(number)
        self.process.wait(60)

    def close(self) -> None:
        if self.process.poll() is None:
            self.kill()
