"""What a plain producer costs with and without idempotence: `python -m
benchmarks.plain_producer`. Figures for docs/decisions/0009.

A broker of its own; records of 300 bytes over so many partitions, so many unacknowledged at a
time, each delivery lets the next one go. Then the broker is stopped (SIGSTOP) for a moment: what
this process burns while it only waits is a spinning thread of librdkafka.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Producer

from odradek.broker import LocalBroker
from odradek.broker.environment import forget_settings
from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.producer import PlainProducer

VARIANTS: dict[str, dict[str, Any]] = {
    "not idempotent (ours)": {},
    "not idempotent, 1 in flight": {"max.in.flight.requests.per.connection": 1},
    "idempotent, 5 in flight": {"enable.idempotence": True},
    "idempotent, 1 in flight": {
        "enable.idempotence": True,
        "max.in.flight.requests.per.connection": 1,
    },
}
_VALUE = b"x" * 300
SILENCE_S = 1.5


def measure(
    settings: Settings,
    topic: str,
    variant: dict[str, Any],
    broker: psutil.Process,
    seconds: float,
    at_a_time: int,
) -> str:
    """One run, as a line of a table."""
    producer = PlainProducer(settings, new_producer=lambda config: Producer(config | variant))
    ended = threading.Event()
    delivered = failed = 0

    def send(number: int) -> None:
        def done(error: BaseException | None) -> None:
            nonlocal delivered, failed
            delivered, failed = delivered + (error is None), failed + (error is not None)
            if not ended.is_set():
                send(number + at_a_time)

        producer.produce(topic, b"w%d" % number, _VALUE, on_delivery=done)

    for number in range(at_a_time):
        send(number)
    time.sleep(1.0)  # warm
    first, began, threads, broker_began = delivered, time.monotonic(), _threads(), _cpu(broker)
    time.sleep(seconds)
    count, wall, broker_cpu = (
        delivered - first,
        time.monotonic() - began,
        _cpu(broker) - broker_began,
    )
    busy = sorted(
        (used - threads.get(thread, 0.0) for thread, used in _threads().items()), reverse=True
    )
    broker.suspend()
    try:
        time.sleep(0.2)  # what was under way settles
        silent_began, silent_cpu = time.monotonic(), sum(_threads().values())
        time.sleep(SILENCE_S)
        waiting = (sum(_threads().values()) - silent_cpu) / (time.monotonic() - silent_began)
    finally:
        broker.resume()
    ended.set()
    producer.close()
    assert not failed, f"{failed} records failed"
    rate = count / wall
    spent = (
        f"{sum(busy) / count * 1e6:9.0f} µs   {busy[0] / wall:6.2f}   {waiting:6.2f}  "
        f" {broker_cpu / count * 1e6:9.0f} µs"
    )
    return f"{rate:10,.0f}/s   {at_a_time / rate * 1e3:6.1f} ms   {spent}"


def _threads() -> dict[int, float]:
    """CPU seconds of each thread of this process."""
    return {
        thread.id: thread.user_time + thread.system_time
        for thread in psutil.Process(os.getpid()).threads()
    }


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--at-a-time", type=int, nargs="+", default=[1, 20, 500])
    arguments = parser.parse_args()
    forget_settings()  # they are of another Kafka
    with tempfile.TemporaryDirectory() as directory, LocalBroker() as broker:
        settings = Settings(
            address=broker.bootstrap, state_dir=Path(directory), partitions=arguments.partitions
        )
        topic = ClusterAdmin(settings).ensure_queue("bench")[0].name
        process = psutil.Process(broker.pid)
        print(
            f"{'':42}{'records':>12}   {'wait':>9}   {'CPU/record':>12}   busiest   waiting  "
            f" {'broker/record':>12}"
        )
        for at_a_time in arguments.at_a_time:
            for name, variant in VARIANTS.items():
                line = measure(settings, topic, variant, process, arguments.seconds, at_a_time)
                print(f"{at_a_time:4} on the way, {name:28}{line}", flush=True)


if __name__ == "__main__":
    main()
