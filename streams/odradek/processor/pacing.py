"""When a lane waits a moment before its next transaction, and how many bytes that may hold.

A transaction costs broker and client about a millisecond of CPU together, with one input in it
or with a hundred. So a lane whose last one held several inputs, which is what load looks like,
lets inputs gather for a moment after the commit. One workflow at a time never waits. Also, the
broker is still writing the last transaction's markers just then: a next one at once would be
sent back and retried.
"""

from __future__ import annotations

#: (inputs in the last transaction, seconds to gather from its commit on), the first that fits. The
#: more load, the longer a run waits anyway, and the more a transaction saves by holding more.
GATHER = ((12, 0.03), (3, 0.01))
ENOUGH = 100  # inputs that wait already: go


#: Of rows and outputs in a transaction of several inputs. A transaction is open for
#: `transaction_timeout` at most, and what it holds has to get to the brokers in that time, through
#: whatever link or quota there is; so this halves with each one that took long in vain.
BYTES_MAX, BYTES_LEAST = 16 * 1024 * 1024, 64 * 1024
LONG_SECONDS = 1.0


class ByteBound:
    """How many bytes a transaction of one lane may hold; one with a single input may hold any
    number.
    """

    def __init__(self) -> None:
        self.limit = BYTES_MAX

    def committed(self, size: int) -> None:
        """A transaction of so many bytes is through: back up when it was near the bound."""
        if size > self.limit // 2:
            self.limit = min(BYTES_MAX, self.limit * 2)

    def failed(self, size: int, seconds: float) -> None:
        """One that is not, after so long. A small one says nothing of sizes: its broker was away."""
        if seconds >= LONG_SECONDS and size > BYTES_LEAST:
            self.limit = max(BYTES_LEAST, min(self.limit, size) // 2)


class Pacing:
    """Of one lane. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._gather = 0.0

    def committed(self, inputs: int) -> None:
        """A transaction with so many inputs is through."""
        self._gather = next((seconds for least, seconds in GATHER if inputs >= least), 0.0)

    def wait_seconds(self, since_commit: float, queued: int) -> float:
        """How long to wait yet; 0 for not at all."""
        if not self._gather or queued >= ENOUGH:
            return 0.0
        return max(0.0, self._gather - since_commit)
