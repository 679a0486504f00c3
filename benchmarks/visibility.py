"""The read side's figures: intake from Kafka, its ceiling without Kafka, first pages and counts
at a million runs.

`python -m benchmarks.visibility [--runs N] [--records N]` alone prints them as JSON. The runs
look like a shop's: 20 workflow types of very different frequency, one in a thousand runs still
running, one in fifty failed, a search attribute on each. Those of the store for queries have
more of them: values that half of the runs have and values that a hundred have, numbers, lists,
and what only old runs have.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Producer

from benchmarks.parts import work_folder
from odradek.broker import LocalBroker
from odradek.broker.environment import forget_settings
from odradek.config import Settings
from odradek.converter import encode_search_attributes
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import transactional_producer_config
from odradek.visibility import Change, VisibilityStore
from odradek.visibility.reader import VisibilityReader
from odradek.wire.codec import Codec, encode
from odradek.wire.outcomes import ExecutionSummary
from odradek.wire.payload import Payload

BATCH = 4_000
PAGE_SIZE = 50
REPEATS = 30
RECORDS = 200_000  # through Kafka
TRANSACTION = 500  # records; what a lane under load puts into one

#: Filters that an index serves, as an operator asks them.
PAGES = {
    "latest": "",
    "by status, rare": "ExecutionStatus = 'Running'",
    "by status, common": "ExecutionStatus = 'Completed'",
    "by type": "WorkflowType = 'Type7'",
    "by type and status": "WorkflowType = 'Type0' AND ExecutionStatus = 'Failed'",
    "by workflow id": "WorkflowId = 'order-00000100'",
    "by prefix of the workflow id": "WorkflowId STARTS_WITH 'order-000001'",
    "by time": "StartTime > '2026-11-24T00:10:00Z' AND StartTime < '2026-11-24T00:20:00Z'",
    "by search attribute": "CustomerId = 'customer-77'",
    "latest closed, completed": "ExecutionStatus = 'Completed' ORDER BY CloseTime DESC",
}
#: The same over search attributes. Half of the runs are of one customer, the others of 10,000;
#: amounts lie between 0 and a million.
ATTRIBUTE_PAGES = {
    "equal, common": "CustomerId = 'big'",
    "equal, rare": "CustomerId = 'customer-77'",
    "equal, none": "CustomerId = 'nobody'",
    "unequal": "CustomerId != 'big'",
    "prefix": "CustomerId STARTS_WITH 'customer-7'",
    "one of some": "CustomerId IN ('big', 'customer-77')",
    "set": "CustomerId IS NOT NULL",
    "range, all": "Amount > 0",
    "range, common": "Amount >= 900000",
    "range, rare": "Amount BETWEEN 500000 AND 501000",
    "range, nearly none outside": "Amount NOT BETWEEN 50 AND 999950",
    "list, common": "Tags = 'all'",
    "list, a twentieth": "Tags = 'tag-3'",
    "list, without": "Tags != 'tag-3'",
    "only old runs": "Legacy = 'yes'",
    "only old runs, range": "Due < '2026-11-24T00:15:00Z'",
    "common, ascending": "CustomerId = 'big' ORDER BY StartTime",
    "common, latest closed": "CustomerId = 'big' ORDER BY CloseTime DESC",
    "unequal, latest closed": "CustomerId != 'big' ORDER BY CloseTime DESC",
    "range, latest closed": "Amount > 0 ORDER BY CloseTime DESC",
    "range, common, latest closed": "Amount >= 900000 ORDER BY CloseTime DESC",
    "rare, latest closed": "CustomerId = 'customer-77' ORDER BY CloseTime DESC",
    "rare, by history": "CustomerId = 'customer-77' ORDER BY HistoryLength DESC",
}
PAGES |= {f"attribute {name}": query for name, query in ATTRIBUTE_PAGES.items()}
PAGES |= {
    f"attribute {name}, {status}": (
        f"{condition} AND ExecutionStatus = '{status}'{order and f' ORDER BY {order}'}"
    )
    for name, (condition, _, order) in (
        (name, query.partition(" ORDER BY ")) for name, query in ATTRIBUTE_PAGES.items()
    )
    for status in ("Completed", "Failed", "Running")
}
COUNTS = {
    "by status": "GROUP BY ExecutionStatus",
    "by status of a type": "WorkflowType = 'Type0' GROUP BY ExecutionStatus",
    "of a time": "StartTime > '2026-11-24T00:10:00Z' AND StartTime < '2026-11-24T00:20:00Z'",
    "by search attribute": "CustomerId = 'customer-77'",
    "by common search attribute": "CustomerId = 'big'",
    "by common search attribute, by status": "CustomerId = 'big' GROUP BY ExecutionStatus",
    "by common search attribute, failed": "CustomerId = 'big' AND ExecutionStatus = 'Failed'",
}
_START_MS = 1_795_478_400_000  # 2026-11-24T00:00:00Z


def summaries(
    runs: int, seed: int = 1
) -> Iterator[tuple[ExecutionSummary, ExecutionSummary | None]]:
    """Runs as they start, and as they stand when they are over (None: they go on)."""
    chance = random.Random(seed)
    customers = [
        encode_search_attributes({"CustomerId": [f"customer-{number}"]}) for number in range(10_000)
    ]
    for number in range(runs):
        run_id = f"{chance.getrandbits(128):032x}"
        workflow_type = f"Type{min(19, int(chance.expovariate(0.3)))}"
        start_ms = _START_MS + number * 3
        attributes = customers[chance.randrange(len(customers))]
        identity = ("default", "orders", f"order-{number:08}", run_id, workflow_type)
        parents = (run_id, "", "", f"order-{number:08}", run_id, {}, attributes, "")
        started = ExecutionSummary(*identity, "RUNNING", start_ms, start_ms, 0, 3, 700, *parents, 1)
        if chance.random() < 0.001:
            yield started, None
            continue
        status = chance.choices(["COMPLETED", "FAILED", "TIMED_OUT"], [97, 2, 1])[0]
        close_ms = start_ms + int(chance.expovariate(1 / 800))
        yield (
            started,
            ExecutionSummary(
                *identity, status, start_ms, start_ms, close_ms, 17, 4_100, *parents, 8
            ),
        )


def many_attributes(runs: int, seed: int = 2) -> Iterator[dict[str, Payload]]:
    """Search attributes for the queries' runs."""
    chance = random.Random(seed)
    customers = [
        encode_search_attributes({"CustomerId": [f"customer-{number}"]}) for number in range(10_000)
    ]
    big = encode_search_attributes({"CustomerId": ["big"]})
    tags = [encode_search_attributes({"Tags": ["all", f"tag-{number}"]}) for number in range(20)]
    legacy = encode_search_attributes({"Legacy": ["yes"]})
    for number in range(runs):
        due = datetime.fromtimestamp((_START_MS + number * 3) / 1_000, UTC)
        amount = encode_search_attributes({"Amount": [chance.randrange(1_000_001)], "Due": [due]})
        found = {
            **(big if chance.random() < 0.5 else chance.choice(customers)),
            **amount,
            **chance.choice(tags),
        }
        yield {**found, **legacy} if number < runs // 3 else found


def key(summary: ExecutionSummary) -> bytes:
    """Its record's key."""
    return f"{summary.workflow_id}/{summary.run_id}".encode()


def records(runs: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of `executions`, two for most runs, the second a while after the first."""
    waiting: list[ExecutionSummary] = []
    for started, closed in summaries(runs):
        yield key(started), encode(started)
        if closed is not None:
            waiting.append(closed)
        if len(waiting) >= 500:
            yield from ((key(one), encode(one)) for one in waiting)
            waiting = []
    yield from ((key(one), encode(one)) for one in waiting)


def batches(changes: Iterable[Change], size: int = BATCH) -> Iterator[list[Change]]:
    """Changes in lists."""
    batch: list[Change] = []
    for change in changes:
        batch.append(change)
        if len(batch) == size:
            yield batch
            batch = []
    yield batch


def measure_ceiling(folder: Path, runs: int) -> dict[str, Any]:
    """Records a second into an empty store, without Kafka, with the decoding and without; and by
    CPU time, whatever else runs here.
    """
    written = list(records(runs))
    codec = Codec()
    applying_s = 0.0
    with VisibilityStore.open(folder / "ceiling.sqlite") as store:
        began, cpu_began = time.perf_counter(), time.process_time()
        for start in range(0, len(written), BATCH):
            some = written[start : start + BATCH]
            changes = [
                Change(0, start + place, record_key, codec.decode(value))
                for place, (record_key, value) in enumerate(some)
            ]
            applied = time.perf_counter()
            store.apply(changes)
            applying_s += time.perf_counter() - applied
        took, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    return {
        "store_records_per_second": round(len(written) / applying_s),
        "ceiling_records_per_second": round(len(written) / took),
        "ceiling_records_per_cpu_second": round(len(written) / cpu),
    }


def measure_intake(folder: Path, runs: int) -> dict[str, Any]:
    """Records a second from Kafka into the store, and how long after a commit a run is listed."""
    with LocalBroker(data_dir=folder / "kafka") as broker:
        settings = Settings(address=broker.bootstrap, namespace="bench", state_dir=folder / "state")
        return _intake(
            settings,
            runs,
            # its clients end with it: those left would look for their broker while pages are
            # measured
        )


def _intake(settings: Settings, runs: int) -> dict[str, Any]:
    admin = ClusterAdmin(settings)
    admin.ensure([admin.topics.executions])
    producer = Producer(transactional_producer_config(settings, "bench-visibility"))
    producer.init_transactions(30)
    written = _produce(producer, admin.topics.executions, runs)
    with VisibilityReader(settings) as reader:
        before, began, cpu_began = _first_batch(reader), time.perf_counter(), time.process_time()
        if not reader.wait_ready(600):
            raise RuntimeError(f"the read side did not catch up: {reader.statistics()}")
        last = reader.statistics()
        took, cpu = time.perf_counter() - began, time.process_time() - cpu_began
        latencies = [
            _latency_ms(producer, admin.topics.executions, reader, number)
            for number in range(REPEATS)
        ]
    return {
        "records": written,
        "intake_records_per_second": round((last.records - before) / took),
        "intake_cpu_us_per_record": round(cpu / (last.records - before) * 1e6, 1),
        "records_per_batch": round(last.records / max(1, last.batches)),
        "listed_after_commit_p50_ms": round(statistics.median(latencies), 1),
        "listed_after_commit_max_ms": round(max(latencies), 1),
    }


def _first_batch(reader: VisibilityReader) -> int:
    """Wait until the first batch is in; its records. Starting Faust and joining its group are
    not the intake's rate.
    """
    deadline_s = time.monotonic() + 120
    while time.monotonic() < deadline_s:
        records = reader.statistics().records
        if records:
            return records
        time.sleep(0.001)
    raise RuntimeError(f"the read side took nothing in: {reader.statistics()}")


def _produce(producer: Producer, topic: str, runs: int) -> int:
    written = 0
    for record_key, value in records(runs):
        if written % TRANSACTION == 0:
            if written:
                producer.commit_transaction(30)
            producer.begin_transaction()
        producer.produce(topic, key=record_key, value=value)
        producer.poll(0)
        written += 1
    producer.commit_transaction(30)
    return written


def _latency_ms(producer: Producer, topic: str, reader: VisibilityReader, number: int) -> float:
    summary = ExecutionSummary(
        "bench", "orders", f"late-{number}", f"late-{number}", "Type0", "RUNNING", _START_MS
    )
    listed = threading.Event()
    remove = reader.add_listener(
        lambda applied: (
            listed.set() if any(c.key == key(summary) for c in applied.changes) else None
        )
    )
    producer.begin_transaction()
    producer.produce(topic, key=key(summary), value=encode(summary))
    producer.commit_transaction(30)
    began = time.perf_counter()
    if not listed.wait(30):
        raise RuntimeError(f"a run was not listed in 30 s: {reader.statistics()}")
    remove()
    return (time.perf_counter() - began) * 1_000


def measure_queries(folder: Path, runs: int) -> dict[str, Any]:
    """First pages, second pages and counts over a store of `runs` runs."""
    path = folder / "million.sqlite"
    with VisibilityStore.open(path) as store:
        filled = (Change(0, number, key(run), run) for number, run in enumerate(_runs(runs)))
        began = time.perf_counter()
        for batch in batches(filled):
            store.apply(batch)
        loading_s = time.perf_counter() - began
        pages, further = {}, []
        for name, query in PAGES.items():
            pages[name] = _times(partial(store.list, query, page_size=PAGE_SIZE))
            token = store.list(query, page_size=PAGE_SIZE).next_page_token
            if token:
                further.append(
                    _times(partial(store.list, query, page_size=PAGE_SIZE, page_token=token))["max"]
                )
        counts = {name: _times(partial(store.count, query)) for name, query in COUNTS.items()}
        windows = _times(partial(store.windows, _START_MS, _START_MS + 3_600_000, together=True))
    return {
        "runs": runs,
        "loaded_rows_per_second": round(runs / loading_s),
        "store_mb": round(path.stat().st_size / 1e6),
        "first_page_ms": pages,
        "first_page_worst_ms": max(times["max"] for times in pages.values()),
        "first_page_worst": max(pages, key=lambda name: pages[name]["max"]),
        "first_page_of_a_search_attribute_worst_ms": max(
            pages[f"attribute {name}"]["max"] for name in ATTRIBUTE_PAGES
        ),
        "second_page_worst_ms": max(further),
        "count_ms": counts,
        "count_by_status_ms": counts["by status"]["max"],
        "windows_of_an_hour_ms": windows,
    }


def _runs(runs: int) -> Iterator[ExecutionSummary]:
    for (started, closed), attributes in zip(summaries(runs), many_attributes(runs), strict=True):
        yield msgspec.structs.replace(closed or started, search_attributes=attributes)


def _times(what: Callable[[], object]) -> dict[str, float]:
    """Milliseconds of a call, repeated."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        what()
        times.append((time.perf_counter() - began) * 1_000)
    return {"p50": round(statistics.median(times), 2), "max": round(max(times), 2)}


def run(runs: int, records: int) -> dict[str, Any]:
    """All figures. runs: rows of the store for queries.  records: about how many go through Kafka."""
    with work_folder() as folder:
        _say(f"{records} records into a store, without Kafka")
        ceiling = measure_ceiling(folder, records // 2)
        _say(f"{records} records from Kafka")
        intake = measure_intake(folder, records // 2)
        _say(f"pages and counts over {runs} runs")
        return {**ceiling, **intake, **measure_queries(folder, runs)}


def show(figures: dict[str, Any]) -> None:
    """The table's lines."""
    intake, ceiling = figures["intake_records_per_second"], figures["ceiling_records_per_second"]
    print(
        f"{'read side, from Kafka':<28}{intake:>9} records/s   listed after"
        f" {figures['listed_after_commit_p50_ms']} ms"
    )
    print(
        f"{'read side, ceiling':<28}{ceiling:>9} records/s   store alone"
        f" {figures['store_records_per_second']}"
    )
    page, worst = f"first page of {figures['runs']:,} runs", figures["first_page_worst_ms"]
    print(f"{page:<28}{worst:>9} ms at worst   count by status {figures['count_by_status_ms']} ms")


def _say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--records", type=int, default=RECORDS)
    arguments = parser.parse_args()
    forget_settings()  # they are of another Kafka
    figures = run(arguments.runs, arguments.records)
    show(figures)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
