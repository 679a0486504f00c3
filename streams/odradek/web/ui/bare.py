"""Pages for whoever is not known yet, and for what no page answers: the login, errors. They say
nothing of the namespace or its cluster.
"""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, Response

from odradek.web.errors import ApiError
from odradek.web.ui.visit import THEMES, TITLES, new_environment


def login_page(connection: HTTPConnection, target: str, problem: str) -> Response:
    """The form for a token."""
    return HTMLResponse(_render("login.html", connection, target=target, problem=problem))


def problem_page(connection: HTTPConnection, error: ApiError) -> Response:
    """An error."""
    title = TITLES.get(error.status, "Something went wrong")
    html = _render(
        "bare_problem.html",
        connection,
        title=title,
        message=error.message,
        status=error.http_status,
    )
    return HTMLResponse(html, error.http_status, error.headers)


def wants_page(connection: HTTPConnection) -> bool:
    """Whether a person looks at the answer: a browser that opens an address, not a script of a
    page and not a client of the API.
    """
    headers = connection.headers
    path: str = connection.scope["path"]
    return (
        "text/html" in headers.get("accept", "")
        and "x-part" not in headers
        and not path.startswith(("/api/", "/health/"))
    )


def _render(template: str, connection: HTTPConnection, **values: object) -> str:
    theme = connection.cookies.get("odradek_theme", "")
    return (
        new_environment()
        .get_template(template)
        .render(theme=theme if theme in THEMES else "", **values)
    )
