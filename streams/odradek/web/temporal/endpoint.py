"""One call of Temporal's HTTP API: its parameters, its body, its answer in the form that was
asked for, its errors, its deadline.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from odradek.client.locate import NAME_THE_QUEUE
from odradek.service import RPCStatusCode
from odradek.web.context import ServerContext, server_of
from odradek.web.errors import DETAIL_TYPE, ApiError, api_error, invalid
from odradek.web.paths import SLASH
from odradek.web.request_body import read_json
from odradek.web.temporal.message import Message, camel
from odradek.web.temporal.shorthand import shorten

#: The cluster's name, which is Temporal's own for a single one.
CLUSTER = "active"
_TRUE, _FALSE = ("true", "1", "t"), ("false", "0", "f", "")
NAMESPACE = "/api/v1/namespaces/{namespace:segment}"


class Call:
    """A request as a handler sees it. `headers`: what the answer gets besides."""

    def __init__(self, request: Request, server: ServerContext) -> None:
        self.request = request
        self.server = server
        self.headers: dict[str, str] = {}
        style = _style(request, "accept")
        query = self._parameters = _parameters(request)
        self.short = "no-payload-shorthand" not in style and "noPayloadShorthand" not in query
        self.pretty = "pretty" in style or "pretty" in query

    def path(self, name: str) -> str:
        """A segment of the path."""
        return str(self.request.path_params[name])

    def text(self, name: str, default: str = "") -> str:
        """A text of the query string; names with dots as Temporal's API has them. Given twice it
        is an error, as in grpc-gateway.
        """
        values = self._parameters.get(name, [default])
        if len(values) > 1:
            raise invalid(f"too many values for field {name!r}: {', '.join(values)}")
        return values[0]

    def number(self, name: str, default: int, *, most: int) -> int:
        """A number; 0 and none are `default`, more than `most` is `most`."""
        text = self.text(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > 2**31 - 1:
            raise invalid(f"parsing field {name!r}: {text!r} is no number from 0 to {2**31 - 1}")
        return min(int(text) or default, most)

    def flag(self, name: str) -> bool:
        """A truth value."""
        text = self.text(name).lower()
        if text in _TRUE:
            return True
        if text in _FALSE:
            return False
        raise invalid(f"parsing field {name!r}: {text!r} is neither true nor false")

    def enum(self, name: str, prefix: str, values: dict[int, str]) -> str:
        """A value of an enum by name or number, without its prefix; "" when it is unspecified."""
        text = self.text(name)
        value: Any = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else text
        return Message({name: value or 0}, {name}).enum(name, prefix, values)

    def token(self, name: str = "nextPageToken") -> bytes:
        """A page token: base64, of either alphabet."""
        text = self.text(name).replace("-", "+").replace("_", "/").replace(" ", "+").rstrip("=")
        try:
            return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise invalid(f"parsing field {name!r}: not base64") from None

    async def body(
        self,
        known: Collection[str],
        *,
        ignored: Collection[str] = (),
        refused: Collection[str] = (),
    ) -> Message:
        """The body as a message."""
        short = (
            "no-payload-shorthand" not in _style(self.request, "content-type")
            and "noPayloadShorthand" not in self._parameters
        )
        value = await read_json(self.request, self.server.options.body_max_bytes)
        return Message(value, known, ignored=ignored, refused=refused, short=short)


Handler = Callable[[Call], Awaitable[dict[str, Any]]]


def route(method: str, path: str, handler: Handler) -> Route:
    """A route of the API."""

    async def endpoint(request: Request) -> Response:
        server = server_of(request)
        call = Call(request, server)
        try:
            namespace = request.path_params.get("namespace")
            if namespace is not None:
                server.check_namespace(namespace)
            async with asyncio.timeout(server.options.request_limit_s):
                value = await handler(call)
        except Exception as error:
            return error_response(_as_named_here(api_error(error)), pretty=call.pretty)
        return json_response(
            shorten(value) if call.short else value, pretty=call.pretty, headers=call.headers
        )

    return Route(path, endpoint, methods=[method])


def _as_named_here(error: ApiError) -> ApiError:
    """An error as Temporal's API has it: with the detail of its status, and a cure that is a
    parameter of ours by the name it has there.
    """
    error.message = error.message.replace(
        NAME_THE_QUEUE, "name the queue of the workflow with `taskQueue`"
    )
    if error.status is RPCStatusCode.NOT_FOUND and not error.details:
        error.details = [
            {
                "@type": DETAIL_TYPE + "NotFoundFailure",
                "currentCluster": CLUSTER,
                "activeCluster": CLUSTER,
            }
        ]
    return error


def json_response(
    value: Any, *, status: int = 200, pretty: bool = False, headers: dict[str, str] | None = None
) -> Response:
    """A value as JSON."""
    separators = None if pretty else (",", ":")
    text = json.dumps(
        value,
        ensure_ascii=False,
        allow_nan=False,
        indent=2 if pretty else None,
        separators=separators,
    )
    # A lone surrogate, which JSON in a payload may hold, becomes JSON's own escape of it.
    return Response(
        text.encode("utf-8", "backslashreplace"), status, headers, media_type="application/json"
    )


def error_response(error: ApiError, *, pretty: bool = False) -> Response:
    """An error as gRPC's status."""
    return json_response(
        error.body(), status=error.http_status, pretty=pretty, headers=error.headers
    )


def without_defaults(**members: Any) -> dict[str, Any]:
    """Members that say something: what is null, empty or 0 is left out, for users' scripts ask
    whether a member is there at all.
    """
    return {
        name: value for name, value in members.items() if value not in (None, "", "0", 0, [], {})
    }


def new_token(token: bytes) -> str | None:
    """A page token as it stands in an answer; None on the last page."""
    return base64.b64encode(token).decode() if token else None


def _parameters(request: Request) -> dict[str, list[str]]:
    """The query string by names in camel case: grpc-gateway takes those of the proto file
    (`next_page_token`) as well.
    """
    found: dict[str, list[str]] = {}
    for name, value in request.query_params.multi_items():
        found.setdefault(".".join(map(camel, name.split("."))), []).append(value)
    return found


def _style(request: Request, header: str) -> list[str]:
    """What stands behind `application/json` in a media type: `+pretty`, `+no-payload-shorthand`."""
    media = request.headers.get(header, "").partition(";")[0].strip().lower()
    return (
        media.removeprefix("application/json").split("+")
        if media.startswith("application/json")
        else []
    )


def plain(text: str) -> str:
    """A path's text for messages."""
    return text.replace(SLASH, "/")
