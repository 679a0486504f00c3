"""Plays the engine's side of an activity service: writes commands in transactions, reads what
the service answers.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from odradek.config import Settings
from odradek.converter import DataConverter
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import (
    producer_config,
    reader_config,
    transactional_producer_config,
)
from odradek.wire.codec import Codec
from odradek.wire.headers import headers_for
from odradek.wire.tasks import ActivityTask, CancelActivityTask
from tests.support.until import until_async

QUEUE = "workflows"
ACTIVITIES = "activities"


def payloads(*values: Any) -> list[Any]:
    return DataConverter.default.payload_converter.to_payloads(values)


def values(found: list[Any]) -> list[Any]:
    return DataConverter.default.payload_converter.from_payloads(found)


class Engine:
    """One workflow queue whose workflows schedule activities on another queue."""

    def __init__(
        self,
        bootstrap: str,
        namespace: str,
        state_dir: Path,
        *,
        partitions: int = 2,
        **settings: Any,
    ) -> None:
        self.settings = Settings(
            address=bootstrap,
            namespace=namespace,
            state_dir=state_dir,
            partitions=partitions,
            replication_factor=1,
            **settings,
        )
        self.codec = Codec()
        self.admin = ClusterAdmin(self.settings)
        self.topics = self.admin.topics
        self.events = self.topics.events(QUEUE)
        self.commands = self.topics.commands(ACTIVITIES)
        self.admin.ensure(
            [
                self.events,
                self.commands,
                self.topics.control(ACTIVITIES),
                self.topics.dead_letters(ACTIVITIES),
                self.topics.members,
            ]
        )
        self._producer: Producer | None = None
        self._plain = Producer(producer_config(self.settings))
        self.reader = Reader(self.settings, self.codec, self.events)
        self._numbers = iter(range(1, 1_000_000))

    def task(self, activity_type: str, *arguments: Any, **changes: Any) -> ActivityTask:
        number = next(self._numbers)
        now_ms = int(time.time() * 1_000)
        task = ActivityTask(
            namespace=self.settings.namespace,
            workflow_task_queue=QUEUE,
            workflow_id=f"wf-{number}",
            run_id=str(uuid.uuid4()),
            workflow_type="Test",
            task_queue=ACTIVITIES,
            activity_id=str(number),
            activity_type=activity_type,
            scheduled_event_id=5,
            input=payloads(*arguments),
            scheduled_time_ms=now_ms,
            current_attempt_scheduled_time_ms=now_ms,
            start_to_close_timeout_ms=60_000,
        )
        return msgspec.structs.replace(task, **changes)

    def schedule(
        self, *tasks: ActivityTask, commit: bool = True, partition: int | None = None
    ) -> None:
        """Write commands in one transaction, as a lane does."""
        if self._producer is None:
            self._producer = Producer(
                transactional_producer_config(self.settings, f"{self.settings.namespace}-test")
            )
            self._producer.init_transactions(20)
        self._producer.begin_transaction()
        for task in tasks:
            where = {} if partition is None else {"partition": partition}
            self._producer.produce(
                self.commands,
                self.codec.encode(task),
                task.workflow_id.encode(),
                headers=list(headers_for(task)),
                **where,
            )
        if commit:
            self._producer.commit_transaction(20)
        else:
            self._producer.flush(20)
            self._producer.abort_transaction(20)

    def write(
        self, topic: str, key: bytes, value: bytes | None, headers: Any = (), **where: int
    ) -> None:
        """A plain record."""
        self._plain.produce(topic, value, key, headers=list(headers), **where)
        assert self._plain.flush(20) == 0

    def cancel(self, task: ActivityTask, reason: str = "") -> None:
        """Ask for the cancellation of an attempt."""
        record = CancelActivityTask(
            task.workflow_id,
            task.run_id,
            task.scheduled_event_id,
            task.activity_id,
            task.attempt,
            reason,
        )
        self.write(
            self.topics.control(ACTIVITIES),
            task.activity_id.encode(),
            self.codec.encode(record),
            headers_for(record),
        )

    async def answers(
        self, task: ActivityTask, last: str | Callable[[Any], bool], timeout_s: float = 60.0
    ) -> list[Any]:
        """What the service said of `task`, up to and with a record of type `last` (or that
        `last` accepts).
        """

        def is_last(record: Any) -> bool:
            return type(record).__name__ == last if isinstance(last, str) else last(record)

        def of_task() -> list[Any]:
            return [record for record in self.reader.records if record.run_id == task.run_id]

        await self.reader.until(lambda: any(is_last(record) for record in of_task()), timeout_s)
        found = of_task()
        return found[: next(index for index, record in enumerate(found) if is_last(record)) + 1]

    def close(self) -> None:
        self.reader.close()


class Reader:
    """Reads a topic from its start, committed records only, in the order they come."""

    def __init__(self, settings: Settings, codec: Codec, topic: str) -> None:
        self.records: list[Any] = []
        self.messages: list[Message] = []
        self.codec = codec
        self._consumer = Consumer(reader_config(settings))
        partitions = self._consumer.list_topics(topic, timeout=20).topics[topic].partitions
        self._consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        self.decode = True

    def read(self) -> None:
        for message in self._consumer.consume(1_000, 0):
            assert message.error() is None, message.error()
            self.messages.append(message)
            if self.decode:
                self.records.append(self.codec.decode(message.value() or b""))

    async def until(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        await until_async(condition, timeout_s, step=self.read, what=lambda: f"have {self.records}")

    def close(self) -> None:
        self._consumer.close()


def names(records: Iterable[Any]) -> list[str]:
    """Record names without their common beginning: Started, Completed, ..."""
    return [type(record).__name__.removeprefix("ActivityTask") for record in records]
