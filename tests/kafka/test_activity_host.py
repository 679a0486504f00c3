"""The activity host on real Kafka, against an engine played by the test: what it says, what it
acknowledges, what it survives.

What depends on the kind of group runs in both where both promise it. `test_activity_share.py`
has what a share group alone does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from odradek import activity
from odradek.activities import ActivityHost, commands, timers
from odradek.exceptions import BrokerUnreachableError, DuplicateIdentityError, TopicMissingError
from odradek.kafka.client_config import topics_of
from odradek.telemetry import metrics
from odradek.wire.dead_letters import parse_dead_letter
from odradek.wire.headers import HANDED_ON_FROM, header, headers_for
from odradek.wire.partitioner import partition_for
from tests.kafka.activity_harness import ACTIVITIES, Engine, Reader, names, values
from tests.kafka.activity_services import (
    CLASSIC,
    SHARE,
    answered,
    both_groups,
    committed,
    gates,
    note,
    ran,
    running,
)
from tests.support.metrics import counted
from tests.support.until import until_async

# --- answering


@both_groups
async def test_short_activity_is_answered_by_one_record_on_the_workflows_partition(
    engine: Engine, no_hurry: None
) -> None:
    async with running(engine):
        task = engine.task("note", "hello")
        engine.schedule(task)
        answers = await engine.answers(task, "ActivityTaskCompleted")
        assert names(answers) == ["Completed"] and values(answers[0].result) == ["hello"]
        message = engine.reader.messages[-1]
        assert message.key() == task.workflow_id.encode() and message.partition() == partition_for(
            message.key(), 2
        )
        assert header(message.headers(), "odradek-activity-id") == task.activity_id
    async with running(engine):  # it was acknowledged: whoever comes next does not see it
        await answered(engine)
    assert ran.count("hello") == 1


async def test_what_is_committed_is_within_the_log(engine: Engine) -> None:
    async with running(engine):
        await answered(engine)
    offsets = committed(engine)
    ends = engine.admin.end_offsets(engine.commands, offsets, committed=True)
    assert sum(offsets.values()) > 0 and all(
        offsets[partition] <= ends[partition] for partition in offsets
    )


@pytest.mark.promise("commands")
@both_groups
async def test_command_of_an_aborted_transaction_never_runs(engine: Engine) -> None:
    """Neither one written before the first service nor a later one."""
    engine.schedule(
        *(engine.task("note", "aborted", workflow_id=f"wf{number}") for number in range(4)),
        commit=False,
    )
    async with running(engine):
        engine.schedule(
            *(engine.task("note", "aborted", workflow_id=f"wf{number}") for number in range(4)),
            commit=False,
        )
        after = [engine.task("note", "after", workflow_id=f"wf{number}") for number in range(4)]
        engine.schedule(*after)
        for task in after:
            await engine.answers(task, "ActivityTaskCompleted")
    assert set(ran) == {"after"}


@both_groups
async def test_command_written_before_the_first_service_is_run(
    engine: Engine, group: str, no_hurry: None
) -> None:
    """A classic group cannot tell it from a redelivery, so that Started comes first; a share
    group counts deliveries.
    """
    task = engine.task("note", "early")
    engine.schedule(task)
    async with running(engine):
        first = ["Started"] if group == CLASSIC else []
        assert names(await engine.answers(task, "ActivityTaskCompleted")) == [*first, "Completed"]
        late = engine.task("note", "late")
        engine.schedule(late)
        assert names(await engine.answers(late, "ActivityTaskCompleted")) == ["Completed"]


async def test_long_activity_says_started_in_time_and_is_acknowledged_by_it(engine: Engine) -> None:
    async with running(engine, graceful_shutdown_timeout=timedelta(seconds=30)):
        task = engine.task("wait", "long", start_to_close_timeout_ms=600_000)
        engine.schedule(task)
        await engine.answers(
            task, "ActivityTaskStarted"
        )  # after 200 ms, not after half of its timeout
        partition = partition_for(task.workflow_id.encode(), 2)
        await until_async(lambda: committed(engine).get(partition, 0) >= 1)  # while it runs
        gates["long"].set()
        assert names(await engine.answers(task, "ActivityTaskCompleted")) == [
            "Started",
            "Completed",
        ]


async def test_blocked_event_loop_still_says_started(engine: Engine) -> None:
    @activity.defn
    async def block() -> None:
        """Until its Started can be read."""
        ends_at = time.monotonic() + 30
        while names(engine.reader.records) != ["Started"]:
            assert time.monotonic() < ends_at, "it has not said Started"
            time.sleep(0.05)  # noqa: ASYNC251 - what users do
            engine.reader.read()

    host = ActivityHost(
        engine.settings,
        task_queue=ACTIVITIES,
        activities=[block],
        graceful_shutdown_timeout=timedelta(0),
    )
    running_host = asyncio.create_task(host.run())
    await until_async(lambda: host.is_assigned)
    task = engine.task("block")
    engine.schedule(task)
    answers = await engine.answers(task, lambda record: names([record]) != ["Started"])
    assert names(answers) == ["Started", "Completed"]
    await host.shutdown()
    await running_host


# --- cancellation and heartbeats


async def test_cancel_request_over_control_reaches_a_running_activity(engine: Engine) -> None:
    async with running(engine):
        task = engine.task("beat", 3, heartbeat_timeout_ms=60_000)  # so that no second one is due
        engine.schedule(task)
        await engine.answers(task, "ActivityTaskHeartbeat")
        engine.cancel(task)
        answers = await engine.answers(task, "ActivityTaskCanceled")
        assert names(answers) == ["Started", "Heartbeat", "Canceled"]


async def test_held_back_heartbeat_follows_after_the_interval(engine: Engine) -> None:
    async with running(engine):
        task = engine.task("beat", 5, heartbeat_timeout_ms=1_000)
        engine.schedule(task)
        answers = await engine.answers(
            task, lambda record: values(getattr(record, "details", [])) == [4]
        )
        first, *between, last = [
            values(record.details) for record in answers if hasattr(record, "details")
        ]
        # Those between went with [4], but for one on a machine that stood still for an interval.
        assert (first, last) == ([0], [4]) and len(between) < 3


async def test_heartbeat_details_reach_the_next_attempt(engine: Engine) -> None:
    async with running(engine):
        first = engine.task("beat", 5, heartbeat_timeout_ms=60_000)
        engine.schedule(first)
        await engine.answers(first, "ActivityTaskHeartbeat")
    # The drain cancelled it: what was held back goes with the failure, for the engine to give to
    # the next attempt.
    failed = (await engine.answers(first, "ActivityTaskFailed"))[-1]
    assert failed.failure.type == "WorkerShutdown" and values(failed.last_heartbeat_details)
    async with running(engine):
        second = engine.task("details", heartbeat_details=failed.last_heartbeat_details, attempt=2)
        engine.schedule(second)
        completed = (await engine.answers(second, "ActivityTaskCompleted"))[-1]
        assert values(completed.result) == [values(failed.last_heartbeat_details)]


# --- what cannot be dealt with


@both_groups
async def test_undecodable_command_fails_its_activity_and_goes_to_dead_letters(
    engine: Engine,
) -> None:
    async with running(engine):
        task = engine.task("note", "never")
        engine.write(
            engine.commands, task.workflow_id.encode(), b"\xc3\x01garbage", headers_for(task)
        )
        failed = (await engine.answers(task, "ActivityTaskFailed"))[-1]
        assert (
            failed.failure.non_retryable
            and failed.failure.type == "DecodeError"
            and "cannot be read" in failed.failure.message
        )
        assert (failed.activity_id, failed.attempt) == (task.activity_id, task.attempt)
        engine.write(engine.commands, b"k", b"no headers, no record")
        letters = Reader(engine.settings, engine.codec, engine.topics.dead_letters(ACTIVITIES))
        letters.decode = False
        await letters.until(lambda: len(letters.messages) == 2)
        assert {message.value() for message in letters.messages} == {
            b"\xc3\x01garbage",
            b"no headers, no record",
        }
        reasons = {parse_dead_letter(message.headers()).reason for message in letters.messages}
        assert reasons == {"UNDECODABLE"}
        await answered(engine)
        where = {"namespace": engine.settings.namespace, "kind": "activities"}
        assert counted(metrics.DEAD_LETTERS, reason="UNDECODABLE", **where) == 2
    async with running(engine):  # they were acknowledged: whoever comes next does not see them
        await answered(engine)
    letters.read()
    assert len(letters.messages) == 2
    letters.close()


@both_groups
async def test_unknown_schema_fails_its_activity_at_once(engine: Engine) -> None:
    async with running(engine):
        task = engine.task("note", "never")
        body = engine.codec.encode(task)[10:]
        for head, named in (
            (b"\xc3\x01\x01\x02\x03\x04\x05\x06\x07\x08", "0102030405060708"),
            (b"\x00\x00\x00\x00\x07", "schema_registry_url"),
        ):
            task = engine.task("note", "never")
            key = task.workflow_id.encode()
            engine.write(engine.commands, key, head + body, headers_for(task))
            behind = engine.task("note", "behind", workflow_id=task.workflow_id)
            engine.schedule(behind)
            await engine.answers(behind, "ActivityTaskCompleted")
            failed = (await engine.answers(task, "ActivityTaskFailed"))[-1]
            assert named in failed.failure.message


async def test_other_record_on_commands_is_dead_lettered(engine: Engine) -> None:
    async with running(engine):
        task = engine.task("note", "x")
        engine.schedule(task)
        answer = (await engine.answers(task, "ActivityTaskCompleted"))[-1]
        engine.write(engine.commands, b"k", engine.codec.encode(answer))
        letters = Reader(engine.settings, engine.codec, engine.topics.dead_letters(ACTIVITIES))
        await letters.until(lambda: len(letters.messages) == 1)
        assert parse_dead_letter(letters.messages[0].headers()).reason == "UNEXPECTED_RECORD"
        letters.close()


async def test_result_larger_than_the_topic_takes_fails_the_activity_not_its_neighbours(
    engine: Engine, no_hurry: None
) -> None:
    resource = ConfigResource(ResourceType.TOPIC, engine.events)
    resource.add_incremental_config(
        ConfigEntry("max.message.bytes", "200000", incremental_operation=AlterConfigOpType.SET)
    )
    for future in engine.admin._admin.incremental_alter_configs([resource]).values():
        future.result(20)
    async with running(engine):
        tasks = [
            engine.task("large", 100),
            engine.task("large", 300_000),
            engine.task("large", 200),
        ]
        engine.schedule(*tasks)
        assert names(await engine.answers(tasks[0], "ActivityTaskCompleted")) == ["Completed"]
        failure = (await engine.answers(tasks[1], "ActivityTaskFailed"))[-1].failure
        assert failure.non_retryable and failure.type == "RecordTooLargeError"
        for part in (
            "the result of the activity of 300",
            "200000 bytes",
            "max.message.bytes",
            engine.events,
        ):
            assert part in failure.message, failure.message
        await engine.answers(tasks[2], "ActivityTaskCompleted")


async def test_answer_without_a_topic_goes_to_dead_letters(engine: Engine) -> None:
    # librdkafka waits this long for a topic that nobody knows; 30 s by default.
    settings = engine.settings.replace(kafka={"topic.metadata.propagation.max.ms": "1000"})
    async with running(engine, settings=settings) as host:
        engine.schedule(engine.task("note", "orphan", workflow_task_queue="nowhere"))
        letters = Reader(engine.settings, engine.codec, engine.topics.dead_letters(ACTIVITIES))
        await letters.until(lambda: len(letters.messages) == 1, timeout_s=60)
        letter = parse_dead_letter(letters.messages[0].headers())
        assert letter.reason == "UNROUTABLE" and engine.topics.events("nowhere") in letter.message
        assert values(letters.records[0].result) == ["orphan"]
        letters.close()
        assert engine.topics.events("nowhere") not in engine.admin.topic_names()
        await until_async(lambda: host.statistics().dead_letters == {"UNROUTABLE": 1})


# --- the group


@pytest.mark.promise("commands")
async def test_full_service_hands_waiting_commands_on(engine: Engine) -> None:
    async with running(engine, max_concurrent_activities=1) as full:
        await until_async(lambda: full.statistics().partitions == 2)
        async with running(engine) as idle:
            await until_async(
                lambda: full.statistics().partitions == 1 and idle.statistics().partitions == 1
            )
            mine = next(iter(full._commands.owned))  # type: ignore[union-attr]
            blocker, others = (
                engine.task("wait", "blocker"),
                [engine.task("note", f"n{number}") for number in range(5)],
            )
            engine.schedule(blocker, partition=mine)
            await engine.answers(blocker, "ActivityTaskStarted")
            engine.schedule(*others, partition=mine)
            for task in others:
                answers = await engine.answers(task, "ActivityTaskCompleted")
                assert names(answers)[-1] == "Completed" and answers[-1].attempt == task.attempt
            assert full.statistics().handed_on == 5 and idle.statistics().completed == 5
            written = Reader(engine.settings, engine.codec, engine.commands)
            await written.until(lambda: len(written.messages) >= 11)
            again = [message for message in written.messages if message.partition() != mine]
            assert {message.key() for message in again} == {
                task.workflow_id.encode() for task in others
            }
            assert all(
                header(message.headers(), HANDED_ON_FROM).startswith(f"{engine.commands}/{mine}/")
                for message in again
            )
            written.close()
            gates["blocker"].set()
            await engine.answers(blocker, "ActivityTaskCompleted")


async def test_partition_that_moves_takes_only_what_has_not_begun(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second member joins while activities run that have said nothing yet: none of them runs
    twice.
    """
    monkeypatch.setattr(timers, "STARTED_AFTER_MAX", 60.0)
    async with running(engine, graceful_shutdown_timeout=timedelta(seconds=30)) as first:
        await until_async(lambda: first.statistics().partitions == 2)
        tasks = [engine.task("wait", f"t{number}") for number in range(10)]
        engine.schedule(*tasks)
        await until_async(lambda: len(ran) == 10)
        async with running(engine) as second:
            await until_async(lambda: second.statistics().partitions == 1)
            for number in range(10):
                gates[f"t{number}"].set()
            answers = [names(await engine.answers(task, "ActivityTaskCompleted")) for task in tasks]
            assert sorted(answers).count(["Started", "Completed"]) in range(
                1, 10
            )  # those of the partition that moved
            assert second.statistics().started == 0
    assert sorted(ran) == sorted(f"t{number}" for number in range(10))


async def test_commands_are_purged_behind_the_committed_offset(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "PURGE_INTERVAL_S", 0.2)
    async with running(engine):
        tasks = [engine.task("note", str(number)) for number in range(20)]
        engine.schedule(*tasks)
        for task in tasks:
            await engine.answers(task, "ActivityTaskCompleted")
        running_on = engine.task("wait", "long", workflow_id=tasks[0].workflow_id)

        def starts() -> dict[int, int]:
            return engine.admin.start_offsets(engine.commands, [0, 1])

        await until_async(lambda: sum(starts().values()) >= 20)
        engine.schedule(running_on)
        await engine.answers(running_on, "ActivityTaskStarted")
        purged = starts()  # looked at first: both go on
        offsets = committed(engine)
        assert all(start <= offsets[partition] for partition, start in purged.items())


async def test_lost_group_offset_starts_at_the_logs_start_started_first(
    engine: Engine, no_hurry: None
) -> None:
    async with running(engine):
        task = engine.task("note", "once")
        engine.schedule(task)
        await engine.answers(task, "ActivityTaskCompleted")
    group = engine.topics.activities_group(ACTIVITIES)

    async def deleted() -> bool:
        try:
            for future in engine.admin._admin.delete_consumer_groups([group]).values():
                future.result(20)
        except Exception as error:
            if "NON_EMPTY_GROUP" in str(error) or "not empty" in str(error).lower():
                return False  # a static member stays until its session is over
            raise
        return True

    deadline = time.monotonic() + 60
    while not await deleted():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
    async with running(engine):
        await until_async(lambda: ran.count("once") == 2, step=engine.reader.read)
        await engine.reader.until(
            lambda: (
                names(r for r in engine.reader.records if r.run_id == task.run_id).count(
                    "Completed"
                )
                == 2
            )
        )
    assert names(r for r in engine.reader.records if r.run_id == task.run_id) == [
        "Completed",
        "Started",
        "Completed",
    ]


async def test_second_member_under_the_same_identity_is_a_clear_error(engine: Engine) -> None:
    """Each takes the other's place a few times, as after a broker's restart, then one of them
    says what is wrong.
    """
    hosts = [
        ActivityHost(
            engine.settings,
            task_queue=ACTIVITIES,
            activities=[note],
            graceful_shutdown_timeout=timedelta(0),
        )
        for _ in "ab"
    ]
    for host in hosts:
        original = host._open

        def open_under_one_identity(
            host: ActivityHost = host, original: Callable[[], None] = original
        ) -> None:
            original()
            assert host._slot is not None
            host._slot.instance_id = "the-same"

        host._open = open_under_one_identity  # type: ignore[method-assign]
    tasks = [asyncio.create_task(host.run()) for host in hosts]
    await until_async(lambda: any(task.done() for task in tasks), timeout_s=60)
    (ended,) = [task for task in tasks if task.done()]
    with pytest.raises(
        DuplicateIdentityError, match="another living process uses the identity the-same"
    ):
        await ended
    survivor = hosts[0] if ended is tasks[1] else hosts[1]
    task = engine.task("note", "still served")
    engine.schedule(task)
    await engine.answers(task, "ActivityTaskCompleted")
    await survivor.shutdown()
    await asyncio.gather(*tasks, return_exceptions=True)


# --- life


@both_groups
async def test_drain_lets_running_activities_finish_and_takes_no_new_ones(
    engine: Engine, group: str
) -> None:
    async with running(engine, graceful_shutdown_timeout=timedelta(seconds=30)) as host:
        task = engine.task("wait", "finishes")
        engine.schedule(task)
        await until_async(lambda: "finishes" in ran)
        ending = asyncio.create_task(host.shutdown())
        await until_async(lambda: host._service is not None and host._service.draining)
        late = engine.task("note", "late", workflow_id=task.workflow_id)
        engine.schedule(late)
        await asyncio.sleep(0.3)
        gates["finishes"].set()
        await ending
    assert names(await engine.answers(task, "ActivityTaskCompleted"))[-1] == "Completed"
    assert "late" not in ran
    async with running(engine):  # nothing is lost: whoever comes next runs it
        answers = names(await engine.answers(late, "ActivityTaskCompleted"))
        assert answers[-1] == "Completed" and (answers[0] == "Started" or group == SHARE)


async def test_member_status_is_published_and_taken_back(engine: Engine) -> None:
    members = Reader(engine.settings, engine.codec, engine.topics.members)
    members.decode = False
    async with running(engine, max_concurrent_activities=7):
        await members.until(lambda: bool(members.messages))
        status = engine.codec.decode(members.messages[0].value())
        assert (status.kind, status.task_queue, status.slots_total, status.slots_used) == (
            "ACTIVITIES",
            ACTIVITIES,
            7,
            0,
        )
        assert (
            status.activity_types == ["beat", "details", "large", "note", "wait"] and status.pid > 0
        )
    await members.until(lambda: members.messages[-1].value() is None)
    assert members.messages[-1].key() == status.member_id.encode()
    members.close()


async def test_missing_topic_that_may_not_be_created(
    bootstrap: str, namespace: str, engine: Engine
) -> None:
    settings = engine.settings.replace(namespace=f"{namespace}-none", create_topics=False)
    with pytest.raises(TopicMissingError, match=topics_of(settings).commands(ACTIVITIES)):
        await ActivityHost(settings, task_queue=ACTIVITIES, activities=[note]).run()


async def test_unreachable_broker_names_address_and_setting(
    engine: Engine, impatient: None
) -> None:
    settings = engine.settings.replace(address="127.0.0.1:1")
    with pytest.raises(BrokerUnreachableError, match=r"127\.0\.0\.1:1.*address"):
        await ActivityHost(settings, task_queue=ACTIVITIES, activities=[note]).run()


async def test_shutdown_before_run_ends_at_once(engine: Engine) -> None:
    host = ActivityHost(engine.settings, task_queue=ACTIVITIES, activities=[note])
    await host.shutdown()
    await host.run()
