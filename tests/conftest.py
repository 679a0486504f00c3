"""What every tier of tests shares: a real Kafka, names that are a test's own, markers by folder,
the order of tiers.

Tiers (folders): unit and engine need nothing; web needs a browser, and one of its files a
broker; kafka, services, chaos and facts need a broker, which starts with the first test that
asks for `bootstrap`: `ODRADEK_TEST_BOOTSTRAP` wins, then Docker, then the local jars.
"""

from __future__ import annotations

import gc
import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from odradek.broker.environment import forget_settings
from tests.stalled import Stalled
from tests.support.ports import share_ports

TESTS = Path(__file__).parent
pytest_plugins = [
    "tests.support.broker",
    "tests.support.settings",
    "tests.support.client",
    "tests.support.records",
    "tests.support.server",
]

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
