"""Style sheets, scripts and icons: read once, served with an ETag, asked for again each time and
mostly not sent again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

_FOLDER = Path(__file__).parent / "static"
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


def static_routes() -> list[BaseRoute]:
    """`/static/NAME` for each file there is, and no other."""
    files = {
        path.name: (path.read_bytes(), _TYPES[path.suffix])
        for path in sorted(_FOLDER.iterdir())
        if path.suffix in _TYPES
    }
    tags = {
        name: f'"{hashlib.sha256(content).hexdigest()[:20]}"'
        for name, (content, _) in files.items()
    }

    async def serve(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in files:
            return PlainTextResponse("no such file\n", 404)
        headers = {"ETag": tags[name], "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tags[name]:
            return Response(status_code=304, headers=headers)
        content, media_type = files[name]
        return Response(content, media_type=media_type, headers=headers)

    async def icon(request: Request) -> Response:
        content, media_type = files["icon.svg"]
        return Response(content, media_type=media_type, headers={"Cache-Control": "max-age=86400"})

    return [
        Route("/static/{name}", serve, methods=["GET"]),
        Route("/favicon.ico", icon, methods=["GET"]),
    ]
