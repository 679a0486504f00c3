"""Owners that die in a row: who is to blame.

Workflow code can keep the interpreter or kill its process, and then the next owner meets the same input. So each own counts itself in
the position row until there is progress; from the fourth on, a lane takes one thing a transaction and names it in the row first. What
was named when its owner died is held, and set aside if that does not help. An own that ended over the cluster is no death.
"""

from __future__ import annotations

from odradek.wire.state import PositionRow

OWNS_BEFORE_CARE = 3  # owners in a row without progress
CAREFUL_INPUTS = 1_000
PROVEN_AFTER_SECONDS = 30.0  # an owner that lived this long without inputs did not die over one


class Care:
    """Of one lane, over all its owns. What it says is durable once the lane has committed its position row."""

    def __init__(self) -> None:
        self.owns = 0  # in a row, this one included
        self._left = 0
        self._accused = ""
        self._blameless = False

    @property
    def careful(self) -> bool:
        """One thing a transaction, named beforehand."""
        return self._left > 0

    @property
    def accused(self) -> str:
        """What was named when the last owner died; "" for nothing."""
        return self._accused

    def own(self, row: PositionRow | None) -> None:
        """A new own begins, with the row that the last owner left."""
        self.owns = row.owns if row else 0
        self._left = CAREFUL_INPUTS if self.owns >= OWNS_BEFORE_CARE else 0
        self._accused = row.processing if row and self._left and not self._blameless else ""
        if not self._blameless:
            self.owns += 1

    def ended(self, *, blameless: bool) -> None:
        """This own is over, and the lane lives. blameless: the cluster was the reason."""
        self._blameless = blameless

    def accuse(self, name: str) -> bool:
        """`name` comes next: whether the last owner died over it. True once; another thing may come before what is accused."""
        if name != self._accused:
            return False
        self._accused = ""
        return True

    def progress(self) -> None:
        """A transaction is about to be committed: whoever dies from now on is the first."""
        if not self._left:
            self.owns = 0

    def took_one(self) -> bool:
        """One more thing has gone through with care. True: that was enough."""
        self._left -= 1
        return self._left == 0

    def over(self) -> None:
        """Nothing is left that could be guilty."""
        self._left = self.owns = 0

    def proven(self, lived_seconds: float) -> bool:
        """This owner lived long enough without inputs; True once."""
        if not self.owns or lived_seconds < PROVEN_AFTER_SECONDS:
            return False
        self.owns = 0
        return True
