"""The reporting service: a Faust agent over the topic `results` that counts closed orders in
windows of a minute, by outcome, with their money and compensations. Does not import odradek.

Faust hands each result over *at least once*. So the table does not count: it holds one entry a
run, under its run id, in the tumbling window of its close, and the page adds entries up. A result
that comes again writes the same entry again, and the sums are exact. The table lives in memory;
its changelog is a Kafka topic, from which a new process restores it. Faust writes an entry there
before it commits the offset of its result. Windows leave both after `keep_hours`.
"""

from __future__ import annotations

import html
import json
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import faust
from confluent_kafka.admin import AdminClient, NewTopic
from faust.web import Request, Response, View
from pydantic import BaseModel, Field

from services.config import ForeignConfig
from services.faust_transport import SCHEME
from services.wire import NotReadable, RegistryAway, Schemas, ensure_topics, topic

WINDOW = timedelta(minutes=1)
SWEEP_EVERY_SECONDS = 30.0
COLUMNS = ("window", "outcome", "orders", "cents", "compensations")


class ReportingConfig(ForeignConfig):
    """`host`, `port`: of the page. `keep_hours`: how long windows stay. `workflow_type`: whose
    results are orders. One process a namespace: it has all partitions.
    """

    host: str = "127.0.0.1"
    port: int = 8090
    keep_hours: int = Field(24, ge=1)
    workflow_type: str = "OrderSaga"
    replication_factor: int = Field(-1, ge=-1)


class Entry(BaseModel):
    """What the table holds of a run."""

    outcome: str
    cents: int = 0
    compensations: int = 0


class Reporting:
    """`app` is the Faust app to run."""

    def __init__(self, config: ReportingConfig) -> None:
        wire = config.odradek
        self._config = config
        self._results = topic("results", wire.namespace)
        self._schemas = Schemas(wire.address, wire.namespace, wire.schema_registry_url)
        self._group = f"odradek.reporting.{wire.namespace}"
        self.app = faust.App(
            self._group,
            broker=f"{SCHEME}://{wire.address}",
            origin="services.reporting",
            autodiscover=False,
            web_enabled=True,
            web_host=config.host,
            web_bind=config.host,
            web_port=config.port,
            topic_disable_leader=True,
            topic_allow_declare=False,
            table_standby_replicas=0,
            consumer_auto_offset_reset="earliest",
            broker_session_timeout=6.0,
            broker_heartbeat_interval=2.0,
            broker_commit_interval=0.5,
            stream_wait_empty=False,
            store="memory://",
            datadir=str(Path(config.database).parent / "faust-reporting"),
        )
        self._keep = timedelta(hours=config.keep_hours)
        self._table: Any = self.app.Table(
            "orders",
            partitions=self._prepare_topics(),
            key_type=str,
            value_type=bytes,
        ).tumbling(WINDOW, expires=self._keep)
        results = self.app.topic(self._results, key_serializer="raw", value_serializer="raw")
        self.app.agent(results, name="reporting")(self._take)
        self.app.timer(SWEEP_EVERY_SECONDS)(self._sweep)

        async def report(view: View, request: Request) -> Response:
            return self._report(view, request)

        self.app.page("/report")(report)

    def _prepare_topics(self) -> int:
        """Create the table's changelog, with as many partitions as `results` has: their number."""
        address = self._config.odradek.address
        ensure_topics(address, expected=(self._results,))
        found = AdminClient({"bootstrap.servers": address}).list_topics(self._results, timeout=10)
        partitions = len(found.topics[self._results].partitions)
        settings = {
            "cleanup.policy": "compact,delete",
            "retention.ms": str(self._config.keep_hours * 3_600_000),
        }
        changelog = NewTopic(
            f"{self._group}-orders-changelog",
            partitions,
            self._config.replication_factor,
            config=settings,
        )
        ensure_topics(address, changelog)
        return partitions

    async def _take(self, stream: Any) -> None:
        async for event in stream.noack().events():
            try:
                self._note(event.value)
            except NotReadable as error:
                print(f"skipped {event.message.tp}@{event.message.offset}: {error}", flush=True)
            except RegistryAway as error:  # ends the process: the result comes to the next one
                await self.app.crash(error)
                raise
            event.ack()

    def _note(self, value: bytes | None) -> None:
        """Write the run's entry: the same one however often the result comes."""
        name, result = self._schemas.decode(value) if value else ("", {})
        if name == "WorkflowResult" and result["workflow_type"] == self._config.workflow_type:
            closed_s = result["close_time_ms"] / 1_000
            entry = entry_of(result).model_dump_json().encode()
            self._table.relative_to(closed_s)[result["run_id"]] = entry

    async def _sweep(self) -> None:
        """Expire windows, also those that were restored, which Faust itself forgets to expire."""
        oldest_s = time.time() - self._keep.total_seconds()
        entries = self._table.table.data
        for key in [key for key in list(entries) if key[1][0] < oldest_s]:
            entries.pop(key, None)

    def rows(self) -> list[dict[str, Any]]:
        """A row a window and outcome, latest window first."""
        oldest_s = time.time() - self._keep.total_seconds()
        sums: defaultdict[tuple[float, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        for (_, (start_s, _)), value in list(self._table.table.data.items()):
            if start_s >= oldest_s:
                entry = Entry.model_validate_json(value)
                row = sums[start_s, entry.outcome]
                row[0] += 1
                row[1] += entry.cents
                row[2] += entry.compensations
        found = []
        for (start_s, outcome), counts in sorted(
            sums.items(), key=lambda row: (-row[0][0], row[0][1])
        ):
            window = datetime.fromtimestamp(start_s, UTC).isoformat()
            found.append(dict(zip(COLUMNS, (window, outcome, *counts), strict=True)))
        return found

    def _report(self, view: View, request: Request) -> Response:
        """HTML, or JSON for `?format=json` and `Accept: application/json`."""
        rows = self.rows()
        wanted = request.query.get("format") or cast(Any, request).headers.get("Accept", "")
        return view.json({"rows": rows}) if "json" in wanted else view.html(page_of(rows))


def entry_of(result: dict[str, Any]) -> Entry:
    """What a WorkflowResult says of an order. A saga that was cancelled from outside, or ended
    by somebody, does not say its amount: 0.
    """
    failure = result["failure"] or {}
    payloads = result["result"] or failure.get("details") or []
    try:
        said = json.loads(payloads[0]["data"]) if payloads else {}
        cents, compensations = int(said.get("amount", 0)), int(said.get("compensations", 0))
    except (ValueError, TypeError, AttributeError, RecursionError):
        cents = compensations = 0
    kind = failure.get("type", "")
    outcome = {"OrderFailed": "compensated", "OrderCancelled": "cancelled"}.get(kind, "")
    return Entry(
        outcome=outcome or str(result["status"]).lower(),
        cents=cents,
        compensations=compensations,
    )


def page_of(rows: list[dict[str, Any]]) -> str:
    """The rows as a page."""
    head = "".join(f"<th>{name}</th>" for name in COLUMNS)
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(str(row[name]))}</td>' for name in COLUMNS)}</tr>"
        for row in rows
    )
    return (
        "<!doctype html><title>Orders</title><h1>Orders by outcome, a minute</h1>"
        f"<table border=1><tr>{head}</tr>{body}</table>"
    )
