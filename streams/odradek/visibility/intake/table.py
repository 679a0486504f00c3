"""A Faust table whose changelog is its source topic.

Faust reads a table's changelog before its source, and then writes each change to the changelog.
Here both would be `executions`: the table would feed itself, and Faust pauses changelog
partitions once they are restored. As the topic is compacted, and the store says which offset it
has, restoring is reading on: so Faust's manager starts this table and leaves its changelog to
the agent.
"""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn, cast

import faust
from faust.tables.manager import TableManager
from faust.types.tables import CollectionT

from odradek.visibility.errors import IntakeError
from odradek.visibility.intake.driver import SQLiteStore


class TopicTable(faust.Table[bytes, bytes]):
    """A table over a topic of key and latest value. Changed by `driver.apply_batches` alone;
    nothing is sent.
    """

    @property
    def driver(self) -> SQLiteStore:
        """Its store."""
        return cast(SQLiteStore, self.data)

    async def on_start(self) -> None:
        """Start the store. The topic is there: the app makes it first, with the settings it needs."""
        await self.add_runtime_dependency(cast(Any, self.data))

    def on_key_set(self, key: bytes, value: bytes) -> None:
        """Nothing is sent: the value comes from the topic."""

    def on_key_del(self, key: bytes) -> None:
        """Nothing is sent."""

    def send_changelog(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Never: it would feed itself."""
        raise IntakeError("the topic of this table is written by its owners alone")


class TopicTableManager(TableManager):
    """Starts tables, and reads no changelogs: the agents of TopicTables do."""

    def add(self, table: CollectionT) -> CollectionT:
        """Add a table. Its changelog is not registered, so it is neither read nor paused."""
        if self._tables_finalized.is_set():
            raise RuntimeError("Too late to add tables at this point")
        self[table.name] = table
        return table

    async def _update_channels(self) -> None:
        self._tables_finalized.set()
        for table in self.values():
            await cast(Any, table).maybe_start()
        await asyncio.sleep(0)
        self._tables_registered.set()
