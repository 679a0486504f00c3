"""Queries over workers: the language of lists (`odradek.visibility.query`) over what members say
of themselves.

Texts know `=`, `!=`, `IN` and `STARTS_WITH`, times every comparison. What members do not say
(SDK, deployment, start) is NULL, and a comparison with it neither true nor false, as in lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from odradek.visibility.errors import QueryError
from odradek.visibility.query import parse
from odradek.visibility.query.literals import TIME_EXAMPLE, parse_time_ns
from odradek.visibility.query.tree import (
    And,
    Between,
    Comparison,
    Condition,
    Expression,
    In,
    IsNull,
    Literal,
    Name,
    Not,
    Or,
    StartsWith,
)
from odradek.wire.outcomes import MemberStatus

T = TypeVar("T")
Value = str | int | None
Test = Callable[[MemberStatus], bool | None]
_RUNNING = "Running"  # members that have gone are not among those that are asked
_TEXTS: dict[str, Callable[[MemberStatus], str | None]] = {
    "WorkerInstanceKey": lambda member: member.member_id,
    "WorkerIdentity": lambda member: member.identity,
    "TaskQueue": lambda member: member.task_queue,
    "HostName": lambda member: member.host or None,
    "WorkerStatus": lambda member: _RUNNING,
    "Status": lambda member: _RUNNING,
    "DeploymentName": lambda member: None,
    "BuildId": lambda member: None,
    "SdkName": lambda member: None,
    "SdkVersion": lambda member: None,
}
_TIMES_NS: dict[str, Callable[[MemberStatus], int | None]] = {
    "StartTime": lambda member: None,
    "HeartbeatTime": lambda member: member.time_ms * 10**6,
}
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "=": lambda left, right: left == right,
    "!=": lambda left, right: left != right,
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


def worker_filter(query: str) -> Callable[[MemberStatus], bool]:
    """What says whether a worker fits. Raises QueryError with the place, also for an order or a
    group: workers have neither.
    """
    tree = parse(query)
    for name in (*tree.group_by, *(item.name for item in tree.order_by)):
        raise _Tests(query).error("workers can be neither grouped nor ordered", name)
    if tree.filter is None:
        return lambda member: True
    test = _Tests(query).expression(tree.filter)
    return lambda member: test(member) is True


def _known(read: Callable[[MemberStatus], T | None], compare: Callable[[T], bool]) -> Test:
    def test(member: MemberStatus) -> bool | None:
        found = read(member)
        return None if found is None else compare(found)

    return test


def _all(values: Iterable[bool | None]) -> bool | None:
    """SQL's AND."""
    seen = set(values)
    return False if False in seen else None if None in seen else True


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


class _Tests:
    """Makes the tests of one query; holds its text for errors."""

    def __init__(self, query: str) -> None:
        self._query = query

    def error(self, problem: str, where: Name | Literal) -> QueryError:
        """An error at a name or a value."""
        return QueryError(problem, query=self._query, column=where.column, length=where.length)

    def expression(self, node: Expression) -> Test:
        """The test of a part of the tree."""
        if isinstance(node, And):
            terms = [self.expression(term) for term in node.terms]
            return lambda member: _all(term(member) for term in terms)
        if isinstance(node, Or):
            choices = [self.expression(term) for term in node.terms]
            return lambda member: _not(_all(_not(choice(member)) for choice in choices))
        if isinstance(node, Not):
            inner = self.expression(node.term)
            return lambda member: _not(inner(member))
        return self._condition(node)

    def _condition(self, node: Condition) -> Test:
        name = node.name.text
        if isinstance(node, IsNull):
            read = self._reader(node.name)
            return lambda member: (read(member) is None) is not node.negated
        if name in _TIMES_NS:
            return self._time(node, _TIMES_NS[name])
        return self._text(node, self._reader(node.name))

    def _reader(self, name: Name) -> Callable[[MemberStatus], Value]:
        found = _TEXTS.get(name.text) or _TIMES_NS.get(name.text)
        if found is None:
            raise self.error(
                f"a worker has no {name.text}; it has {', '.join((*_TEXTS, *_TIMES_NS))}", name
            )
        return found

    def _text(
        self, node: Comparison | In | Between | StartsWith, read: Callable[[MemberStatus], Value]
    ) -> Test:
        if isinstance(node, Comparison) and node.operator in ("=", "!="):
            value, equal = self._string(node.value), node.operator == "="
            return _known(read, lambda found: (found == value) is equal)
        if isinstance(node, In):
            values = {self._string(one) for one in node.values}
            return _known(read, lambda found: (found in values) is not node.negated)
        if isinstance(node, StartsWith):
            prefix = self._string(node.prefix)
            return _known(read, lambda found: str(found).startswith(prefix) is not node.negated)
        raise self.error(f"{node.name.text} is text: it knows =, !=, IN and STARTS_WITH", node.name)

    def _time(
        self,
        node: Comparison | In | Between | StartsWith,
        read: Callable[[MemberStatus], int | None],
    ) -> Test:
        if isinstance(node, Comparison):
            moment, compare = self._moment(node.value), _COMPARE[node.operator]
            return _known(read, lambda at: compare(at, moment))
        if isinstance(node, Between):
            low, high = self._moment(node.low), self._moment(node.high)
            return _known(read, lambda at: (low <= at <= high) is not node.negated)
        raise self.error(f"{node.name.text} is a time: it knows comparisons and BETWEEN", node.name)

    def _string(self, literal: Literal) -> str:
        if not isinstance(literal.value, str):
            raise self.error("a text was expected, between quotes", literal)
        return literal.value

    def _moment(self, literal: Literal) -> int:
        moment = parse_time_ns(literal.value) if isinstance(literal.value, str) else None
        if moment is None:
            raise self.error(f"expected {TIME_EXAMPLE}", literal)
        return moment
