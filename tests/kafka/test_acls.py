"""The ACLs that docs/operate.md lists are enough for a saga, and without one of them the error
is a line that names it.

A broker of its own, with Kafka's authorizer and a SASL user for each role.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from odradek import activity, workflow
from odradek.client import Client, WorkflowFailureError
from odradek.config import Settings
from odradek.exceptions import (
    ApplicationError,
    BrokerUnreachableError,
    OdradekError,
    TopicError,
    TopicMissingError,
)
from odradek.kafka.admin import ClusterAdmin
from odradek.processor import topic_limits
from odradek.visibility.reader import VisibilityReader
from odradek.worker import Worker
from tests.kafka.secured import Acl, SecuredBroker, listed, secured_broker
from tests.support.until import until_async

NAMESPACE = "guarded"
PREFIX = f"odradek.{NAMESPACE}."
ORDERS, STOCK = "orders", "stock"
LETTERS = {
    "processor.Q": [ORDERS],
    "processor.A": [STOCK],
    "activities.Q": [STOCK],
    "activities.W": [ORDERS],
    "client.Q": [ORDERS],
    "server.Q": [ORDERS],
}
ACLS = listed(PREFIX, LETTERS)


@activity.defn
async def reserve(order: str) -> str:
    return f"reserved {order}"


@activity.defn
async def charge(order: str) -> None:
    raise ApplicationError("declined", non_retryable=True)


@activity.defn
async def release(order: str) -> str:
    return f"released {order}"


@workflow.defn
class GuardedSaga:
    """Reserve; charge, which is refused; release."""

    def __init__(self) -> None:
        self.done: list[str] = []

    @workflow.run
    async def run(self, order: str) -> list[str]:
        options: dict[str, Any] = {
            "task_queue": STOCK,
            "start_to_close_timeout": timedelta(seconds=30),
        }
        self.done.append(await workflow.execute_activity(reserve, order, **options))
        try:
            await workflow.execute_activity(charge, order, **options)
        except Exception:
            self.done.append(await workflow.execute_activity(release, order, **options))
        return self.done

    @workflow.query
    def steps(self) -> list[str]:
        return self.done


@workflow.defn
class GuardedTimer:
    """Closes with a timer: so a due timer needs `results` and `executions`."""

    @workflow.run
    async def run(self, seconds: float) -> str:
        await workflow.sleep(seconds)
        return "woken"


@pytest.fixture(scope="module")
def broker() -> Iterator[SecuredBroker]:
    with secured_broker() as broker:
        broker.grant(ACLS)
        yield broker


@pytest.fixture
def settings(broker: SecuredBroker, tmp_path: Path) -> Any:
    def of(role: str, **changes: Any) -> Settings:
        known: dict[str, Any] = {
            "address": broker.bootstrap,
            "namespace": NAMESPACE,
            "partitions": 2,
            "replication_factor": 1,
        }
        known |= {
            "state_dir": tmp_path / role,
            "kafka": broker.kafka(role),
            "rpc_timeout": timedelta(seconds=20),
        }
        return Settings(**known | changes)

    return of


@pytest.fixture
def topics(settings: Any) -> None:
    """Every topic, made by the operator, who has nothing but Create and Describe."""
    admin = ClusterAdmin(settings("operator"))
    names = admin.topics
    admin.ensure_queue(ORDERS)
    queues = [
        kind(queue)
        for queue in (ORDERS, STOCK)
        for kind in (names.commands, names.control, names.dead_letters)
    ]
    admin.ensure(
        [
            *queues,
            names.results,
            names.executions,
            names.windows,
            names.members,
            names.replies,
            names.schemas,
        ]
    )


@pytest.fixture
async def running(settings: Any, topics: None) -> AsyncIterator[Client]:
    """Both workers, each under its own user; the client of a third."""
    async with AsyncExitStack() as stack:
        clients = {
            role: await Client.connect(settings=settings(role))
            for role in ("processor", "activities", "client")
        }
        for client in clients.values():
            await stack.enter_async_context(client)
        await stack.enter_async_context(
            Worker(clients["processor"], task_queue=ORDERS, workflows=[GuardedSaga, GuardedTimer])
        )
        await stack.enter_async_context(
            Worker(clients["activities"], task_queue=STOCK, activities=[reserve, charge, release])
        )
        yield clients["client"]


async def test_saga_runs_with_the_listed_acls_and_no_others(running: Client, settings: Any) -> None:
    handle = await running.start_workflow(GuardedSaga.run, "o1", id="saga-1", task_queue=ORDERS)
    assert await handle.result() == ["reserved o1", "released o1"]
    assert await handle.query(GuardedSaga.steps) == ["reserved o1", "released o1"]
    stopped = await running.start_workflow(
        GuardedSaga.run, "o2", id="saga-2", task_queue=ORDERS, start_delay=timedelta(hours=1)
    )
    await stopped.terminate(reason="enough")
    with pytest.raises(WorkflowFailureError):
        await stopped.result()
    with VisibilityReader(settings("server")) as reader:
        for _ in range(600):
            if reader.ready:
                break
            await asyncio.sleep(0.1)
        assert reader.ready and not reader.outage
        assert {row.workflow_id for row in reader.store.list().executions} >= {"saga-1", "saga-2"}


async def _attempt(settings: Any, role: str) -> None:
    """What each role does first. Ends with the error that says what is missing."""
    async with asyncio.timeout(60), AsyncExitStack() as stack:
        client = await stack.enter_async_context(await Client.connect(settings=settings(role)))
        if role == "client":
            await client.start_workflow(GuardedSaga.run, "x", id="w", task_queue=ORDERS)
        elif role == "processor":
            await Worker(client, task_queue=ORDERS, workflows=[GuardedSaga]).run()
        else:
            await Worker(client, task_queue=STOCK, activities=[reserve]).run()


#: Whose lack ends the process at its start. The others have tests of their own below; without
#: `readers` lanes only start late (librdkafka asks for a coordinator that it does not need), and
#: Describe is implied by a processor's Write.
AT_START = [
    acl
    for acl in ACLS
    if acl.role in ("processor", "activities", "client")
    and acl.name != f"{PREFIX}readers"
    and not (
        acl.role == "processor"
        and (acl.name.startswith(f"{PREFIX}{STOCK}.") or acl.operation == "Describe")
    )
    and acl.resource != "transactional id"
    and not (acl.role == "activities" and acl.name == f"{PREFIX}{ORDERS}.events")
]


@pytest.mark.parametrize("acl", AT_START, ids=str)
async def test_without_one_of_them_the_error_names_it(
    acl: Acl, broker: SecuredBroker, settings: Any, topics: None
) -> None:
    broker.revoke(acl)
    try:
        with pytest.raises(Exception, match="grant this principal the ACL") as caught:
            await _attempt(settings, acl.role)
    finally:
        broker.grant([acl])
    message = str(caught.value)
    assert "\n" not in message and acl.name.removesuffix("*") in message
    # A topic that may not even be described is refused before what else it needs can be asked.
    assert (
        f"ACL {acl.operation} on {acl.resource}" in message
        or f"ACL Describe on {acl.resource}" in message
    )


async def test_without_its_transactional_ids_each_lane_stops_and_says_so(
    broker: SecuredBroker, settings: Any, topics: None, caplog: pytest.LogCaptureFixture
) -> None:
    (acl,) = [acl for acl in ACLS if acl.resource == "transactional id"]
    broker.revoke(acl)
    try:
        async with await Client.connect(settings=settings("processor")) as client:
            worker = Worker(client, task_queue=ORDERS, workflows=[GuardedSaga])
            running = asyncio.create_task(worker.run())
            for _ in range(600):
                lines = [
                    r.getMessage()
                    for r in caplog.records
                    if r.levelname == "ERROR" and "ACL Write on transactional id" in r.getMessage()
                ]
                if {
                    f"{PREFIX}{ORDERS}.{n}"
                    for n in range(2)
                    for line in lines
                    if f"{ORDERS}.{n} " in line
                } == {
                    f"{PREFIX}{ORDERS}.0",
                    f"{PREFIX}{ORDERS}.1",
                }:
                    break
                await asyncio.sleep(0.1)
            else:
                raise AssertionError(caplog.text)
            assert not running.done(), (
                "a partition that stops does not end its process: `members` shows it STOPPED, with"
                " this line"
            )
            assert all("\n" not in line for line in lines)
            await worker.shutdown()
            await running
    finally:
        broker.grant([acl])


async def test_activity_waits_while_its_topic_is_forbidden(
    running: Client, broker: SecuredBroker
) -> None:
    """The processor may not write commands of a queue: that activity waits and says why, nothing
    else does.
    """
    (acl,) = [
        a
        for a in ACLS
        if a.role == "processor"
        and a.name == f"{PREFIX}{STOCK}.commands"
        and a.operation == "Write"
    ]
    broker.revoke(acl)
    try:
        handle = await running.start_workflow(GuardedSaga.run, "o3", id="saga-3", task_queue=ORDERS)
        for _ in range(600):
            pending = (await handle.describe()).raw_description.pending_activities
            if pending and pending[0].waiting_reason:
                break
            await asyncio.sleep(0.1)
        assert acl.name in pending[0].waiting_reason and "\n" not in pending[0].waiting_reason
    finally:
        broker.grant([acl])
    assert await handle.result() == ["reserved o3", "released o3"]


@pytest.mark.promise("preflight")
def test_creation_is_forbidden(settings: Any, topics: None) -> None:
    admin = ClusterAdmin(settings("processor"))
    with pytest.raises((TopicError, TopicMissingError), match=f"{PREFIX}unheard-of.events.*ACL"):
        admin.ensure([admin.topics.events("unheard-of")])


@pytest.mark.promise("preflight")
def test_wrong_password(settings: Any, broker: SecuredBroker) -> None:
    for _ in range(5):  # a busy machine may not hear the cause within the time
        with pytest.raises(BrokerUnreachableError) as caught:
            ClusterAdmin(
                settings("client", kafka=broker.kafka("client", "wrong")), request_timeout_s=3.0
            ).cluster_id()
        if "authentication failed" in str(caught.value).lower():
            break
    assert "authentication failed" in str(caught.value).lower() and "\n" not in str(caught.value)


async def test_share_group_of_services(settings: Any, broker: SecuredBroker, topics: None) -> None:
    """`activity_group: share`: what the page's sentence below the table lists, one right after
    the other.
    """
    group = f"{PREFIX}{STOCK}.activities-share"
    read, alter, describe = (
        Acl("activities", "group", group, right)
        for right in ("Read", "AlterConfigs", "DescribeConfigs")
    )

    async def refused() -> str:
        async with (
            asyncio.timeout(60),
            await Client.connect(settings=settings("activities", activity_group="share")) as client,
        ):
            with pytest.raises(OdradekError) as caught:
                await Worker(client, task_queue=STOCK, activities=[reserve]).run()
        return str(caught.value)

    assert f"ACL AlterConfigs on group {group}" in await refused()
    broker.grant([alter])
    assert f"ACL Read on group {group}" in await refused()
    broker.revoke(alter)
    broker.grant([read, describe])  # the settings are there by now
    async with AsyncExitStack() as stack:
        clients = {
            role: await Client.connect(settings=settings(role)) for role in ("processor", "client")
        }
        clients["activities"] = await Client.connect(
            settings=settings("activities", activity_group="share")
        )
        for client in clients.values():
            await stack.enter_async_context(client)
        await stack.enter_async_context(
            Worker(clients["processor"], task_queue=ORDERS, workflows=[GuardedSaga])
        )
        await stack.enter_async_context(
            Worker(clients["activities"], task_queue=STOCK, activities=[reserve, charge, release])
        )
        handle = await clients["client"].start_workflow(
            GuardedSaga.run, "o9", id="saga-9", task_queue=ORDERS
        )
        assert await handle.result() == ["reserved o9", "released o9"]
    broker.revoke(read)
    broker.revoke(describe)


@pytest.mark.parametrize(
    "topic",
    [
        pytest.param(f"{PREFIX}executions", marks=pytest.mark.slow),
        f"{PREFIX}results",
        pytest.param(f"{PREFIX}{ORDERS}.state", marks=pytest.mark.slow),
    ],
)
async def test_what_a_topic_takes_cannot_be_told_and_no_input_or_timer_is_lost(
    running: Client,
    broker: SecuredBroker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    topic: str,
) -> None:
    """Timers fall due and starts come while the lanes do not know what a record may weigh: they
    stop, and do it all afterwards.
    """
    monkeypatch.setattr(topic_limits, "KNOWN_FOR_SECONDS", 0.2)
    (acl,) = [
        acl
        for acl in ACLS
        if acl.role == "processor" and acl.name == topic and acl.operation == "DescribeConfigs"
    ]
    salt = topic.rpartition(".")[2]
    loop = asyncio.get_running_loop()
    slept = [
        await running.start_workflow(GuardedTimer.run, 3, id=f"timer-{salt}-{n}", task_queue=ORDERS)
        for n in range(4)
    ]
    due = loop.time() + 3
    broker.revoke(acl)
    try:
        starts = [
            running.start_workflow(GuardedSaga.run, "o2", id=f"while-{salt}-{n}", task_queue=ORDERS)
            for n in range(4)
        ]
        started = asyncio.gather(*starts)
        missing = f"grant this principal the ACL DescribeConfigs on topic {topic}"
        await until_async(
            lambda: missing in caplog.text and loop.time() > due + 0.5,
            40,
            what=lambda: caplog.text,
        )
    finally:
        broker.grant([acl])
    async with asyncio.timeout(60):
        for handle in await started:
            assert await handle.result() == ["reserved o2", "released o2"]
        for handle in slept:
            assert await handle.result() == "woken"
    assert (
        "dead letter" not in caplog.text
        and "giving up" not in caplog.text
        and "defect of the engine" not in caplog.text
    )


async def test_a_right_taken_away_while_lanes_run_blames_no_input(
    running: Client, broker: SecuredBroker, caplog: pytest.LogCaptureFixture
) -> None:
    """The lanes stop and say which ACL is missing; given back, they go on by themselves, and no
    run was held for it.
    """
    (acl,) = [
        acl
        for acl in ACLS
        if acl.role == "processor" and acl.name.endswith(".executions") and acl.operation == "Write"
    ]
    assert await running.execute_workflow(GuardedSaga.run, "o1", id="before", task_queue=ORDERS)
    broker.revoke(acl)
    try:
        starts = [
            running.start_workflow(GuardedSaga.run, "o2", id=f"during-{n}", task_queue=ORDERS)
            for n in range(4)
        ]
        started = asyncio.gather(*starts)
        for _ in range(600):
            if "grant this principal the ACL Write on topic" in caplog.text:
                break
            await asyncio.sleep(0.1)
        else:
            pytest.fail(caplog.text)
    finally:
        broker.grant([acl])
    for handle in await started:
        assert await handle.result() == ["reserved o2", "released o2"]
    assert "dead letter" not in caplog.text and "giving up" not in caplog.text
