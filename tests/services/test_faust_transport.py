"""What the services' Faust transport commits, and that what a rebalance drops comes again:
Faust goes back to the committed offsets.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from faust.transport.drivers.aiokafka import Consumer
from faust.types import TP
from faust.types.tuples import Message

from services.demo.fleet import REPOSITORY
from services.faust_transport import SCHEME, CommittedConsumer, CommittedThread


class Inline(CommittedThread):
    """The thread that Faust gives its consumer, without the thread."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer

    async def call_thread(
        self, fun: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any
    ) -> Any:
        return await fun(*args, **kwargs)


@pytest.mark.parametrize("committed", [None, 0, 1], ids=["never", "0", "1"])
def test_records_dropped_in_a_rebalance_come_again(
    bootstrap: str, namespace: str, committed: int | None
) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(namespace, 1, 1)])[namespace].result(20)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    for number in range(3):
        producer.produce(namespace, str(number), partition=0)
    assert producer.flush(20) == 0

    async def offsets_after() -> list[int]:
        place = TopicPartition(namespace, 0)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=f"{namespace}-{secrets.token_hex(4)}",
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        consumer.assign([place])
        await consumer.start()
        try:
            if committed is not None:
                await consumer.commit({place: committed})
            fetched = (await consumer.getmany(timeout_ms=20_000))[place]
            assert [record.offset for record in fetched][-1] == 2
            answer = await Inline(consumer).seek_to_committed()
            assert answer == {place: committed}
            again = await consumer.getmany(timeout_ms=20_000)
            return [record.offset for record in again.get(place, [])]
        finally:
            await consumer.stop()

    assert asyncio.run(offsets_after()) == list(range(committed or 0, 3))


# ---------------------------------------------------------------- what is committed


def shown_consumer() -> type[Consumer]:
    """The transport that docs/wire.md gives to others."""
    page = (REPOSITORY / "docs" / "wire.md").read_text()
    (block,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL)
        if "class CommittedConsumer" in block
    ]
    scope: dict[str, Any] = {
        "__name__": CommittedConsumer.__module__
    }  # the same alias for the same module
    exec(block, scope)
    consumer: type[Consumer] = scope["CommittedConsumer"]
    return consumer


class Log:
    """A partition of commands in a transaction each, so that each second offset is a hole.
    Faust's own loop reads and commits.
    """

    def __init__(self, consumer_type: type[Consumer]) -> None:
        self.place = TP("commands", 0)
        self.handed_out: dict[int, Message] = {}  # by the number of the command
        self.committed: list[int] = []
        app: Any = faust.App("unit", broker=f"{SCHEME}://nowhere", stream_wait_empty=False)
        app.topics._acking_topics.add("commands")
        app.flow_control.resume()

        async def nothing(*_: Any) -> None: ...

        self.consumer: Any = consumer_type(app.transport, self._hand_out, nothing, nothing)
        replaced = {
            "assignment": lambda: {self.place},
            "highwater": lambda tp: 0,
            "seek_to_committed": self._seek,
            "_commit": self._commit,
            "_commit_every": None,
        }
        for name, value in replaced.items():
            setattr(self.consumer, name, value)
        app.producer.flush = nothing

    async def _hand_out(self, message: Message) -> None:
        message.incref()
        message.tracked = True
        self.handed_out[message.offset // 2] = message

    async def _seek(self) -> dict[TP, int | None]:
        return {self.place: self.committed[-1] if self.committed else None}

    async def _commit(self, offsets: dict[TP, int]) -> bool:
        self.committed.append(offsets[self.place])
        return True

    async def read(self, numbers: range) -> None:
        """Hands these out."""
        fetcher = SimpleNamespace(_stopped=asyncio.Event())

        async def next_records(_: float) -> Any:
            fetcher._stopped.set()
            fields = {
                "timestamp": None,
                "timestamp_type": 0,
                "headers": (),
                "key": None,
                "value": b"",
                "checksum": None,
            }
            sizes = {"serialized_key_size": 0, "serialized_value_size": 0}
            records = [
                SimpleNamespace(topic="commands", partition=0, offset=2 * number, **fields, **sizes)
                for number in numbers
            ]
            return {self.place: records}, None

        self.consumer._wait_next_records = next_records
        await self.consumer._drain_messages(fetcher)

    async def answer(self, *numbers: int) -> None:
        """Acknowledge these, and commit."""
        for number in numbers:
            self.handed_out[number].ack(self.consumer)
        await self.consumer.commit()


@pytest.fixture(params=["of the service", "of docs/wire.md"])
def log_of(request: pytest.FixtureRequest) -> Callable[[], Log]:
    return lambda: Log(CommittedConsumer if request.param == "of the service" else shown_consumer())


@pytest.mark.parametrize("before", [0, 1, 2, 5, 1_000])
@pytest.mark.parametrize(
    "first_commit", [True, False], ids=["committed before", "nothing committed"]
)
def test_nothing_is_committed_past_a_command_without_an_answer(
    log_of: Callable[[], Log], before: int, *, first_commit: bool
) -> None:
    async def scene() -> None:
        log = log_of()
        if before and first_commit:
            await log.read(range(before))
            await log.answer(*range(before))
            assert log.committed == [2 * before - 1], "at once, behind the last of them"
        begin = len(log.handed_out)
        await log.read(range(begin, before + 4))
        await log.answer(*range(begin, before), before + 2, before + 1)
        assert all(offset <= 2 * before for offset in log.committed), log.committed
        assert not before or log.committed[-1] >= 2 * before - 1
        await log.answer(before)
        assert log.committed[-1] == 2 * (before + 3), "up to the one that is still open"
        await log.answer(before + 3)
        assert log.committed[-1] == 2 * (before + 4) - 1
        for kept in (
            log.consumer._acked,
            log.consumer._acked_index,
            log.consumer._gap,
            getattr(log.consumer, "_open", {}),
        ):
            assert not any(kept.values()), "it grows with each command"

    asyncio.run(scene())


def test_a_rebalance_begins_anew(log_of: Callable[[], Log]) -> None:
    async def scene() -> None:
        log = log_of()
        await log.read(range(5))
        await log.answer(0, 3)
        assert log.committed == [2]
        old = dict(log.handed_out)
        revoke = log.consumer.on_partitions_revoked
        await revoke({log.place})
        await log.consumer.commit()
        await log.consumer.perform_seek()
        await log.consumer.commit()
        assert log.committed == [2], "of nothing that was handed out before"
        old[1].ack(log.consumer)  # was under way meanwhile, and is answered now
        await log.read(range(1, 5))
        old[4].ack(log.consumer)
        await log.answer(1)
        assert log.committed == [2, 4]
        await log.answer(2, 3)
        assert log.committed == [2, 4, 9], "an answer of before counts"
        await log.read(range(5, 7))
        skipped, log.handed_out[5].tracked = log.handed_out[5], False
        skipped.generation_id = -1
        await log.answer(5, 6)
        assert log.committed[-1] <= 10, "a stream that skips it acknowledges it, without Cython"

    asyncio.run(scene())
