"""Calls of the HTTP API of `odradek server`: what the read side answers and the owners of
workflows cannot.

Written on the standard library: the base install has it. A call is a short-lived connection in a
thread, without proxies and redirects, as Kafka's clients go. Every failure is an `RPCError` that
names the setting or the address, and the cure.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

from odradek.client.errors import rpc_error
from odradek.exceptions import ConfigurationError
from odradek.service import RPCError, RPCStatusCode

DEFAULT_PORT = 8088
_ANSWER_MAX_BYTES = 256 * 1024 * 1024
_STATUSES = frozenset(int(status) for status in RPCStatusCode)
_CURES = {
    RPCStatusCode.UNAUTHENTICATED: (
        "Give its token: the setting `server_token` (ODRADEK_SERVER_TOKEN), or `api_key`"
    ),
    RPCStatusCode.PERMISSION_DENIED: "Ask whoever runs the server",
}


class ServerApi:
    """The server that the setting `server_address` names; None is a server that is not there."""

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._url = "" if address is None else url_of(address)

    async def get(
        self,
        path: str,
        parameters: Mapping[str, str],
        *,
        what: str,
        timeout_s: float,
        token: str | None = None,
        metadata: Mapping[str, str | bytes] | None = None,
    ) -> dict[str, Any]:
        """The JSON object at a path. what: the call's name, for errors. token: sent as a
        bearer's. metadata: sent as headers.

        Raises `RPCError`: UNAVAILABLE without a server or an answer, DEADLINE_EXCEEDED, and
        whatever the server says.
        """
        target = f"{path}?{urlencode(parameters)}" if parameters else path
        status, answer = await self.exchange(
            "GET", target, what=what, timeout_s=timeout_s, token=token, metadata=metadata
        )
        return self._read(status, answer, what)

    async def exchange(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        what: str,
        timeout_s: float,
        token: str | None = None,
        metadata: Mapping[str, str | bytes] | None = None,
    ) -> tuple[int, bytes]:
        """Status and body of an answer, as they are. body: JSON. Raises `RPCError` as `get`
        does, but for what the server says.
        """
        if self._address is None:
            raise rpc_error(
                RPCStatusCode.UNAVAILABLE,
                f"{what} is answered by `odradek server`, and the setting `server_address` names"
                " none. Start one (`odradek server --address KAFKA`) and set `server_address`"
                " (ODRADEK_SERVER_ADDRESS) to its HOST:PORT",
            )
        headers = {
            name: text.decode("latin-1") if isinstance(text, bytes) else text
            for name, text in (metadata or {}).items()
        }
        headers["Accept"] = "application/json"
        if token:
            headers["Authorization"] = f"Bearer {token}"
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.to_thread(
                    _send, self._url, method, target, body, headers, timeout_s
                )
        except TimeoutError:
            raise rpc_error(
                RPCStatusCode.DEADLINE_EXCEEDED,
                f"{what}: the server at {self._url} (setting `server_address`) took longer than"
                f" {timeout_s:g} s",
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise rpc_error(
                RPCStatusCode.UNAVAILABLE,
                f"{what}: the server at {self._url} (setting `server_address`) does not answer:"
                f" {_reason(error)}. Start it (`odradek server`), or correct the setting",
            ) from error

    def _read(self, status: int, body: bytes, what: str) -> dict[str, Any]:
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            if status == 200:
                return value
            if value.get("code") in _STATUSES and isinstance(value.get("message"), str):
                raise self._refusal(RPCStatusCode(value["code"]), value["message"], what)
        raise rpc_error(
            RPCStatusCode.UNAVAILABLE,
            f"{what}: {self._url} (setting `server_address`) answers {status} with something that"
            " no `odradek server` says. Correct the setting",
        )

    def _refusal(self, status: RPCStatusCode, message: str, what: str) -> RPCError:
        if status == RPCStatusCode.INVALID_ARGUMENT:
            return rpc_error(
                status, message
            )  # about what the caller wrote: nothing else belongs to it
        cure = _CURES.get(status)
        return rpc_error(
            status, f"{what}: {self._url} says: {message}" + (f". {cure}" if cure else "")
        )


def url_of(address: str) -> str:
    """`host`, `host:port`, or a URL, as a URL without a slash at its end. Raises
    `ConfigurationError`.
    """
    text = address.strip()
    named = "://" in text
    try:
        parts = urlsplit(text if named else f"http://{text}")
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), -1
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or port == -1
        or parts.query
        or parts.fragment
        or parts.username
    ):
        raise ConfigurationError(
            f"`server_address` is {_without_secrets(address)!r}: write HOST:PORT, or a URL such as"
            " https://odradek.example.com",
            key="server_address",
        )
    if port is None and not named:
        port = DEFAULT_PORT
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return (
        f"{parts.scheme}://{host}{f':{port}' if port is not None else ''}{parts.path.rstrip('/')}"
    )


def _without_secrets(address: str) -> str:
    """An address that is none, as errors show it: what stands before an `@`, in a query or
    behind a `#` may be a password or token.
    """
    return re.sub(
        r"([?#]).*",
        r"\1***",
        re.sub(r"^(\w*:?//)?.*@", r"\1***@", address, flags=re.DOTALL),
        flags=re.DOTALL,
    )


def _send(
    url: str,
    method: str,
    target: str,
    body: bytes | None,
    headers: Mapping[str, str],
    timeout_s: float,
) -> tuple[int, bytes]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=timeout_s)
    try:
        connection.request(method, parts.path + target, body=body, headers=dict(headers))
        answer = connection.getresponse()
        said = answer.read(_ANSWER_MAX_BYTES + 1)
        if len(said) > _ANSWER_MAX_BYTES:
            raise http.client.HTTPException(
                f"an answer of more than {_ANSWER_MAX_BYTES} bytes: ask for smaller pages"
            )
        return answer.status, said
    finally:
        connection.close()


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
