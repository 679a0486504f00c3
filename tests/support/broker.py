"""The session's broker, and names on it that belong to one test."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from odradek.broker import find_broker

#: Deleting topics is tidiness; a busy broker gets no long wait for it.
CLEANUP_TIMEOUT_S = 20


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
