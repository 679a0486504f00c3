"""Tables and indices of the store.

A row of `executions` is a run's latest summary, taken apart; `extra` keeps memo and search
attributes as they came. `tie` is a hash of the run id: runs are found by it, and it ends every
order, the same on every instance, so that a page token of one serves another. Integers of 8
bytes make small indices. `turn` goes before it: of a workflow's runs that began in one
millisecond (a chain's next run begins when the one before it closes) it counts which came first,
0 for all others. It is the order of their first records, which lie on one partition, and as a
run's last record comes before the next run's first one, it is the same in a store that was made
from what compaction left.

Integers are nullable only where a run may lack the value ("" and 0 of the record are NULL here).
"""

from __future__ import annotations

#: Raised when a table changes: a store with another number is deleted and read anew from the topic.
FORMAT = 8

TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

CREATE TABLE positions (partition INTEGER PRIMARY KEY, offset INTEGER NOT NULL);  -- of the last record applied

CREATE TABLE executions (
    id INTEGER PRIMARY KEY,
    tie INTEGER NOT NULL,
    workflow_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    workflow_type TEXT NOT NULL,
    task_queue TEXT NOT NULL,
    status TEXT NOT NULL,
    start_time_ms INTEGER NOT NULL,
    execution_time_ms INTEGER,
    close_time_ms INTEGER,
    execution_duration_ms INTEGER,
    history_length INTEGER NOT NULL,
    history_size_bytes INTEGER NOT NULL,
    state_transition_count INTEGER NOT NULL,
    first_execution_run_id TEXT,
    parent_workflow_id TEXT,
    parent_run_id TEXT,
    root_workflow_id TEXT,
    root_run_id TEXT,
    quarantine_reason TEXT,
    reported_problems TEXT,  -- a JSON array
    extra BLOB,
    partition INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    turn INTEGER NOT NULL
);
CREATE INDEX executions_by_tie ON executions (tie);
CREATE INDEX executions_by_start ON executions (start_time_ms, turn, tie);
CREATE INDEX executions_by_status ON executions (status, start_time_ms, turn, tie);
CREATE INDEX executions_by_type ON executions (workflow_type, start_time_ms, turn, tie);
CREATE INDEX executions_by_workflow ON executions (workflow_id, start_time_ms, turn, tie);
CREATE INDEX executions_by_close ON executions (close_time_ms, turn, tie, status);  -- status: a walk over it tells without the run
CREATE INDEX executions_by_parent ON executions (parent_workflow_id, start_time_ms, turn, tie) WHERE parent_workflow_id IS NOT NULL;
CREATE INDEX executions_by_parked ON executions (start_time_ms, turn, tie) WHERE quarantine_reason IS NOT NULL;
CREATE INDEX executions_by_problems ON executions (start_time_ms, turn, tie) WHERE reported_problems IS NOT NULL;

CREATE TABLE run_counts (
    status TEXT NOT NULL, workflow_type TEXT NOT NULL, task_queue TEXT NOT NULL, runs INTEGER NOT NULL,
    PRIMARY KEY (status, workflow_type, task_queue)
) WITHOUT ROWID;

-- One row for each type that runs gave to a name; a Text's words stand under a number of their own, type '+words'.
CREATE TABLE attributes (id INTEGER PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, UNIQUE (name, type));
-- The key answers whether a run has a value, the index which runs have it, in the order of their starts: a page of a value needs no sort.
CREATE TABLE search_attributes (
    execution INTEGER NOT NULL, attribute INTEGER NOT NULL, value NOT NULL, start_time_ms INTEGER NOT NULL,
    PRIMARY KEY (execution, attribute, value)
) WITHOUT ROWID;
CREATE TABLE attribute_zones (  -- see zones.py
    attribute INTEGER NOT NULL, zone INTEGER NOT NULL, low NOT NULL, high NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,
    PRIMARY KEY (attribute, zone)
) WITHOUT ROWID;
CREATE INDEX search_attributes_by_value ON search_attributes (attribute, value, start_time_ms, execution);

-- Statistics of a window of time and a workflow type. Latencies are those of completed runs, in buckets (histogram.py).
CREATE TABLE windows (
    start_ms INTEGER NOT NULL, workflow_type TEXT NOT NULL,
    started INTEGER NOT NULL DEFAULT 0, completed INTEGER NOT NULL DEFAULT 0, failed INTEGER NOT NULL DEFAULT 0,
    timed_out INTEGER NOT NULL DEFAULT 0, canceled INTEGER NOT NULL DEFAULT 0, terminated INTEGER NOT NULL DEFAULT 0,
    continued_as_new INTEGER NOT NULL DEFAULT 0, latency_sum_ms INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0,  -- runs that were open and are no more
    PRIMARY KEY (start_ms, workflow_type)
) WITHOUT ROWID;
CREATE TABLE latencies (
    start_ms INTEGER NOT NULL, workflow_type TEXT NOT NULL, bucket INTEGER NOT NULL, runs INTEGER NOT NULL,
    PRIMARY KEY (start_ms, workflow_type, bucket)
) WITHOUT ROWID;
"""

#: Columns of `executions` in the order in which rows are written; `id` is SQLite's.
ROW_COLUMNS = (
    "tie", "workflow_id", "run_id", "workflow_type", "task_queue", "status", "start_time_ms", "execution_time_ms", "close_time_ms",
    "execution_duration_ms", "history_length", "history_size_bytes", "state_transition_count", "first_execution_run_id",
    "parent_workflow_id", "parent_run_id", "root_workflow_id", "root_run_id", "quarantine_reason", "reported_problems", "extra", "partition",
    "offset",
)  # fmt: skip

WRITER_PRAGMAS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;      -- a power failure may lose the last transactions, rows and position together: they are read again
PRAGMA busy_timeout = 10000;
PRAGMA cache_size = -131072;      -- 128 MiB: updates meet random pages
PRAGMA temp_store = MEMORY;
PRAGMA wal_autocheckpoint = 16000;
PRAGMA journal_size_limit = 134217728;
"""
READER_PRAGMAS = """
PRAGMA query_only = 1;
PRAGMA busy_timeout = 10000;
PRAGMA cache_size = -32768;
PRAGMA temp_store = MEMORY;
PRAGMA mmap_size = 1073741824;
"""
