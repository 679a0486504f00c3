"""What a record costs to write and to read, generated functions against fastavro: `python
benchmarks/codec.py`.

The figures of docs/decisions/0004-generated-codec.md. One record of each kind again and again,
so the codec's memories of names and times always hit; `unlike` gives each record ids and times
of its own, which is the other end. fastavro's reading stops at dicts.
"""

from __future__ import annotations

import io
import timeit
from typing import Any

import fastavro
import msgspec

from odradek.wire import history
from odradek.wire.codec import decode, encode
from odradek.wire.events import ActivityTaskCompleted, StartWorkflow
from odradek.wire.history import HistoryEvent
from odradek.wire.payload import Payload, RetryPolicy
from odradek.wire.schema import avro_schema
from odradek.wire.state import HistoryRow, RunRow
from odradek.wire.tasks import ActivityTask

ROUNDS = 5_000


def records(n: int) -> list[msgspec.Struct]:
    """The records of a saga's step; other ids and times for another n."""
    order, run, at = f"order-{n}", f"0f8fad5b-d9cb-469f-a165-{n:012d}", 1_700_000_000_000 + n * 17
    payload = Payload(
        {"encoding": b"json/plain"},
        b'{"user_id":"u-17","items":[["apple",2],["pear",1]],"amount":1250}',
    )
    policy = RetryPolicy(1_000, 2.0, 60_000, 3)
    return [
        StartWorkflow(order, "OrderWorkflow", f"q-{run}", run, "client-1", at, "17@shop", input=[payload]),
        ActivityTask(
            "default", "order-task-queue", order, run, "OrderWorkflow", "payments", "5", "FreezePayment", 5, input=[payload],
            scheduled_time_ms=at, current_attempt_scheduled_time_ms=at, start_to_close_timeout_ms=60_000, retry_policy=policy,
        ),
        ActivityTaskCompleted(order, run, 5, "5", 1, [payload], at, "18@payments"),
        RunRow(
            order, run, "OrderWorkflow", run,
            start_time_ms=at, execution_time_ms=at, last_time_ms=at, next_event_id=12, last_task_event_id=9,
        ),
        HistoryRow(
            [
                HistoryEvent(5, at, history.ActivityTaskStartedEvent(5, 1, "18@payments")),
                HistoryEvent(6, at, history.ActivityTaskCompletedEvent(5, 6, [payload], "18@payments")),
                HistoryEvent(7, at, history.WorkflowTask(at, "19@worker")),
                HistoryEvent(10, at, history.ActivityTaskScheduled("10", "ReserveInventory", "inventory", [payload], retry_policy=policy)),
                HistoryEvent(11, at, history.TimerStarted("11", 86_400_000, 9)),
            ]
        ),
    ]  # fmt: skip


def microseconds(work: Any) -> float:
    """The best of five, a call."""
    return min(timeit.repeat(work, number=ROUNDS, repeat=5)) / ROUNDS * 1e6


def hinted(value: Any) -> Any:
    """msgspec's tagged dict as fastavro's ("name", dict), which spares it the search through the
    union.
    """
    if isinstance(value, dict):
        kind = value.pop("-type", None)
        fields = {key: hinted(part) for key, part in value.items()}
        return fields if kind is None else (f"odradek.{kind}", fields)
    return [hinted(part) for part in value] if isinstance(value, list) else value


def by_fastavro(record: msgspec.Struct, schema: Any) -> bytes:
    out = io.BytesIO()
    plain = msgspec.to_builtins(record, builtin_types=(bytes,))
    fastavro.schemaless_writer(
        out, schema, hinted(plain) if isinstance(record, HistoryRow) else plain
    )
    return out.getvalue()


def main() -> None:
    print(
        f"{'µs a record':24}{'bytes':>7}{'write':>8}{'unlike':>8}{'fastavro':>10}{'read':>8}{'fastavro':>10}"
    )
    unlike = [records(n) for n in range(ROUNDS)]
    for index, record in enumerate(records(1)):
        schema = fastavro.parse_schema(avro_schema(type(record)))
        data = encode(record)
        body = by_fastavro(record, schema)
        assert body == data[10:]
        several = iter([one[index] for one in unlike] * 5)
        row = (
            microseconds(lambda record=record: encode(record)),
            microseconds(lambda several=several: encode(next(several))),
            microseconds(lambda record=record, schema=schema: by_fastavro(record, schema)),
            microseconds(lambda data=data: decode(data)),
            microseconds(
                lambda body=body, schema=schema: fastavro.schemaless_reader(
                    io.BytesIO(body), schema, None
                )
            ),
        )
        print(
            f"{type(record).__name__:24}{len(data):7}{row[0]:8.1f}{row[1]:8.1f}{row[2]:10.1f}{row[3]:8.1f}{row[4]:10.1f}"
        )


if __name__ == "__main__":
    main()
