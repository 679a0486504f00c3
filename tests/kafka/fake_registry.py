"""A schema registry of fifty lines: ids and schemas over HTTP, as Confluent's client asks for
them. It judges nothing: `apicurio.py` does.

So that what depends on a registry is tested everywhere; one that can go away and come back at
the same address.
"""

from __future__ import annotations

import json
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from odradek.broker.ports import HOST, free_ports


class FakeRegistry:
    """`schemas[id - 1]` is the schema of an id. `asked`: paths of the requests. `users`: their
    Basic credentials. `always`: status and body of every answer, if set.
    """

    def __init__(self) -> None:
        self.schemas: list[str] = []
        self.asked: list[str] = []
        self.users: set[str] = set()
        self.always: tuple[int, bytes] | None = None
        (self._port,) = free_ports(1)
        self.url = f"http://{HOST}:{self._port}"
        self._server: ThreadingHTTPServer | None = None

    def add(self, schema: str) -> int:
        """The id of a schema."""
        if schema not in self.schemas:
            self.schemas.append(schema)
        return self.schemas.index(schema) + 1

    def start(self) -> None:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._answer(200, {"id": registry.add(asked["schema"])})

            def do_GET(self) -> None:
                number = int(self.path.partition("?")[0].rpartition("/")[2])
                if 0 < number <= len(registry.schemas):
                    self._answer(200, {"schema": registry.schemas[number - 1]})
                else:
                    self._answer(404, {"error_code": 40403, "message": "Schema not found"})

            def _answer(self, status: int, value: object) -> None:
                registry.asked.append(self.path)
                registry.users.add(
                    b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
                )
                body = json.dumps(value).encode()
                if registry.always is not None:
                    status, body = registry.always
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 64  # those who start ask for several ids at once

        self._server = Server((HOST, self._port), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


@contextmanager
def fake_registry() -> Iterator[FakeRegistry]:
    registry = FakeRegistry()
    registry.start()
    try:
        yield registry
    finally:
        registry.stop()
