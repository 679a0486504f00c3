"""What the payments service says of itself on `members`, and that the server lists it as it
lists Odradek's own services.
"""

from __future__ import annotations

import json
import signal
import sqlite3
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import NewTopic

from odradek.broker.ports import free_ports
from tests.services.payments_wire import QUEUE, REPOSITORY, SCHEMAS, Wire, outcomes, wire_on
from tests.support.server import get, running
from tests.support.until import until

Reports = list[tuple[str, dict[str, Any] | None]]


@pytest.fixture
def wire(bootstrap: str, namespace: str, tmp_path: Path) -> Iterator[Wire]:
    with wire_on(bootstrap, namespace, tmp_path) as wire:
        yield wire


@pytest.fixture
def reports(wire: Wire) -> Iterator[Callable[[], Reports]]:
    """Reads on: member id and fields of each record so far, None for a tombstone. The service
    makes the topic.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": wire.address,
            "group.id": wire.namespace,
            "isolation.level": "read_committed",
        }
    )
    found: Reports = []
    with closing(consumer):

        def read() -> Reports:
            if not consumer.assignment():
                if wire.members not in consumer.list_topics(timeout=20).topics:
                    return found
                consumer.assign([TopicPartition(wire.members, 0, 0)])
            while (message := consumer.poll(0.1)) is not None:
                if message.error() is None:
                    value = message.value()
                    found.append(
                        (
                            (message.key() or b"").decode(),
                            SCHEMAS.decode(value)[1] if value else None,
                        )
                    )
            return found

        yield read


def test_it_reports_its_slots_and_leaves_a_tombstone(
    wire: Wire, reports: Callable[[], Reports]
) -> None:
    wire.start()
    [(key, first), *_] = until(reports)
    assert first is not None and first["member_id"] == key and wire.process is not None
    assert (first["kind"], first["namespace"], first["task_queue"]) == (
        "ACTIVITIES",
        wire.namespace,
        QUEUE,
    )
    assert (
        (first["slots_total"], first["pid"]) == (8, wire.process.pid)
        and first["identity"]
        and first["host"]
    )
    assert first["activity_types"] == ["FreezePayment", "UnfreezePayment"]
    assert abs(first["time_ms"] / 1000 - time.time()) < 30

    with closing(
        sqlite3.connect(wire.folder / "payments.sqlite", isolation_level=None)
    ) as database:
        database.execute(
            "BEGIN EXCLUSIVE"
        )  # the attempts wait for it, up to five seconds: longer than a period
        sent = 0

        def told() -> bool:
            return any(fields is not None and fields["slots_used"] == 2 for _, fields in reports())

        while (
            not told()
        ):  # two that begin seconds after each other may be together for less than a period
            assert sent < 20
            for _ in range(2):
                sent += 1
                wire.command(sent)
            with suppress(AssertionError):
                until(told, timeout_s=10)
    wire.until(lambda seen: len(outcomes(seen)) == sent)
    until(lambda: reports()[-1][1] is not None and reports()[-1][1]["slots_used"] == 0)  # type: ignore[index]

    wire.process.send_signal(signal.SIGTERM)
    assert wire.process.wait(20) == 0
    assert until(lambda: reports()[-1] == (key, None)), "its last word is that it has left"


def test_the_page_of_the_contract_has_every_field_of_a_report() -> None:
    page = (
        (REPOSITORY / "docs" / "wire.md")
        .read_text()
        .partition("**Tell who you are**")[2]
        .partition("**What cannot be decoded**")[0]
    )
    fields = json.loads((REPOSITORY / "schemas" / "MemberStatus.avsc").read_text())["fields"]
    assert [field["name"] for field in fields if f"`{field['name']}`" not in page] == []


def test_one_that_was_killed_takes_its_old_place_when_it_comes_back(
    wire: Wire, reports: Callable[[], Reports]
) -> None:
    wire.start()
    until(reports)
    wire.kill()
    wire.start()
    until(lambda: len({fields["pid"] for _, fields in reports() if fields}) == 2)
    assert len({key for key, _ in reports()}) == 1, "else lists show the dead one for an hour"


def test_the_server_lists_it_with_its_slots(wire: Wire, tmp_path: Path) -> None:
    wire.start()
    arguments = ("--address", wire.address, "--namespace", wire.namespace, "--port", "0")
    with running(
        tmp_path / "server", "server", *arguments, ODRADEK_STATE_DIR=str(tmp_path / "state")
    ) as server:
        url = server.line("ui")

        def listed() -> Any:
            status, found = get(f"{url}/api/odradek/v1/members?task_queue={QUEUE}")
            return found["members"] if status == 200 else []

        [member] = until(listed)
        assert (member["kind"], member["slots_total"], member["slots_used"], member["alive"]) == (
            "ACTIVITIES",
            8,
            0,
            True,
        )
        assert member["activity_types"] == ["FreezePayment", "UnfreezePayment"]
        with urllib.request.urlopen(f"{url}/services", timeout=20) as page:
            shown = page.read().decode()
        assert member["identity"] in shown and "0 of 8" in shown
        status, queue = get(f"{url}/api/odradek/v1/task-queues/{QUEUE}")
        assert (status, queue["services"], queue["slots_total"]) == (200, 1, 8), json.dumps(queue)
        assert wire.process is not None
        wire.process.send_signal(signal.SIGTERM)
        until(lambda: listed() == [])


@pytest.mark.slow
def test_members_that_somebody_deletes_is_named_and_no_broker_is_blamed(wire: Wire) -> None:
    (port,) = free_ports(1)
    wire.start(telemetry=f"127.0.0.1:{port}")

    def ready() -> tuple[int, list[str]]:
        status, said = get(f"http://127.0.0.1:{port}/health/ready")
        return status, said.get("reasons", []) if status in (200, 503) else []

    until(lambda: ready()[0] == 200)
    for future in wire.admin.delete_topics([wire.members]).values():
        future.result(20)
    _, [reason] = until(lambda: ready()[0] == 503 and ready())
    assert wire.members in reason and "no broker" not in reason, reason
    wire.command(1)
    wire.until(lambda seen: "order-1" in outcomes(seen))
    for future in wire.admin.create_topics([NewTopic(wire.members, 1, 1)]).values():
        future.result(20)
    until(lambda: ready() == (200, []))
