"""A client that nobody holds any more is gone with its threads and connections, as Temporal's
is: nobody has to close one.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from odradek import activity, workflow
from odradek.client import Client, WorkflowHandle
from odradek.config import Settings
from odradek.service import RPCError
from odradek.worker import Worker
from tests.support.until import until

SHORT = timedelta(seconds=1)
QUEUE = "nobody"


@pytest.fixture
def without_collector() -> Iterator[None]:
    """What goes away does so by itself: in a process of many objects, the collector's last
    generation comes seldom.
    """
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def of_this_process() -> tuple[int, int]:
    """Threads, librdkafka's too, and descriptors."""
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))


async def ask(client: Client) -> None:
    with pytest.raises(RPCError):
        await client.get_workflow_handle("no-such-workflow", task_queue=QUEUE).describe(
            rpc_timeout=SHORT
        )


def test_one_a_call(bootstrap: str, namespace: str, without_collector: None) -> None:
    """A task of a queue, a view of a web framework: `asyncio.run`, and a client of its own."""
    settings = Settings(address=bootstrap, namespace=namespace)

    async def call() -> None:
        await ask(await Client.connect(settings=settings))

    asyncio.run(call())
    until(lambda: not any(thread.name == "odradek-replies" for thread in threading.enumerate()))
    threads, descriptors = of_this_process()
    for _ in range(4):
        asyncio.run(call())
    until(lambda: of_this_process()[0] <= threads and of_this_process()[1] <= descriptors)


async def test_one_a_request_in_a_loop_that_goes_on(
    bootstrap: str, namespace: str, without_collector: None
) -> None:
    settings = Settings(address=bootstrap, namespace=namespace)
    kept = await Client.connect(settings=settings)
    await ask(kept)
    threads, descriptors = of_this_process()
    for _ in range(3):
        await ask(await Client.connect(settings=settings))
    # A client has 17 threads and 25 descriptors; the loop's executor and the one that is kept may
    # have a few more by now.
    await asyncio.to_thread(
        until,
        lambda: of_this_process()[0] <= threads + 6 and of_this_process()[1] <= descriptors + 9,
    )
    await ask(kept)  # nobody else's connection went with them
    kept.close()


async def test_a_handle_keeps_its_clients_connection(bootstrap: str, namespace: str) -> None:
    async def handle() -> WorkflowHandle[object, object]:
        client = await Client.connect(settings=Settings(address=bootstrap, namespace=namespace))
        return client.get_workflow_handle("no-such-workflow", task_queue=QUEUE)

    found = await handle()
    gc.collect()
    with pytest.raises(RPCError):
        await found.describe(rpc_timeout=SHORT)


def test_one_whose_loop_is_closed_goes_when_the_next_one_comes(
    bootstrap: str, namespace: str
) -> None:
    """It can never be used again, whoever still holds it: a module's variable, a traceback."""
    settings = Settings(address=bootstrap, namespace=namespace)
    held = [asyncio.run(Client.connect(settings=settings)) for _ in range(2)]
    until(lambda: sum(thread.name == "odradek-replies" for thread in threading.enumerate()) <= 1)
    held[1].close()


def test_no_descriptor_left_is_said_so(bootstrap: str, namespace: str) -> None:
    code = (
        "import asyncio\n"
        "from odradek.client import Client\n"
        "from odradek.exceptions import BrokerUnreachableError\n"
        "async def main():\n"
        "    held = []\n"
        "    try:\n"
        "        while True:\n"
        f"            held.append(await Client.connect({bootstrap!r}, namespace={namespace!r}))\n"
        "    except BrokerUnreachableError as error:\n"
        "        print(error)\n"
        "asyncio.run(main())\n"
    )
    soft = 120

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, soft))

    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=limit,
        env=os.environ.copy(),
    )
    assert "no file descriptor left" in done.stdout, (done.stdout, done.stderr[-2000:])
    assert "Start the broker" not in done.stdout


@activity.defn
async def greet(name: str) -> str:
    return f"hello {name}"


@workflow.defn
class Greeting:
    @workflow.run
    async def run(self, name: str) -> str:
        return await workflow.execute_activity(
            greet, name, start_to_close_timeout=timedelta(seconds=20)
        )


@workflow.defn
class Echo:
    @workflow.run
    async def run(self, what: str) -> str:
        return what


@pytest.mark.parametrize("group", ["classic", "share"])
def test_a_worker_that_ended(
    bootstrap: str, namespace: str, tmp_path: Path, without_collector: None, group: str
) -> None:
    """A test suite that has one a test: nothing of it stays."""
    settings = Settings(
        address=bootstrap,
        namespace=namespace,
        state_dir=tmp_path,
        partitions=1,
        activity_group=group,
    )

    async def work(number: int) -> None:
        client = await Client.connect(settings=settings)
        async with Worker(client, task_queue="greetings", workflows=[Greeting], activities=[greet]):
            assert (
                await client.execute_workflow(
                    Greeting.run, "you", id=f"w{number}", task_queue="greetings"
                )
                == "hello you"
            )

    def of_kafka() -> list[str]:
        names = []
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended just now
                names.append((task / "comm").read_text().strip())
        return [name for name in names if name.startswith("rdk:")]

    before = of_kafka()
    for number in range(2):
        asyncio.run(work(number))
    until(lambda: len(of_kafka()) <= len(before))


async def test_a_worker_whose_task_nobody_keeps(
    bootstrap: str, namespace: str, tmp_path: Path
) -> None:
    """asyncio holds tasks weakly: a start-up function of a web framework or a bot begins a
    worker, and returns.
    """
    settings = Settings(address=bootstrap, namespace=namespace, state_dir=tmp_path, partitions=1)

    async def begin() -> None:
        asyncio.create_task(  # noqa: RUF006
            Worker(await Client.connect(settings=settings), task_queue="q", workflows=[Echo]).run()
        )

    await begin()
    client = await Client.connect(settings=settings)
    for number in range(2):
        assert (
            await client.execute_workflow(Echo.run, "you", id=f"w{number}", task_queue="q") == "you"
        )
        gc.collect()
    (task,) = (task for task in asyncio.all_tasks() if "Worker.run" in repr(task))
    task.cancel()
    await asyncio.wait([task])
    client.close()
