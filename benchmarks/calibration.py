"""A fixed piece of Python, so that figures of two machines, or of one whose speed moves, compare."""

from __future__ import annotations

import json
import time

ROUNDS = 300
DOCUMENT = {
    "orders": [
        {"id": f"order-{n}", "cents": n * 7, "lines": list(range(n % 9))} for n in range(100)
    ]
}


def calibrate() -> float:
    """CPU milliseconds of this machine for the fixed work: the least of five."""
    return min(_once() for _ in range(5))


def _once() -> float:
    began = time.process_time()
    for _ in range(ROUNDS):
        orders = json.loads(json.dumps(DOCUMENT))["orders"]
        totals: dict[int, int] = {}
        for order in orders:
            totals[len(order["lines"])] = totals.get(len(order["lines"]), 0) + order["cents"]
        sorted(totals.items(), key=lambda item: -item[1])
    return (time.process_time() - began) * 1000
