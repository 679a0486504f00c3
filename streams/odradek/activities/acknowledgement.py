"""Which commands of a partition are done with, and the offset that may be committed for it: the
end of the acknowledged prefix.

A command is acknowledged once its outcome or its Started event is durable (or it was handed on,
or failed, durably). Pure: offsets in, offsets out. Never commits anything; never forgets a
command that was not acknowledged.
"""

from __future__ import annotations

from collections import deque


class Cell:
    """One command of a partition, from the moment it was read. The host sets `acknowledged`, or
    `returned`, from any thread.
    """

    __slots__ = ("acknowledged", "offset", "returned")

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.acknowledged = False
        #: It was dropped before it began: a share group gives it to another member. A classic group
        #: has given its partition away already.
        self.returned = False


class AckPrefix:
    """The commands of one owned partition in offset order. `start`: where reading began, which
    is committed already or log start.
    """

    def __init__(self, start: int) -> None:
        self._cells: deque[Cell] = deque()
        self._next = start  # one past the last command read
        self._committed = start

    def add(self, offset: int) -> Cell:
        """A command was read. Offsets rise; the gaps between them (transaction markers, aborted
        records) count as acknowledged.
        """
        assert offset >= self._next, f"offset {offset} was read after {self._next - 1}"
        cell = Cell(offset)
        self._cells.append(cell)
        self._next = offset + 1
        return cell

    @property
    def end(self) -> int:
        """End of the acknowledged prefix: what may be committed."""
        cells = self._cells
        while cells and cells[0].acknowledged:
            cells.popleft()
        return cells[0].offset if cells else self._next

    @property
    def to_commit(self) -> int | None:
        """`end` if it is further than what was committed, else `None`."""
        end = self.end
        return end if end > self._committed else None

    def committed(self, offset: int) -> None:
        """The group's offset is stored."""
        self._committed = max(self._committed, offset)

    @property
    def committed_offset(self) -> int:
        """The highest offset known to be stored; records before it may be purged."""
        return self._committed

    @property
    def outstanding(self) -> int:
        """Commands behind the acknowledged prefix."""
        _ = self.end
        return len(self._cells)
