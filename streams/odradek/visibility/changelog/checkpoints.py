"""Since when windows are whole that were restored: what a store has by itself, and before it
what checkpoints say of the topic.
"""

from __future__ import annotations

from collections.abc import Iterable

from odradek.wire.windows import WindowsCheckpoint


def complete_since_ms(bound_ms: int, checkpoints: Iterable[WindowsCheckpoint]) -> int:
    """The earliest time from which everything up to `bound_ms`, from where the store itself has
    all, is told by checkpoints without a gap.

    One store may have been begun anew after another was lost: a checkpoint may end where another
    goes on.
    """
    since_ms = bound_ms
    for checkpoint in sorted(checkpoints, key=lambda each: each.complete_until_ms, reverse=True):
        if checkpoint.complete_until_ms < since_ms:
            break  # and so do all that follow
        since_ms = min(since_ms, checkpoint.complete_since_ms)
    return since_ms
