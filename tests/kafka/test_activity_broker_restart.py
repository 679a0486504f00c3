"""The broker dies and comes back while a service runs: nothing is lost and nobody restarts the
service. In both kinds of groups.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta

import pytest

from odradek.broker import QUICK_START, LocalBroker
from tests.kafka.activity_harness import Engine, values
from tests.kafka.activity_services import SHARE, both_groups, gates, ran, running
from tests.support.until import until_async

#: Kafka's internal setting, 30 s by default: when a coordinator tries again to set up a group's
#: partitions (KAFKA-19457).
SHARE_RETRY = "group.share.initialize.retry.interval.ms"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBroker]:
    """One that these tests may kill."""
    with LocalBroker(
        data_dir=tmp_path_factory.mktemp("broker"),
        jvm_options=QUICK_START,
        config={SHARE_RETRY: 1_000},
    ) as broker:
        yield broker


@pytest.fixture
def bootstrap(broker: LocalBroker) -> str:
    if broker.pid is None:  # a test before failed with it dead
        broker.start()
    return broker.bootstrap


async def committed_for_good(engine: Engine) -> None:
    """The markers of the last transaction are in the log. A broker that is killed between a
    commit and its markers may come back without ever writing them: then nobody reads those
    records until the same producer's next transaction there. That is not what is tried here.
    """

    def ends(committed: bool) -> dict[int, int]:
        return engine.admin.end_offsets(
            engine.commands, range(engine.settings.partitions), committed=committed
        )

    await until_async(lambda: ends(committed=True) == ends(committed=False))


@pytest.mark.promise("commands")
@both_groups
async def test_outcomes_made_while_the_broker_is_down_arrive_when_it_is_back(
    engine: Engine, broker: LocalBroker
) -> None:
    """Those of what ran; what waited for a slot or lay there unread is run then. A share group
    may run again what was not acknowledged.
    """
    async with running(
        engine, max_concurrent_activities=20, graceful_shutdown_timeout=timedelta(seconds=10)
    ) as host:
        held = [engine.task("wait", f"h{number}") for number in range(20)]
        engine.schedule(*held)
        await until_async(lambda: host.statistics().running == 20)
        waiting = [engine.task("note", f"n{number}") for number in range(60)]
        engine.schedule(*waiting)
        await committed_for_good(engine)
        broker.kill()
        for number in range(20):
            gates[f"h{number}"].set()
        await until_async(lambda: host.statistics().completed >= 20)
        await asyncio.to_thread(broker.start)
        for task in [*held, *waiting]:
            assert values(
                (await engine.answers(task, "ActivityTaskCompleted", timeout_s=90))[-1].result
            )
        after = engine.task("note", "after")
        engine.schedule(after)
        await engine.answers(after, "ActivityTaskCompleted", timeout_s=60)
    assert set(ran) == {
        "after",
        *(f"h{number}" for number in range(20)),
        *(f"n{number}" for number in range(60)),
    }


@pytest.mark.promise("share-group")
@pytest.mark.parametrize("group", [SHARE])
async def test_broker_that_dies_while_a_share_group_forms_delays_its_commands(
    engine: Engine, broker: LocalBroker
) -> None:
    """Its coordinator had begun to set up the group's partitions; it tries again after
    SHARE_RETRY, and no member can help it.
    """
    tasks = [engine.task("note", f"n{number}") for number in range(20)]
    engine.schedule(*tasks)
    await committed_for_good(engine)
    async with running(engine):
        broker.kill()
        await asyncio.to_thread(broker.start)
        for task in tasks:
            await engine.answers(task, "ActivityTaskCompleted", timeout_s=60)
    assert set(ran) == {f"n{number}" for number in range(20)}
