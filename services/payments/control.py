"""Attempts that must not begin: what the queue's `control` topic names.

Every service reads all of it, from its start: a command that waited for this service may be
cancelled by now. One Faust app id would share the partitions among its members, so this is a
plain aiokafka consumer without a group, run as a task of the Faust app.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from services.avro_wire import NotReadable

REMEMBERED = 100_000
CAUGHT_UP_WITHIN_SECONDS = 10.0
AGAIN_AFTER_SECONDS = 1.0
CANCEL_REQUESTED = "cancel requested"


#: Record name and fields of a record's bytes. Raises NotReadable.
Decode = Callable[[bytes], Awaitable[tuple[str, dict[str, Any]]]]


class CancelRequests:
    """What was named lately, by attempt: a request for one that nobody waits for says nothing of
    the next.
    """

    def __init__(self, address: str, topic: str, decode: Decode) -> None:
        self._address = address
        self._topic = topic
        self._decode = decode
        self._reasons: OrderedDict[tuple[str, int, int], str] = OrderedDict()
        self._caught_up = asyncio.Event()

    def reason(self, task: dict[str, Any]) -> str:
        """Why this attempt must not begin, `CANCEL_REQUESTED` or another; "" if it may."""
        return self._reasons.get(_attempt(task), "")

    async def caught_up(self) -> None:
        """Wait until all that was there at the start has been read; not for long, since commands
        wait behind it.
        """
        if not self._caught_up.is_set():
            try:
                await asyncio.wait_for(self._caught_up.wait(), CAUGHT_UP_WITHIN_SECONDS)
            except TimeoutError:
                print(
                    f"{self._topic} is not read to its end; cancelled attempts may begin meanwhile",
                    flush=True,
                )
                self._caught_up.set()

    async def follow(self) -> None:
        """Read until cancelled; from the start again after an error of a broker, which would end
        the Faust app.
        """
        while True:
            try:
                await self._read()
            except KafkaError as error:
                print(
                    f"{self._topic} is read again from its start in {AGAIN_AFTER_SECONDS:g} s:"
                    f" {error!r}",
                    flush=True,
                )
                await asyncio.sleep(AGAIN_AFTER_SECONDS)

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._address,
            isolation_level="read_committed",
            enable_auto_commit=False,
            # what was deleted before it came to it: on with what is left, not at the end
            auto_offset_reset="earliest",
        )
        try:
            await consumer.start()
            partitions = (
                await consumer._client.fetch_all_metadata()
            )  # makes the topic's partitions known without a group
            places = [
                TopicPartition(self._topic, number)
                for number in sorted(partitions.partitions_for_topic(self._topic) or ())
            ]
            if not places:
                raise UnknownTopicOrPartitionError(
                    f"the broker that was asked does not know {self._topic}"
                )
            consumer.assign(places)
            await consumer.seek_to_beginning()
            ends = await consumer.end_offsets(places)
            while True:
                for messages in (await consumer.getmany(timeout_ms=200)).values():
                    for message in messages:
                        await self._note(message.value)
                if not self._caught_up.is_set() and all(
                    [await consumer.position(place) >= ends[place] for place in places]
                ):
                    self._caught_up.set()
        finally:
            await consumer.stop()

    async def _note(self, value: bytes | None) -> None:
        try:
            name, fields = await self._decode(value or b"")
        except NotReadable:
            return
        if name == "CancelActivityTask":
            self._reasons[_attempt(fields)] = fields["reason"] or CANCEL_REQUESTED
            if len(self._reasons) > REMEMBERED:
                self._reasons.popitem(last=False)


def _attempt(fields: dict[str, Any]) -> tuple[str, int, int]:
    return fields["run_id"], fields["scheduled_event_id"], fields["attempt"]
