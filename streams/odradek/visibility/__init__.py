"""The read side: lists, counts, groups and statistics of runs, from the topic `executions`.

- `VisibilityReader` (reader.py) runs it in a process: start, stop, ready, lag, statistics;
  `.store` answers queries. `ingest.py` is its consumer.
- `store/` is the SQLite store, `query/` the query language.

Every instance holds everything and may be lost: it is built again from the compacted topic. No
workflow waits for it, and it writes nothing to Kafka.
"""

from odradek.visibility.errors import (
    IngestError,
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
    "IngestError",
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
