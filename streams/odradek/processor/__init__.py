"""Kafka host of the engine: group membership, lanes, tables, changelog, restore, timers.

Duties: own partitions of a task queue's `events`, feed their records and due timers to the
engine, and commit input position, state and outputs in one Kafka transaction each (`lane.py` and
`transaction.py` tell it from top to bottom). Threads underneath, no asyncio.

Never: decide anything about a workflow (that is the engine's), build fencing on group
membership, send an identity error through abort, write to the local store before the commit, or
guess an outcome.
"""

from odradek.processor.processor import Processor

__all__ = ["Processor"]
