"""Bodies as JSON, whatever their content type says: curl calls every `-d` a form. Of a field
that is given twice none is meant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute


class JsonRoute(APIRoute):
    """Hands its endpoint a body that is JSON without doubled fields; anything else is 422."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def as_json(request: Request) -> Response:
            body = await request.body()
            if not body:
                return await handle(request)
            _check(body)

            async def receive() -> dict[str, Any]:
                return {"type": "http.request", "body": body, "more_body": False}

            headers = [
                header for header in request.scope["headers"] if header[0] != b"content-type"
            ]
            scope = {**request.scope, "headers": [*headers, (b"content-type", b"application/json")]}
            return await handle(Request(scope, receive))

        return as_json


def _check(body: bytes) -> None:
    try:
        json.loads(body, object_pairs_hook=_each_once)
    except _Doubled as error:
        raise _refused(
            "doubled_field", error.field, f"the field {error.field!r} stands there more than once"
        ) from None
    except json.JSONDecodeError as error:
        raise _refused("json_invalid", error.pos, f"The body is no JSON: {error}") from None
    except (
        ValueError,
        RecursionError,
    ):  # no text of any encoding, a number of 5,000 digits, a thousand brackets
        raise _refused("json_invalid", 0, "The body is no JSON that can be read") from None


class _Doubled(Exception):
    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field, value in pairs:
        if field in found:
            raise _Doubled(field)
        found[field] = value
    return found


def _refused(kind: str, where: str | int, message: str) -> RequestValidationError:
    return RequestValidationError([{"type": kind, "loc": ("body", where), "msg": message}])
