"""A schema registry for a service that does not import odradek: Confluent's HTTP API as far as
`docs/wire.md` needs it.

Both calls block for two seconds at most. One that failed is not asked again for a second, and
for many times as long as its failure took: callers meet it once a record, and stand meanwhile.
User and password that its URL may have are sent, and stand in no error.
"""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote
from urllib.request import Request, urlopen

WITHIN_SECONDS = 2.0
AGAIN_AFTER_SECONDS = 1.0
#: How many times as long as its failure took it is left alone: one that takes connections and says
#: nothing costs a small part of the time.
AGAIN_AFTER_TIMES = 15
AGAIN_AFTER_SECONDS_MAX = 60.0
ANSWER_BYTES_MAX = 16 * 1024 * 1024
_KIND = "application/vnd.schemaregistry.v1+json"
_NOT_FOUND, _SERVER_ERROR = 404, 500
_PASSING = (408, 429)  # and every server error


class RegistryAway(Exception):
    """It fails or does not answer, which passes: what needs it waits, and nothing is refused for
    it.
    """


class RegistryRefuses(Exception):
    """It does not take a schema of ours."""


class Registry:
    """The registry at `url`. `clock`: seconds, monotonic."""

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        scheme, separator, rest = url.rstrip("/").rpartition("://")
        user, _, place = rest.rpartition("@")
        self._url = f"{scheme}{separator}{place}"
        self._authorization = f"Basic {b64encode(unquote(user).encode()).decode()}" if user else ""
        self._clock = clock
        self._away: tuple[float, str] | None = None  # until when it is not asked, and why

    def schema_of(self, number: int) -> Any:
        """The schema with that id, as JSON; None when the registry has none. Raises RegistryAway."""
        began = self._clock()
        try:
            return json.loads(self._ask(f"/schemas/ids/{number}")["schema"])
        except HTTPError as error:
            if error.code == _NOT_FOUND:
                return None
            raise self._gone(error, began) from error
        except (OSError, HTTPException, KeyError, TypeError, ValueError, RecursionError) as error:
            raise self._gone(error, began) from error

    def number_of(self, subject: str, schema: Any) -> int:
        """Register a schema and give its id: the one that it has, if the registry has it. Raises
        RegistryAway, RegistryRefuses.
        """
        body, began = {"schema": json.dumps(schema), "schemaType": "AVRO"}, self._clock()
        try:
            number = self._ask(f"/subjects/{subject}/versions", body)["id"]
            if isinstance(number, int) and 0 <= number < 1 << 32:
                return number
            raise ValueError(f"no id: {number!r}")
        except HTTPError as error:
            if error.code >= _SERVER_ERROR or error.code in _PASSING:
                raise self._gone(error, began) from error
            raise RegistryRefuses(
                f"schema registry {self._url} refuses {subject}: {error}"
            ) from error
        except (OSError, HTTPException, KeyError, TypeError, ValueError, RecursionError) as error:
            raise self._gone(error, began) from error

    def _ask(self, path: str, body: Any = None) -> Any:
        if self._away is not None and self._clock() < self._away[0]:
            raise RegistryAway(self._away[1])
        data = None if body is None else json.dumps(body).encode()
        request = Request(self._url + path, data, {"Content-Type": _KIND, "Accept": _KIND})
        if self._authorization:
            request.add_unredirected_header("Authorization", self._authorization)
        try:
            with urlopen(request, timeout=WITHIN_SECONDS) as answer:
                return json.loads(answer.read(ANSWER_BYTES_MAX))
        except HTTPError as error:
            error.close()
            raise

    def _gone(self, error: Exception, began: float) -> RegistryAway:
        why, now = f"schema registry {self._url} does not answer: {error}", self._clock()
        pause = max(AGAIN_AFTER_SECONDS, AGAIN_AFTER_TIMES * (now - began))
        self._away = (now + min(pause, AGAIN_AFTER_SECONDS_MAX), why)
        return RegistryAway(why)
