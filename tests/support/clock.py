"""A clock that a test moves by hand."""

from __future__ import annotations


class ManualClock:
    """Stands for a clock port, for `time.monotonic`, and for the module `time`."""

    def __init__(self, now_s: float = 1_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s

    def time(self) -> float:
        return self.now_s

    def time_ms(self) -> int:
        return int(self.now_s * 1_000)

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
