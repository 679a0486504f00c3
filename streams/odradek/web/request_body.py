"""Bodies of requests: read up to a limit, parsed as JSON. Deadlines for slow clients belong to the
proxy in front.
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from odradek.service import RPCStatusCode
from odradek.web.errors import ApiError, invalid
from odradek.wire import standard_json


async def read_body(request: Request, limit: int) -> bytes:
    """The body. Stops reading at the limit: RESOURCE_EXHAUSTED, as gRPC has it."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise ApiError(
                RPCStatusCode.RESOURCE_EXHAUSTED, f"the request is larger than {limit} bytes"
            )
    return bytes(body)


async def read_json(request: Request, limit: int) -> Any:
    """The body as a JSON value; an empty one is an empty object. INVALID_ARGUMENT for what is
    none, or has a member twice.
    """
    raw = await read_body(request, limit)
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
