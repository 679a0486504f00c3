"""The local store as the engine reads it: what is wrong with it is told apart from a defect of
the engine.
"""

from __future__ import annotations

from collections.abc import Iterator

from odradek.engine.ports import TablesError
from odradek.exceptions import LaneError
from odradek.processor.store import LaneStore
from odradek.wire.state import Row


class StoredTables:
    """`Tables` over a lane's store. Raises TablesError, whose `reason` is the store's error, and
    OutletUnavailableError.
    """

    def __init__(self, store: LaneStore) -> None:
        self._store = store

    def get(self, table: str, key: str) -> Row | None:
        try:
            return self._store.get(table, key)
        except LaneError as error:
            raise TablesError(error) from error

    def scan(
        self, table: str, prefix: str, *, start: str = "", limit: int = 0, reverse: bool = False
    ) -> Iterator[tuple[str, Row]]:
        return self._store.scan(
            table, prefix, start=start, limit=limit, reverse=reverse, failed=TablesError
        )
