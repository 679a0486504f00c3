"""Workflows and activities for tests of traces, log lines and probes; in the test's process and
in processes of their own.

python -m tests.kafka.telemetry_workflows processor|activities QUEUE [SPANS]

Settings come from ODRADEK_… variables. Log lines go to stderr as the settings say; with SPANS
each span is a JSON line in that file.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from odradek import activity, workflow
from odradek.cli.logs import log_as_set
from odradek.client import Client
from odradek.config import Settings
from odradek.contrib.opentelemetry import TracingInterceptor
from odradek.worker import Worker

SHORT = timedelta(seconds=30)


@activity.defn
async def greet(name: str) -> str:
    activity.logger.info("greeting")
    activity.metric_meter().create_counter("shop_greetings", "Greetings.").add(1, {"polite": True})
    logging.getLogger("shop").info("by a logger of the shop")
    return f"hello {name}"


@workflow.defn
class Traced:
    """An activity on a queue that is given, then a signal."""

    def __init__(self) -> None:
        self._said = ""

    @workflow.run
    async def run(self, queue: str) -> str:
        workflow.logger.info("began")
        greeting = await workflow.execute_activity(
            greet, "you", task_queue=queue, start_to_close_timeout=SHORT
        )
        workflow.logger.info("greeted")
        workflow.metric_meter().create_histogram_timedelta("shop_patience").record(
            timedelta(milliseconds=30)
        )
        await workflow.wait_condition(lambda: self._said != "")
        workflow.logger.info("done")
        return f"{greeting}, {self._said}"

    @workflow.signal
    async def say(self, what: str) -> None:
        self._said = what

    @workflow.query
    def said(self) -> str:
        return self._said


@workflow.defn
class Asleep:
    """Code that keeps its thread: no watchdog can interrupt a call of the operating system."""

    @workflow.run
    async def run(self) -> None:
        time.sleep(600)  # noqa: ASYNC251 - that it blocks is the point


WORKFLOWS = [Traced, Asleep]


class FileExporter(SpanExporter):
    """A JSON line a span."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with self._path.open("a") as file:
            for span in spans:
                file.write(json.dumps(span_facts(span)) + "\n")
        return SpanExportResult.SUCCESS


def span_facts(span: ReadableSpan) -> dict[str, Any]:
    """What tests look at."""
    context = span.get_span_context()
    assert context is not None
    return {
        "name": span.name,
        "trace": f"{context.trace_id:032x}",
        "span": f"{context.span_id:016x}",
        "parent": f"{span.parent.span_id:016x}" if span.parent is not None else "",
        "links": [f"{link.context.span_id:016x}" for link in span.links],
        "kind": span.kind.name,
        "attributes": dict(span.attributes or {}),
        "error": span.status.description or "",
    }


async def main(what: str, queue: str, spans: str = "") -> None:
    settings = Settings()
    log_as_set(settings, None)
    logging.getLogger("shop").setLevel(logging.INFO)
    interceptors = []
    if spans:
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(FileExporter(Path(spans))))
        interceptors = [TracingInterceptor(provider.get_tracer("tests"))]
    client = await Client.connect(settings=settings, interceptors=interceptors)
    hosts: dict[str, Any] = (
        {"workflows": WORKFLOWS} if what == "processor" else {"activities": [greet]}
    )
    worker = Worker(
        client,
        task_queue=queue,
        max_cached_workflows=int(os.environ.get("CACHED", "1000")),
        **hosts,
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with worker:
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
