"""What Kafka does to a transaction when a lone broker is killed behind its commit, made on
purpose: the coordinator takes it for complete, and its markers are nowhere. Writes to
`__transaction_state`, which the broker allows to a client that calls itself an admin client.
"""

from __future__ import annotations

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

_LOG = "__transaction_state"
_COMPLETE_COMMIT = 4
_STATUS = (
    2 + 8 + 2 + 4
)  # of a TransactionLogValue: version, producer id, its epoch, timeout come before


def forget_markers(bootstrap: str, transactional_id: str) -> None:
    """Write the id's last complete commit again, over the transaction that is open. Counts once
    the broker starts anew.
    """
    partition = abs(_java_hash(transactional_id)) % _partitions(bootstrap)
    key, value = _last_complete(bootstrap, transactional_id, partition)
    producer = Producer({"bootstrap.servers": bootstrap, "client.id": "__admin_client"})
    producer.produce(_LOG, value, key, partition)
    assert producer.flush(10) == 0


def _last_complete(bootstrap: str, transactional_id: str, partition: int) -> tuple[bytes, bytes]:
    reader = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "nobody",
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }
    )
    found = None
    try:
        reader.assign([TopicPartition(_LOG, partition, 0)])
        while True:
            message = reader.poll(20)
            assert message is not None
            error = message.error()
            if error is not None:
                assert error.code() == KafkaError._PARTITION_EOF, error
                break
            key, value = message.key() or b"", message.value() or b""
            if key.endswith(transactional_id.encode()) and value[_STATUS : _STATUS + 1] == bytes(
                [_COMPLETE_COMMIT]
            ):
                found = key, value
    finally:
        reader.close()
    assert found is not None, f"{transactional_id} has committed nothing"
    return found


def _partitions(bootstrap: str) -> int:
    return len(
        Producer({"bootstrap.servers": bootstrap}).list_topics(_LOG, 20).topics[_LOG].partitions
    )


def _java_hash(text: str) -> int:
    value = 0
    for character in text:
        value = (31 * value + ord(character)) & 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value
