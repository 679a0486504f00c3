"""An operation: path, parameters, body, answer, declared once. It is served by this, and the
OpenAPI document is made of it.

Parameters are the fields of a Struct: those that stand in braces in the path are path
parameters, the others belong to the query string. Types and limits are checked before the
handler is called; what does not fit is 400 in gRPC's form.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from odradek.web.context import ServerContext, server_of
from odradek.web.errors import ApiError, api_error, invalid
from odradek.web.request_body import read_json
from odradek.web.request_limit import handler_limit
from odradek.web.segments import segment_text
from odradek.wire.struct_info import find_out

PREFIX = "/api/odradek/v1"


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """No parameters, or an empty body."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as a handler sees it. `parameters` and `body` are of the operation's types."""

    server: ServerContext
    request: Request
    parameters: Any
    body: Any


Handler = Callable[[Asked], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. `answer`: type of the JSON; with `streams` the handler gives a Response of
    its own, an event stream.
    """

    method: str
    path: str
    name: str
    summary: str
    tag: str
    handler: Handler
    answer: Any
    parameters: type[msgspec.Struct] = Nothing
    body: type[msgspec.Struct] | None = None
    streams: bool = False

    def __post_init__(self) -> None:
        find_out(*(each for each in (self.parameters, self.body) if each is not None))

    def route(self) -> Route:
        """The operation as a route."""
        return Route(
            PREFIX + self._route_path(), self._serve, methods=[self.method], name=f"api:{self.name}"
        )

    def _route_path(self) -> str:
        return self.path.replace("}", ":segment}")

    async def _serve(self, request: Request) -> Response:
        server = server_of(request)
        try:
            parameters = self._parameters(request)
            if self.streams:
                response = await self.handler(Asked(server, request, parameters, None))
                assert isinstance(response, Response)
                return response
            async with handler_limit(server.options):
                body = await self._body(request, server) if self.body is not None else None
                answer = await self.handler(Asked(server, request, parameters, body))
        except Exception as error:
            return refused(error)
        return Response(_json(answer), media_type="application/json")

    def _parameters(self, request: Request) -> Any:
        known = set(self.parameters.__struct_encode_fields__)
        given: dict[str, Any] = {}
        for name in request.query_params:
            if name not in known or name in request.path_params:
                raise invalid(
                    f"unknown parameter {name!r}; known are"
                    f" {', '.join(sorted(known - set(request.path_params))) or 'none'}"
                )
            values = request.query_params.getlist(name)
            if len(values) > 1:
                raise invalid(f"parameter {name!r} is given {len(values)} times")
            given[name] = values[0]
        given.update({name: segment_text(value) for name, value in request.path_params.items()})
        for name, value in given.items():
            if "\x00" in value:
                raise invalid(f"parameter {name!r} holds a NUL character")
        try:
            return msgspec.convert(given, self.parameters, strict=False)
        except msgspec.ValidationError as error:
            raise invalid(f"parameters: {error}") from None

    async def _body(self, request: Request, server: ServerContext) -> Any:
        value = await read_json(
            request, server.options.body_max_bytes, server.options.body_timeout_s
        )
        try:
            return msgspec.convert(value, self.body)
        except msgspec.ValidationError as error:
            raise invalid(f"body: {error}") from None


def _json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # a lone surrogate, which JSON in a payload may hold: its escape
        return json.dumps(msgspec.to_builtins(value), allow_nan=False).encode()


def refused(error: BaseException) -> Response:
    """Any error as an answer."""
    found: ApiError = api_error(error)
    return Response(
        _json(found.body()), found.http_status, found.headers, media_type="application/json"
    )
