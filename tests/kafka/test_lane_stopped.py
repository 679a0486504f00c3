"""Processes that are stopped in order while the cluster is in trouble, or before what they named
has run: nobody died.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from odradek.exceptions import LaneError
from odradek.processor import group
from odradek.processor.care import DEATHS_BEFORE_GIVING_UP, OWNS_BEFORE_CARE
from odradek.processor.lane import DEFECTS_MAX, Lane
from odradek.processor.lane_state import LaneState
from odradek.processor.processor import Processor
from odradek.processor.trials import OF_PROCESS
from odradek.wire.codec import decode_row, encode
from odradek.wire.dead_letters import parse_dead_letter
from odradek.wire.events import SignalWorkflow
from odradek.wire.state import FORMAT, PositionRow
from tests.kafka.lane_host import make_processor
from tests.kafka.lane_records import Host, Wire
from tests.support.metrics import totals
from tests.support.records import QUEUE
from tests.support.until import until


@pytest.fixture
def wire(bootstrap: str, namespace: str, tmp_path: Path) -> Wire:
    wire = Wire(bootstrap, namespace, tmp_path, partitions=1)
    wire.admin.ensure_queue(QUEUE)
    return wire


def _started(wire: Wire) -> tuple[Processor, Lane]:
    made = make_processor(wire.settings, QUEUE)
    made.start()
    made.wait_ready(30)
    assert made._group is not None
    return made, made._group.lanes[0]


def _made_careful(wire: Wire) -> None:
    """By owners that did not come through what was there."""
    for _ in range(OWNS_BEFORE_CARE):
        made, _lane = _started(wire)
        made.stop(drain=False)
    wire.send(SignalWorkflow("w", "count"))
    wire.flush()


def _position(wire: Wire) -> PositionRow:
    *_, value = [
        message.value()
        for message in wire.read(wire.state)
        if (message.key() or b"").startswith(b"position/")
    ]
    row = decode_row(value)
    assert isinstance(row, PositionRow)
    return row


def _applied(wire: Wire, *counts: int) -> None:
    made, _lane = _started(wire)
    try:
        until(lambda: wire.counts() == {"w": [*counts, 1 + len(counts)]}, 60)
        found = totals(made)
        assert (found.parked, found.dead_letters) == (0, 0)
    finally:
        made.stop()


class Troubled:
    """In place of a producer: commits of its transactions with an output fail, those of the
    position row alone do not.
    """

    def __init__(self, real: Producer, commands: str, fails: Callable[[], object]) -> None:
        self._real, self._commands, self._fails, self._has_output = real, commands, fails, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def begin_transaction(self) -> None:
        self._has_output = False
        self._real.begin_transaction()

    def produce(self, topic: str, *arguments: Any, **options: Any) -> None:
        self._has_output |= topic == self._commands
        self._real.produce(topic, *arguments, **options)

    def commit_transaction(self, timeout: float) -> None:
        if self._has_output:
            self._fails()
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, retriable=True))
        self._real.commit_transaction(timeout)


@pytest.mark.promise("quarantine")
@pytest.mark.parametrize("at", ["in the pause", "in the commit", "in a commit that hangs"])
def test_stops_while_the_cluster_is_in_trouble_are_no_deaths(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """The row names the input for as long as the commit takes, and in the pause behind it: a
    restart in order met it there, as a rule.
    """
    _made_careful(wire)
    committing, goes_on = threading.Event(), threading.Event()
    real = Processor._transactional_producer

    def fails() -> None:
        committing.set()
        if at != "in the pause":
            assert goes_on.wait(60)

    with monkeypatch.context() as trouble:
        trouble.setattr(
            Processor,
            "_transactional_producer",
            lambda *of: Troubled(real(*of), wire.commands, fails),
        )
        trouble.setattr("odradek.processor.lane._BACKOFF_FIRST_SECONDS", 60)
        trouble.setattr("odradek.processor.lane._BACKOFF_MAX_SECONDS", 60)
        if at == "in a commit that hangs":  # for longer than the process is left to it
            trouble.setattr(group, "STOP_LANES_SECONDS", 0.1)
        for _ in range(3):
            made, lane = _started(wire)
            assert committing.wait(30)
            if at == "in the pause":
                until(lambda lane=lane: lane.state is LaneState.DROPPED)
            if at == "in the commit":
                lane.stop()
                goes_on.set()
            made.stop()
            row = _position(wire)
            assert row.processing == "input/0/w" and row.deaths == 0
            if at == "in a commit that hangs":
                assert lane.is_alive()
                goes_on.set()
            lane.join(30)
            committing.clear()
            goes_on.clear()
    _applied(wire)


@pytest.mark.promise("quarantine")
def test_a_stop_before_what_was_named_has_run_takes_the_name_out(wire: Wire) -> None:
    """Another lane of the process tries something: for the next owner on whatever host, without
    the file of this one.
    """
    _made_careful(wire)
    with OF_PROCESS.alone(wire, lambda: None):
        made, _lane = _started(wire)
        until(lambda: _position(wire).processing == "input/0/w")
        made.stop()
    row = _position(wire)
    assert (row.processing, row.deaths) == ("", 0)
    _applied(wire)


@pytest.mark.promise("quarantine")
@pytest.mark.parametrize("row", ["damaged", "of a newer version"])
def test_restarts_over_a_row_that_cannot_be_read_are_no_deaths(wire: Wire, row: str) -> None:
    """As of an upgrade that hangs or is taken back: three of them held the innocent run that
    came next, a fourth set its input aside.
    """
    wire.send(SignalWorkflow("w", "count"))
    wire.flush()
    _applied(wire)
    *_, (key, value) = [
        (m.key(), m.value()) for m in wire.read(wire.state) if (m.key() or b"").startswith(b"run/")
    ]
    newer = encode(msgspec.structs.replace(decode_row(value), format=FORMAT + 1))
    wire.send_raw(key, value[:-1] if row == "damaged" else newer, partition=0, topic=wire.state)
    _made_careful(wire)
    for _ in range(DEATHS_BEFORE_GIVING_UP + 1):
        made = make_processor(wire.settings, QUEUE)
        made.start()
        until(
            lambda made=made: any(
                lane.state == "FAILED" for lane in made.statistics().lanes.values()
            )
        )
        made.stop()
        position = _position(wire)
        assert (position.processing, position.deaths) == ("", 0)
        shutil.rmtree(wire.settings.state_dir)  # nor where the next one is another host
    wire.send_raw(key, value, partition=0, topic=wire.state)
    wire.flush()
    _applied(wire, 1)


def test_a_lane_that_stops_and_says_why_is_no_death(wire: Wire) -> None:
    """Over what needs a person, too: it stops once more with each restart until somebody has
    seen to it.
    """
    _made_careful(wire)
    for _ in range(2):
        with OF_PROCESS.alone(wire, lambda: None):
            made, lane = _started(wire)
            until(
                lambda lane=lane: (
                    lane.state is LaneState.RUNNING
                    and lane._care.processing == _position(wire).processing == "input/0/w"
                )
            )
            assert lane._care.accused == ""
            lane.gap(LaneError("records were deleted that nobody had read"))
            until(lambda lane=lane: lane.state is LaneState.FAILED)
            made.stop()
    _applied(wire)


def test_clients_that_cannot_be_made_for_a_while_stop_no_lane(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No thread, no descriptor, a certificate that is being replaced: it passes, however often
    it was tried.
    """
    real, refused = Processor._transactional_producer, 0

    def made(*of: Any) -> Any:
        nonlocal refused
        if refused < 2 * DEFECTS_MAX:
            refused += 1
            raise KafkaException(
                KafkaError(KafkaError._CRIT_SYS_RESOURCE, "Failed to create thread")
            )
        return real(*of)

    monkeypatch.setattr(Processor, "_transactional_producer", made)
    monkeypatch.setattr("odradek.processor.lane._BACKOFF_MAX_SECONDS", 0.05)
    wire.send(SignalWorkflow("w", "count"))
    wire.flush()
    _applied(wire)
    assert refused == 2 * DEFECTS_MAX


@pytest.mark.promise("quarantine")
@pytest.mark.slow
def test_a_death_behind_a_stop_that_was_forgiven_counts(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file of the one says nothing of the other, not even one that came back."""
    _made_careful(wire)
    real, died = Processor._transactional_producer, threading.Event()
    with monkeypatch.context() as trouble:
        trouble.setattr(
            Processor,
            "_transactional_producer",
            lambda *of: Troubled(real(*of), wire.commands, died.is_set),
        )
        trouble.setattr("odradek.processor.lane._BACKOFF_FIRST_SECONDS", 60)
        trouble.setattr("odradek.processor.lane._BACKOFF_MAX_SECONDS", 60)
        made, lane = _started(wire)
        until(lambda lane=lane: lane.state is LaneState.DROPPED)
        made.stop()
    (file,) = wire.settings.state_dir.glob("*/slot-0/0.released")
    kept = file.read_bytes()

    wire.send(SignalWorkflow("w", "die"))
    wire.flush()
    with Host(wire) as host:  # applies the first, and dies over the second
        host.wait_killed()
    row = _position(wire)
    assert row.processing == "input/1/w" and not file.exists()
    file.write_bytes(kept)
    for deaths in range(1, DEATHS_BEFORE_GIVING_UP):
        assert _position(wire).deaths == deaths - 1
        with Host(wire) as host:
            host.wait_killed()
    with Host(wire) as host:
        (letter,) = until(lambda: wire.read(wire.dead_letters), 60)
        assert "4 owners of the partition died" in parse_dead_letter(letter.headers()).message
        assert host.drain() == 0
