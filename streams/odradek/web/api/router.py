"""What the routers of `/api/odradek/v1` share: types of parameters, the server as a dependency,
answers and errors as JSON.

Every error has gRPC's form (`Status`), also the errors that FastAPI finds in parameters.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import Field

import odradek.web.paths  # noqa: F401  (the convertor of `{workflow_id:id}`)
from odradek.web.context import ServerContext, server_of
from odradek.web.errors import ApiError, api_error, invalid

PREFIX = "/api/odradek/v1"

Server = Annotated[ServerContext, Depends(server_of)]
#: As in the client: Temporal's limit of ids, which queue names keep too.
Id = Annotated[str, Field(min_length=1, max_length=1_000)]
RunId = Annotated[str, Query(max_length=1_000, description="A run; the latest when left out.")]
TaskQueue = Annotated[
    str, Query(max_length=1_000, description="The queue that is meant, when two have the id.")
]
Text = Annotated[
    str, Query(max_length=10_000, description="Filter, `ORDER BY` and, for counts, `GROUP BY`.")
]
PageSize = Annotated[int, Query(ge=1, le=1_000, description="At most so many.")]
Offset = Annotated[int, Field(ge=0, le=2**63 - 1)]
TimeMs = Annotated[int, Field(ge=0, le=253_402_300_799_999)]
FirstEvent = Annotated[int, Query(ge=1, le=2**40, description="The event to begin with.")]


@dataclass
class Status:
    """An error, in gRPC's form. `code` is gRPC's number."""

    code: int
    message: str
    details: list[dict[str, Any]]


class Json(JSONResponse):
    """JSON as msgspec writes it; a lone surrogate, which a payload may hold, as its escape."""

    def render(self, content: Any) -> bytes:
        """See `JSONResponse.render`."""
        try:
            return msgspec.json.encode(content)
        except UnicodeEncodeError:
            return json.dumps(msgspec.to_builtins(content), allow_nan=False).encode()


def refused(error: BaseException) -> Response:
    """Any error as an answer."""
    found: ApiError = api_error(error)
    return Json(found.body(), found.http_status, found.headers)


class _Route(APIRoute):
    """A route whose errors are answers, and which ends at the server's limit."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See `APIRoute.get_route_handler`."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                async with asyncio.timeout(server_of(request).options.request_limit_s):
                    return await handler(request)
            except RequestValidationError as error:
                found = error.errors()[0]
                where = ".".join(str(part) for part in found["loc"])
                return refused(invalid(f"{where}: {found['msg']}"))
            except Exception as error:
                return refused(error)

        return answer


def _check_parameters(request: Request) -> None:
    """INVALID_ARGUMENT for a parameter that the operation does not have, which FastAPI ignores."""
    known = {field.alias for field in request.scope["route"].dependant.query_params}
    for name, value in request.query_params.multi_items():
        if name not in known:
            raise invalid(f"unknown parameter {name!r}; known are {', '.join(sorted(known))}")
        if "\x00" in value:
            raise invalid(f"parameter {name!r} holds a NUL character")


def new_router(tag: str) -> APIRouter:
    """A router of one part of the API."""
    return APIRouter(
        prefix=PREFIX,
        tags=[tag],
        route_class=_Route,
        generate_unique_id_function=lambda route: route.name,
        default_response_class=Json,
        dependencies=[Depends(_check_parameters)],
        responses={
            "4XX": {"model": Status, "description": "The request is refused."},
            "5XX": {"model": Status, "description": "Nobody could answer, or a defect."},
        },
    )
