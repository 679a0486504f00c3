"""Owners that die in a row: who is to blame.

Workflow code can keep the interpreter or kill its process, and then the next owner meets the
same again. So each own counts itself in the position row until it has come through what was
there when it began, or fell due soon after: inputs, parked runs, and timers, which come behind
inputs, so that inputs that were applied clear inputs alone. From the third in a row on, a lane
takes what is suspect, inputs or timers, one a transaction, and names it in the row first. What
three in a row died over is held, and set aside if that does not help: a guilty one is what each
of them names, an innocent one is named when somebody kills the process just then, which happens,
and thrice in a row does not. An own that ended over the cluster is no death, nor a stop before
what was named had run, also in the eyes of another process (`released.py`).
"""

from __future__ import annotations

from odradek.wire.state import PositionRow

OWNS_BEFORE_CARE = 2  # owners in a row that did not come through
DEATHS_BEFORE_HOLDING = 3  # of owners in a row, all over the same
DEATHS_BEFORE_GIVING_UP = 4  # ... the last although no code of its run ran
# An owner dies within a batch, 200 inputs and 100 timers: what it died over is among so many of
# either.
CAREFUL_INPUTS = CAREFUL_TIMERS = 250
# after the own: a timer that took the last owner along may fall due a little later by the clock of
# this one
SOON_MS = 5_000
PROVEN_AFTER_SECONDS = 30.0  # an owner that lived this long without inputs did not die over one


class Care:
    """Of one lane, over all its owns. What it says is durable once the lane has committed its
    position row.
    """

    def __init__(self) -> None:
        self.owns = 0  # in a row, this one included
        self.input_owns = 0  # of them, the latest that applied no input
        self._inputs_left = self._timers_left = 0  # to be taken with care
        self._accused, self._accused_deaths = "", 0
        self._at_hand, self._at_hand_deaths = "", 0
        self._named = ""  # last, by this own
        self._blameless = False
        self._begun = False  # an own has read the row, and is not over

    @property
    def careful(self) -> bool:
        """One thing a transaction, named beforehand: inputs, timers or both."""
        return self.careful_of_inputs or self.careful_of_timers

    @property
    def careful_of_inputs(self) -> bool:
        return self._inputs_left > 0

    @property
    def careful_of_timers(self) -> bool:
        """Longer than of inputs, if those come without end: a timer comes behind those that were
        there when it fell due.
        """
        return self._timers_left > 0

    @property
    def accused(self) -> str:
        """What was named when the last owner died; "" for nothing, or once it has been tried."""
        return self._accused

    @property
    def processing(self) -> str:
        """For the position row: what is at hand, else what an owner died over and this one has
        not come to yet.
        """
        return self._at_hand or self._accused

    @property
    def deaths(self) -> int:
        """For the position row: what the next owner counts one on to if this one dies now."""
        return self._at_hand_deaths if self._at_hand else max(0, self._accused_deaths - 1)

    @property
    def blames(self) -> bool:
        """Whether the next owner counts a death over what the position row names, if this one
        dies now.
        """
        return bool(self._at_hand) and self._named == self._at_hand

    def deaths_over(self, name: str) -> int:
        """Of owners in a row, all over this."""
        return self._accused_deaths if name == self._accused else 0

    @property
    def reason(self) -> str:
        """Why it is careful."""
        over = f", {self._accused_deaths} of them over {self._accused}" if self._accused else ""
        return (
            f"{self.owns - (not self._blameless)} owners in a row did not come through what was"
            f" there{over}"
        )

    def own(self, row: PositionRow | None) -> None:
        """A new own begins, with the row that the last owner left."""
        self.owns, self.input_owns = (max(row.owns, row.timer_owns), row.owns) if row else (0, 0)
        self._inputs_left = CAREFUL_INPUTS if self.input_owns >= OWNS_BEFORE_CARE else 0
        self._timers_left = CAREFUL_TIMERS if self.owns >= OWNS_BEFORE_CARE else 0
        named = row.processing if row and self.careful else ""
        spared = self._blameless and self._named == named  # who named it is this lane, and lives
        deaths = row.deaths + (not spared) if row and named else 0
        self._accused, self._accused_deaths = (named, deaths) if deaths else ("", 0)
        self._at_hand = self._named = ""
        self._begun = True
        if not self._blameless:
            self.owns += 1
            self.input_owns += 1

    def spare(self, name: str) -> None:
        """Before `own`: who named this in the row is over without blame, whichever process it
        was of.
        """
        self._named, self._blameless = name, True

    def withdraw(self) -> None:
        """For the position row: what was named, and is not done, has not been tried. What was
        counted stays.
        """
        if self._at_hand_deaths:
            self._accused, self._accused_deaths = self._named, self._at_hand_deaths
        self._at_hand = self._named = ""

    def ended(self, *, blameless: bool) -> None:
        """This own is over, and the lane lives. blameless: the cluster was the reason. One that
        ends before it reads the row says nothing of what another has left there.
        """
        if self._begun:
            self._begun, self._blameless = False, blameless

    def accuse(self, name: str, *, alone: bool = True) -> int:
        """`name` comes next: how many owners in a row died over it. Once; another thing may come
        before what is accused.

        alone: as it has to be tried once somebody has died over it. Else this owner's death
        counts for nothing: it may be somebody else's.
        """
        deaths = self.deaths_over(name)
        if deaths:
            self._accused, self._accused_deaths = "", 0
        self._at_hand, self._at_hand_deaths, self._named = name, deaths, name
        if deaths and not alone:
            self._at_hand_deaths, self._named = deaths - 1, ""
        return deaths

    def done(self) -> None:
        """What was at hand is about to be committed."""
        self._at_hand = ""

    def took_one(self, *, timer: bool) -> bool:
        """One more thing has gone through with care. True: that was enough."""
        if timer:
            self._timers_left = max(0, self._timers_left - 1)
        else:
            self._inputs_left = max(0, self._inputs_left - 1)
        return not self.careful

    def took_inputs(self) -> None:
        """About to commit inputs, several at a time: whoever dies from now on died over no input
        that was there before these.
        """
        if not self.careful_of_inputs:
            self.input_owns = 0

    def came_through(self) -> None:
        """About to commit, and no timer and no parked run waits that might be guilty: whoever
        dies from now on is the first.

        Not while it is careful of inputs: one went through, the next may still be the guilty
        one.
        """
        if not self.careful_of_inputs:
            self.over()

    def over(self) -> None:
        """Nothing is left that could be guilty."""
        self.owns = self.input_owns = self._inputs_left = self._timers_left = (
            self._accused_deaths
        ) = 0
        self._accused = self._at_hand = ""

    def proven(self, lived_seconds: float) -> bool:
        """This owner lived long enough without inputs; True once."""
        if not self.owns or lived_seconds < PROVEN_AFTER_SECONDS:
            return False
        self.owns = self.input_owns = 0
        return True
