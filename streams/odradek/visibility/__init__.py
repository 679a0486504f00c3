"""The read side: lists, counts, groups and statistics of runs, from the topic `executions`.
Hosts a Faust app and a SQLite store.

- `VisibilityReader` (reader.py) runs it in a process: start, stop, ready, lag, statistics;
  `.store` answers queries.
- `store/` is the SQLite store, `query/` the query language, `intake/` the Faust app with
  transport, store driver and table.

Every instance holds everything and may be lost: it is built again from the compacted topic, its
windows from theirs (`changelog/`). It must never stand in the path of a workflow: no workflow
waits for it, and all that it writes to Kafka is the changelog of its windows.
"""

from odradek.visibility.errors import (
    IntakeError,
    PageTokenError,
    QueryError,
    QueryTimeoutError,
    StoreLockedError,
    StoreNotOpenError,
    VisibilityError,
)
from odradek.visibility.query import (
    COLUMNS,
    Completion,
    Query,
    Suggestion,
    ValueType,
    complete,
    parse,
)
from odradek.visibility.store.counts import Count, CountGroup
from odradek.visibility.store.reader import Page
from odradek.visibility.store.rows import Change
from odradek.visibility.store.store import Source, VisibilityStore
from odradek.visibility.store.windows import WindowStatistics
from odradek.visibility.store.writer import Applied

__all__ = [
    "COLUMNS",
    "Applied",
    "Change",
    "Completion",
    "Count",
    "CountGroup",
    "IntakeError",
    "Page",
    "PageTokenError",
    "Query",
    "QueryError",
    "QueryTimeoutError",
    "Source",
    "StoreLockedError",
    "StoreNotOpenError",
    "Suggestion",
    "ValueType",
    "VisibilityError",
    "VisibilityStore",
    "WindowStatistics",
    "complete",
    "parse",
]
