"""When a lane waits a moment before its next transaction.

A transaction costs broker and client about a millisecond of CPU together, with one input in it or with a hundred. So a lane whose
last one held several inputs, which is what load looks like, lets inputs gather for a moment after the commit. One workflow at a time
never waits. Also, the broker is still writing the last transaction's markers just then: a next one at once would be sent back and retried.
"""

from __future__ import annotations

#: (inputs in the last transaction, seconds to gather from its commit on), the first that fits. The more load, the longer a
#: run waits anyway, and the more a transaction saves by holding more.
GATHER = ((12, 0.03), (3, 0.01))
ENOUGH = 100  # inputs that wait already: go


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
