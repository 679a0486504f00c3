"""The broker goes away and comes back, killed under load: lanes drop what is unknown, own anew,
and each input counts once.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from odradek.broker import QUICK_START, LocalBroker
from odradek.wire.events import SignalWorkflow
from tests.kafka.lane_host import make_processor
from tests.kafka.lane_records import Wire
from tests.support.records import QUEUE
from tests.support.until import until


def _send(wire: Wire, start: int, stop: int) -> None:
    for number in range(start, stop):
        wire.send(SignalWorkflow(f"w{number % 10}", "slow:2", request_id=str(number)))


@pytest.mark.promise("exactly-once")
def test_broker_killed_and_restarted(namespace: str, tmp_path: Path) -> None:
    with LocalBroker(jvm_options=QUICK_START) as broker:
        wire = Wire(broker.bootstrap, namespace, tmp_path / "state")
        processor = make_processor(wire.settings, QUEUE)
        processor.start()
        try:
            processor.wait_ready(30)
            _send(wire, 0, 200)
            until(lambda: len(wire.read(wire.commands)) > 20)
            broker.kill()
            broker.start()
            _send(wire, 200, 300)
            wire.flush()
            wire.assert_exactly_once(300, 10, timeout=60)
            assert processor.fatal_error is None
        finally:
            processor.stop()
