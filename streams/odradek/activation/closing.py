"""Closing a run that leaves memory: its coroutines end at once, and nothing that they do in
ending has an effect.

Left to the garbage collector, a coroutine is closed at some later moment, on any thread, perhaps
in the middle of another workflow, and its `finally` blocks would then call the workflow API of
*that* run. So each is closed here, under its own loop, with commands, timers, callbacks and
logging off.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from odradek.activation.loop import enter, leave

if TYPE_CHECKING:
    from odradek.activation.context import WorkflowContext

logger = logging.getLogger("odradek.workflow")

ATTEMPTS = 20
_undying: list[Any] = []
"""Coroutines that swallow `GeneratorExit` again and again. Kept, so that the garbage collector
does not run them elsewhere.
"""


def close(context: WorkflowContext) -> None:
    """End all coroutines of a run. Raises nothing of theirs."""
    if context.closing:
        return
    context.closing = True
    context.is_replaying = True  # silences loggers
    loop = context.loop
    before = enter(loop)
    try:
        tasks = list(loop.tasks.values())
        for task in tasks:
            task.variables.run(_close_chain, task.get_coro(), context)
            # What nobody will retrieve is no news: the run goes on elsewhere.
            task._log_traceback = False
        for task in tasks:  # their coroutines have ended: this only parts those who hold each other
            task.cancel()  # task and future
            asyncio.Future.cancel(task)  # task and task that awaits it
    finally:
        leave(before)
        loop.detach()
        context.activities.clear()
        del context.handlers
        context.instance = context.inbound = context.outbound = None


def _close_chain(outermost: Any, context: WorkflowContext) -> None:
    """Close a coroutine and those that it awaits, innermost first.

    Closed from outside, one that does not let go inside would end those around it with a
    RuntimeError and be left over itself.
    """
    chain = []
    awaited = outermost
    while awaited is not None and hasattr(awaited, "close"):
        chain.append(awaited)
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "gi_yieldfrom", None)
    for coroutine in reversed(chain):
        _close_coroutine(coroutine, context)


def _close_coroutine(coroutine: Any, context: WorkflowContext) -> None:
    for _ in range(ATTEMPTS):
        try:
            coroutine.close()
            return
        except KeyboardInterrupt:
            raise
        except RuntimeError as error:
            if "ignored GeneratorExit" not in str(error):
                return  # raised by user code on its way out
        except BaseException:
            # whatever a `finally` block raised, or the watchdog in one; the coroutine has ended
            return
    _undying.append(coroutine)
    logger.warning(
        "a coroutine of workflow %s (id %s) does not end: it catches BaseException and goes on."
        " Catch Exception, or asyncio.CancelledError",
        context.workflow_type,
        context.workflow_id,
    )
