"""The payments service: a plain Faust agent over the `commands` topic of its queue.

Written from `docs/wire.md` alone. One attempt a command: decode, run, answer on the `events`
topic of the workflow's queue, and only then acknowledge. An attempt that runs longer than a
moment, or that may be a redelivery, reports Started first.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faust
from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException
from faust.types import TP, EventT

from services.avro_wire import NotReadable, Schemas, UnknownSchema, says_nothing
from services.foreign_telemetry import Telemetry
from services.ledger import Ledger
from services.payments.accounts import Accounts, BankUnreachable, Declined, InvalidOrder
from services.payments.committed import SCHEME
from services.payments.config import PaymentsConfig
from services.payments.control import CANCEL_REQUESTED, CancelRequests
from services.payments.members import MemberReports
from services.payments.timeouts import is_long_over, started_after
from services.payments.topics import create_topics, purge_acknowledged
from services.payments.wire_names import (
    REASONS,
    UNDECODABLE,
    UNEXPECTED_RECORD,
    UNKNOWN_SCHEMA,
    QueueNames,
    answer_headers,
    facts_of_headers,
)
from services.published_schemas import learn
from services.registry import AGAIN_AFTER_SECONDS, RegistryAway

CONCURRENCY = 8
PURGE_EVERY_SECONDS = 60.0
LOOK_EVERY_SECONDS = 3.0
WRITES = (
    "ActivityTaskStarted",
    "ActivityTaskCompleted",
    "ActivityTaskFailed",
    "ActivityTaskCanceled",
    "MemberStatus",
)

Activity = Callable[[str, int, dict[str, Any]], dict[str, Any]]


class Payments:
    """Takes commands, gives answers. `app` is the Faust app to run."""

    def __init__(self, config: PaymentsConfig, schemas: Schemas) -> None:
        self._config = config
        self._schemas = schemas
        self._telemetry = Telemetry("payments", config.telemetry)
        self._names = QueueNames(config.odradek.namespace, config.odradek.task_queue)
        self._telemetry.may_dead_letter(self._names.namespace, self._names.task_queue, REASONS)
        self._identity = f"payments@{os.getpid()}"
        self._ledger = Ledger(config.database)
        accounts = Accounts(self._ledger, config.default_limit, config.limits, config.flaky_users)
        self._activities: dict[str, Activity] = {
            "FreezePayment": accounts.freeze,
            "UnfreezePayment": accounts.unfreeze,
        }
        self._threads = ThreadPoolExecutor(CONCURRENCY)
        self._cancels = CancelRequests(config.odradek.address, self._names.control, self._decode)
        self._running = 0
        self._members = MemberReports(
            schemas,
            self._names,
            self._produce,
            identity=self._identity,
            instance=str(config.database.resolve()),
            activity_types=sorted(self._activities),
            slots_total=CONCURRENCY,
            slots_used=lambda: self._running,
            contact=self._telemetry.contact,
            lacks=self._telemetry.lacks,
        )
        self._redelivered_below: dict[TP, int] = {}
        self._producers: dict[str, faust.TopicT] = {}
        self.app = faust.App(
            self._names.activities_group,
            broker=f"{SCHEME}://{config.odradek.address}",
            origin="services.payments",
            autodiscover=False,
            web_enabled=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            consumer_auto_offset_reset="earliest",
            # a topic that shows late on one broker of many is noticed, not after five minutes
            consumer_metadata_max_age_ms=5_000,
            broker_session_timeout=6.0,
            broker_heartbeat_interval=2.0,
            broker_commit_interval=0.5,
            stream_wait_empty=False,
            datadir=str(config.database.parent / "faust-payments"),
        )
        commands = self.app.topic(
            self._names.commands, value_serializer="raw", key_serializer="raw"
        )
        self.app.agent(commands, concurrency=CONCURRENCY, name="payments")(self._take)
        connect: Callable[[Any], Any] = self.app.on_partitions_assigned.connect
        connect(self._note_ends)
        self.app.on_before_shutdown.connect(self._leave)
        self.app.task()(self._cancels.follow)
        self.app.task()(self._members.run)
        self.app.timer(PURGE_EVERY_SECONDS)(self._purge)
        self.app.timer(1.0)(self._beat)
        self.app.timer(LOOK_EVERY_SECONDS)(self._look)

    async def _note_ends(self, _: faust.App, assigned: set[TP], **__: Any) -> None:
        """Commands below the ends seen now may have been delivered before."""
        try:
            ends = await self.app.consumer.highwaters(*assigned) if assigned else {}
        # Faust would end the app; so each command of these partitions may have been delivered
        # before
        except KafkaError as error:
            self.app.log.warning("the ends of %s are not known: %r", self._names.commands, error)
            ends = dict.fromkeys(assigned, sys.maxsize)
        self._redelivered_below = dict(ends)
        self._telemetry.assigned = True

    def create_topics(self) -> None:
        """Make the queue's topics if nobody has yet. Call it before `app` runs."""
        create_topics(
            self._config.odradek.address,
            self._names,
            self._config.partitions,
            self._config.replication_factor,
        )

    async def _beat(self) -> None:
        self._telemetry.beat()

    async def _look(self) -> None:
        """For readiness: commands that wait while slots are free, and none is taken, are a
        defect somewhere between broker and agent.
        """
        consumer = self.app.consumer
        try:
            assigned = consumer.assignment()
            ends = await consumer.highwaters(*(assigned or {TP(self._names.commands, 0)}))
            self._telemetry.contact()
            positions = {tp: await consumer.position(tp) or 0 for tp in assigned}
        except Exception as error:  # no broker, or a rebalance: the reports of this member tell
            self.app.log.info("how far it has read is not known: %r", error)
            return
        waiting = sum(max(0, ends.get(tp, 0) - position) for tp, position in positions.items())
        self._telemetry.stands(positions, waiting if self._running < CONCURRENCY else 0)

    async def _leave(self, *_: Any, **__: Any) -> None:
        self._telemetry.stopping = True
        await self._members.leave()

    async def _purge(self) -> None:
        try:
            await asyncio.to_thread(purge_acknowledged, self._config.odradek.address, self._names)
        except (
            KafkaException,
            TimeoutError,
        ) as error:  # a broker in trouble; Faust would end the app
            self.app.log.warning(
                "%s is not purged, tried again in %g s: %r",
                self._names.commands,
                PURGE_EVERY_SECONDS,
                error,
            )

    async def _take(self, stream: Any) -> None:
        """An agent that is cancelled or fails acknowledges what it was at: hence `noack`, and
        only what was answered is acknowledged.

        An answer that cannot be given ends the process: its commands come again when it is
        started again.
        """
        async for event in stream.noack().events():
            self._running += 1
            try:
                await self._handle(event)
                event.ack()
            except Exception as error:
                await self.app.crash(error)
                raise
            finally:
                self._running -= 1

    async def _handle(self, event: EventT[bytes]) -> None:
        message = event.message
        self._telemetry.read()
        if says_nothing(message.value, message.headers):
            return  # acknowledged
        try:
            name, task = await self._decode(message.value or b"")
        except NotReadable as error:
            await self._refuse_unreadable(message, error)
            return
        if name != "ActivityTask":
            await self._dead_letter(message, UNEXPECTED_RECORD, f"{name} is no command")
            return
        await self._cancels.caught_up()
        if self._cancels.reason(task) not in ("", CANCEL_REQUESTED) or is_long_over(
            task, _now_ms()
        ):
            return  # nobody waits for it any more: acknowledged, and not begun
        redelivered = message.offset < self._redelivered_below.get(message.tp, 0)
        task |= {
            "command_partition": message.partition,
            "command_offset": message.offset,
        }  # told in every answer
        await self._attempt(task, started_now=redelivered)

    def register_schemas(self) -> None:
        """With a registry: answer with its ids. Call it before `app` runs. Raises RegistryAway,
        RegistryRefuses.
        """
        self._schemas.register(WRITES)

    async def _decode(self, value: bytes) -> tuple[str, dict[str, Any]]:
        try:
            return self._schemas.decode(value)
        except UnknownSchema as missing:  # a newer writer, and no reason to fail an order
            await self._learn(missing)
            return self._schemas.decode(value)

    async def _learn(self, missing: UnknownSchema) -> None:
        """A registry that is away is waited for: whether the record can be read is not known, so
        nothing is refused.
        """
        told = False
        while True:
            try:
                await asyncio.to_thread(
                    learn, self._schemas, self._config.odradek.address, self._names.schemas, missing
                )
                return
            except RegistryAway as away:
                if not told:
                    print(f"{away}; records of schema {missing.number} wait for it", flush=True)
                told = True
                await asyncio.sleep(AGAIN_AFTER_SECONDS)

    async def _attempt(self, task: dict[str, Any], *, started_now: bool) -> None:
        started_ms = _now_ms()
        if started_now:
            await self._send(task, "ActivityTaskStarted", started_time_ms=started_ms)
        running = asyncio.get_running_loop().run_in_executor(self._threads, self._run, task)
        if not started_now:
            done, _ = await asyncio.wait({running}, timeout=started_after(task, started_ms))
            if not done:
                await self._send(task, "ActivityTaskStarted", started_time_ms=started_ms)
        kind, fields = await running
        self._telemetry.worked(
            _kind_of(task, self._activities), kind, (_now_ms() - started_ms) / 1000
        )
        await self._send(task, kind, started_time_ms=started_ms, **fields)

    def _run(self, task: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Runs in a thread. Answers the record to send."""
        activity = self._activities.get(task["activity_type"])
        if activity is None:
            known = ", ".join(sorted(self._activities))
            return _failed(
                "NotFoundError",
                f"Activity {task['activity_type']} is not registered here, available activities:"
                f" {known}",
            )
        key = f"{task['run_id']}/{task['scheduled_event_id']}"
        if self._cancels.reason(task) and not self._ledger.has(
            key
        ):  # what has happened is answered, not denied
            return "ActivityTaskCanceled", {}
        try:
            order = json.loads(task["input"][0]["data"])
            answer = activity(key, task["attempt"], order)
        except Declined as error:
            return _failed("CardDeclined", str(error), non_retryable=True)
        except InvalidOrder as error:
            return _failed("InvalidOrder", str(error), non_retryable=True)
        except BankUnreachable as error:
            return _failed("BankUnreachable", str(error))
        except (KeyError, IndexError, ValueError, RecursionError) as error:
            return _failed(
                type(error).__name__, f"arguments cannot be read: {error!r}", non_retryable=True
            )
        except (
            Exception
        ) as error:  # whatever the database does: the engine decides about another attempt
            return _failed(type(error).__name__, str(error))
        return "ActivityTaskCompleted", {"result": [_payload(answer)]}

    async def _send(self, task: dict[str, Any], kind: str, **fields: Any) -> None:
        """Answer and wait until the broker has it."""
        names = (
            "workflow_id",
            "run_id",
            "scheduled_event_id",
            "activity_id",
            "attempt",
            "command_partition",
            "command_offset",
        )
        record = {name: task[name] for name in names if name in task}
        value = self._schemas.encode(kind, {**record, "identity": self._identity, **fields})
        topic = self._names.events_of(task["namespace"], task["workflow_task_queue"])
        await self._produce(topic, task["workflow_id"].encode(), value, answer_headers(kind, task))

    async def _refuse_unreadable(self, message: Any, error: NotReadable) -> None:
        """A command that cannot be read but can be routed fails its attempt, so that no run
        waits for ever.
        """
        facts = facts_of_headers(message.headers)
        if facts is not None:
            kind, fields = _failed("UndecodableCommand", str(error), non_retryable=True)
            facts |= {"command_partition": message.partition, "command_offset": message.offset}
            await self._send(facts, kind, **fields)
        await self._dead_letter(
            message, UNKNOWN_SCHEMA if isinstance(error, UnknownSchema) else UNDECODABLE, str(error)
        )

    async def _dead_letter(self, message: Any, reason: str, why: str) -> None:
        headers = {
            **dict(message.headers or {}),
            **self._names.dead_letter_headers(message, reason, why),
        }
        await self._produce(self._names.dead_letters, message.key, message.value, headers)
        self._telemetry.dead_lettered(self._names.namespace, self._names.task_queue, reason)

    async def _produce(
        self, topic: str, key: bytes | None, value: bytes | None, headers: dict[str, bytes]
    ) -> None:
        producer = self._producers.get(topic)
        if producer is None:
            producer = self._producers[topic] = self.app.topic(
                topic, value_serializer="raw", key_serializer="raw"
            )
        await (await producer.send(key=key, value=value, headers=headers))


def _kind_of(task: dict[str, Any], activities: dict[str, Activity]) -> str:
    """A label: only names that this service knows."""
    return task["activity_type"] if task["activity_type"] in activities else "(unknown)"


def _failed(
    failure_type: str, message: str, *, non_retryable: bool = False
) -> tuple[str, dict[str, Any]]:
    failure = {
        "message": message,
        "type": failure_type,
        "non_retryable": non_retryable,
        "source": "payments",
    }
    return "ActivityTaskFailed", {"failure": failure}


def _payload(value: Any) -> dict[str, Any]:
    return {"metadata": {"encoding": b"json/plain"}, "data": json.dumps(value).encode()}


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
