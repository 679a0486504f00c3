"""What every tier of tests shares: a real Kafka, names that are a test's own, markers by folder,
the order of tiers.

Tiers (folders): unit and engine need nothing; web needs a browser, and one of its files a
broker; kafka, services, chaos and facts need a broker, which starts with the first test that
asks for `bootstrap`: `ODRADEK_TEST_BOOTSTRAP` wins, then Docker, then the local jars.
"""

from __future__ import annotations

import gc
import logging
import re
import secrets
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from hypothesis import settings

from odradek.broker import find_broker
from odradek.broker.environment import forget_settings
from tests.ports import share_ports
from tests.stalled import Stalled

TESTS = Path(__file__).parent

forget_settings()  # a shell's settings of some cluster: tests have their own; `ODRADEK_TEST_…` stay
share_ports()

# An example that takes long says something of the machine, or that it was the first to import
# something.
settings.register_profile("odradek", deadline=None)
settings.load_profile("odradek")

#: Quick tiers first, so that a plain mistake shows before a broker is needed.
TIERS = ("unit", "engine", "conformance", "facts", "web", "chaos", "services", "kafka")
QUICK_TIERS = {"unit", "engine", "conformance"}
BROKER_TIERS = {"facts", "kafka", "services", "chaos"}
#: Files of half a minute and more, the longest first: with several workers none is left alone with
#: one at the end.
LONG = (
    *(
        "kafka/test_acls.py",
        "chaos/test_lane_faults.py",
        "kafka/test_activity_process.py",
        "kafka/test_cli_operate.py",
    ),
    *(
        "kafka/test_activity_host.py",
        "chaos/test_lane_owners.py",
        "kafka/test_cli_kafka.py",
        "kafka/test_visibility_ingest.py",
    ),
    *(
        "kafka/test_web_server.py",
        "services/test_payments.py",
        "web/test_ui_browser.py",
        "kafka/test_server_process.py",
    ),
    *(
        "kafka/test_lane_left_open.py",
        "web/test_ui_actions.py",
        "kafka/test_cli_watch.py",
        "kafka/test_local_broker.py",
    ),
    *(
        "web/test_ui_lists_on_kafka.py",
        "kafka/test_bad_input_cluster.py",
        "services/test_registry.py",
        "kafka/test_topic_settings.py",
    ),
    *(
        "kafka/test_telemetry_processes.py",
        "kafka/test_added_partitions.py",
        "kafka/test_bad_input_workflows.py",
    ),
    *(
        "kafka/test_lane_engine.py",
        "kafka/test_worker.py",
        "services/test_order_api.py",
        "kafka/test_topics_deleted.py",
    ),
    *(
        "web/test_ui_hands.py",
        "kafka/test_bad_input_records.py",
        "kafka/test_dev_process.py",
    ),
    *(
        "kafka/test_framings.py",
        "kafka/test_client_dropped.py",
        "kafka/test_local_cluster.py",
        "kafka/test_activity_broker_restart.py",
    ),
    *(
        "web/test_ui_on_kafka.py",
        "services/test_service_config.py",
        "kafka/test_small_topics.py",
        "web/test_ui_odd_ids.py",
    ),
    *(
        "kafka/test_broker_restart.py",
        "web/test_ui_details.py",
        "kafka/test_lane_group.py",
        "kafka/test_visibility_workflows.py",
    ),
    *(
        "services/test_ending.py",
        "kafka/test_client_kafka.py",
        "kafka/test_queue_remade.py",
        "kafka/test_lane_inputs.py",
    ),
    *(
        "kafka/test_lane_outputs_gone.py",
        "kafka/test_silent_lanes.py",
        "chaos/test_saga_kill.py",
        "kafka/test_activity_share.py",
    ),
    *(
        "services/test_demo.py",
        "kafka/test_lane_restore.py",
        "kafka/test_large_answers.py",
        "web/test_ui_failing.py",
    ),
    *("kafka/test_telemetry_outage.py", "web/test_ui_many_tabs.py", "kafka/test_lane_stopped.py"),
)
#: How many quick files follow one that mostly waits, while there are any: together they keep the
#: cores busy.
QUICK_FILES_BETWEEN = 2

#: Deleting topics is tidiness; a broker that is busy gets no long wait for it.
CLEANUP_TIMEOUT_S = 20

DESCRIPTORS, DESCRIPTORS_MANY = Path("/proc/self/fd"), 250


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Commands that a test runs in this process have the root logger write to a stream that is
    closed with the test, and loggers of ours be silent, about which a test of another file may
    ask.
    """
    before = {logger: logger.level for logger in _own_loggers()}
    yield
    for handler in logging.getLogger().handlers[:]:
        if type(handler) is logging.StreamHandler:
            logging.getLogger().removeHandler(handler)
    for logger in _own_loggers():
        if logger.level != before.get(logger, logging.NOTSET):
            logger.setLevel(before.get(logger, logging.NOTSET))


def _own_loggers() -> list[logging.Logger]:
    known = list(logging.root.manager.loggerDict.items())
    return [
        logger
        for name, logger in known
        if name.startswith("odradek") and isinstance(logger, logging.Logger)
    ]


@pytest.fixture(autouse=True)
def _signals_as_before() -> Iterator[None]:
    """Commands that a test runs in this process take its signals. What was left ended a worker
    of pytest-xdist in another file's test.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # of pytest-xdist's workers
        config.pluginmanager.register(Stalled())


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Thousands of tests stay for the whole run. The garbage collector need not walk over them
    while they come, nor ever after.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        tier = _tier(item)
        if tier in BROKER_TIERS:
            item.add_marker(pytest.mark.kafka)
        if tier == "chaos":
            item.add_marker(pytest.mark.chaos)
    items.sort(key=lambda item: TIERS.index(_tier(item)) if _tier(item) in TIERS else len(TIERS))
    if hasattr(config, "workerinput"):  # of pytest-xdist, whose workers take file by file
        items[:] = _spread(items)


def _spread(items: list[pytest.Item]) -> list[pytest.Item]:
    """Files that wait (the longest first) and quick ones in turn."""
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    ranks = {TESTS / name: rank for rank, name in enumerate(LONG)}
    quick = [path for path, tests in files.items() if _tier(tests[0]) in QUICK_TIERS]
    waiting = sorted(
        files.keys() - set(quick),
        key=lambda path: (ranks.get(path, len(ranks)), list(files).index(path)),
    )
    order: list[Path] = []
    while quick or waiting:
        order += [*waiting[:1], *quick[:QUICK_FILES_BETWEEN]]
        del waiting[:1], quick[:QUICK_FILES_BETWEEN]
    return [item for path in order for item in files[path]]


def _tier(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""


@pytest.fixture(autouse=True)
def few_descriptors() -> Iterator[None]:
    """Kafka clients that are closed but caught in reference cycles keep descriptors until
    Python's next full collection. A process that runs thousands of tests rarely has one, and
    librdkafka and `select` take no descriptor above 1,024.
    """
    yield
    if DESCRIPTORS.is_dir() and sum(1 for _ in DESCRIPTORS.iterdir()) > DESCRIPTORS_MANY:
        gc.collect()


@pytest.fixture(scope="session")
def bootstrap() -> Iterator[str]:
    """Address of a real broker, one for the whole session. Kill or stop processes of your own,
    never this one.
    """
    with find_broker(quick_start=True) as address:
        yield address


@pytest.fixture(scope="session")
def delete_topics_of() -> Iterator[Callable[[str, str], None]]:
    """`delete(name, address)`: every topic there whose name contains `name`; that happens while
    the next test runs.
    """
    admins: dict[str, AdminClient] = {}
    asked: list[Future[None]] = []

    def delete(namespace: str, address: str) -> None:
        if address not in admins:
            admins[address] = AdminClient({"bootstrap.servers": address, "log_level": 0})
        admin = admins[address]
        try:
            topics = [
                topic
                for topic in admin.list_topics(timeout=CLEANUP_TIMEOUT_S).topics
                if namespace in topic
            ]
            asked.extend(admin.delete_topics(topics).values() if topics else [])
        except KafkaException as error:
            # The test has passed or failed by now; what it left behind is reported, not judged.
            print(f"topics of {namespace} could not be deleted: {error}")

    yield delete
    wait(asked, CLEANUP_TIMEOUT_S)


@pytest.fixture
def namespace(
    request: pytest.FixtureRequest, delete_topics_of: Callable[[str, str], None]
) -> Iterator[str]:
    """A name nobody else uses (letters, digits, `-`): an Odradek namespace, a prefix of topics,
    groups and ids.

    After the test every topic whose name contains it is deleted, if the test used `bootstrap`: a
    session's topics would otherwise pile up to thousands of partitions on one broker.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")[
        :24
    ]
    name = f"t{secrets.token_hex(4)}-{slug}".rstrip("-")
    address = request.getfixturevalue("bootstrap") if "bootstrap" in request.fixturenames else None
    yield name
    if address is not None:
        delete_topics_of(name, address)


@pytest.fixture
def unique_name(namespace: str) -> Callable[[str], str]:
    """`unique_name("orders")` -> a name of this test alone; the same argument twice gives two
    names.
    """
    count = 0

    def make(label: str) -> str:
        nonlocal count
        count += 1
        return f"{namespace}-{label}-{count}"

    return make
