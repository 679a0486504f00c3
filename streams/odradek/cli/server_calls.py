"""Calls of `odradek server` that the client has no method for: Temporal's HTTP API, for commands
about the server and its batches.

A command is one call or a few, each with the setting `rpc_timeout` as its deadline; errors are
those of lists.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from odradek.cli.common import api_key_of, check_token, settings_of
from odradek.cli.status import CommandFailedError, Status
from odradek.client.server_api import ServerApi
from odradek.config import Settings

_READY = "/health/ready"


class Server(ServerApi):
    """The server that a command's options name. Every call raises `RPCError`."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.settings: Settings = settings_of(options)
        super().__init__(self.settings.server_address)
        self._timeout_s = (options.rpc_timeout or self.settings.rpc_timeout).total_seconds()
        self._token = api_key_of(options)
        if self._token is None:
            self._token = check_token(self.settings.server_token, "the setting `server_token`")

    def path(self, *parts: str, namespace: str = "") -> str:
        """A path below a namespace, that of the settings unless another is given."""
        return "/".join(
            [
                "/api/v1/namespaces",
                *(quote(part, safe="") for part in (namespace or self.settings.namespace, *parts)),
            ]
        )

    def ask(
        self, path: str, what: str, parameters: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """What the server says. what: the call, for errors."""
        return asyncio.run(
            self.get(
                path, parameters or {}, what=what, timeout_s=self._timeout_s, token=self._token
            )
        )

    def pages(self, path: str, what: str, member: str) -> Any:
        """The items of a list, page by page."""
        token = ""
        while True:
            page = self.ask(path, what, {"nextPageToken": token} if token else {})
            yield from page.get(member) or []
            token = page.get("nextPageToken") or ""
            if not token:
                return

    def tell(self, path: str, what: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Have the server do something."""
        status, answer = self._exchange("POST", path, what, json.dumps(body).encode())
        return self._read(status, answer, what)

    def check_ready(self) -> None:
        """Raises `CommandFailedError` with what the server waits for."""
        status, body = self._exchange("GET", _READY, "health")
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if status == 503 and isinstance(answer, dict) and isinstance(answer.get("missing"), dict):
            missing = "; ".join(f"{name}: {why}" for name, why in answer["missing"].items())
            raise CommandFailedError(
                f"the server at {self._url} does not serve yet, or no more: {missing}",
                Status.UNAVAILABLE,
            )
        self._read(status, body, "health")

    def _exchange(
        self, method: str, path: str, what: str, body: bytes | None = None
    ) -> tuple[int, bytes]:
        return asyncio.run(
            self.exchange(
                method, path, body, what=what, timeout_s=self._timeout_s, token=self._token
            )
        )
