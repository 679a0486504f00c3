"""Anybody may write records: a seeded flood of bad ones on `events`, `commands` and `control`
stops no partition, and honest runs beside it complete.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from odradek.config import Settings
from odradek.kafka.client_config import producer_config
from odradek.wire.codec import encode
from odradek.wire.events import ActivityTaskCompleted, SignalWorkflow, StartWorkflow
from odradek.wire.headers import headers_for
from odradek.wire.tasks import CancelActivityTask
from odradek.wire.topics import Topics
from odradek.worker import Worker
from tests.support.client import connected
from tests.support.settings import settings_for
from tests.support.worker import QUEUE, Doubles, double

SECONDS = 6
A_SECOND = 400
PATIENCE_S = 15.0  # a run takes some 30 ms; one that waits for bad records took up to 96 s


@pytest.fixture
def settings(bootstrap: str, namespace: str, tmp_path: Path) -> Settings:
    return settings_for(bootstrap, namespace, tmp_path)


def bad_values(chance: random.Random) -> Iterator[tuple[bytes | None, list[tuple[str, bytes]]]]:
    """Values with headers, without end."""
    honest = [
        encode(one)
        for one in (
            SignalWorkflow("nobody", "go"),
            ActivityTaskCompleted("nobody", "r", 5, "a", 1),
            CancelActivityTask("nobody", "r", 5, "a", 1),
        )
    ]
    start = b'{"kind": "StartWorkflow", "workflow_type": "Doubles", "input": [%s]}'
    routed = headers_for(SignalWorkflow("nobody", "go", request_id="r", reply_to="me"))
    while True:
        value = bytearray(chance.choice(honest))
        bent = bytearray(value)
        bent[chance.randrange(len(bent))] ^= 1 << chance.randrange(8)
        yield chance.choice(
            [
                (chance.randbytes(chance.randrange(1, 300)), []),
                (None, []),
                (bytes(bent), []),
                (bytes(value[: chance.randrange(len(value))]), []),
                (bytes(value), []),
                (b"\xc3\x01" + chance.randbytes(8) + bytes(value[10:]), []),
                (b"\x00" + chance.randbytes(4) + bytes(value[10:]), []),
                (start % (b"[" * 100_000 + b"]" * 100_000), []),
                (start % (b"9" * 100_000), []),
                (b"{" + chance.randbytes(20), [("odradek-kind", chance.randbytes(5))]),
                (chance.randbytes(30), [(name, bytes(raw or b"")) for name, raw in routed]),
            ]
        )


@pytest.mark.promise("bad-records")
async def test_a_flood_of_bad_records_delays_no_honest_run(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    seed = int(os.environ.get("ODRADEK_TEST_SEED", "20261207"))
    print(f"ODRADEK_TEST_SEED={seed}")
    topics = Topics(settings.namespace, settings.topic_prefix)
    targets = [topics.events(QUEUE), topics.commands(QUEUE), topics.control(QUEUE)]
    caplog.set_level(logging.WARNING)
    producer = Producer(producer_config(settings))
    values, chance = bad_values(random.Random(seed)), random.Random(seed + 1)
    slowest, written, flooding = 0.0, 0, True

    async def flood() -> None:
        nonlocal written, flooding
        for _ in range(SECONDS * 10):
            for _ in range(A_SECOND // 10):
                value, headers = next(values)
                key = f"k{chance.randrange(50)}".encode()
                producer.produce(chance.choice(targets), value, key, headers=headers)
                written += 1
            producer.poll(0)
            await asyncio.sleep(0.1)
        await asyncio.to_thread(producer.flush, 30)
        flooding = False

    async with (
        connected(settings) as client,
        Worker(client, task_queue=QUEUE, workflows=[Doubles], activities=[double]) as worker,
    ):
        assert await client.execute_workflow(Doubles.run, 1, id="first", task_queue=QUEUE) == 2
        caplog.clear()
        flooder = asyncio.ensure_future(flood())
        number = 0
        while flooding:
            number += 1
            began = time.monotonic()
            async with asyncio.timeout(PATIENCE_S):
                run = client.execute_workflow(
                    Doubles.run, number, id=f"honest-{number}", task_queue=QUEUE
                )
                assert await run == 2 * number
            slowest = max(slowest, time.monotonic() - began)
        await flooder
        start = StartWorkflow("last", "Doubles")
        assert start.workflow_id not in caplog.text
        assert await client.execute_workflow(Doubles.run, 7, id="last", task_queue=QUEUE) == 14
        assert worker.is_running
    lines = [record for record in caplog.records if "dead letter" in record.getMessage()]
    print(
        f"{written} bad records, {number} honest runs, slowest {slowest:.3f} s, {len(lines)} lines"
    )
    assert number > 5 and len(lines) < written / 10
    # one line a second and reason, and no traceback of ours
    assert not [record for record in caplog.records if record.exc_info]
