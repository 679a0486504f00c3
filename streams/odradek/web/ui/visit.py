"""What every handler of a page gets: the request, the server, its parameters, and how to answer:
page, part, or error as a page.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from jinja2 import DictLoader, Environment, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from odradek.service import RPCStatusCode
from odradek.web.context import ServerContext, server_of, server_version
from odradek.web.errors import ApiError, ReadSideBuildingError, api_error, invalid
from odradek.web.request_body import read_body
from odradek.web.security.gate import may_write
from odradek.web.ui import text
from odradek.web.ui.histories import HistoryBook

FOLDER = Path(__file__).parent
#: What a script asks a part of a page with; its value names no template, it only says that the part
#: is wanted.
PART_HEADER = "x-part"
THEMES = ("light", "dark")
_FORM_MAX = 4 * 1024 * 1024
TITLES = {
    RPCStatusCode.NOT_FOUND: "Not found",
    RPCStatusCode.UNAVAILABLE: "Nobody answers",
    RPCStatusCode.DEADLINE_EXCEEDED: "No answer in time",
    RPCStatusCode.INVALID_ARGUMENT: "That does not fit",
    RPCStatusCode.FAILED_PRECONDITION: "Not possible now",
    RPCStatusCode.PERMISSION_DENIED: "Not allowed",
    RPCStatusCode.UNAUTHENTICATED: "Who are you?",
    RPCStatusCode.UNIMPLEMENTED: "Not served here",
    RPCStatusCode.DATA_LOSS: "Cannot be decoded",
}
#: What a page says after something was done. By name, so that no text of an address is ever shown
#: as the server's.
NOTICES = {
    "signaled": "Signal delivered.",
    "canceled": "Cancellation requested.",
    "terminated": "Workflow terminated.",
    "released": "The run is tried again.",
    "redriven": "The record was put back where it came from.",
    "pending": (
        "Accepted: no processor has answered yet. It lies in the log and is applied when one comes."
    ),
}


def new_environment() -> Environment:
    """The templates, read now: files that change under a running server (an upgrade) change none
    of its pages.
    """
    return _compiled(FOLDER / "templates")


@functools.cache
def _compiled(folder: Path) -> Environment:
    """One for all servers of a process: to compile the templates takes a third of a second, and
    nothing changes an environment.
    """
    texts = {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(folder.rglob("*.html"))
    }
    environment = Environment(
        loader=DictLoader(texts),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=text.finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        cache_size=-1,
    )
    environment.filters.update(text.FILTERS)
    environment.tests.update(text.TESTS)
    for name in texts:
        environment.get_template(name)
    return environment


@dataclass
class UiState:
    """What the UI keeps in memory. All of it may be lost: histories are read again, a batch that
    stops says how far it came.
    """

    environment: Environment = field(default_factory=new_environment)
    histories: HistoryBook = field(default_factory=HistoryBook)


class Visit:
    """One request of a page."""

    def __init__(self, request: Request, state: UiState) -> None:
        self.request = request
        self.state = state
        self.server: ServerContext = server_of(request)
        self.now_ms = int(time.time() * 1000)

    @property
    def wants_part(self) -> bool:
        """Whether a script asks for the changing part of the page alone."""
        return PART_HEADER in self.request.headers

    def path(self, name: str) -> str:
        """A segment of the path."""
        return str(self.request.path_params[name])

    def text(self, name: str, default: str = "") -> str:
        """A parameter of the query string."""
        return self.request.query_params.get(name, default)

    def texts(self, name: str) -> list[str]:
        """A parameter that may come several times, without empty ones."""
        return [value for value in self.request.query_params.getlist(name) if value]

    def number(self, name: str, default: int, *, least: int = 0, most: int = 2**53) -> int:
        """A whole number; INVALID_ARGUMENT for anything else."""
        value = self.text(name)
        if not value:
            return default
        if not (value.isascii() and value.isdigit()) or len(value) > 16:
            raise invalid(f"{name}: {value!r} is no number")
        return max(least, min(int(value), most))

    async def form(self) -> Form:
        """The form that was sent."""
        body = await read_body(self.request, _FORM_MAX)
        return Form(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))

    @property
    def may_write(self) -> bool:
        """Whether whoever asks may change things: what buttons are shown by."""
        return may_write(self.request, self.server.options)

    # ------------------------------------------------------------ answers

    def render(
        self, template: str, *, part: str = "", status: int = 200, **values: Any
    ) -> Response:
        """A page; only its template `part` when a script asked for that."""
        name = part if part and self.wants_part else template
        html = self.state.environment.get_template(name).render(**self._common(), **values)
        # A lone surrogate, which JSON in a payload may hold, is shown as Python writes it.
        return HTMLResponse(html.encode("utf-8", "backslashreplace"), status)

    def go(self, path: str, **parameters: str) -> Response:
        """See another page, after something was done."""
        return RedirectResponse(f"{path}?{urlencode(parameters)}" if parameters else path, 303)

    def problem(self, error: ApiError) -> Response:
        """An error as a page."""
        if isinstance(error, ReadSideBuildingError):
            # Asked again by itself: what was sent cannot be sent again by an address.
            waits = self.request.method == "GET"
            return self.render(
                "building.html",
                part="parts/building.html",
                status=error.http_status,
                building=error,
                waits=waits,
            )
        title = TITLES.get(error.status, "Something went wrong")
        page = self.render(
            "problem.html",
            part="parts/problem.html",
            status=error.http_status,
            title=title,
            problem=error,
        )
        page.headers.update(error.headers)
        return page

    def _common(self) -> dict[str, Any]:
        server, request = self.server, self.request
        principal = getattr(request.state, "principal", None)
        theme = request.cookies.get("odradek_theme", "")
        return {
            "server": server,
            "version": server_version(),
            "user": principal.name if principal is not None else "",
            "has_login": (
                server.options.authenticator is not None and server.options.authenticator.login
            ),
            "may_write": self.may_write,
            "read_only": server.options.read_only,
            "theme": theme if theme in THEMES else "",
            # What may be a page or stand in a dialog: tags of its heading, and of those below it.
            "heading": "h2" if self.wants_part else "h1",
            "subheading": "h3" if self.wants_part else "h2",
            "path": request.url.path,
            "now_ms": self.now_ms,
            "notice": NOTICES.get(self.text("notice"), ""),
        }


class Form:
    """Fields of a form."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def text(self, name: str, default: str = "") -> str:
        """A field; the last of several."""
        values = self.texts(name)
        return values[-1] if values else default

    def texts(self, name: str) -> list[str]:
        """All fields of a name."""
        return [value for field_name, value in self._pairs if field_name == name]


Handler = Callable[[Visit], Awaitable[Response]]


def page(
    state: UiState, path: str, handler: Handler, *, methods: tuple[str, ...] = ("GET",)
) -> Route:
    """A route of the UI. Braces in the path are whole segments, slashes in ids included."""

    async def endpoint(request: Request) -> Response:
        visit = Visit(request, state)
        try:
            async with asyncio.timeout(visit.server.options.request_limit_s):
                return await handler(visit)
        except Exception as error:
            return visit.problem(api_error(error))

    return Route(path.replace("}", ":id}"), endpoint, methods=list(methods))
