"""Slashes inside path segments. A workflow id may hold `/`, a client writes it as `%2F`, and
servers decode it before anybody routes.

So the path is decoded segment by segment from its raw form, with a private character in place of
such a slash (a path that holds that character is refused, `path_problem`); `segment` in a
route's path (`/workflows/{workflow_id:segment}`) gives the text back. Must be the outermost
middleware: whatever decides by path has to see the same segments as the router. Of segments that
are dots: `segments.py`.
"""

from __future__ import annotations

from urllib.parse import unquote, unquote_to_bytes

from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send

from odradek.web.segments import segment_text

SLASH = "\ue000"


class SegmentConvertor(Convertor[str]):
    """One path segment, with slashes in it if it was sent so."""

    regex = "[^/]+"

    def convert(self, value: str) -> str:
        """As it was before it was put into a path."""
        return value.replace(SLASH, "/")

    def to_string(self, value: str) -> str:
        """As it stands in a path that is matched here."""
        return value.replace("/", SLASH)


def path_problem(scope: Scope) -> str:
    """Why a path is none that can name something, "" when it can: the rules of bodies, and no
    SLASH. Servers decode with replacement characters, so that two ids would become one; so they
    would by a SLASH that stands there itself.
    """
    raw: bytes = (scope.get("raw_path") or b"").partition(b"?")[0]
    try:
        text = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        return "the path is no UTF-8"
    if SLASH in text:
        return (
            f"the path holds the character U+{ord(SLASH):04X}, which stands for encoded slashes in"
            " this server"
        )
    return "the path holds a NUL character" if "\x00" in text else ""


class IdConvertor(SegmentConvertor):
    """A segment of a page or of our own API, where the ids `.` and `..` are escaped."""

    def convert(self, value: str) -> str:
        """The id."""
        return segment_text(super().convert(value))


register_url_convertor("segment", SegmentConvertor())
register_url_convertor("id", IdConvertor())


class EncodedSlashes:
    """ASGI middleware: see above."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        raw: bytes = scope.get("raw_path") or b""
        if scope["type"] == "http" and b"%2f" in raw.lower():
            raw = raw.partition(b"?")[0]
            path = "/".join(
                unquote(part).replace("/", SLASH)
                for part in raw.decode("ascii", "replace").split("/")
            )
            scope = {**scope, "path": path}
        await self._app(scope, receive, send)
