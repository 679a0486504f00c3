"""What README and docs/wire.md tell a shell to type is typed here: the lines as they stand, on a
real broker, against a real worker.

Only the address and the namespace are put in place of the page's. kcat and Kafka's console
producer are foreign code: what they read of the contract is what their users read of it. Where
one of them cannot be had the line is skipped, and a plain producer writes the page's text.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from odradek import workflow
from odradek.broker.jars import cache_root, kafka_jars
from odradek.broker.java import find_java
from odradek.broker.progress import StderrProgress
from odradek.client import Client, WorkflowExecutionStatus
from odradek.config import Settings
from odradek.worker import Worker

ROOT = Path(__file__).parents[2]
WIRE, README = ((ROOT / name).read_text(encoding="utf-8") for name in ("docs/wire.md", "README.md"))
#: Code blocks in no language or in `sh`: every other piece between fences is one.
BLOCKS = [
    block.partition("\n")[2]
    for block in f"{README}\n{WIRE}".split("\n```")[1::2]
    if block.partition("\n")[0] in ("", "sh")
]
QUEUE = "order-task-queue"

needs_kcat = pytest.mark.skipif(
    shutil.which("kcat") is None, reason="kcat is not installed (Debian: apt install kcat)"
)


def _block(*words: str) -> list[str]:
    """The blocks of both pages that hold all these words."""
    found = [block for block in BLOCKS if all(word in block for word in words)]
    assert found, f"no block with {words}"
    return found


class Order:
    def __init__(self) -> None:
        self.cancelled = ""

    async def wait(self, order: dict[str, Any]) -> dict[str, Any]:
        await workflow.wait_condition(lambda: bool(self.cancelled), timeout=timedelta(hours=1))
        return order


@workflow.defn
class OrderWorkflow(Order):
    @workflow.run
    async def run(self, order: dict[str, Any]) -> dict[str, Any]:
        if (
            "amount" not in order
        ):  # the page's first start has one and completes at once, the second waits for its signal
            await self.wait(order)
        return order | {"cancelled": self.cancelled}

    @workflow.signal(name="cancel-order")
    def cancel_order(self, reason: str) -> None:
        self.cancelled = reason


@pytest.fixture
async def client(bootstrap: str, namespace: str, tmp_path: Path) -> AsyncIterator[Client]:
    settings = Settings(
        address=bootstrap,
        namespace=namespace,
        partitions=4,
        state_dir=tmp_path / "state",
        rpc_timeout=timedelta(seconds=30),
    )
    client = await Client.connect(settings=settings)
    async with client, Worker(client, task_queue=QUEUE, workflows=[OrderWorkflow]):
        yield client


async def _type(line: str, client: Client, cwd: Path) -> str:
    """Run a block as a person would: the page's address and namespace are exchanged, nothing else."""
    text = line.replace("localhost:9092", client.service_client.settings.address).replace(
        ".default.", f".{client.namespace}."
    )
    done = await asyncio.to_thread(
        subprocess.run,
        ["bash", "-e", "-o", "pipefail", "-c", text],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{text}\n{done.stderr}"
    return done.stdout


async def _ends(client: Client, workflow_id: str, expected: Any) -> None:
    """The run that a shell started has ended with its input. It may not have arrived yet."""
    for _ in range(300):
        try:
            result = await client.get_workflow_handle(workflow_id, task_queue=QUEUE).result(
                rpc_timeout=timedelta(seconds=60)
            )
            break
        except Exception as error:
            if "not found" not in str(error):
                raise
            await asyncio.sleep(0.1)
    else:
        raise AssertionError(f"{workflow_id} was never started")
    assert result == expected


@needs_kcat
async def test_kcat_starts_a_workflow_and_reads_its_result(client: Client, tmp_path: Path) -> None:
    """Of docs/wire.md; the ids that the line gives hash to the partition that a Java client
    would take.
    """
    (start,) = [block for block in _block("kcat -P") if "order-1|" in block and block in WIRE]
    for number in range(8):  # by librdkafka's own partitioner most of these would lie wrong
        await _type(start.replace("order-1|", f"order-{number}|"), client, tmp_path)
    for number in range(8):
        await _ends(client, f"order-{number}", {"user_id": "u1", "amount": 1250, "cancelled": ""})
    (watch,) = _block("kcat -C")
    said = await _type(
        f"{watch.strip()} -e", client, tmp_path
    )  # -e: end at the end, where the page would wait
    lines = {line.split()[0]: line for line in said.splitlines() if line}
    assert set(lines) == {f"order-{number}" for number in range(8)}
    assert all("odradek-status=COMPLETED" in line for line in lines.values())


@needs_kcat
def test_readme_from_hello_to_the_shell(bootstrap: str, namespace: str, tmp_path: Path) -> None:
    """In a namespace where nobody has been, as on a fresh `odradek dev`: kcat waits for ever for
    topics that are not there.
    """
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "hello.py").write_text(
        program.replace('"localhost:9092"', f'"{bootstrap}", namespace="{namespace}"')
    )
    (shell,) = [block for block in _block("kcat -P") if block in README]
    here = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ODRADEK_NAMESPACE": namespace,
    }
    environment = os.environ | here | {"ODRADEK_STATE_DIR": str(tmp_path / "state")}
    shell = shell.replace("localhost:9092", bootstrap).replace(".default.", f".{namespace}.")
    typed = f"python hello.py\ntrap 'kill $(jobs -p); wait' EXIT\n{shell}"
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", typed],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{typed}\n{done.stderr}"
    promised = [
        line.partition("# ")[2]
        for line in README.splitlines()
        if line.startswith("odradek workflow result")
    ]
    assert done.stdout.splitlines() == ["Hello, World!", *promised]


@pytest.fixture(scope="session")
def console_producer() -> str:
    """A script that stands for `bin/kafka-console-producer.sh`: the class it calls is in one jar
    more than the broker needs.
    """
    java, progress = find_java(), StderrProgress()
    jars = kafka_jars(java, progress)
    tools = cache_root() / f"kafka-tools-{jars.version}.jar"
    if not tools.exists():
        try:
            from jgo.maven import MavenContext, PythonResolver

            from odradek.broker.jars import _configured_repositories

            context = MavenContext(
                resolver=PythonResolver(),
                repo_cache=cache_root() / "tools",
                timeout=60,
                **_configured_repositories(),
            )
            fetched = context.create_dependency(
                f"org.apache.kafka:kafka-tools:{jars.version}"
            ).artifact.resolve()
            shutil.copy(fetched, tools)
        except Exception as error:
            pytest.skip(f"Kafka's tools cannot be had: {error}")
    options = "-Xmx128m -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error"
    return (
        f'#!/bin/sh\nexec {java.executable} {options} -cp "{tools}:{jars.classpath}"'
        ' org.apache.kafka.tools.ConsoleProducer "$@"\n'
    )


async def test_console_producer_starts_a_workflow(
    client: Client, console_producer: str, tmp_path: Path
) -> None:
    script = tmp_path / "bin" / "kafka-console-producer.sh"
    script.parent.mkdir()
    script.write_text(console_producer)
    script.chmod(0o755)
    (block,) = _block("kafka-console-producer.sh")
    await _type(block, client, tmp_path)
    await _ends(client, "order-1", {"user_id": "u1", "amount": 1250, "cancelled": ""})


async def test_plain_producer_with_the_json_of_the_page(client: Client) -> None:
    """The three kinds of JSON record, letter by letter, by a producer that sets nothing but the
    page's partitioner.
    """
    (block,) = re.findall(r"```json\n(.*?)```", WIRE, re.DOTALL)
    start, signal, cancel = block.splitlines()
    producer = Producer(
        {
            "bootstrap.servers": client.service_client.settings.address,
            "partitioner": "murmur2_random",
        }
    )
    topic = f"odradek.{client.namespace}.{QUEUE}.events"

    def write(key: str, *lines: str) -> None:
        for line in lines:
            producer.produce(topic, line.encode(), key.encode())
        assert producer.flush(20) == 0

    write("signalled", start, signal)
    write("cancelled", start, cancel)
    await _ends(client, "signalled", {"user_id": "u1", "cancelled": "changed my mind"})
    handle = client.get_workflow_handle("cancelled", task_queue=QUEUE)
    for _ in range(300):
        description = await handle.describe()
        if description.status is not WorkflowExecutionStatus.RUNNING:
            break
        await asyncio.sleep(0.1)
    assert description.status is WorkflowExecutionStatus.CANCELED
