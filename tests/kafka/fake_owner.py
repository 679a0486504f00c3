"""A tiny owner of a queue for tests of the client: reads `events`, writes `replies`, knows no engine.

Started as a process (`python -m tests.kafka.fake_owner ADDRESS NAMESPACE QUEUE`) where its CPU
must not be the client's, or as a thread.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import producer_config, reader_config
from odradek.wire.codec import Codec
from odradek.wire.events import AwaitResult, QueryWorkflow, SignalWorkflow, StartWorkflow
from odradek.wire.headers import headers_for
from odradek.wire.outcomes import (
    COMPLETED,
    NOT_FOUND,
    OK,
    LaneStatus,
    MemberStatus,
    Reply,
    WorkflowResult,
)


class FakeOwner:
    """Completes every started workflow at once with its own input. `muted` request kinds get no
    answer.
    """

    def __init__(self, settings: Settings, queue: str, codec: Codec | None = None) -> None:
        self.settings = settings
        codec = codec or Codec()
        self.encode: Callable[[Any], bytes] = codec.encode
        self._decode = codec.decode
        self.queue = queue
        self.muted: set[str] = set()
        self.seen: list[Any] = []
        admin = ClusterAdmin(settings)
        facts, _ = admin.ensure_queue(queue)
        admin.ensure([admin.topics.replies, admin.topics.members])
        self._topics = admin.topics
        self._consumer = Consumer(reader_config(settings))
        starts = admin.start_offsets(facts.name, range(facts.partitions))
        self._consumer.assign(
            [TopicPartition(facts.name, p, starts[p]) for p in range(facts.partitions)]
        )
        self._partitions = facts.partitions
        self._producer = Producer(producer_config(settings))
        self._results: dict[str, WorkflowResult] = {}
        self._stop = threading.Event()

    def run(self) -> None:
        """Serve until `stop`."""
        while not self._stop.is_set():
            message = self._consumer.poll(0.2)
            messages = [message, *self._consumer.consume(1000, 0)] if message is not None else []
            for one in messages:
                if one.error() is None:
                    record = self._decode(one.value() or b"")
                    self.seen.append(record)
                    for reply in self.answer(record):
                        self.send(reply)
            self._producer.poll(0)
        self._consumer.close()
        self._producer.flush(5)

    def stop(self) -> None:
        self._stop.set()

    def __enter__(self) -> FakeOwner:
        """Serve on a thread."""
        self._thread = threading.Thread(target=self.run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join(10)

    def send(self, reply: Reply) -> None:
        self._producer.produce(
            self._topics.replies,
            self.encode(reply),
            reply.client_id.encode(),
            headers=headers_for(reply),
        )

    def announce(self, state: str = "RUNNING", member_id: str = "") -> None:
        """Say in `members` that all partitions are owned here."""
        member_id = member_id or f"fake-{self.queue}"
        lanes = [LaneStatus(partition, state) for partition in range(self._partitions)]
        status = MemberStatus(
            member_id,
            "PROCESSOR",
            self.settings.namespace,
            self.queue,
            "fake",
            int(time.time() * 1000),
            lanes=lanes,
        )
        self._producer.produce(self._topics.members, self.encode(status), member_id.encode())
        self._producer.flush(5)

    def answer(self, record: Any) -> list[Reply]:
        kind = type(record).__name__
        if kind in self.muted or not getattr(record, "reply_to", ""):
            return []
        base = {
            "client_id": record.reply_to,
            "request_id": record.request_id,
            "kind": kind,
            "workflow_id": record.workflow_id,
        }
        if isinstance(record, StartWorkflow):
            result = WorkflowResult(
                self.settings.namespace,
                self.queue,
                record.workflow_id,
                record.run_id,
                record.workflow_type,
                COMPLETED,
                result=record.input[:1],
            )
            self._results[record.workflow_id] = result
            replies = [
                Reply(
                    **base,
                    status=OK,
                    run_id=record.run_id,
                    first_execution_run_id=record.run_id,
                    started=True,
                )
            ]
            if record.await_result and "AwaitResult" not in self.muted:
                replies.append(
                    Reply(
                        **{**base, "kind": "AwaitResult"},
                        status=OK,
                        run_id=record.run_id,
                        result=result,
                    )
                )
            return replies
        known = self._results.get(record.workflow_id)
        if known is None:
            return [
                Reply(
                    **base,
                    status=NOT_FOUND,
                    message=f"workflow not found for ID: {record.workflow_id}",
                )
            ]
        if isinstance(record, AwaitResult):
            return [Reply(**base, status=OK, run_id=known.run_id, result=known)]
        if isinstance(record, QueryWorkflow):
            return [Reply(**base, status=OK, run_id=known.run_id, payloads=known.result)]
        if isinstance(record, SignalWorkflow):
            return [Reply(**base, status=OK, run_id=known.run_id)]
        return [Reply(**base, status=OK, run_id=known.run_id)]


if __name__ == "__main__":
    address, namespace, queue = sys.argv[1:4]
    owner = FakeOwner(Settings(address=address, namespace=namespace), queue)
    print("ready", flush=True)
    owner.run()
