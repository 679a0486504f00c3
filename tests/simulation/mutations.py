"""Defects of the transaction, by name: each of them has to be found.

They are put in from outside, into what a worker calls, so that they hold whatever the shape of
the code is: as if the partition had called its clients in that way.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
from confluent_kafka import KafkaError, KafkaException

from odradek.engine.engine import WorkflowEngine
from odradek.testing.broker_admin import SimulatedAdmin
from odradek.testing.broker_consumer import SimulatedConsumer
from odradek.testing.broker_producer import SimulatedProducer
from odradek.testing.broker_state import failure
from odradek.wire.headers import headers_for
from tests.simulation.store import MemoryDb
from tests.simulation.world import CODEC

_POSITION = b"position/"
Patches = list[Any]
_produce = SimulatedProducer.produce
_commit = SimulatedProducer.commit_transaction
_init = SimulatedProducer.__init__
_counter = itertools.count()


def _producing(change: Callable[..., bool]) -> Patches:
    """change(producer, topic, value, key, partition, on_delivery) says whether it was dealt with."""

    def produce(
        self: Any,
        topic: str,
        value: Any = None,
        key: Any = None,
        partition: int = -1,
        on_delivery: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        if not self._id or not change(self, topic, value, key, partition, on_delivery):
            _produce(self, topic, value, key, partition, on_delivery, *args, **kwargs)

    return [mock.patch.object(SimulatedProducer, "produce", produce)]


def _outside(self: Any, topic: str, value: Any, key: Any, partition: int, report: Any) -> bool:
    """At once, by a producer without transactions."""
    plain = SimulatedProducer(self.process, {})
    _produce(plain, topic, value, key, partition, report)
    plain.flush()
    return True


def position_outside() -> Patches:
    return _producing(lambda p, t, v, k, n, r: k == _POSITION and _outside(p, t, v, k, n, r))


def rows_outside() -> Patches:
    def change(p: Any, t: str, v: Any, k: Any, n: int, r: Any) -> bool:
        return t.endswith(".state") and k != _POSITION and _outside(p, t, v, k, n, r)

    return _producing(change)


def commands_outside() -> Patches:
    return _producing(
        lambda p, t, v, k, n, r: t.endswith(".commands") and _outside(p, t, v, k, n, r)
    )


def results_outside() -> Patches:
    return _producing(
        lambda p, t, v, k, n, r: t.endswith(".results") and _outside(p, t, v, k, n, r)
    )


def _moved(by: int) -> Patches:
    def change(p: Any, t: str, v: Any, k: Any, n: int, r: Any) -> bool:
        if k != _POSITION:
            return False
        row = CODEC.decode_row(v)
        last = getattr(p, "mutant_offset", row.offset)
        p.mutant_offset = row.offset
        if row.offset > last:
            row = msgspec.structs.replace(row, offset=last if by < 0 else row.offset + by)
        _produce(p, t, CODEC.encode_row(row), k, n, r)
        return True

    return _producing(change)


def no_position_row() -> Patches:
    """The one of the commit before again, which says no more."""
    return _moved(-1)


def position_too_far() -> Patches:
    return _moved(1)


def unknown_outcome_is_success() -> Patches:
    def commit(self: Any, timeout: float = -1) -> None:
        try:
            _commit(self, timeout)
        except KafkaException as error:
            if error.args[0].code() != KafkaError._TIMED_OUT:
                raise
            self._state = "ready"
            self._queue.clear()
            self._serve()

    return [mock.patch.object(SimulatedProducer, "commit_transaction", commit)]


def apply_before_commit() -> Patches:
    def change(p: Any, t: str, v: Any, k: Any, n: int, r: Any) -> bool:
        if t.endswith(".state") and k != _POSITION:
            for db in MemoryDb.opened:
                if db.owner is p.process.sim.process and Path(db.path).name == str(n):
                    db.put(k, v) if v is not None else db.delete(k)
        return False

    return _producing(change)


def replies_before_commit() -> Patches:
    step = WorkflowEngine.step

    def eager(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = step(self, *args, **kwargs)
        clients = MemoryDb.scheduler.current.process.kafka  # type: ignore[union-attr]
        plain = clients.producer({})
        for reply in result.replies:
            plain.produce(
                "odradek.sim.replies", CODEC.encode(reply), b"", headers=headers_for(reply)
            )
        plain.flush()
        return result

    return [mock.patch.object(WorkflowEngine, "step", eager)]


def no_fencing() -> Patches:
    """A transactional id of each producer's own."""

    def init(self: Any, process: Any, config: Any) -> None:
        _init(self, process, config)
        if self._id:
            self._id += f"-{next(_counter)}"

    return [mock.patch.object(SimulatedProducer, "__init__", init)]


def restore_too_short() -> Patches:
    """The last records of `state` are not read."""
    real = SimulatedAdmin.list_offsets

    def short(self: Any, wanted: Any, **options: Any) -> Any:
        found = real(self, wanted, **options)
        for place, future in found.items():
            if place.topic.endswith(".state") and wanted[place]._value == -1:
                future.result().offset = max(0, future.result().offset - 4)
        return found

    return [mock.patch.object(SimulatedAdmin, "list_offsets", short)]


def restore_uncommitted() -> Patches:
    real = SimulatedConsumer.__init__

    def init(self: Any, process: Any, config: Any) -> None:
        real(self, process, config)
        if config.get("enable.partition.eof"):
            self._committed = False

    return [mock.patch.object(SimulatedConsumer, "__init__", init)]


def abort_after_identity_error() -> Patches:
    """Fenced: abort, which brings an expired producer id back to life, and go on."""

    def commit(self: Any, timeout: float = -1) -> None:
        try:
            _commit(self, timeout)
        except KafkaException as error:
            code = error.args[0].code()
            if code != KafkaError.INVALID_PRODUCER_ID_MAPPING:
                raise
            self.abort_transaction()
            raise failure(KafkaError.POLICY_VIOLATION, "as if a record were rejected") from error

    return [mock.patch.object(SimulatedProducer, "commit_transaction", commit)]


MUTATIONS: dict[str, Callable[[], Patches]] = {
    each.__name__: each
    for each in (
        no_position_row,
        position_too_far,
        position_outside,
        rows_outside,
        commands_outside,
        results_outside,
        unknown_outcome_is_success,
        apply_before_commit,
        replies_before_commit,
        no_fencing,
        restore_too_short,
        restore_uncommitted,
        abort_after_identity_error,
    )
}


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """With that defect; "": as it is."""
    with ExitStack() as stack:
        for patch in MUTATIONS[name]() if name else ():
            stack.enter_context(patch)
        yield
