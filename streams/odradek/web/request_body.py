"""Bodies of requests: read up to a limit and a deadline, parsed as JSON."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import ClientDisconnect, Request

from odradek.service import RPCStatusCode
from odradek.web.errors import ApiError, invalid
from odradek.wire import standard_json


async def read_body(request: Request, limit: int, timeout_s: float) -> bytes:
    """The body. Stops reading at the limit: RESOURCE_EXHAUSTED, as gRPC has it; and after
    `timeout_s`: DEADLINE_EXCEEDED. The connection is closed then, for what came late would be
    taken for the next request's.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await _read(request, limit)
    except TimeoutError:
        raise ApiError(
            RPCStatusCode.DEADLINE_EXCEEDED,
            f"the request's body was not whole within {timeout_s:g} s",
            headers={"Connection": "close"},
        ) from None


async def _read(request: Request, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise ApiError(
                    RPCStatusCode.RESOURCE_EXHAUSTED, f"the request is larger than {limit} bytes"
                )
            chunks.append(chunk)
    except ClientDisconnect as error:
        raise ApiError(
            RPCStatusCode.CANCELLED, "the client went away while it sent the request"
        ) from error
    return b"".join(chunks)


async def read_json(request: Request, limit: int, timeout_s: float) -> Any:
    """The body as a JSON value; an empty one is an empty object. INVALID_ARGUMENT for what is
    none, or has a member twice.
    """
    raw = await read_body(request, limit, timeout_s)
    if not raw.strip():
        return {}
    try:
        return standard_json.loads(raw, object_of=_each_once)
    except RecursionError:
        raise invalid("the body is nested too deeply") from None
    except ValueError as error:
        raise invalid(f"the body is not JSON: {error}") from None


def _each_once(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a member that is given twice none is meant: protobuf's reader refuses it too."""
    found = dict(members)
    if len(found) < len(members):
        names = [name for name, _ in members]
        doubled = next(name for name in names if names.count(name) > 1)
        raise invalid(
            f'duplicate field "{doubled}": it stands more than once in one object of the body'
        )
    return found
