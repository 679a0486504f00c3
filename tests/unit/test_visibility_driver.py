"""The Faust side without Kafka: the store driver by its URL, the table that sends nothing, the
gap that stops the app, TLS and SASL.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import aiokafka
import faust
import pytest
from aiokafka.errors import KafkaConnectionError
from faust.stores import by_url
from faust.types import TP

from odradek.config import Settings
from odradek.exceptions import ConfigurationError
from odradek.visibility import IntakeError, VisibilityStore
from odradek.visibility.intake.app import VisibilityApp
from odradek.visibility.intake.committed import RecordBatch
from odradek.visibility.intake.decode import SummaryDecoder
from odradek.visibility.intake.driver import SQLiteStore
from odradek.visibility.intake.security import broker_credentials
from odradek.wire import nothing
from odradek.wire.codec import Codec, encode
from odradek.wire.outcomes import ExecutionSummary

TOPIC = "odradek.default.executions"


def value(run: str, status: str = "RUNNING") -> bytes:
    return encode(
        ExecutionSummary("default", "queue", "w", run, "Order", status, 1_790_000_100_000)
    )


def event(offset: int, run: str, data: bytes | None, partition: int = 0) -> Any:
    message = SimpleNamespace(
        key=f"w/{run}".encode(),
        value=data,
        offset=offset,
        partition=partition,
        timestamp=1_790_000_000.0,
    )
    return SimpleNamespace(message=message)


def driver_at(path: Path) -> SQLiteStore:
    """As Faust makes it: class by URL, then the table's arguments."""
    app = faust.App("test-visibility-driver", store="memory://")
    url = f"odradek-sqlite://{path.absolute()}"
    driver = by_url(url)(
        url,
        app,
        cast(Any, None),
        table_name="executions",
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
    )  # type: ignore[call-arg]
    return cast(SQLiteStore, driver)


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[SQLiteStore]:
    made = driver_at(tmp_path / "store.sqlite")
    yield made
    made.store.close()


def apply(driver: SQLiteStore, *events: Any) -> None:
    driver.apply_changelog_batch(events, lambda key: key, lambda data: data)


def test_a_changelog_batch_becomes_rows_and_an_offset(driver: SQLiteStore) -> None:
    assert driver.persisted_offset(TP(TOPIC, 0)) is None
    apply(
        driver,
        event(3, "a", value("a")),
        event(4, "b", value("b")),
        event(9, "a", value("a", "COMPLETED")),
        event(1, "c", value("c"), 2),
    )
    assert driver.persisted_offset(TP(TOPIC, 0)) == 9 and driver.persisted_offset(TP(TOPIC, 2)) == 1
    assert driver[b"w/a"] == value("a", "COMPLETED") and b"w/b" in driver and b"w/x" not in driver
    assert set(driver.keys()) == {b"w/a", b"w/b", b"w/c"} and len(driver) == 3
    apply(driver, event(10, "b", None))
    assert b"w/b" not in driver


def test_a_changelog_batch_with_unreadable_records_moves_on(driver: SQLiteStore) -> None:
    apply(driver, event(0, "a", value("a")), event(1, "b", b"garbage"))
    assert (
        driver.persisted_offset(TP(TOPIC, 0)) == 1
        and len(driver) == 1
        and driver.decoder.undecodable == 1
    )


def test_a_record_that_says_nothing_is_stepped_over(driver: SQLiteStore) -> None:
    nobody = event(2, "", None)
    nobody.message.key = nothing.KEY
    apply(driver, event(1, "a", value("a")), nobody)
    assert (
        driver.persisted_offset(TP(TOPIC, 0)) == 2
        and len(driver) == 1
        and driver.decoder.undecodable == 0
    )


def test_rows_change_by_the_changelog_alone(driver: SQLiteStore) -> None:
    for change in (
        lambda: driver.__setitem__(b"w/a", value("a")),
        lambda: driver.__delitem__(b"w/a"),
        driver.clear,
    ):
        with pytest.raises(IntakeError, match="by its changelog alone"):
            change()


async def test_a_backup_gives_rows_and_offsets_back(driver: SQLiteStore) -> None:
    apply(driver, event(0, "a", value("a")))
    await driver.backup_partition(TP(TOPIC, 0))
    apply(driver, event(1, "b", value("b")))
    driver.restore_backup(TP(TOPIC, 0))
    assert set(driver.keys()) == {b"w/a"} and driver.persisted_offset(TP(TOPIC, 0)) == 0
    apply(driver, event(1, "b", value("b")))
    assert len(driver) == 2


def test_without_a_backup_there_is_nothing_to_restore(driver: SQLiteStore) -> None:
    with pytest.raises(IntakeError, match="there is no backup"):
        driver.restore_backup(0)


# --- the app


@pytest.fixture
async def app(tmp_path: Path) -> Any:
    settings = Settings(address="127.0.0.1:1", state_dir=tmp_path)
    with VisibilityStore.open(tmp_path / "store.sqlite") as store, ThreadPoolExecutor(1) as writer:
        yield VisibilityApp(settings, store, SummaryDecoder(Codec()), writer, dict)


def batch(after: int | None, *offsets: int) -> RecordBatch:
    return RecordBatch(
        0,
        after,
        [
            SimpleNamespace(key=b"w/r", value=value("r"), offset=offset, timestamp=-1)
            for offset in offsets
        ],
    )


async def test_batches_that_follow_each_other_are_taken_also_when_they_come_again(
    app: VisibilityApp,
) -> None:
    assert await app._follows(batch(None, 0, 1, 4))
    assert await app._follows(batch(4, 9))
    assert await app._follows(batch(1, 4, 9, 10))  # fetched again after a seek
    assert not app.crashed


async def test_a_batch_that_was_lost_between_two_stops_the_app(app: VisibilityApp) -> None:
    assert await app._follows(batch(None, 0, 1))
    assert not await app._follows(batch(7, 8))
    assert app.crashed and "records between 1 and 7 were not handed over" in str(app.crash_reason)


async def test_a_first_batch_that_does_not_follow_the_store_stops_the_app(
    app: VisibilityApp,
) -> None:
    assert not await app._follows(batch(7, 8))
    assert app.crashed


async def test_the_table_sends_nothing_and_each_app_is_a_group_of_its_own(
    app: VisibilityApp, tmp_path: Path
) -> None:
    with pytest.raises(IntakeError):
        app.executions.send_changelog(0, b"w/r", value("r"))
    assert app.tables.changelog_topics == set()
    assert not app.topics.acks_enabled_for(TOPIC)
    other = VisibilityApp(
        Settings(address="127.0.0.1:1"), app._store, SummaryDecoder(Codec()), app._writer, dict
    )
    assert app.conf.id != other.conf.id and app.conf.id.startswith(
        "odradek.default.executions.visibility-"
    )
    await asyncio.sleep(0)


# --- TLS and SASL


def test_librdkafkas_security_settings_become_fausts() -> None:
    assert broker_credentials({}) is None
    assert broker_credentials({"security.protocol": "PLAINTEXT", "fetch.wait.max.ms": "5"}) is None
    assert isinstance(broker_credentials({"security.protocol": "SSL"}), faust.SSLCredentials)
    scram = broker_credentials(
        {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": "u",
            "sasl.password": "p",
        }
    )
    assert isinstance(scram, faust.SASLCredentials)
    assert (scram.mechanism.value, scram.username, scram.password, scram.protocol.value) == (
        "SCRAM-SHA-512",
        "u",
        "p",
        "SASL_SSL",
    )
    assert scram.ssl_context is not None and scram.ssl_context.check_hostname
    unchecked = broker_credentials(
        {"security.protocol": "SSL", "ssl.endpoint.identification.algorithm": "none"}
    )
    assert isinstance(unchecked, faust.SSLCredentials) and not unchecked.context.check_hostname


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"security.protocol": "tls"}, "it is one of"),
        (
            {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "GSSAPI"},
            "the read side cannot use",
        ),
        (
            {"security.protocol": "SASL_PLAINTEXT", "sasl.kerberos.principal": "x"},
            "the read side cannot use `kafka.sasl.kerberos.principal`",
        ),
        ({"security.protocol": "SSL", "ssl.ca.location": "/nowhere.pem"}, "cannot be read"),
    ],
)
def test_what_fausts_client_cannot_do_is_an_error(settings: dict[str, str], part: str) -> None:
    with pytest.raises(ConfigurationError, match=part):
        broker_credentials(settings)


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_broker_that_goes_while_the_app_starts_is_an_error_of_the_start_and_no_stack(
    app: VisibilityApp, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who runs the app says what ended it, in a line; mode's services would each print the stack."""

    async def connected(self: Any) -> None:
        """The producer still had a broker, the consumer's thread has none."""

    async def closed(self: Any) -> None:
        self._closed = True

    monkeypatch.setattr(aiokafka.AIOKafkaProducer, "start", connected)
    monkeypatch.setattr(aiokafka.AIOKafkaProducer, "stop", closed)
    try:
        with contextlib.suppress(
            KafkaConnectionError
        ):  # unless the thread was quicker: then the app has crashed by itself
            await app.start()
        await asyncio.wait_for(app.wait_until_stopped(), 10)
        assert isinstance(app.crash_reason, KafkaConnectionError)
    finally:
        await app.stop()
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


def test_tombstones_say_what_the_run_was_when_it_went() -> None:
    def record(offset: int, data: bytes | None, **more: Any) -> Any:
        return SimpleNamespace(key=b"w/r", value=data, offset=offset, timestamp=-1, **more)

    headers = (("odradek-kind", b"ExecutionSummary"), ("odradek-status", b"COMPLETED"))
    records = [
        record(0, value("r"), headers=headers),
        record(1, None, headers=headers),
        record(2, None, headers=()),
        record(3, None),
    ]
    assert [change.status for change in SummaryDecoder(Codec()).changes(0, records)] == [
        "",
        "COMPLETED",
        "",
        "",
    ]
