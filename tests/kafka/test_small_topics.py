"""Topics that take less than a batch of a producer (`max.message.bytes` counts batches): what is
small enough alone is never refused.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from odradek import activity, workflow
from odradek.activities import answers as answers_module
from odradek.activities.answers import Answers
from odradek.broker import QUICK_START, LocalBroker
from odradek.client import Client, WorkflowHandle
from odradek.config import Settings
from odradek.exceptions import RecordTooLargeError, TopicMissingError
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import PRODUCER_MESSAGE_MAX_BYTES, producer_config, reader_config
from odradek.kafka.producer import PlainProducer
from odradek.wire.codec import Codec
from odradek.wire.events import ActivityTaskCompleted
from odradek.wire.payload import Payload
from odradek.worker import Worker
from tests.support.until import until

QUEUE = "q"
SMALL = 100_000
RECORD = 5_000
WAIT_S = 60
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789+/"


def text_of(size: int) -> str:
    """What no compression makes much smaller."""
    return "".join(random.choices(LETTERS, k=size))


@activity.defn
async def echo(text: str) -> str:
    return text


@workflow.defn
class Fan:
    """So many activities at once; the number of characters that came back."""

    @workflow.run
    async def run(self, count: int, text: str) -> int:
        timeout = timedelta(seconds=60)
        found = await asyncio.gather(
            *[
                workflow.execute_activity(echo, text, start_to_close_timeout=timeout)
                for _ in range(count)
            ]
        )
        return sum(len(one) for one in found)


@workflow.defn
class Heard:
    """Ends once it has heard so many signals, with their numbers as they came."""

    def __init__(self) -> None:
        self.heard: list[int] = []

    @workflow.run
    async def run(self, count: int) -> list[int]:
        await workflow.wait_condition(lambda: len(self.heard) >= count)
        return self.heard

    @workflow.signal
    def say(self, number: int, text: str) -> None:
        self.heard.append(number)


@workflow.defn
class Away:
    """One activity of another queue."""

    @workflow.run
    async def run(self) -> str:
        return await workflow.execute_activity(
            echo, "x", task_queue="elsewhere", start_to_close_timeout=timedelta(seconds=60)
        )


def set_limit(bootstrap: str, topics: Iterable[str], limit: int) -> None:
    """Their `max.message.bytes`, and wait until the broker says so."""
    set_setting(bootstrap, topics, "max.message.bytes", str(limit))


def set_setting(bootstrap: str, topics: Iterable[str], setting: str, value: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    entry = ConfigEntry(setting, value, incremental_operation=AlterConfigOpType.SET)
    for topic in topics:
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        admin.incremental_alter_configs([resource])[resource].result(20)
        until(partial(_has, admin, topic, setting, value))


def _has(admin: AdminClient, topic: str, setting: str, value: str) -> bool:
    asked = ConfigResource(ResourceType.TOPIC, topic)
    return bool(admin.describe_configs([asked])[asked].result(20)[setting].value == value)


def settings_of(bootstrap: str, namespace: str, tmp_path: Path, **kafka: str) -> Settings:
    return Settings(
        address=bootstrap,
        namespace=namespace,
        partitions=1,
        state_dir=tmp_path,
        rpc_timeout=timedelta(seconds=WAIT_S),
        kafka=kafka,
    )


async def serve_and_say(client: Client, count: int = 400) -> None:
    """What this file is about: a fan of activities with their results, and signals that come
    together.
    """
    fan: WorkflowHandle[Fan, int] = await client.start_workflow(
        Fan.run, args=[60, text_of(RECORD)], id="fan", task_queue=QUEUE
    )
    assert await asyncio.wait_for(fan.result(), WAIT_S) == 60 * RECORD
    kinds = [type(event.attributes).__name__ async for event in fan.fetch_history_events()]
    assert not [kind for kind in kinds if "Failed" in kind], "neither a task nor an activity"
    heard = await client.start_workflow(Heard.run, count, id="heard", task_queue=QUEUE)
    await asyncio.gather(
        *(heard.signal(Heard.say, args=[number, text_of(RECORD)]) for number in range(count))
    )
    assert sorted(await asyncio.wait_for(heard.result(), WAIT_S)) == list(range(count))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("before", [True, False], ids=["known at start", "lowered while it runs"])
async def test_activities_and_signals(
    bootstrap: str,
    namespace: str,
    tmp_path: Path,
    compression: str,
    before: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = settings_of(bootstrap, namespace, tmp_path, **{"compression.type": compression})
    topics = ClusterAdmin(settings).topics
    client = await Client.connect(settings=settings)
    small = [topics.events(QUEUE), topics.commands(QUEUE)]
    async with client:
        async with Worker(client, task_queue=QUEUE, workflows=[Fan, Heard], activities=[echo]):
            assert (
                await client.execute_workflow(Fan.run, args=[2, "x"], id="first", task_queue=QUEUE)
                == 2
            )
            if not before:
                await asyncio.to_thread(set_limit, bootstrap, small, SMALL)
                await serve_and_say(client)
        if before:
            await asyncio.to_thread(set_limit, bootstrap, small, SMALL)
            async with Worker(client, task_queue=QUEUE, workflows=[Fan, Heard], activities=[echo]):
                await serve_and_say(client)
    said = [
        record.getMessage() for record in caplog.records if record.name == "odradek.processor.lane"
    ]
    assert len([line for line in said if "dropped" in line]) <= 1, "for a smaller batch, once"
    assert not [line for line in said if "giving up" in line]


@pytest.mark.timeout(180)
async def test_a_broker_that_takes_30_kilobytes(namespace: str, tmp_path: Path) -> None:
    with LocalBroker(config={"message.max.bytes": 30_000}, jvm_options=QUICK_START) as broker:
        settings = settings_of(broker.bootstrap, namespace, tmp_path)
        async with (
            await Client.connect(settings=settings) as client,
            Worker(client, task_queue=QUEUE, workflows=[Fan, Heard], activities=[echo]),
        ):
            await serve_and_say(client, count=100)


async def _waiting_reason(handle: WorkflowHandle[Away, str]) -> str:
    while True:
        pending = (await handle.describe()).raw_description.pending_activities
        if pending and pending[0].waiting_reason:
            return pending[0].waiting_reason
        await asyncio.sleep(0.1)


@pytest.mark.timeout(180)
async def test_activities_wait_while_their_commands_would_be_compacted_away(
    bootstrap: str, namespace: str, tmp_path: Path
) -> None:
    settings = settings_of(bootstrap, namespace, tmp_path)
    commands = ClusterAdmin(settings).topics.commands("elsewhere")
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(commands, 1, config={"cleanup.policy": "compact"})])[
        commands
    ].result(20)
    async with (
        await Client.connect(settings=settings) as client,
        Worker(client, task_queue=QUEUE, workflows=[Away]),
        Worker(client, task_queue="elsewhere", activities=[echo]),
    ):
        handle = await client.start_workflow(Away.run, id="away", task_queue=QUEUE)
        reason = await asyncio.wait_for(_waiting_reason(handle), WAIT_S)
        assert (
            "cleanup.policy=compact" in reason
            and f"--entity-name {commands} --add-config cleanup.policy=delete" in reason
        )
        entry = ConfigEntry("cleanup.policy", "delete", incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, commands, incremental_configs=[entry])
        admin.incremental_alter_configs([resource])[resource].result(20)
        assert await asyncio.wait_for(handle.result(), WAIT_S) == "x"


# --- producers


@pytest.fixture
def topic(bootstrap: str, unique_name: Callable[[str], str]) -> str:
    name = unique_name("small")
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, 1, config={"max.message.bytes": str(SMALL)})])[name].result(
        20
    )
    return name


def values_of(settings: Settings, topic: str, count: int) -> list[bytes]:
    consumer = Consumer(reader_config(settings))
    consumer.assign([TopicPartition(topic, 0, 0)])
    found: list[bytes] = []

    def read() -> bool:
        found.extend(message.value() or b"" for message in consumer.consume(count, 0.2))
        return len(found) >= count

    until(read)
    consumer.close()
    return found


@pytest.mark.parametrize("compression", ["none", "zstd"])
@pytest.mark.parametrize("known", [True, False], ids=["limit known", "limit not known"])
async def test_records_that_fit_alone_are_all_taken_in_their_order(
    bootstrap: str, namespace: str, tmp_path: Path, topic: str, known: bool, compression: str
) -> None:
    settings = settings_of(bootstrap, namespace, tmp_path, **{"compression.type": compression})
    values = [b"%06d" % number + random.randbytes(RECORD) for number in range(1_000)]
    with PlainProducer(settings) as producer:
        if known:
            producer.limits[topic] = SMALL
        await asyncio.wait_for(
            asyncio.gather(*[producer.send(topic, b"k", value) for value in values]), WAIT_S
        )
        assert len(producer) == 0
        found = await asyncio.to_thread(values_of, settings, topic, len(values))
        assert sorted(found) == values, "each once"
        if known:
            assert found == values


async def test_one_that_does_not_fit_alone_is_refused_with_what_its_topic_takes(
    bootstrap: str, namespace: str, tmp_path: Path, topic: str
) -> None:
    settings = settings_of(bootstrap, namespace, tmp_path)
    sizes = [RECORD] * 50 + [SMALL + 20_000] + [RECORD] * 50
    with PlainProducer(settings) as producer:
        found = await asyncio.wait_for(
            asyncio.gather(
                *[producer.send(topic, b"k", random.randbytes(size)) for size in sizes],
                return_exceptions=True,
            ),
            WAIT_S,
        )
        [refused] = [one for one in found if one is not None]
        assert isinstance(refused, RecordTooLargeError)
        assert f"exceeds the {SMALL} bytes that topic {topic} takes" in str(refused)
        with pytest.raises(RecordTooLargeError, match=f"exceeds the {SMALL} bytes"):
            await asyncio.wait_for(
                producer.send(topic, b"k", random.randbytes(SMALL + 20_000)), WAIT_S
            )
        await asyncio.wait_for(producer.send(topic, b"k", b"next"), WAIT_S)


async def test_an_outcome_that_is_refused_for_its_time_is_sent_again_in_a_while(
    bootstrap: str,
    namespace: str,
    tmp_path: Path,
    topic: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = settings_of(bootstrap, namespace, tmp_path)
    set_setting(bootstrap, [topic], "message.timestamp.before.max.ms", "0")
    monkeypatch.setattr(answers_module, "AGAIN_S", 3_600.0)
    durable: list[bool] = []
    answers = Answers(
        Producer(producer_config(settings)),
        Codec(),
        limit_of=lambda _: 0,
        undeliverable=unasked,
        on_fatal=unasked,
    )
    answers.send(topic, b"k", b"v", [], lambda: durable.append(True))

    def told() -> bool:
        answers.serve(0.05)
        return "sending it again" in caplog.text

    until(told)
    for _ in range(20):
        answers.serve(0.01)
    assert answers.pending == 1 and caplog.text.count("sending it again") == 1
    set_setting(bootstrap, [topic], "message.timestamp.before.max.ms", "86400000")
    monkeypatch.setattr(answers_module, "AGAIN_S", 0.0)

    def served() -> bool:
        answers.serve(0.05)
        return not answers.pending

    until(served)
    assert durable == [True]


def limits_of(settings: Settings) -> Callable[[str], int]:
    """As a host asks. A topic that was just created may not be known to its broker yet."""
    admin = ClusterAdmin(settings)

    def limit_of(topic: str) -> int:
        try:
            return admin.max_message_bytes([topic])[topic]
        except TopicMissingError:
            return 0

    return lambda topic: until(partial(limit_of, topic))


def unasked(*_: object) -> NoReturn:
    raise AssertionError("it has a topic, and fits")


@pytest.mark.parametrize("compression", ["none", "zstd"])
async def test_outcomes_of_activities(
    bootstrap: str, namespace: str, tmp_path: Path, topic: str, compression: str
) -> None:
    """Many at once are all taken; one that is too large by itself is the only one that is told so."""
    settings = settings_of(bootstrap, namespace, tmp_path, **{"compression.type": compression})
    told: list[tuple[int, int]] = []

    def too_large(size: int, limit: int) -> ActivityTaskCompleted:
        told.append((size, limit))
        return completed(len(sizes), b"less")

    def completed(number: int, data: bytes) -> ActivityTaskCompleted:
        return ActivityTaskCompleted("w", "r", number, str(number), 1, [Payload(data=data)])

    config, durable = producer_config(settings), [0]
    answers = Answers(
        Producer(config),
        Codec(),
        limit_of=limits_of(settings),
        undeliverable=unasked,
        on_fatal=unasked,
    )

    def count() -> None:
        durable[0] += 1

    sizes = [RECORD] * 400
    sizes[200] = SMALL + 20_000
    for number, size in enumerate(sizes):
        answers.report(topic, completed(number, random.randbytes(size)), count, too_large)

    def served() -> bool:
        answers.serve(0.05)
        return not answers.pending

    until(served)
    assert durable == [len(sizes)]
    [(size, limit)] = told
    assert size > SMALL + 20_000 and limit == SMALL
    records = [
        Codec().decode(value)
        for value in await asyncio.to_thread(values_of, settings, topic, len(sizes))
    ]
    numbers = sorted(
        record.scheduled_event_id for record in records if isinstance(record, ActivityTaskCompleted)
    )
    assert numbers == sorted({*range(len(sizes) + 1)} - {200})


async def test_outcomes_keep_their_order_once_their_topic_was_used(
    bootstrap: str, namespace: str, tmp_path: Path, topic: str
) -> None:
    settings = settings_of(bootstrap, namespace, tmp_path)
    look_up, asked = limits_of(settings), [0]

    def limit_of(name: str) -> int:
        limit = look_up(name)
        asked[0] += 1
        return limit

    answers = Answers(
        Producer(producer_config(settings)),
        Codec(),
        limit_of=limit_of,
        undeliverable=unasked,
        on_fatal=unasked,
    )

    def served() -> bool:
        answers.serve(0.05)
        return not answers.pending

    values = [b"%06d" % number + random.randbytes(RECORD) for number in range(400)]
    answers.send(topic, b"k", values[0], [])
    until(lambda: served() and topic in answers._limits)
    for value in values[1:]:
        answers.send(topic, b"k", value, [])
    until(served)
    assert await asyncio.to_thread(values_of, settings, topic, len(values)) == values
    assert asked == [1], "nothing was refused"


@pytest.mark.parametrize(
    "too_much",
    [2_000_000, PRODUCER_MESSAGE_MAX_BYTES + 1],
    ids=["for the broker", "for librdkafka"],
)
async def test_one_that_is_too_large_narrows_no_topic_that_takes_batches(
    bootstrap: str, namespace: str, tmp_path: Path, unique_name: Callable[[str], str], too_much: int
) -> None:
    settings = settings_of(bootstrap, namespace, tmp_path)
    usual, asking = unique_name("usual"), AdminClient({"bootstrap.servers": bootstrap})
    asking.create_topics([NewTopic(usual, 1)])[usual].result(20)
    durable, told = [0], [0]

    def count() -> None:
        durable[0] += 1

    def too_large(size: int, limit: int) -> None:
        told[0] += 1

    config = producer_config(settings)
    answers = Answers(
        Producer(config),
        Codec(),
        limit_of=limits_of(settings),
        undeliverable=unasked,
        on_fatal=unasked,
    )
    sizes = [RECORD] * 20 + [too_much] + [RECORD] * 20
    for number, size in enumerate(sizes):
        payload = [Payload(data=random.randbytes(size))]
        answers.report(
            usual,
            ActivityTaskCompleted("w", "r", number, str(number), 1, payload),
            count,
            too_large,
        )

    def served() -> bool:
        answers.serve(0.05)
        return not answers.pending

    until(served)
    assert (durable, told) == ([len(sizes)], [1])
    assert answers._windows.limit(usual) is None
    with PlainProducer(settings) as producer:

        async def send(size: int) -> None:  # it is refused at once, or later
            await producer.send(usual, b"k", random.randbytes(size))

        found = await asyncio.wait_for(
            asyncio.gather(*[send(size) for size in sizes], return_exceptions=True), WAIT_S
        )
        assert [type(one) for one in found if one is not None] == [RecordTooLargeError]
        assert producer._windows.limit(usual) is None
