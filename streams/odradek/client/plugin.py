"""Client plugins: change how a client is configured and connected. Applied in order, the first
outermost.
"""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable
from typing import Any


class Plugin(abc.ABC):
    """Base of client plugins. One that is also a `worker.Plugin` is used by that client's
    workers too.
    """

    def name(self) -> str:
        """Qualified name of the plugin."""
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @abc.abstractmethod
    def configure_client(self, config: Any) -> Any:
        """Change the `ClientConfig` of a client that is being made, and return it."""

    @abc.abstractmethod
    async def connect_service_client(
        self, config: Any, next: Callable[[Any], Awaitable[Any]]
    ) -> Any:
        """Connect: change `config` (the `Connection`, not yet open), call `next(config)`, and
        return what it returns.
        """
