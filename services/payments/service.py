"""The payments service: a Faust agent over the `commands` topic of its queue, written from
`docs/wire.md` alone.

One attempt a command: decode, report Started, run, answer on `events` of the workflow's queue,
then acknowledge. The ledger guards each effect: an attempt that is repeated, or comes after its
compensation, changes nothing. So the service needs no `control` topic.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faust
from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client import Counter
from pydantic import Field

from services.config import ForeignConfig
from services.faust_transport import SCHEME
from services.ledger import Ledger
from services.payments.accounts import Accounts, BankUnreachable, Declined, InvalidOrder
from services.wire import NotReadable, RegistryAway, Schemas, ensure_topics, topic

SLOTS = 8
PURGE_EVERY_SECONDS = 60.0
REPORT_EVERY_SECONDS = 3.0
TIMEOUT_SECONDS = 10.0
#: Fields of a command that its answer repeats, and the headers that route the answer.
ANSWERED = ("workflow_id", "run_id", "activity_id", "scheduled_event_id", "attempt")
ROUTED = ("namespace", "workflow_task_queue", *ANSWERED)

OUTCOMES = Counter("foreign_outcomes_total", "Outcomes of attempts.", ["service", "kind"])
#: Under the name and labels of Odradek's own, so that one alarm sees them all.
DEAD_LETTERS = Counter(
    "odradek_dead_letters_total",
    "Records written to dead-letters, by reason.",
    ["namespace", "task_queue", "kind", "reason"],
)


class PaymentsConfig(ForeignConfig):
    """`default_limit`, `limits`: cents a user may freeze in one order. `flaky_users`: how many
    first attempts the bank loses. `partitions`: of `commands`, if this service comes first.
    """

    default_limit: int = 100_000
    limits: dict[str, int] = Field(default_factory=dict)
    flaky_users: dict[str, int] = Field(default_factory=dict)
    partitions: int = 8
    replication_factor: int = Field(-1, ge=-1)


class Payments:
    """Takes commands, gives answers. `app` is the Faust app to run."""

    def __init__(self, config: PaymentsConfig) -> None:
        wire = config.odradek
        self._config, self._where = config, (wire.namespace, wire.task_queue)
        self._schemas = Schemas(wire.address, wire.namespace, wire.schema_registry_url)
        accounts = Accounts(
            Ledger(config.database), config.default_limit, config.limits, config.flaky_users
        )
        self._activities: dict[str, Callable[[str, int, dict[str, Any]], dict[str, Any]]] = {
            "FreezePayment": accounts.freeze,
            "UnfreezePayment": accounts.unfreeze,
        }
        self._threads = ThreadPoolExecutor(SLOTS)
        self._running = 0
        self._identity = f"payments@{os.getpid()}"
        self._group = topic("activities", *self._where)
        self._commands = topic("commands", *self._where)
        self.app = faust.App(
            self._group,
            broker=f"{SCHEME}://{wire.address}",
            origin="services.payments",
            autodiscover=False,
            web_enabled=False,
            topic_disable_leader=True,
            topic_allow_declare=False,
            consumer_auto_offset_reset="earliest",
            consumer_metadata_max_age_ms=5_000,
            broker_session_timeout=6.0,
            broker_heartbeat_interval=2.0,
            broker_commit_interval=0.5,
            stream_wait_empty=False,
            datadir=str(Path(config.database).parent / "faust-payments"),
        )
        self.app.agent(self._raw(self._commands), concurrency=SLOTS, name="payments")(self._take)
        self.app.timer(REPORT_EVERY_SECONDS)(self._report)
        self.app.timer(PURGE_EVERY_SECONDS)(self._purge)
        self.app.on_before_shutdown.connect(self._leave)
        for reason in ("UNDECODABLE", "UNEXPECTED_RECORD"):  # a counter born at 1 shows no rise
            DEAD_LETTERS.labels(*self._where, "activities", reason)

    def create_topics(self) -> None:
        """Create what no Odradek worker has created. Call it before `app` runs."""
        day_ms, copies = 24 * 3_600_000, self._config.replication_factor

        def new(name: str, partitions: int, retention_ms: int) -> NewTopic:
            settings = {"cleanup.policy": "delete", "retention.ms": str(retention_ms)}
            return NewTopic(name, partitions, copies, config=settings)

        ensure_topics(
            self._config.odradek.address,
            new(self._commands, self._config.partitions, -1),
            new(topic("control", *self._where), 1, day_ms),
            new(topic("dead-letters", *self._where), 1, 30 * day_ms),
            NewTopic(
                topic("members", self._where[0]), 1, copies, config={"cleanup.policy": "compact"}
            ),
        )

    # --- commands

    async def _take(self, stream: Any) -> None:
        """An agent that fails or is cancelled acknowledges what it was at: hence `noack`, and an
        acknowledgement behind each answer. An answer that cannot be given ends the process: its
        command comes again to the next one.
        """
        async for event in stream.noack().events():
            self._running += 1
            try:
                await self._handle(event.message)
                event.ack()
            except Exception as error:
                await self.app.crash(error)
                raise
            finally:
                self._running -= 1

    async def _handle(self, message: Any) -> None:
        if message.value is None:
            return  # a no-op record, which ends a transaction
        try:
            name, task = await self._waiting_for_registry(self._schemas.decode, message.value)
        except NotReadable as error:
            await self._fail_unreadable(message, str(error))
            return
        if name != "ActivityTask":
            await self._dead_letter(message, "UNEXPECTED_RECORD", f"{name} is no command")
            return
        place = {"command_partition": message.partition, "command_offset": message.offset}
        begun = place | {"started_time_ms": time.time_ns() // 1_000_000}
        # Before it runs: one that ends the process costs an attempt, and does not loop for ever.
        await self._answer(task, "ActivityTaskStarted", begun)
        loop = asyncio.get_running_loop()
        kind, fields = await loop.run_in_executor(self._threads, self._run, task)
        OUTCOMES.labels("payments", kind).inc()
        await self._answer(task, kind, begun | fields)

    def _run(self, task: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """In a thread. The record to answer with, and its fields."""
        activity = self._activities.get(task["activity_type"])
        if activity is None:
            known = ", ".join(sorted(self._activities))
            return _failed("NotFoundError", f"{task['activity_type']} is not one of {known}")
        key = f"{task['run_id']}/{task['scheduled_event_id']}"
        try:
            answer = activity(key, task["attempt"], json.loads(task["input"][0]["data"]))
        except Declined as error:
            return _failed("CardDeclined", str(error), non_retryable=True)
        except InvalidOrder as error:
            return _failed("InvalidOrder", str(error), non_retryable=True)
        except BankUnreachable as error:
            return _failed("BankUnreachable", str(error))
        except (KeyError, IndexError, ValueError, RecursionError) as error:
            why = f"arguments cannot be read: {error!r}"
            return _failed(type(error).__name__, why, non_retryable=True)
        except Exception as error:  # of the database: the engine decides about another attempt
            return _failed(type(error).__name__, str(error))
        data = json.dumps(answer).encode()
        return "ActivityTaskCompleted", {
            "result": [{"metadata": {"encoding": b"json/plain"}, "data": data}]
        }

    async def _answer(self, task: dict[str, Any], kind: str, fields: dict[str, Any]) -> None:
        """Returns once the broker has it."""
        record = {name: task[name] for name in ANSWERED} | fields | {"identity": self._identity}
        value = await self._waiting_for_registry(self._schemas.encode, kind, record)
        headers = {_header(name): str(task[name]).encode() for name in ANSWERED}
        events = topic("events", task["namespace"], task["workflow_task_queue"])
        key = task["workflow_id"].encode()
        await self._produce(events, key, value, headers | {"odradek-kind": kind.encode()})

    async def _fail_unreadable(self, message: Any, why: str) -> None:
        """Its headers route it: the attempt fails, so that no run waits for it."""
        headers = dict(message.headers or {})
        try:
            task: dict[str, Any] = {name: headers[_header(name)].decode() for name in ROUTED}
            task |= {name: int(task[name]) for name in ("scheduled_event_id", "attempt")}
        except (KeyError, ValueError):
            pass
        else:
            place = {"command_partition": message.partition, "command_offset": message.offset}
            kind, fields = _failed("UndecodableCommand", why, non_retryable=True)
            await self._answer(task, kind, place | fields)
        await self._dead_letter(message, "UNDECODABLE", why)

    async def _dead_letter(self, message: Any, reason: str, why: str) -> None:
        facts = {"reason": reason, "message": why, "topic": message.topic}
        facts |= {"partition": str(message.partition), "offset": str(message.offset)}
        facts |= {"time-ms": str(time.time_ns() // 1_000_000)}
        headers = dict(message.headers or {})
        headers |= {f"odradek-dead-letter-{name}": text.encode() for name, text in facts.items()}
        letters = topic("dead-letters", *self._where)
        await self._produce(letters, message.key, message.value, headers)
        DEAD_LETTERS.labels(*self._where, "activities", reason).inc()

    async def _waiting_for_registry(self, call: Callable[..., Any], *arguments: Any) -> Any:
        while True:
            try:
                return await asyncio.to_thread(call, *arguments)
            except RegistryAway as error:
                print(f"{error}; commands wait for it", flush=True)
                await asyncio.sleep(1.0)

    # --- beside commands

    async def _report(self) -> None:
        await self._tell_members(leaving=False)

    async def _leave(self, *_: Any, **__: Any) -> None:
        await self._tell_members(leaving=True)

    async def _tell_members(self, *, leaving: bool) -> None:
        """Who this is, on `members`: lists and the alarm `OdradekNoService` read it."""
        namespace, queue = self._where
        host = socket.gethostname()
        member = f"activities/{queue}/{host}/{self._config.database.resolve()}"
        fields = {
            "member_id": member,
            "kind": "ACTIVITIES",
            "namespace": namespace,
            "task_queue": queue,
            "identity": self._identity,
            "host": host,
            "pid": os.getpid(),
            "time_ms": time.time_ns() // 1_000_000,
            "activity_types": sorted(self._activities),
            "slots_total": SLOTS,
            "slots_used": self._running,
        }
        headers = {"kind": "MemberStatus", "namespace": namespace, "task-queue": queue}
        try:
            value = None if leaving else self._schemas.encode("MemberStatus", fields)
            sent = self._produce(
                topic("members", namespace),
                member.encode(),
                value,
                {f"odradek-{name}": text.encode() for name, text in headers.items()},
            )
            await asyncio.wait_for(sent, TIMEOUT_SECONDS)
        except Exception as error:  # commands do not wait for reports
            print(f"no report to members: {error!r}", flush=True)

    async def _purge(self) -> None:
        try:
            await asyncio.to_thread(self._purge_acknowledged)
        except (KafkaException, TimeoutError) as error:  # tried again at the next turn
            print(f"{self._commands} is not purged: {error!r}", flush=True)

    def _purge_acknowledged(self) -> None:
        """Delete the commands below the group's committed offsets: they are answered.

        A consumer asks that never joins: librdkafka's AdminClient ends its process (SIGSEGV,
        2.16.0) when the coordinator of the group has just moved.
        """
        settings: dict[str, Any] = {"bootstrap.servers": self._config.odradek.address}
        admin = AdminClient(settings)
        partitions = admin.list_topics(self._commands, timeout=TIMEOUT_SECONDS)
        places = [
            TopicPartition(self._commands, number)
            for number in partitions.topics[self._commands].partitions
        ]
        consumer = Consumer(settings | {"group.id": self._group, "enable.auto.commit": False})
        try:
            committed = consumer.committed(places, timeout=TIMEOUT_SECONDS)
        finally:
            consumer.close()
        if done := [place for place in committed if place.offset > 0]:
            for future in admin.delete_records(done).values():
                future.result(TIMEOUT_SECONDS)

    def _raw(self, name: str) -> faust.TopicT:
        return self.app.topic(name, key_serializer="raw", value_serializer="raw")

    async def _produce(
        self, name: str, key: bytes | None, value: bytes | None, headers: dict[str, bytes]
    ) -> None:
        await (await self._raw(name).send(key=key, value=value, headers=headers))


def _header(field: str) -> str:
    return f"odradek-{field.replace('_', '-')}"


def _failed(kind: str, message: str, *, non_retryable: bool = False) -> tuple[str, dict[str, Any]]:
    failure = {"message": message, "type": kind, "non_retryable": non_retryable}
    return "ActivityTaskFailed", {"failure": failure | {"source": "payments"}}
