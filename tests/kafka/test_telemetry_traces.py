"""One trace over client, workflow, an activity in another process, and a signal; on real Kafka,
with a replay for each workflow task.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from odradek.client import Client
from odradek.config import Settings
from odradek.contrib.opentelemetry import TracingInterceptor
from odradek.telemetry import metrics
from odradek.wire.topics import Topics
from odradek.worker import Worker
from tests.kafka.telemetry_workflows import Traced, span_facts
from tests.support.metrics import counted
from tests.support.until import until_async

REPOSITORY = Path(__file__).parents[2]
FAR = "far"


def read_commands(settings: Settings) -> list[dict[str, str]]:
    """Headers of the records in `commands` of the far queue."""
    topic = Topics(settings.namespace).commands(FAR)
    consumer = Consumer(
        {"bootstrap.servers": settings.address, "group.id": "x", "enable.auto.commit": False}
    )
    found: list[dict[str, str]] = []
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(2)])
        deadline = time.monotonic() + 20
        while not found and time.monotonic() < deadline:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                headers: Any = message.headers() or []
                found.append({name: value.decode() for name, value in headers})
    finally:
        consumer.close()
    return found


@pytest.fixture
def far_spans(settings: Settings, tmp_path: Path) -> Iterator[Path]:
    """An activity service in a process of its own; its spans."""
    path = tmp_path / "spans"
    path.touch()
    environment = os.environ | {
        "ODRADEK_ADDRESS": settings.address,
        "ODRADEK_NAMESPACE": settings.namespace,
        "ODRADEK_PARTITIONS": "2",
        "ODRADEK_STATE_DIR": str(tmp_path / "far"),
        "PYTHONPATH": f"{REPOSITORY / 'streams'}:{REPOSITORY}",
    }
    command = [
        sys.executable,
        "-m",
        "tests.kafka.telemetry_workflows",
        "activities",
        FAR,
        str(path),
    ]
    process = subprocess.Popen(command, env=environment)
    yield path
    process.kill()
    process.wait(10)


@pytest.mark.promise("telemetry")
async def test_one_trace_from_the_client_over_two_processes_and_replays(
    settings: Settings, far_spans: Path
) -> None:
    memory = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("tests")
    client = await Client.connect(settings=settings, interceptors=[TracingInterceptor(tracer)])
    # Nothing stays in memory: each task replays the run, and nothing may be traced again for it.
    worker = Worker(client, task_queue="near", workflows=[Traced], max_cached_workflows=0)
    try:
        async with worker:
            with tracer.start_as_current_span("shop"):
                handle = await client.start_workflow(Traced.run, FAR, id="w", task_queue="near")
            await until_async(lambda: "RunActivity:greet" in far_spans.read_text(), 60)
            headers = await asyncio.to_thread(read_commands, settings)
            with tracer.start_as_current_span("caller"):
                await handle.signal(Traced.say, "bye")
            assert await handle.result() == "hello you, bye"
            with tracer.start_as_current_span("asker"):
                assert await handle.query(Traced.said) == "bye"
            asked_again = client.statistics().asked_again
            assert worker._processor is not None
            replayed = counted(metrics.REPLAY_ACTIVATIONS, namespace=settings.namespace)
            assert replayed >= 2, "this test means nothing unless runs were replayed"
            await _raw_start_belongs_to_the_producers_trace(settings, memory)
    finally:
        client.close()

    spans = [span_facts(span) for span in memory.get_finished_spans()]
    spans += [json.loads(line) for line in far_spans.read_text().splitlines()]  # noqa: ASYNC240 - a small file
    ours = [span for span in spans if span["attributes"].get("temporalWorkflowID", "w") == "w"]
    by_name = {span["name"]: span for span in ours}
    twice = {name for name, count in Counter(span["name"] for span in ours).items() if count > 1}
    assert twice <= ({"HandleQuery:said"} if asked_again else set()), (
        "a span was made twice, not for a query that was asked twice"
    )
    shop, start = by_name["shop"], by_name["StartWorkflow:Traced"]
    assert (start["parent"], start["kind"]) == (shop["span"], "CLIENT")
    assert (by_name["RunWorkflow:Traced"]["parent"], by_name["RunWorkflow:Traced"]["kind"]) == (
        start["span"],
        "SERVER",
    )
    schedule, run = by_name["StartActivity:greet"], by_name["RunActivity:greet"]
    assert schedule["parent"] == start["span"]
    assert (run["parent"], run["trace"]) == (schedule["span"], shop["trace"])
    assert (
        run["attributes"]["temporalRunID"] == handle.first_execution_run_id
        and run["attributes"]["temporalActivityID"] == "1"
    )
    handle_signal, signal = by_name["HandleSignal:say"], by_name["SignalWorkflow:say"]
    assert (handle_signal["trace"], handle_signal["links"]) == (shop["trace"], [signal["span"]])
    assert signal["trace"] == by_name["caller"]["trace"] != shop["trace"]
    assert by_name["CompleteWorkflow:Traced"]["trace"] == shop["trace"]
    handle_query = by_name["HandleQuery:said"]
    assert handle_query["parent"] == by_name["QueryWorkflow:said"]["span"] and handle_query[
        "links"
    ] == [start["span"]]
    # What a service reads that knows record headers alone.
    assert headers[0]["traceparent"].startswith(f"00-{shop['trace']}-{schedule['span']}-")


async def _raw_start_belongs_to_the_producers_trace(
    settings: Settings, memory: InMemorySpanExporter
) -> None:
    trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    producer = Producer({"bootstrap.servers": settings.address, "partitioner": "murmur2_random"})
    value = json.dumps({"kind": "StartWorkflow", "workflow_type": "Traced", "input": [FAR]})
    producer.produce(
        Topics(settings.namespace).events("near"),
        value,
        "raw",
        headers=[("traceparent", f"00-{trace}-{span}-01")],
    )
    assert producer.flush(30) == 0

    def runs() -> list[dict[str, Any]]:
        facts = [span_facts(found) for found in memory.get_finished_spans()]
        return [
            found
            for found in facts
            if found["attributes"].get("temporalWorkflowID") == "raw"
            and found["name"].startswith("RunW")
        ]

    await until_async(lambda: bool(runs()))
    assert (runs()[0]["trace"], runs()[0]["parent"]) == (trace, span)


JSON = b"json/plain"
