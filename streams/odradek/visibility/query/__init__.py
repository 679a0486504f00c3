"""The query language of lists and counts: Temporal's list filter, and ORDER BY and GROUP BY over
any column.

    WorkflowType = 'OrderSaga' AND ExecutionStatus IN ('Failed', 'TimedOut') AND StartTime >
    '2026-11-24T00:00:00Z' ORDER BY CloseTime DESC

`parse` makes a tree (tokens.py, parser.py, tree.py), `compile_query` makes SQL with parameters
of it (columns.py, values.py, conditions.py, compile.py), `complete` says what may come next.
Pure: knows no database. `docs/query.md` is for its users.

Must never put text of a query into SQL.
"""

from odradek.visibility.query.columns import (
    COLUMNS,
    STATUS_NAMES,
    Attribute,
    AttributeKey,
    Catalog,
    Column,
    ValueType,
)
from odradek.visibility.query.compile import Compiled, GroupKey, SortKey, compile_query
from odradek.visibility.query.complete import Completion, Suggestion, complete
from odradek.visibility.query.parser import parse
from odradek.visibility.query.tree import Query

__all__ = [
    "COLUMNS",
    "STATUS_NAMES",
    "Attribute",
    "AttributeKey",
    "Catalog",
    "Column",
    "Compiled",
    "Completion",
    "GroupKey",
    "Query",
    "SortKey",
    "Suggestion",
    "ValueType",
    "compile_query",
    "complete",
    "parse",
]
