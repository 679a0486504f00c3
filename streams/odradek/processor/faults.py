"""Fault points between the calls of a lane's transaction. For tests only: they kill or stop this
very process.

`ODRADEK_FAULT=point:action[:nth]`, read once when a lane is made. Points are in `POINTS`; action
`kill` is SIGKILL, `stop` SIGSTOP (the test sends SIGCONT); nth (default 1) counts how often the
process has passed the point. Unset, a lane holds None and pays one comparison.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

from odradek.exceptions import ConfigurationError

VARIABLE = "ODRADEK_FAULT"

AFTER_INIT = "after-init"
AFTER_RESTORE = "after-restore"
AFTER_BEGIN = "after-begin"
AFTER_PRODUCE = "after-produce"
AFTER_FLUSH = "after-flush"
BEFORE_COMMIT = "before-commit"
AFTER_COMMIT = "after-commit"
AFTER_APPLY = "after-apply"
POINTS = (
    AFTER_INIT,
    AFTER_RESTORE,
    AFTER_BEGIN,
    AFTER_PRODUCE,
    AFTER_FLUSH,
    BEFORE_COMMIT,
    AFTER_COMMIT,
    AFTER_APPLY,
)

_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}

FaultHook = Callable[[str], None]
_hooks: dict[str, FaultHook] = {}


def fault_hook() -> FaultHook | None:
    """What a lane calls at each point, or None when no fault is asked for. One counter a
    process, whatever the number of lanes.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return None
    hook = _hooks.get(text)
    if hook is None:
        hook = _hooks[text] = _make(text)
    return hook


def _make(text: str) -> FaultHook:
    point, _, rest = text.partition(":")
    action, _, nth = rest.partition(":")
    if point not in POINTS or action not in _SIGNALS or not (nth or "1").isdigit():
        raise ConfigurationError(
            f"{VARIABLE}={text}: expected point:action[:nth], points {', '.join(POINTS)}, actions"
            " kill, stop",
            key=VARIABLE,
        )
    left = int(nth or "1")
    lock = threading.Lock()

    def hit(name: str) -> None:
        nonlocal left
        if name != point:
            return
        with lock:
            left -= 1
            fires = left == 0
        if fires:
            os.kill(os.getpid(), _SIGNALS[action])

    return hit
