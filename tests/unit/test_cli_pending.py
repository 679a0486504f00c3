"""Accepted is not done: how the command line tells of requests that no processor has answered.
More in tests/kafka/test_cli_kafka.py.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

from odradek.cli import batch
from tests.support.transport import FakeTransport, connect, reply_to


def test_a_batch_counts_accepted_requests_apart(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = batch.Outcome(4)
    execution: Any = SimpleNamespace(id="w", run_id="r", task_queue="q")
    transport = FakeTransport()

    async def run() -> None:
        client = connect(transport, rpc_timeout=0.1)
        transport.existing.add("q")
        await asyncio.gather(
            *(
                batch._ask(client, execution, lambda handle: handle.terminate(), outcome)
                for _ in range(2)
            )
        )
        transport.serve("q", lambda _, record: reply_to(record))
        await batch._ask(client, execution, lambda handle: handle.terminate(), outcome)

    asyncio.run(run())
    assert (outcome.done, outcome.pending, outcome.handled) == (1, 2, 3)
    options = argparse.Namespace(output="json")
    batch._report(options, "q", "terminated", outcome)
    assert json.loads(capsys.readouterr().out) | {"failures": []} == {
        "query": "q", "action": "terminated", "matched": 4, "done": 1, "pending": 2, "skipped": 0, "retried": 0, "failed": 0,
        "failures": [],
    }  # fmt: skip
    options.output = "text"
    batch._report(options, "q", "terminated", outcome)
    assert (
        "terminated: 1  accepted, not applied before a processor is up: 2"
        in capsys.readouterr().out
    )
