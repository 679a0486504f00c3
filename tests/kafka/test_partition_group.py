"""Membership: partitions shared, given back and taken over; identities; what a member says of
itself; purging.
"""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest

from odradek.exceptions import BrokerUnreachableError, DuplicateIdentityError
from odradek.wire.events import SignalWorkflow
from odradek.wire.outcomes import MemberStatus
from tests.kafka.lane_host import make_processor
from tests.kafka.lane_records import Host, Wire
from tests.support.records import QUEUE
from tests.support.until import until


@pytest.fixture
def wire(bootstrap: str, namespace: str, tmp_path: Path) -> Wire:
    return Wire(bootstrap, namespace, tmp_path, partitions=4)


@pytest.mark.promise("rebalance")
def test_two_processors_share_and_neither_loses(wire: Wire) -> None:
    """The second joins under load: partitions move while inputs flow."""
    first = make_processor(wire.settings, QUEUE)
    second = make_processor(wire.settings, QUEUE)
    first.start()
    try:
        first.wait_ready(30)
        wire.signals(400, 20)
        second.start()
        second.wait_ready(30)
        until(lambda: len(second.lane_statuses()) == 2 and len(first.lane_statuses()) == 2)
        second.wait_ready(30)
        for number in range(400, 800):
            wire.send(SignalWorkflow(f"w{number % 20}", "count"))
        wire.flush()
        wire.assert_exactly_once(800, 20)
        assert second.statistics().totals.inputs > 0
        assert (first.statistics().slot, second.statistics().slot) == (0, 1)
    finally:
        second.stop()
        first.stop()


def test_one_joins_and_leaves_while_librdkafka_logs_every_step(wire: Wire) -> None:
    """Log lines are callbacks of the client, and come in the middle of a rebalance:
    tests/facts/test_callbacks.py says what they may do.
    """
    talkative = {"debug": "cgrp,eos"}
    with Host(wire, kafka=talkative) as stays:
        stays.line("ready")
        wire.signals(200, 20)
        with Host(wire, kafka=talkative) as leaves:
            leaves.line("ready")
            wire.signals(200, 20)
            assert leaves.drain() == 0
        wire.signals(200, 20)  # on each partition, so those of the one that left have come back
        wire.assert_exactly_once(600, 20, timeout=60)
        assert stays.drain() == 0


def test_restart_keeps_its_partitions_without_a_rebalance(wire: Wire) -> None:
    settings = wire.settings.replace(session_timeout=timedelta(seconds=60))
    processor = make_processor(settings, QUEUE)
    processor.start()
    processor.wait_ready(30)
    processor.stop()
    processor = make_processor(settings, QUEUE)
    began = time.monotonic()
    processor.start()
    try:
        processor.wait_ready(45)
        assert time.monotonic() - began < 45.0  # less than a session
    finally:
        processor.stop()


@pytest.mark.promise("rebalance")
def test_drain_finishes_and_leaves_nothing(wire: Wire) -> None:
    """SIGTERM under load: exit status 0, and a successor finds each input applied once."""
    with Host(wire, batch=10) as host:
        host.line("ready")
        wire.signals(300, 10, "slow:2")
        until(lambda: len(wire.read(wire.commands)) > 20)
        assert host.drain() == 0
    with Host(wire) as host:
        wire.assert_exactly_once(300, 10)
        assert host.drain() == 0


def test_same_identity_twice(wire: Wire, tmp_path: Path) -> None:
    """Two hosts of one name and path (a cloned container): the older one is told, clearly; the
    partitions have one owner all the time.
    """
    other = Wire(wire.settings.address, wire.settings.namespace, tmp_path / "other", partitions=4)
    with Host(wire, instance="twin-0") as first:
        first.line("ready")
        with Host(other, instance="twin-0") as second:
            line = first.line("fatal")
            assert line.startswith(
                f"fatal {DuplicateIdentityError.__name__}: another living process uses the identity"
                " twin-0"
            )
            assert first.process.wait(30) == 3
            second.line("ready")
            wire.signals(100, 10)
            wire.assert_exactly_once(100, 10)
            assert second.drain() == 0


def test_member_reports(wire: Wire) -> None:
    processor = make_processor(
        wire.settings, QUEUE, workflow_types=["B", "A"], members_every_seconds=0.1
    )
    processor.start()
    try:
        processor.wait_ready(30)

        def running() -> MemberStatus | None:
            found = [
                r
                for m in wire.read(wire.topics.members)
                if m.value()
                for r in [wire_decode(m.value())]
            ]
            return next(
                (s for s in found if [lane.state for lane in s.lanes] == ["RUNNING"] * 4), None
            )

        status = until(running)
        assert (status.kind, status.task_queue, status.workflow_types) == (
            "PROCESSOR",
            QUEUE,
            ["A", "B"],
        )
        assert [lane.partition for lane in status.lanes] == [0, 1, 2, 3]
    finally:
        processor.stop()
    assert wire.read(wire.topics.members)[-1].value() is None  # it left


def wire_decode(value: bytes) -> MemberStatus:
    from odradek.wire.codec import decode

    status = decode(value)
    assert isinstance(status, MemberStatus)
    return status


@pytest.mark.parametrize("window", [timedelta(0), timedelta(hours=1)])
def test_events_are_purged_behind_the_position_and_the_window(
    window: timedelta, wire: Wire
) -> None:
    settings = wire.settings.replace(audit_window=window)
    processor = make_processor(settings, QUEUE, purge_every_seconds=0.2)
    processor.start()
    try:
        processor.wait_ready(30)
        wire.signals(100, 10)
        until(lambda: processor.statistics().totals.inputs == 100)
        if window:
            time.sleep(0.6)  # three rounds of purging: that nothing happens is the point
            assert set(wire.admin.start_offsets(wire.events, range(4)).values()) == {0}
        else:
            until(lambda: sum(wire.admin.start_offsets(wire.events, range(4)).values()) == 100)
    finally:
        processor.stop()
    processor = make_processor(settings, QUEUE)
    processor.start()
    try:
        processor.wait_ready(30)
        wire.signals(20, 10)
        until(lambda: processor.statistics().totals.inputs == 20)
    finally:
        processor.stop()


def test_no_broker(impatient: None) -> None:
    from odradek.config import Settings

    processor = make_processor(Settings(address="127.0.0.1:1"), QUEUE)
    with pytest.raises(BrokerUnreachableError) as caught:
        processor.start()
    assert "127.0.0.1:1" in str(caught.value)
    processor.stop()
