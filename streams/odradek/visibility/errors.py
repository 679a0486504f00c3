"""What the read side raises, in one tree.

::

    OdradekError
    └── VisibilityError
        ├── QueryError              a query is wrong; says where, and what was expected there
        ├── PageTokenError          a page token is damaged, or belongs to another query
        ├── QueryTimeoutError       a query ran longer than it may
        ├── StoreLockedError        another process holds this store
        ├── StoreNotOpenError       the read side is not running
        └── IngestError             records cannot be read in
            └── PositionsLostError  the topic no longer has what follows the store's positions
"""

from __future__ import annotations

from collections.abc import Sequence

from odradek.exceptions import OdradekError

__all__ = [
    "IngestError",
    "PageTokenError",
    "PositionsLostError",
    "QueryError",
    "QueryTimeoutError",
    "StoreLockedError",
    "StoreNotOpenError",
    "VisibilityError",
]


class VisibilityError(OdradekError):
    """Base of the read side's errors."""


class QueryError(VisibilityError):
    """A query is wrong.

    `column` counts characters from 1, 0 for what does not stand in the text; `length` says how
    many of them are meant. `expected` lists what could have stood there, `suggestions` known
    names near to the one that was written.
    """

    def __init__(
        self,
        problem: str,
        *,
        query: str = "",
        column: int = 1,
        length: int = 1,
        expected: Sequence[str] = (),
        suggestions: Sequence[str] = (),
    ) -> None:
        self.problem = problem
        self.query = query
        self.column = column
        self.length = max(1, length)
        self.expected = tuple(expected)
        self.suggestions = tuple(suggestions)
        super().__init__(self._text())

    def _text(self) -> str:
        text = f"column {self.column}: {self.problem}" if self.column else self.problem
        if self.expected:
            text += f"; expected {_either(self.expected)}"
        if self.suggestions:
            text += f". Did you mean {_either(self.suggestions)}?"
        return text

    @property
    def pointer(self) -> str:
        """The query with a line beneath it that marks the place, for terminals and logs; ""
        without a place.
        """
        if not self.column:
            return ""
        before = self.query[: self.column - 1]
        line = self.query[before.rfind("\n") + 1 :].partition("\n")[0]
        indent = len(before) - (before.rfind("\n") + 1)
        return f"{line}\n{' ' * indent}{'^' * max(1, min(self.length, len(line) - indent or 1))}"

    def moved(self, query: str, column: int) -> QueryError:
        """The same about another text, at another place."""
        return QueryError(
            self.problem,
            query=query,
            column=column,
            length=self.length,
            expected=self.expected,
            suggestions=self.suggestions,
        )

    def about(self, what: str) -> QueryError:
        """The same about what does not stand in the text."""
        return QueryError(
            f"{what}: {self.problem}",
            column=0,
            expected=self.expected,
            suggestions=self.suggestions,
        )


class PageTokenError(VisibilityError):
    """A page token is damaged, or belongs to another query: start again without one."""


class QueryTimeoutError(VisibilityError):
    """A query ran longer than it may. Narrow it, or give it more time."""


class StoreLockedError(VisibilityError):
    """Another process holds this store; it is left alone."""


class StoreNotOpenError(VisibilityError):
    """The read side is not running, or not yet."""


class IngestError(VisibilityError):
    """Records of `executions` cannot be read in."""


class PositionsLostError(IngestError):
    """The topic no longer has what follows the store's positions."""


def _either(options: Sequence[str]) -> str:
    return options[0] if len(options) == 1 else f"{', '.join(options[:-1])} or {options[-1]}"
