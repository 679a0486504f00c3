"""What is tried again, and when: Temporal's batcher tries what may pass a bounded number of
times; here with a pause between.

The server's batches and the command line's (`odradek workflow … --query`).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from odradek.service import RPCStatusCode

#: gRPC's "the caller can retry". Not RESOURCE_EXHAUSTED: here it is an answer that is too large,
#: which it will be again.
PASSING = frozenset(
    {RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.ABORTED}
)


@dataclass(frozen=True, slots=True)
class Retries:
    """`attempts`: the first included. Pauses double, in seconds, and spread over their upper
    half: what failed together comes apart.

    As it is, a request is given up some 5 to 8 s of pauses after it first failed, longer than a
    partition of Kafka needs for a new leader.
    """

    attempts: int = 5
    pause_first_s: float = 0.5
    pause_most_s: float = 8.0

    def again(self, status: RPCStatusCode, attempt: int) -> bool:
        """Whether what ended so is tried once more behind an attempt, counted from 1."""
        return status in PASSING and attempt < self.attempts

    def pause_s(self, attempt: int) -> float:
        """How long to wait behind an attempt, counted from 1."""
        return min(self.pause_most_s, self.pause_first_s * 2.0 ** (attempt - 1)) * random.uniform(
            0.5, 1.0
        )
