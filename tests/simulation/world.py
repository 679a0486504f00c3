"""A world of one seed: a simulated Kafka, workers, activity services, clients, and what befalls
them. `World.run` lets it happen; what it leaves behind is the auditor's.
"""

from __future__ import annotations

import json
import logging
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import msgspec
from confluent_kafka import KafkaError

from odradek.activation.activator import PythonActivator
from odradek.config import Settings
from odradek.exceptions import OdradekError
from odradek.kafka import schemas_topic
from odradek.processor import Processor, group, processor, store
from odradek.testing.broker import SimulatedKafka
from odradek.testing.broker_state import Record, failure
from odradek.wire.codec import Codec
from odradek.wire.events import CancelWorkflow, QueryWorkflow, SignalWorkflow, StartWorkflow
from odradek.wire.headers import headers_for
from odradek.wire.payload import Payload
from odradek.wire.schema import schema_fingerprint
from odradek.wire.topics import Topics
from tests.simulation.programs import TYPE, Program, generate
from tests.simulation.scheduler import Scheduler, SimProcess, simulated
from tests.simulation.services import ActivityService
from tests.simulation.store import MemoryBatch, MemoryDb

T = TypeVar("T")
QUEUE = "q"
NAMESPACE = "sim"
CODEC = Codec()
FAULTS_UNTIL_S = 20.0
LIMIT_S = 400.0
_CALLS = (
    "init_transactions",
    "begin_transaction",
    "produce",
    "commit_transaction",
    "poll",
    "flush",
    "consume",
    "seek",
    "commit",
    "list_offsets",
    "describe_topics",
)
_ACTIONS = ("kill", "kill", "freeze", "freeze", "lose", "time_out", "wipe")


def payload(value: object) -> Payload:
    return Payload({"encoding": b"json/plain"}, json.dumps(value).encode())


@dataclass
class Fault:
    """At the `left`-th call of that name by any worker, before or after it."""

    call: str
    after: bool
    left: int
    action: str
    seconds: float


@dataclass
class Effect:
    """An activity that ran."""

    workflow_id: str
    run_id: str
    scheduled_event_id: int
    attempt: int
    name: str


@dataclass
class Started:
    """A workflow that a client was told is durable."""

    workflow_id: str
    steps: list[list[Any]]
    signals: list[str] = field(default_factory=list)
    cancelled: bool = False


class Worker:
    """A process with a Processor, under a static identity; its disk outlives it."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.name = f"worker-{number}"
        self.folder = world.folder / self.name
        self.process = SimProcess(self.name)
        self.started = False

    def start(self) -> None:
        world = self.world
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = SimProcess(self.name)
        self.clients = world.kafka.process(self.name, world.hook)
        process = self.process
        self.clients.check = lambda: world.check(process)
        process.kafka = self.clients
        self.clients.sim = self  # type: ignore[attr-defined]
        world.scheduler.spawn(self.process, self._main)
        self.started = True

    def _main(self) -> None:
        hosted = Processor(
            self.world.settings(self.folder),
            task_queue=QUEUE,
            activator_factory=lambda: PythonActivator(
                [Program], namespace=NAMESPACE, task_queue=QUEUE
            ),
            clients=self.clients,
            instance=self.name,
            members_every_seconds=600.0,
            purge_every_seconds=600.0,
            on_fatal=self._failed,
            on_lane_failed=lambda _, error: self._failed(error),
        )
        try:
            hosted.start()
        except OdradekError as error:  # frozen for longer than a start may take, say
            self.world.note(f"{self.name} did not start: {error}")
            self.world.kill(self, 1.0)

    def _failed(self, error: BaseException) -> None:
        """A supervisor starts a process that ended anew; a fault may have caused it."""
        self.world.fatal.append(f"{self.name}: {error}")
        self.world.spawn_nurse(lambda: self.world.kill(self, 1.0))


class World:
    def __init__(self, seed: int, *, faults: bool = True) -> None:
        self.seed = seed
        self.chance = random.Random(seed)
        self.scheduler = Scheduler(seed)
        self.kafka = SimulatedKafka(self.scheduler)
        self.folder = Path(tempfile.mkdtemp(prefix="odradek-sim-", dir=_ram()))
        self.topics = Topics(namespace=NAMESPACE)
        self.effects: list[Effect] = []
        self.started: dict[str, Started] = {}
        self.fatal: list[str] = []
        self.trace: list[str] = []
        self.nurse = SimProcess("nurse")
        self.workers: list[Worker] = []
        self.clients_left = 0
        self.early_replies: list[str] = []
        self.faults = self._faults() if faults else []
        self._watch_replies()

    # --- what happens

    def run(self, audit: Callable[[bool], T]) -> T:
        """Until every client is through and every run has closed (True for the audit), or the
        time is over; what the audit says then.
        """
        with _quiet(self):
            self.workers = [Worker(self, number) for number in range(self.chance.choice([1, 2, 2]))]
            for worker in self.workers:
                worker.start()
            service = ActivityService(self)
            self.scheduler.spawn(SimProcess("service"), service.run)
            self.clients_left = self.chance.randint(1, 3)
            for number in range(self.clients_left):
                chance = random.Random(self.chance.random())
                run = partial(self._client, number, chance)
                self.scheduler.spawn(SimProcess(f"client-{number}"), run)
            ended = self.scheduler.run(self._all_closed, LIMIT_S)
            if ended:  # what is on its way arrives: a second result would be one
                self.scheduler.run(lambda: False, self.scheduler.now_s + 5.0)
                self.scheduler.run(self._all_applied, self.scheduler.now_s + 60.0)
            return audit(ended)

    def _all_closed(self) -> bool:
        return self.clients_left == 0 and self.closed() >= set(self.started)

    def _all_applied(self) -> bool:
        return all(last < position for position, last in self.positions())

    def positions(self) -> Iterator[tuple[int, int]]:
        """(position, offset of the last input) of each partition; -1: there is none."""
        topic = self.kafka.cluster.topics[self.topics.events(QUEUE)]
        for number, log in enumerate(topic.logs):
            inputs = (r.offset for r in log.records if not r.control and not r.aborted)
            value = self.folded_state(number).get(b"position/")
            yield (
                CODEC.decode_row(value).offset if value is not None else -1,
                max(inputs, default=-1),
            )

    def closed(self) -> set[str]:
        """Workflow ids whose chain has ended, by the `results` topic."""
        return {
            each.workflow_id
            for each in self.records(self.topics.results)
            if each.status != "CONTINUED_AS_NEW"
        }

    def records(self, topic: str) -> list[Any]:
        """Committed records, decoded."""
        return [CODEC.decode(record.value) for record in self.records_of(topic) if record.value]

    def records_of(self, topic: str) -> list[Record]:
        """Committed records of all partitions."""
        found = self.kafka.cluster.topics.get(topic)
        return [
            record
            for log in (found.logs if found is not None else ())
            for record in log.records[: log.stable_end]
            if not record.control and not record.aborted
        ]

    def folded_state(self, partition: int = -1, *, before: int = 1 << 60) -> dict[bytes, bytes]:
        """The rows of a partition (-1: of all) by the changelog, up to an offset."""
        found = self.kafka.cluster.topics.get(self.topics.state(QUEUE))
        rows: dict[bytes, bytes] = {}
        logs = found.logs if found is not None else []
        for log in logs if partition < 0 else logs[partition : partition + 1]:
            for record in log.records[: min(before, log.stable_end)]:
                if record.control or record.aborted or record.key is None:
                    continue
                if record.value is None:
                    rows.pop(record.key, None)
                else:
                    rows[record.key] = record.value
        return rows

    def open_stores(self) -> Iterator[tuple[int, int, dict[bytes, bytes]]]:
        """(partition, changelog offset, rows) of stores that a living worker has open."""
        for worker in self.workers:
            for db in MemoryDb.opened if not worker.process.dead else ():
                if db.owner is worker.process:
                    rows = {key: value for key, value in db.rows.items() if key[:1] != b"\x00"}
                    applied = msgspec.msgpack.decode(db.rows[b"\x00applied"])
                    yield int(Path(db.path).name), applied[0], rows

    def _watch_replies(self) -> None:
        """What a client is told has to be durable by then."""
        append = self.kafka.cluster.append

        def watched(place: tuple[str, int], record: Record) -> int:
            if place[0] == self.topics.replies and record.value:
                self._check_reply(CODEC.decode(record.value))
            return append(place, record)

        self.kafka.cluster.append = watched  # type: ignore[method-assign]

    def _check_reply(self, reply: Any) -> None:
        if reply.status != "OK" or reply.kind not in ("StartWorkflow", "SignalWorkflow"):
            return
        rows = self.folded_state()
        if reply.kind == "StartWorkflow":
            durable = f"workflow/{reply.workflow_id}".encode() in rows
        else:
            durable = any(
                key.startswith(b"history/") and reply.request_id.encode() in value
                for key, value in rows.items()
            )
        if not durable:
            self.early_replies.append(f"told before it was durable: {reply.request_id}")

    # --- clients

    def _client(self, number: int, chance: random.Random) -> None:
        kafka = self.kafka.process(f"client-{number}")
        producer = kafka.producer({})
        workflow_id = f"w{number}"
        steps, signals = generate(chance)
        start = StartWorkflow(
            workflow_id,
            TYPE,
            request_id=f"start-{workflow_id}",
            run_id=f"run-{workflow_id}",
            reply_to="client",
            input=[payload(steps), payload([])],
        )
        self._await_topic()
        started = Started(workflow_id, steps)

        def send(event: Any) -> None:
            for _ in range(chance.choice([1, 1, 1, 2])):  # a client that asks again
                producer.produce(
                    self.topics.events(QUEUE),
                    CODEC.encode(event),
                    event.workflow_id.encode(),
                    headers=headers_for(event),
                )
                producer.flush(5)
                if chance.random() < 0.3:
                    self.scheduler.block(chance.random())

        send(start)
        self.started[workflow_id] = started
        for index in range(signals):
            self.scheduler.block(chance.choice([0.0, 0.01, 1.0, 5.0]))
            text = f"signal-{index}"
            signal = SignalWorkflow(
                workflow_id,
                "tell",
                request_id=f"{workflow_id}-{text}",
                reply_to="client",
                input=[payload(text)],
            )
            started.signals.append(text)
            send(signal)
        if chance.random() < 0.3:
            send(QueryWorkflow(workflow_id, "progress", request_id="q", reply_to="client"))
        if chance.random() < 0.1:
            self.scheduler.block(chance.random() * 5)
            started.cancelled = True
            send(CancelWorkflow(workflow_id, request_id=f"cancel-{workflow_id}"))
        self.clients_left -= 1

    def _await_topic(self) -> None:
        while self.topics.events(QUEUE) not in self.kafka.cluster.topics:
            self.scheduler.block(0.05)

    # --- faults

    def _faults(self) -> list[Fault]:
        chance = self.chance
        return [
            Fault(
                chance.choice(_CALLS[:5]) if chance.random() < 0.7 else chance.choice(_CALLS),
                chance.random() < 0.5,
                chance.choice([1, 2, 3, 4, 5, 6, 8, 10, 13, 21]),
                chance.choice(_ACTIONS),
                chance.choice([0.1, 1.0, 7.0, 15.0]),
            )
            for _ in range(chance.choice([0, 1, 2, 3, 4]))
        ]

    def hook(self, client: Any, name: str, args: tuple[Any, ...], done: bool) -> None:
        """Of every call of a worker's client."""
        self.check(client.process.sim.process)
        for fault in self.faults:
            if fault.call == name and fault.after == done and getattr(client, "_id", "-"):
                fault.left -= 1
                if fault.left == 0:
                    self.faults.remove(fault)
                    self._befall(client, client.process.sim, fault)
                    return
        if name in ("commit_transaction", "begin_transaction") and self.chance.random() < 0.2:
            self.scheduler.pause()

    def _befall(self, client: Any, worker: Worker, fault: Fault) -> None:
        self.note(f"{fault.action} {worker.name} {fault.call} {'after' if fault.after else ''}")
        transactional = bool(getattr(client, "_id", ""))
        if fault.action in ("kill", "wipe"):
            if transactional and client._state == "open":  # some of it may have left already
                client.deliver(self.chance.randrange(len(client._queue) + 1))
            self.kill(worker, fault.seconds, wipe=fault.action == "wipe")
        elif fault.action == "freeze":
            self.freeze(worker, fault.seconds)
        elif fault.call == "commit_transaction" and fault.after and transactional:
            client.lose_answer()
        elif (
            fault.action == "time_out" and fault.call in ("init_transactions",)
        ) or fault.call == "commit_transaction":
            raise failure(KafkaError._TIMED_OUT, "timed out", retriable=True)

    def kill(self, worker: Worker, seconds: float, *, wipe: bool = False) -> None:
        """kill -9, and a new process later."""
        if worker.process.dead:
            return
        worker.clients.silence()

        def again() -> None:
            self.scheduler.block(seconds)
            if wipe:
                shutil.rmtree(worker.folder, ignore_errors=True)
            self.note(f"start {worker.name}")
            worker.start()

        self.spawn_nurse(again)
        self.scheduler.kill(worker.process)

    def freeze(self, worker: Worker, seconds: float) -> None:
        """SIGSTOP, and SIGCONT later: a zombie, if somebody took over meanwhile."""
        process, clients = worker.process, worker.clients
        clients.silence()

        def thaw() -> None:
            self.scheduler.block(seconds / 2)
            if seconds > 10.0:  # as if it were a week: transactional ids expire
                with self.kafka.cluster.lock:
                    self.kafka.cluster.forget_producer_ids()
            self.scheduler.block(seconds / 2)
            self.note(f"thaw {worker.name}")
            if not process.dead:
                clients.resume()
                self.scheduler.resume(process)

        self.spawn_nurse(thaw)
        self.scheduler.freeze(process)

    def spawn_nurse(self, run: Callable[[], None]) -> None:
        self.scheduler.spawn(self.nurse, run)

    def check(self, process: SimProcess) -> None:
        if process.dead:
            import greenlet

            raise greenlet.GreenletExit

    def note(self, text: str) -> None:
        self.trace.append(f"{self.scheduler.now_s:9.4f} {text}")

    def settings(self, folder: Path) -> Settings:
        return Settings(
            address="simulated:9092",
            namespace=NAMESPACE,
            partitions=2,
            replication_factor=1,
            state_dir=folder,
        )

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _ram() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


@contextmanager
def _quiet(world: World) -> Iterator[None]:
    """Python's threads, clocks, RocksDB and slots are the world's; nothing is logged."""
    disk: dict[str, dict[bytes, bytes]] = {}
    with ExitStack() as stack:
        if not loud:
            stack.callback(logging.disable, logging.root.manager.disable)
            logging.disable(logging.CRITICAL)
        for module, name, value in (
            (store, "Rdict", MemoryDb),
            (store, "WriteBatch", MemoryBatch),
            (group, "POLL_SECONDS", 0.5),
            (processor, "take_slot", _slot),
        ):
            stack.enter_context(mock.patch.object(module, name, value))
        stack.enter_context(mock.patch.object(MemoryDb, "disk", disk))
        stack.enter_context(mock.patch.object(MemoryDb, "opened", []))
        stack.enter_context(mock.patch.object(MemoryDb, "scheduler", world.scheduler, create=True))
        stack.enter_context(mock.patch.object(schemas_topic, "schema_fingerprint", _fingerprint))
        stack.enter_context(simulated(world.scheduler))
        yield


loud = False


def _slot(base: Path) -> Any:
    from odradek.kafka.slots import Slot

    folder = base / "slot-0"
    folder.mkdir(parents=True, exist_ok=True)
    return Slot(0, folder, -1, "slot-0")


_fingerprints: dict[str, bytes] = {}


def _fingerprint(schema: Any) -> bytes:
    """Fingerprints of schemas take most of a start, and are always the same."""
    text = json.dumps(schema)
    found = _fingerprints.get(text)
    if found is None:
        found = _fingerprints[text] = schema_fingerprint(schema)
    return found
