"""The payments service makes its topics, and goes on only once clients can see them: Faust
ignores a topic that it does not see.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from faust.types import TP
from pydantic import ValidationError

from odradek.broker import LocalCluster
from services.avro_wire import Schemas, schemas_folder
from services.payments import control, service, topics
from services.payments.config import PaymentsConfig
from services.payments.wire_names import QueueNames

NAMES = QueueNames("default", "payments-task-queue")


class SlowCluster:
    """Creates at once, shows a topic after three looks and its leaders after two more."""

    def __init__(self, *, there_already: bool = False, never: bool = False) -> None:
        self.there_already = there_already
        self.never = never
        self.wanted: list[str] = []
        self.replication: dict[str, int] = {}
        self.looks = 0

    def create_topics(self, new: list[Any]) -> dict[str, Future[None]]:
        self.wanted = [topic.topic for topic in new]
        self.replication = {topic.topic: topic.replication_factor for topic in new}
        futures = {name: Future[None]() for name in self.wanted}
        for future in futures.values():
            if self.there_already:
                future.set_exception(KafkaException(KafkaError(KafkaError.TOPIC_ALREADY_EXISTS)))
            else:
                future.set_result(None)
        return futures

    def list_topics(self, timeout: float) -> Any:
        self.looks += 1
        if self.looks < 3 or self.never:
            return SimpleNamespace(topics={})
        leader = 1 if self.looks >= 5 else -1
        return SimpleNamespace(
            topics={
                name: SimpleNamespace(partitions={0: SimpleNamespace(leader=leader)})
                for name in self.wanted
            }
        )


@pytest.mark.parametrize("there_already", [False, True])
def test_waits_until_its_topics_show(monkeypatch: pytest.MonkeyPatch, there_already: bool) -> None:
    cluster = SlowCluster(there_already=there_already)
    monkeypatch.setattr(topics, "AdminClient", lambda _: cluster)
    topics.create_topics("address", NAMES, 4, 1)
    assert cluster.looks == 5
    assert sorted(cluster.wanted) == sorted(
        [NAMES.commands, NAMES.control, NAMES.dead_letters, NAMES.members]
    )


def test_says_which_topic_never_showed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "AdminClient", lambda _: SlowCluster(never=True))
    monkeypatch.setattr(topics, "ANSWER_WITHIN_SECONDS", 0.2)
    with pytest.raises(TimeoutError, match=r"payments-task-queue\.commands"):
        topics.create_topics("address", NAMES, 4, 1)


@pytest.mark.parametrize(
    ("said", "asked_for"), [({}, -1), ({"replication_factor": 3}, 3)], ids=["nothing said", "three"]
)
def test_replicas_are_the_brokers_default_unless_its_file_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: dict[str, int], asked_for: int
) -> None:
    """-1 is Kafka's word for `default.replication.factor`. One copy by default would be lost
    with one broker, on any cluster.
    """
    config = PaymentsConfig.model_validate(
        {
            "odradek": {"address": "address", "task_queue": NAMES.task_queue},
            "database": tmp_path / "payments.sqlite",
            **said,
        }
    )
    cluster = SlowCluster()
    monkeypatch.setattr(topics, "AdminClient", lambda _: cluster)
    topics.create_topics("address", NAMES, config.partitions, config.replication_factor)
    assert cluster.replication == dict.fromkeys(
        [NAMES.commands, NAMES.control, NAMES.dead_letters, NAMES.members], asked_for
    )


def test_number_of_replicas_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    queue = {"address": "address", "task_queue": NAMES.task_queue}
    with pytest.raises(ValidationError, match="replication_factor"):
        PaymentsConfig.model_validate(
            {"odradek": queue, "database": tmp_path / "payments.sqlite", "replication_factor": -2}
        )


@pytest.mark.slow
def test_topics_of_a_cluster_of_three_have_its_replicas() -> None:
    """What the compose file gives its brokers, `default.replication.factor` 3, is what the
    topics get.
    """
    with LocalCluster(3) as cluster:
        topics.create_topics(
            cluster.bootstrap, NAMES, 2, PaymentsConfig.model_fields["replication_factor"].default
        )
        found = AdminClient({"bootstrap.servers": cluster.bootstrap}).list_topics(timeout=20).topics
    copies = {
        name: {len(place.replicas) for place in found[name].partitions.values()}
        for name in (NAMES.commands, NAMES.members)
    }
    assert copies == {NAMES.commands: {3}, NAMES.members: {3}}


@pytest.mark.parametrize(
    "trouble",
    [KafkaException(KafkaError(KafkaError._TRANSPORT)), TimeoutError()],
    ids=["refused", "no answer"],
)
def test_purge_that_finds_a_broker_in_trouble_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    trouble: Exception,
) -> None:
    """Faust ends the app with an error that a timer raises."""

    def purge(*_: Any) -> None:
        raise trouble

    monkeypatch.setattr(service, "purge_acknowledged", purge)
    config = PaymentsConfig.model_validate(
        {
            "odradek": {"address": "address", "task_queue": NAMES.task_queue},
            "database": tmp_path / "payments.sqlite",
        }
    )
    payments = service.Payments(config, Schemas(schemas_folder()))
    asyncio.run(payments._purge())
    (said,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert NAMES.commands in said.getMessage()


async def test_ends_that_nobody_tells_make_every_command_a_possible_redelivery(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = PaymentsConfig.model_validate(
        {
            "odradek": {"address": "address", "task_queue": NAMES.task_queue},
            "database": tmp_path / "payments.sqlite",
        }
    )
    payments = service.Payments(config, Schemas(schemas_folder()))

    async def highwaters(*_: TP) -> dict[TP, int]:
        raise KafkaTimeoutError

    monkeypatch.setattr(payments.app, "consumer", SimpleNamespace(highwaters=highwaters))
    place = TP(NAMES.commands, 3)
    await payments._note_ends(payments.app, {place})
    assert payments._redelivered_below[place] > 2**40


async def test_cancel_requests_are_read_again_after_a_broker_in_trouble(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also after one that does not know the topic yet. No consumer stays open."""
    starts: list[dict[str, Any]] = []
    stopped: list[int] = []

    class Consumer:
        def __init__(self, **options: Any) -> None:
            starts.append(options)
            self._client = self

        async def start(self) -> None:
            if len(starts) > 2:
                raise asyncio.CancelledError
            if len(starts) == 1:
                raise KafkaConnectionError

        async def fetch_all_metadata(self) -> ClusterMetadata:
            return ClusterMetadata(bootstrap_servers="address")

        def assign(self, places: list[TP]) -> None: ...

        async def seek_to_beginning(self) -> None:
            raise AssertionError("No partitions are currently assigned")  # aiokafka's

        async def stop(self) -> None:
            stopped.append(len(starts))

    monkeypatch.setattr(control, "AIOKafkaConsumer", Consumer)
    monkeypatch.setattr(control, "AGAIN_AFTER_SECONDS", 0.0)
    with pytest.raises(asyncio.CancelledError):
        await control.CancelRequests("address", NAMES.control, None).follow()  # type: ignore[arg-type]
    assert len(starts) == 3 and starts[0]["auto_offset_reset"] == "earliest"
    assert stopped == [1, 2, 3]
    assert f"does not know {NAMES.control}" in capsys.readouterr().out
