"""Worker plugins: change a worker's configuration, wrap its running. Applied in order, the first
outermost.
"""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from odradek.worker._config import WorkerConfig
    from odradek.worker._worker import Worker


class Plugin(abc.ABC):
    """Base of worker plugins. A client's plugins that are also of this class are used by its
    workers, before the worker's own.
    """

    def name(self) -> str:
        """Qualified name of the plugin."""
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @abc.abstractmethod
    def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
        """Change the configuration of a worker that is being made, and return it."""

    @abc.abstractmethod
    async def run_worker(self, worker: Worker, next: Callable[[Worker], Awaitable[None]]) -> None:
        """Run the worker: call `next(worker)`, with whatever belongs around it."""
