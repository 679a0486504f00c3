"""Facts about confluent-kafka's callbacks: which calls may be made inside of one, on the client
whose callback it is.

A call that serves callbacks (`poll`, `flush`, ...) keeps its thread state in a slot of the
client and the thread (`CallState`, source: `confluent_kafka.c`). Some methods take that slot and
leave it empty. Made inside a callback they do no harm by themselves; the next callback of the
outer call, be it a log line, ends the process: `CallState_get: Assertion 'cs != NULL' failed`,
SIGABRT. Each try is a process.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.facts.conftest import Kafka

#: One `poll` of a member: `on_assign` makes the call, and the next callback of the same `poll` ends
#: the process well.
MEMBER = """
import json, os, sys
from confluent_kafka import Consumer, TopicPartition

assigned = False


def next_callback(*_):
    if assigned:
        print("went on", flush=True)
        os._exit(0)


class Logger:
    log = next_callback


def on_assign(consumer, partitions):
    global assigned
    consumer.incremental_assign(partitions)
    place = partitions[0]
    for line in sys.argv[3:]:
        exec(line)
    print("called", flush=True)
    assigned = True


config = json.loads(sys.argv[1])
if config.get("debug"):
    config["logger"] = Logger()
else:
    config |= {"statistics.interval.ms": 50, "stats_cb": next_callback}
consumer = Consumer(config)
consumer.subscribe([sys.argv[2]], on_assign=on_assign)
while not assigned:  # one may end with an error, of a topic that is new, before there is an assignment
    consumer.poll(60)
"""

#: Two delivery reports out of one `flush`; the first makes the call.
REPORTS = """
import json, sys
from confluent_kafka import Producer

reports = 0


def on_delivery(error, message):
    global reports
    reports += 1
    if reports == 1:
        exec(sys.argv[3])
        print("called", flush=True)


producer = Producer(json.loads(sys.argv[1]))
for number in range(10):
    producer.produce(sys.argv[2], str(number), partition=0, on_delivery=on_delivery)
while len(producer):
    producer.flush(60)
assert reports == 10, reports
print("went on", flush=True)
"""

#: Of a consumer. `close` takes the slot too, and so do `poll` and `flush` of a producer, its
#: transactions, every request of an AdminClient.
TAKING = [
    "consumer.list_topics(place.topic, timeout=10)",
    "consumer.cluster_id(timeout=10)",
    "consumer.poll(0)",
    "consumer.consume(1, 0)",
]
#: They release the GIL or not, and leave the slot alone.
HARMLESS = [
    "consumer.get_watermark_offsets(TopicPartition(place.topic, place.partition), timeout=10)",
    "consumer.get_watermark_offsets(TopicPartition(place.topic, place.partition), cached=True)",
    "consumer.offsets_for_times([TopicPartition(place.topic, place.partition, 1)], timeout=10)",
    "consumer.committed([TopicPartition(place.topic, place.partition)], timeout=10)",
    (
        "consumer.commit(offsets=[TopicPartition(place.topic, place.partition, 0)],"
        " asynchronous=False)"
    ),
    "consumer.commit(offsets=[TopicPartition(place.topic, place.partition, 0)], asynchronous=True)",
    "consumer.position([place])",
    "consumer.assignment()",
    "consumer.memberid()",
    "consumer.consumer_group_metadata()",
    "consumer.store_offsets(offsets=[TopicPartition(place.topic, place.partition, 0)])",
    "consumer.pause([place])",
    "consumer.resume([place])",
    "consumer.incremental_unassign(partitions)",
    "consumer.incremental_assign(partitions)",
]


def run(
    kafka: Kafka, program: str, *arguments: str, **settings: object
) -> subprocess.CompletedProcess[str]:
    config = {"bootstrap.servers": kafka.bootstrap, **settings}
    command = [sys.executable, "-c", program, json.dumps(config), kafka.topic(), *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


def member(kafka: Kafka, *calls: str, **settings: object) -> subprocess.CompletedProcess[str]:
    group = {
        "group.id": kafka.name("group"),
        "partition.assignment.strategy": "cooperative-sticky",
        "enable.auto.commit": False,
    }
    return run(kafka, MEMBER, *calls, **group, **{"enable.auto.offset.store": False}, **settings)


def aborted(ended: subprocess.CompletedProcess[str]) -> bool:
    """The call returned, and the next callback ended the process."""
    assert "called" in ended.stdout, ended
    return (
        ended.returncode == -signal.SIGABRT
        and "CallState_get" in ended.stderr
        and "cs != NULL" in ended.stderr
    )


@pytest.mark.parametrize("call", TAKING)
def test_a_call_that_takes_the_polls_state_inside_a_callback_ends_the_process(
    kafka: Kafka, call: str
) -> None:
    assert aborted(member(kafka, call))


def test_a_log_line_is_such_a_next_callback(kafka: Kafka) -> None:
    """So a warning of librdkafka is enough, where a `logger` is configured."""
    assert aborted(member(kafka, TAKING[0], debug="cgrp"))
    assert member(kafka, "pass", debug="cgrp").stdout == "called\nwent on\n"


def test_calls_that_leave_the_polls_state_alone_may_be_made_inside_a_callback(kafka: Kafka) -> None:
    ended = member(kafka, *HARMLESS)
    assert (ended.returncode, ended.stdout) == (0, "called\nwent on\n"), ended.stderr


def test_a_call_on_another_client_inside_a_callback_does_no_harm(kafka: Kafka) -> None:
    """The slot is the client's own: what a lane's group asks of an AdminClient, a service of its
    producer, is nothing to the consumer.
    """
    others = [
        "from confluent_kafka import Producer; from confluent_kafka.admin import AdminClient",
        (
            "AdminClient({'bootstrap.servers':"
            " config['bootstrap.servers']}).list_topics(place.topic, timeout=10)"
        ),
        (
            "producer = Producer({'bootstrap.servers': config['bootstrap.servers']});"
            " producer.produce(place.topic, b''); producer.flush(10)"
        ),
    ]
    ended = member(kafka, *others)
    assert (ended.returncode, ended.stdout) == (0, "called\nwent on\n"), ended.stderr


@pytest.mark.parametrize(
    "call", ["producer.poll(0)", "producer.flush(0)", "producer.list_topics(timeout=10)"]
)
def test_the_same_holds_for_delivery_reports_of_a_producer(kafka: Kafka, call: str) -> None:
    assert aborted(run(kafka, REPORTS, call, **{"linger.ms": 500}))


def test_a_delivery_report_may_produce(kafka: Kafka) -> None:
    ended = run(
        kafka, REPORTS, "producer.produce(sys.argv[2], b'next', partition=0)", **{"linger.ms": 500}
    )
    assert (ended.returncode, ended.stdout) == (0, "called\nwent on\n"), ended.stderr
