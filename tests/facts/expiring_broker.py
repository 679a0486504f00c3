"""A broker that forgets transactional ids which nobody uses, after seconds instead of a week
(for longer than a machine stands still); and how to see that it did.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from odradek.broker import QUICK_START, LocalBroker

STATE_TOPIC = "__transaction_state"
SETTINGS = {
    "transactional.id.expiration.ms": 5000,
    "transaction.remove.expired.transaction.cleanup.interval.ms": 200,
    "transaction.state.log.num.partitions": 1,
}


@contextmanager
def expiring_broker() -> Iterator[str]:
    """Its address."""
    with LocalBroker(config=SETTINGS, jvm_options=QUICK_START) as broker:
        yield broker.bootstrap


def wait_until_expired(address: str, *transactional_ids: str, timeout_s: float = 60) -> None:
    """Until the broker has written that these ids are gone: a tombstone is the last record of
    each in its log of transactions.
    """
    missing = {name.encode() for name in transactional_ids}
    config = {
        "bootstrap.servers": address,
        "group.id": "expiry",
        "enable.auto.commit": False,
        "log_level": 0,
    }
    deadline_s = time.monotonic() + timeout_s
    with closing(Consumer(config)) as consumer:
        consumer.assign([TopicPartition(STATE_TOPIC, 0, OFFSET_BEGINNING)])
        while missing:
            assert time.monotonic() < deadline_s, f"not expired within {timeout_s:g} s: {missing}"
            message = consumer.poll(0.1)
            if message is None or message.error() is not None:
                continue
            named = {
                name
                for name in map(str.encode, transactional_ids)
                if (message.key() or b"").endswith(name)
            }
            missing = missing - named if message.value() is None else missing | named
