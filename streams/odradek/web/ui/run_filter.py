"""What is chosen on the list of runs (query box, chips, sort) as one query of the read side, and
as the address of the same choice.

Pure. The box may hold anything the query language has; its own ORDER BY wins over the column
that was clicked. Values of chips are quoted here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self
from urllib.parse import urlencode

from odradek.engine.json_fields import write_time
from odradek.visibility.errors import QueryError
from odradek.visibility.query import parse
from odradek.visibility.query.columns import STATUS_NAMES
from odradek.visibility.query.tokens import TokenKind, tokenize
from odradek.wire.problems import NAME as REPORTED_PROBLEMS

#: Ranges of start times (and of closes) to choose from, in milliseconds.
RANGES = {
    "15m": 900_000,
    "1h": 3_600_000,
    "6h": 21_600_000,
    "24h": 86_400_000,
    "7d": 7 * 86_400_000,
    "30d": 30 * 86_400_000,
}
#: The read side's, of a query without ORDER BY.
DEFAULT_ORDER = "-StartTime"
_MULTI = ("status", "type", "queue")
#: Parameters that narrow the list: whoever acts on "this list" has to take all of them along.
NARROWING = ("query", *_MULTI, "failing", "range", "closed")


def quoted(value: str) -> str:
    """A value as a string of the query language."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def split_order(query: str) -> tuple[str, str]:
    """A query as its filter and its ORDER BY (with GROUP BY, should it have one)."""
    try:
        tokens = tokenize(query)
    except QueryError:
        return query, ""  # whoever runs it says where it is wrong
    for token in tokens:
        if token.kind is TokenKind.KEYWORD and token.text in ("ORDER", "GROUP"):
            return query[: token.column - 1].strip(), query[token.column - 1 :].strip()
    return query.strip(), ""


@dataclass(frozen=True, slots=True)
class RunFilter:
    """A choice of runs. `at_ms`: what a relative range counts from, so that later pages are of
    the same list.
    """

    text: str = ""
    statuses: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    range: str = ""
    closed: str = ""
    failing: bool = False
    sort: str = ""
    at_ms: int = 0
    #: What is no choice: a status or a range that there is not.
    wrong: str = ""

    @classmethod
    def of(cls, parameters: Iterable[tuple[str, str]], now_ms: int) -> Self:
        """From the parameters of an address or a form."""
        given: dict[str, list[str]] = {}
        for name, value in parameters:
            if value:
                given.setdefault(name, []).append(value)

        def one(name: str) -> str:
            return given.get(name, [""])[-1]

        at = one("at")
        statuses = list(STATUS_NAMES.values())
        wrong = [
            f"{name}: {value!r} is none of {', '.join(known)}"
            for name, known in (
                ("status", statuses),
                ("range", list(RANGES)),
                ("closed", list(RANGES)),
            )
            for value in given.get(name, [])
            if value not in known
        ]
        return cls(
            text=one("query").strip(),
            statuses=tuple(name for name in statuses if name in given.get("status", [])),
            types=tuple(dict.fromkeys(given.get("type", []))),
            queues=tuple(dict.fromkeys(given.get("queue", []))),
            range=one("range") if one("range") in RANGES else "",
            closed=one("closed") if one("closed") in RANGES else "",
            failing=one("failing") == "1",
            sort=one("sort"),
            at_ms=int(at) if at.isascii() and at.isdigit() and len(at) < 15 else now_ms,
            wrong="; ".join(wrong),
        )

    @property
    def box(self) -> tuple[str, str]:
        """The box: filter, and what stands behind it."""
        return split_order(self.text)

    @property
    def chosen(self) -> bool:
        """Whether anything narrows the list."""
        return bool(
            self.text
            or self.statuses
            or self.types
            or self.queues
            or self.failing
            or self.range
            or self.closed
        )

    def filter(self, *, statuses: bool = True) -> str:
        """The filter alone. `statuses` False leaves the chips of statuses out: counts by status
        show what the others would give. So does the count of failing ones, of `replace(self,
        failing=True)`. Raises QueryError when the box by itself is no query: with a bracket too
        many it would leave the brackets that it is put in, and the chips with them; or when a
        choice is none.
        """
        if self.wrong:
            raise QueryError(self.wrong, column=0)
        if self.text:
            parse(self.text)
        own, _ = self.box
        chips = self._chips(statuses)
        if own and chips:
            own = f"({own})"
        return " AND ".join([*([own] if own else []), *chips])

    def in_the_box(self, error: QueryError) -> QueryError:
        """An error of a query of this choice, as one of what stands in the box, where it does."""
        own, behind = self.box
        if not error.column or error.query == self.text:
            return error
        at = error.column - 1 - (1 if own and error.query.startswith(f"({own})") else 0)
        if 0 <= at < len(own):
            return error.moved(self.text, at + 1)
        start = error.query.rfind(behind) if behind else -1
        if 0 <= start < error.column:
            return error.moved(self.text, self.text.rfind(behind) + error.column - start)
        return error.about("sort" if self.sort and not behind else "the choice beside the box")

    def query(self) -> str:
        """The whole query, in order."""
        _, behind = self.box
        return f"{self.filter()} {behind or self._order()}".strip()

    def _chips(self, statuses: bool) -> list[str]:
        chips = []
        for name, values in (
            ("ExecutionStatus", self.statuses if statuses else ()),
            ("WorkflowType", self.types),
            ("TaskQueue", self.queues),
        ):
            if values:
                chips.append(f"{name} IN ({', '.join(quoted(value) for value in values)})")
        if self.failing:
            chips.append(f"{REPORTED_PROBLEMS} IS NOT NULL")
        for column, chosen in (("StartTime", self.range), ("CloseTime", self.closed)):
            if chosen:
                chips.append(f"{column} >= '{write_time(self.at_ms - RANGES[chosen])}'")
        return chips

    def _order(self) -> str:
        name = self.sort.removeprefix("-")
        if not name or "`" in name:
            return ""
        return f"ORDER BY `{name}`{' DESC' if self.sort.startswith('-') else ''}"

    # ------------------------------------------------------------ addresses

    def pairs(self) -> list[tuple[str, str]]:
        """As parameters."""
        pairs = [("query", self.text), ("failing", "1" if self.failing else "")]
        pairs += [("range", self.range), ("closed", self.closed), ("sort", self.sort)]
        for name, values in zip(_MULTI, (self.statuses, self.types, self.queues), strict=True):
            pairs += [(name, value) for value in values]
        return [(name, value) for name, value in pairs if value]

    def link(self, **changes: Any) -> str:
        """The address of the list with changes."""
        pairs = replace(self, **changes).pairs()
        return "/runs" + (f"?{urlencode(pairs)}" if pairs else "")

    def toggled(self, name: str, value: str) -> str:
        """The address with one chip put on or taken off. name: statuses, types or queues."""
        present: Sequence[str] = getattr(self, name)
        changed = (
            tuple(one for one in present if one != value) if value in present else (*present, value)
        )
        return self.link(**{name: changed})

    @property
    def order(self) -> str:
        """The column that the list is in order of, `-` before it for descending; "" when the box
        has an order of its own.
        """
        return "" if self.box[1] else self.sort or DEFAULT_ORDER

    def sorted_by(self, name: str) -> str:
        """The address with another column to sort by; the same column the other way round."""
        return self.link(sort=name if self.order == f"-{name}" else f"-{name}")
