"""No callback of a Kafka client makes a call that takes the state of the running one
(docs/decisions/0010).

Read from the source: what is given as a callback anywhere, and all that it names in its own
module, may not name such a method. That a callback goes through another module to its own client
is not seen here; processes under `debug: cgrp` would end of it
(tests/kafka/test_activity_process.py, tests/kafka/test_lane_group.py).
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for folder in ("streams/odradek", "services") for path in (ROOT / folder).rglob("*.py")
)

#: Keywords of calls and keys of configurations by which a callback is given. `limit_of` and
#: `undeliverable` are called in delivery reports.
GIVEN_AS = {
    "on_assign", "on_revoke", "on_lost", "on_revoking", "on_commit", "on_delivery", "callback",
    "error_cb", "stats_cb", "throttle_cb", "oauth_cb", "limit_of", "undeliverable",
}  # fmt: skip
#: Given to this method, the first argument.
GIVEN_TO = {"set_acknowledgement_commit_callback"}
#: Reports that are given by position; what lanes ask of the group's thread, which it also does
#: while partitions are given back.
ALSO = {
    "streams/odradek/processor/delivery_reports.py": {"note"},
    "streams/odradek/processor/group.py": {"_do_hold", "_do_seek", "ask"},
}

#: Methods of confluent-kafka 2.16.1 that take the state: `CallState_begin` in its C sources. Of an
#: AdminClient: all.
TAKING = {
    "poll", "consume", "close", "list_topics", "cluster_id", "list_groups", "set_sasl_credentials",
    "flush", "init_transactions", "send_offsets_to_transaction", "commit_transaction", "abort_transaction",
    "commit_sync", "commit_async", "__exit__",
}  # fmt: skip


#: Attributes that hold a client.
CLIENTS = {"_producer", "_consumer"}


def taken_in_callbacks(source: str, also: Collection[str] = ()) -> list[str]:
    """`callback: ... -> function: consumer.list_topics (line 7)`, for each such method that a
    callback of the module comes to.
    """
    tree = ast.parse(source)
    methods, functions = _definitions(tree)
    waiting: list[tuple[str, ast.AST]] = [
        (name, body) for name in also for body in (methods | functions)[name]
    ]
    for given in _given(tree):
        waiting += [(ast.unparse(given)[:60], given)]
    found: list[str] = []
    seen: set[ast.AST] = set()
    while waiting:
        path, body = waiting.pop()
        if body in seen:
            continue
        seen.add(body)
        for node in ast.walk(body):
            name = _name(node)
            if isinstance(node, ast.Attribute) and name in TAKING:
                found.append(f"{path}: {ast.unparse(node)} (line {node.lineno})")
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Attribute)
                and node.value.attr in CLIENTS
            ):
                # of another object: not a method of this module, though one may have its name
                continue
            known = methods if isinstance(node, ast.Attribute) else functions
            waiting += [(f"{path} -> {name}", each) for each in known.get(name, ())]
    return found


def _definitions(tree: ast.AST) -> tuple[dict[str, list[ast.AST]], dict[str, list[ast.AST]]]:
    """Methods, which are named behind a dot, and all other functions."""
    methods: dict[str, list[ast.AST]] = {}
    functions: dict[str, list[ast.AST]] = {}
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                (methods if isinstance(node, ast.ClassDef) else functions).setdefault(
                    child.name, []
                ).append(child)
    return methods, functions


def _given(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from (keyword.value for keyword in node.keywords if keyword.arg in GIVEN_AS)
            if _name(node.func) in GIVEN_TO:
                yield from node.args[:1]
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value in GIVEN_AS:
                    yield value


def _name(node: ast.AST) -> str:
    return (
        node.attr
        if isinstance(node, ast.Attribute)
        else node.id
        if isinstance(node, ast.Name)
        else ""
    )


@pytest.mark.parametrize(
    "path",
    [str(path.relative_to(ROOT)) for path in SOURCES if "confluent_kafka" in path.read_text()],
)
def test_no_callback_takes_the_state_of_the_call_that_serves_it(path: str) -> None:
    assert taken_in_callbacks((ROOT / path).read_text(), ALSO.get(path, ())) == []


def test_callbacks_are_found() -> None:
    """A form that is not seen would be allowed everything: here is how many there are of each."""
    given = [ast.unparse(each) for path in SOURCES for each in _given(ast.parse(path.read_text()))]
    for known in (
        "self._assigned",
        "self._revoked",
        "self._lost",
        "self._on_assign",
        "self._on_revoke",
        "self._on_lost",
        "on_commit",
    ):
        assert known in given
    for known in (
        "self._acknowledged",
        "self._note_error",
        "weak_method(self._on_error)",
        "report",
        "delivered",
        "self._on_revoking",
    ):
        assert known in given
    assert [each for each in given if each.startswith("lambda text: standing.update")]


DIRECT = """
class Member:
    def start(self):
        self.consumer.subscribe([self.topic], on_assign=self._assigned)
    def _assigned(self, consumer, partitions):
        consumer.incremental_assign(partitions)
        self._own(partitions)
    def _own(self, partitions):
        self.total = self._count()
    def _count(self):
        return len(self.consumer.list_topics(self.topic).topics[self.topic].partitions)
    def turn(self):
        self.consumer.poll(1)
"""


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (
            DIRECT,
            ["self._assigned -> _assigned -> _own -> _count: self.consumer.list_topics (line 11)"],
        ),
        (
            "p.produce('t', on_delivery=lambda *_: p.poll(0))",
            ["lambda *_: p.poll(0): p.poll (line 1)"],
        ),
        (
            "def e(x):\n    ask(a.list_groups)\nC({'error_cb': e})",
            ["e -> e: a.list_groups (line 2)"],
        ),
        (
            "def e(x):\n    ask(a.list_groups)\nC({'error_cb': weak_method(e)})",
            ["weak_method(e) -> e: a.list_groups (line 2)"],
        ),
        (
            "def done(o, e):\n    s.commit_sync(1)\ns.set_acknowledgement_commit_callback(done)",
            ["done -> done: s.commit_sync (line 2)"],
        ),
        (
            (
                "def a(c, p):\n    c.committed(p)\n    c.pause(p)\nc.subscribe(['t'],"
                " on_assign=a)\nc.list_topics()"
            ),
            [],
        ),
    ],
)
def test_what_is_seen(source: str, found: list[str]) -> None:
    assert taken_in_callbacks(source) == found


def test_no_offsets_are_asked_of_an_admin_client() -> None:
    """Its process ends (SIGSEGV in librdkafka 2.16.0) when the group's coordinator has just
    moved: `tests/chaos/test_payments_purge.py`.
    """
    assert [
        path
        for path in SOURCES
        if ".list_consumer_group_offsets(" in path.read_text(encoding="utf-8")
    ] == []
