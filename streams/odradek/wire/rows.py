"""Keys of the `state` topic and of the local store: `{table}/{row key}`, and which row stands in
which table.

Row keys are made by the engine (`odradek.engine.keys`), in the shapes that `odradek.wire.state`
gives.
"""

from __future__ import annotations

from odradek.wire import state
from odradek.wire.errors import UndecodableRecord
from odradek.wire.schema import RecordType

TABLES: dict[str, RecordType] = {
    "position": state.PositionRow,
    "workflow": state.WorkflowRow,
    "run": state.RunRow,
    "history": state.HistoryRow,
    "activity": state.ActivityRow,
    "user_timer": state.UserTimerRow,
    "timer": state.TimerRow,
    "request": state.RequestRow,
}
TABLE_OF: dict[RecordType, str] = {row_type: table for table, row_type in TABLES.items()}


def state_key(table: str, row_key: str) -> bytes:
    """Key of a record of `state`: UTF-8 of `{table}/{row key}`."""
    return f"{table}/{row_key}".encode()


def parse_state_key(key: bytes) -> tuple[str, str]:
    """(table, row key). The row key may hold slashes of its own. Raises UndecodableRecord for
    what is no such key.
    """
    try:
        table, slash, row_key = key.decode().partition("/")
    except UnicodeDecodeError as error:
        raise UndecodableRecord(f"state key {key!r} is not UTF-8") from error
    if not slash or table not in TABLES:
        raise UndecodableRecord(f"state key {key!r} names no table; tables are {', '.join(TABLES)}")
    return table, row_key
