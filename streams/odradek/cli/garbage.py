"""The garbage collector of a process that is ours alone.

A processor keeps hundreds of live coroutines and makes millions of short-lived objects, almost
none of them in cycles (a closed run is freed by its reference counts). With Python's defaults
the collector goes over all of them again and again: a seventh of a busy processor's time in a
profile. Never for somebody else's process: `Worker` in a program leaves the collector alone.
"""

from __future__ import annotations

import gc

#: Net new objects before a young collection, young ones before a middle one, middle ones before a
#: full one.
THRESHOLDS = (200_000, 20, 50)


def tune() -> None:
    """Call after imports: what is there by then is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
