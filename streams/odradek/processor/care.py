"""Owners that die in a row: who is to blame.

Workflow code can keep the interpreter or kill its process, and then the next owner meets the same input. So each own counts itself in
the position row until there is progress; from the third on, a lane takes one thing a transaction and names it in the row first. What
three in a row died over is held, and set aside if that does not help: a guilty one is what each of them names, an innocent one is named
when somebody kills the process just then, which happens, and thrice in a row does not. An own that ended over the cluster is no death.
"""

from __future__ import annotations

from odradek.wire.state import PositionRow

OWNS_BEFORE_CARE = 2  # owners in a row without progress
DEATHS_BEFORE_HOLDING = 3  # of owners in a row, all over the same
DEATHS_BEFORE_GIVING_UP = 4  # ... the last although no code of its run ran
CAREFUL_INPUTS = 250
PROVEN_AFTER_SECONDS = 30.0  # an owner that lived this long without inputs did not die over one


class Care:
    """Of one lane, over all its owns. What it says is durable once the lane has committed its position row."""

    def __init__(self) -> None:
        self.owns = 0  # in a row, this one included
        self.deaths = 0  # what the position row says of what it names
        self._left = 0
        self._accused = ""
        self._accused_deaths = 0
        self._named = ""  # by this own
        self._blameless = False

    @property
    def careful(self) -> bool:
        """One thing a transaction, named beforehand."""
        return self._left > 0

    @property
    def accused(self) -> str:
        """What was named when the last owner died; "" for nothing."""
        return self._accused

    def deaths_over(self, name: str) -> int:
        """Of owners in a row, all over this."""
        return self._accused_deaths if name == self._accused else 0

    @property
    def reason(self) -> str:
        """Why it is careful."""
        over = f", {self._accused_deaths} of them over {self._accused}" if self._accused else ""
        return f"{self.owns - (not self._blameless)} owners in a row made no progress{over}"

    def own(self, row: PositionRow | None) -> None:
        """A new own begins, with the row that the last owner left."""
        self.owns = row.owns if row else 0
        self._left = CAREFUL_INPUTS if self.owns >= OWNS_BEFORE_CARE else 0
        named = row.processing if row and self._left else ""
        spared = self._blameless and self._named == named  # who named it is this lane, and lives
        deaths = row.deaths + (not spared) if row and named else 0
        self._accused, self._accused_deaths = (named, deaths) if deaths else ("", 0)
        self.deaths, self._named = max(0, deaths - 1), ""
        if not self._blameless:
            self.owns += 1

    def ended(self, *, blameless: bool) -> None:
        """This own is over, and the lane lives. blameless: the cluster was the reason."""
        self._blameless = blameless

    def accuse(self, name: str, *, alone: bool = True) -> int:
        """`name` comes next: how many owners in a row died over it. Once; another thing may come before what is accused.

        alone: as it has to be tried once somebody has died over it. Else this owner's death would count for nothing."""
        deaths = self.deaths_over(name)
        if deaths:
            self._accused = ""
        counts = alone or not deaths
        self.deaths = deaths if counts else deaths - 1
        self._named = name if counts else ""
        return deaths

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
