"""The namespace's own topics (`members`, `replies`, `schemas`, `results`, `executions`) deleted
under running processes.

Whoever misses one makes it anew where that is allowed, and everything goes on there; where it is
not, the topic and the cure are said, and everything goes on as soon as somebody makes it.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka.admin import AdminClient

from odradek import workflow
from odradek.client import Client, RPCError, RPCStatusCode
from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin, TopicFacts
from odradek.kafka.client_config import admin_config
from odradek.kafka.schemas_topic import SchemasTopic
from odradek.processor import Processor
from odradek.wire.events import SignalWorkflow
from odradek.wire.schema import RECORD_TYPES, fingerprint
from odradek.worker import Worker
from odradek.worker._health import health_of_activities, health_of_processor
from tests.kafka.activity_harness import ACTIVITIES, Engine
from tests.kafka.activity_services import running
from tests.kafka.lane_host import make_processor
from tests.kafka.lane_records import Wire
from tests.kafka.test_web_server import Counter, Server, answer, charge, server
from tests.support.metrics import totals
from tests.support.until import until as comes
from tests.support.until import until_async as is_so

pytestmark = pytest.mark.timeout(240)
QUEUE = "orders"
LIVENESS_S = 60.0
Check = Callable[[], Any]


@workflow.defn
class Charge:
    @workflow.run
    async def run(self, amount: int) -> str:
        charged: str = await workflow.execute_activity(
            charge, amount, start_to_close_timeout=timedelta(seconds=60)
        )
        return charged


@pytest.fixture
def settings(bootstrap: str, namespace: str, tmp_path: Path) -> Settings:
    return Settings(
        address=bootstrap,
        namespace=namespace,
        state_dir=tmp_path / "worker",
        partitions=2,
        replication_factor=1,
        identity="tester",
    )


class Cluster:
    """Topics of the test's namespace, as a person has them."""

    def __init__(self, settings: Settings) -> None:
        self.admin = ClusterAdmin(settings)
        self.topics = self.admin.topics
        self._admin = AdminClient(admin_config(settings))

    def delete(self, *topics: str) -> dict[str, TopicFacts]:
        """What they were."""
        before = self.admin.describe(topics)
        assert before.keys() == set(topics)
        for deleted in self._admin.delete_topics(list(topics), operation_timeout=20).values():
            deleted.result(30)
        return before

    def anew(self, before: dict[str, TopicFacts]) -> bool:
        """Whether all of them were made anew."""
        found = self.admin.describe(before)
        return found.keys() == before.keys() and all(
            found[name].topic_id != before[name].topic_id for name in before
        )

    def count(self, topic: str) -> int:
        """Records of a topic, committed or not."""
        facts = self.admin.describe([topic]).get(topic)
        return (
            sum(self.admin.end_offsets(topic, range(facts.partitions), committed=False).values())
            if facts is not None
            else 0
        )


async def eventually(check: Check, timeout_s: float = 90.0) -> Any:
    """The first true answer of `check`, which may raise meanwhile."""
    until = asyncio.get_running_loop().time() + timeout_s
    while True:
        try:
            last = await check()
            if last:
                return last
        except (RPCError, AssertionError, httpx.HTTPError) as error:
            last = error
        assert asyncio.get_running_loop().time() < until, (
            f"not within {timeout_s:g} s; last: {last!r}"
        )
        await asyncio.sleep(0.2)


@pytest.fixture
async def living(settings: Settings, tmp_path: Path) -> AsyncIterator[tuple[Client, Server]]:
    """A worker with an activity service, its client, a server."""
    async with server(settings, tmp_path) as serving:
        client = await Client.connect(settings=settings)
        async with Worker(
            client, task_queue=QUEUE, workflows=[Charge, Counter], activities=[charge]
        ):
            yield client, serving


@pytest.mark.parametrize(
    "kinds",
    [["members"], ["replies"], ["members", "replies", "schemas", "results", "executions"]],
    ids=" ".join,
)
async def test_all_goes_on_at_topics_that_were_deleted(
    settings: Settings, living: tuple[Client, Server], kinds: list[str]
) -> None:
    client, serving = living
    cluster = Cluster(settings)
    handle = await client.start_workflow(Counter.run, id="counter", task_queue=QUEUE)
    await handle.signal(Counter.add, 1)
    assert (
        await client.execute_workflow(Charge.run, 1, id="before", task_queue=QUEUE) == "charged 1"
    )
    async with serving.client() as http:
        before = await asyncio.to_thread(
            cluster.delete, *(getattr(cluster.topics, kind) for kind in kinds)
        )
        await eventually(lambda: asyncio.to_thread(cluster.anew, before))

        result = await client.execute_workflow(
            Charge.run, 2, id="after", task_queue=QUEUE, rpc_timeout=timedelta(seconds=60)
        )
        assert result == "charged 2"
        await handle.signal(Counter.add, 2, rpc_timeout=timedelta(seconds=60))
        assert await handle.query(Counter.total, rpc_timeout=timedelta(seconds=60)) == 3

        async def described() -> bool:  # over the server's own connection
            found = answer(await http.get("/api/odradek/v1/workflows/after"))
            return bool(found["run"]["status"] == "COMPLETED" and found["owner"])

        async def listed() -> bool:
            query = {"query": "WorkflowId = 'after'"}
            return bool(
                answer(
                    await http.get(
                        f"/api/v1/namespaces/{settings.namespace}/workflows", params=query
                    )
                ).get("executions")
            )

        async def shown_served() -> bool:
            (queue,) = answer(await http.get("/api/odradek/v1/task-queues"))["task_queues"]
            return bool(queue["served"] and queue["processors"] and queue["services"])

        async def is_ready() -> bool:
            return (await http.get("/health/ready")).status_code == 200

        for check in (described, listed, shown_served, is_ready):
            await eventually(check)
    assert cluster.count(cluster.topics.dead_letters(QUEUE)) == 0


@pytest.mark.slow
async def test_an_activity_services_status_is_no_dead_letter(
    bootstrap: str, namespace: str, tmp_path: Path
) -> None:
    """Where it may not make topics: it says which one is missing and what to do, works, and goes
    on when somebody makes it.
    """
    engine = Engine(bootstrap, namespace, tmp_path)
    engine.admin.ensure([engine.topics.schemas])
    cluster = Cluster(engine.settings)
    members, letters = engine.topics.members, engine.topics.dead_letters(ACTIVITIES)
    async with running(engine, settings=engine.settings.replace(create_topics=False)) as host:

        def not_ready() -> str:
            return "; ".join(health_of_activities(host.statistics(), LIVENESS_S).not_ready)

        await is_so(lambda: not not_ready())
        await asyncio.to_thread(cluster.delete, members)
        await is_so(
            lambda: f"topic {members} does not exist" in not_ready() and "Create it" in not_ready(),
            90,
            describe=not_ready,
        )
        await is_so(lambda: host.statistics().reports_dropped > 1, 90)
        task = engine.task("note", "works")
        engine.schedule(task)
        await engine.answers(task, "ActivityTaskCompleted")
        assert "no broker" not in not_ready()
        engine.admin.ensure([members])
        await is_so(lambda: not not_ready(), 90, describe=not_ready)
        assert cluster.count(letters) == 0
    engine.close()


@pytest.mark.slow
async def test_a_server_says_which_topic_is_missing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its probe names the topic, and not a broker; its pages do not call queues unserved that
    may well be served.
    """
    cluster = Cluster(settings)
    topics = cluster.topics
    cluster.admin.ensure_queue(QUEUE)
    cluster.admin.ensure(
        [topics.members, topics.replies, topics.schemas, topics.results, topics.executions]
    )
    monkeypatch.setenv("ODRADEK_CREATE_TOPICS", "false")
    async with server(settings, tmp_path) as serving, serving.client() as http:

        async def said(topic: str) -> bool:
            found = await http.get("/health/ready")
            missing = found.json().get("missing", {})
            assert "kafka" not in missing
            return found.status_code == 503 and f"topic {topic} does not exist" in missing.get(
                "topics", ""
            )

        async def is_ready() -> bool:
            return (await http.get("/health/ready")).status_code == 200

        for topic in (topics.replies, topics.executions, topics.members):
            await asyncio.to_thread(cluster.delete, topic)
            await eventually(functools.partial(said, topic))
            if topic == topics.members:
                assert answer(await http.get("/api/odradek/v1/members"))["complete"] is False
                assert (
                    f"Who is alive is not known: topic {topic} does not exist"
                    in (await http.get("/queues")).text
                )
            await asyncio.to_thread(cluster.admin.ensure, [topic])
            await eventually(is_ready)


@pytest.mark.slow
def test_a_processor_says_which_topic_is_missing(
    bootstrap: str, namespace: str, tmp_path: Path
) -> None:
    wire = Wire(bootstrap, namespace, tmp_path)
    cluster = Cluster(wire.settings)
    wire.admin.ensure_queue("q")
    ours = [
        wire.topics.members,
        wire.topics.replies,
        wire.topics.schemas,
        wire.topics.results,
        wire.topics.executions,
    ]
    wire.admin.ensure([*ours, wire.commands, wire.dead_letters])
    processor = make_processor(wire.settings.replace(create_topics=False), "q")

    def not_ready() -> str:
        return "; ".join(health_of_processor(processor.statistics(), LIVENESS_S).not_ready)

    def said(topic: str) -> bool:
        assert "no broker" not in not_ready()
        return f"topic {topic} does not exist" in not_ready() and "Create it" in not_ready()

    def counted(signals: int) -> bool:
        return wire.counts() == {"w0": list(range(1, signals + 1))}

    processor.start()
    try:
        comes(lambda: not not_ready(), what="ready")
        for sent, topic in enumerate(ours, 1):
            cluster.delete(topic)
            wire.send(SignalWorkflow("w0", "count", request_id=topic))
            wire.flush()
            comes(functools.partial(said, topic), 90, f"{topic} is said to be missing")
            wire.admin.ensure([topic])
            comes(lambda: not not_ready(), 90, "ready again")
            comes(
                functools.partial(counted, sent),
                90,
                f"{sent} signals, the last one while {topic} was missing",
            )
        found = totals(processor)
        assert (found.parked, found.dead_letters) == (0, 0)
    finally:
        processor.stop()


async def test_a_call_says_that_replies_are_missing(settings: Settings) -> None:
    """And not that a worker is. What was asked is applied all the same; once the topic is made,
    all is answered.
    """
    cluster = Cluster(settings)
    cluster.admin.ensure_queue(QUEUE)
    cluster.admin.ensure(
        [
            kind(QUEUE)
            for kind in (
                cluster.topics.commands,
                cluster.topics.control,
                cluster.topics.dead_letters,
            )
        ]
    )
    made = await Client.connect(settings=settings)  # makes the rest
    client = await Client.connect(settings=settings.replace(create_topics=False))
    del made
    async with Worker(client, task_queue=QUEUE, workflows=[Charge, Counter], activities=[charge]):
        handle = await client.start_workflow(Counter.run, id="counter", task_queue=QUEUE)
        replies = cluster.topics.replies
        await asyncio.to_thread(cluster.delete, replies)

        async def says_so() -> bool:
            with pytest.raises(RPCError) as raised:
                await handle.query(Counter.total, rpc_timeout=timedelta(seconds=5))
            assert raised.value.status is RPCStatusCode.UNAVAILABLE
            assert f"topic {replies} does not exist" in str(raised.value) and "Create it" in str(
                raised.value
            )
            return "Start a worker" not in str(raised.value)

        await eventually(says_so)
        with pytest.raises(RPCError) as raised:
            await handle.signal(Counter.add, 1, rpc_timeout=timedelta(seconds=5))
        assert (
            raised.value.status is RPCStatusCode.DEADLINE_EXCEEDED
            and f"topic {replies} does not exist" in str(raised.value)
        )
        waiting = asyncio.create_task(
            client.execute_workflow(Charge.run, 1, id="waits", task_queue=QUEUE)
        )
        await asyncio.to_thread(cluster.admin.ensure, [replies])
        assert await handle.query(Counter.total, rpc_timeout=timedelta(seconds=60)) == 1
        assert await asyncio.wait_for(waiting, 90) == "charged 1"


def test_schemas_are_published_anew(bootstrap: str, namespace: str, tmp_path: Path) -> None:
    """All that a process knows, so that one of another version which starts later can read what
    lies there.
    """
    wire = Wire(bootstrap, namespace, tmp_path)
    cluster = Cluster(wire.settings)
    processor: Processor = make_processor(wire.settings, "q")
    processor.start()
    try:
        processor.wait_ready(60)
        before = cluster.delete(wire.topics.schemas)
        comes(lambda: cluster.anew(before), 90)
        with SchemasTopic(wire.settings, wire.admin) as schemas:
            comes(lambda: all(schemas.find(fingerprint(each)) for each in RECORD_TYPES), 60)
    finally:
        processor.stop()
