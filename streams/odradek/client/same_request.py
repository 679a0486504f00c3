"""One request over several calls: what may be asked again without being done twice."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_request_id: ContextVar[str] = ContextVar("odradek_request_id", default="")


@contextlib.contextmanager
def same_request(request_id: str) -> Iterator[None]:
    """Calls in this `with` that change a run carry this request id: a run's owner applies what
    has one id once, however often it is asked.

    One kind of request to one run; not empty.
    """
    token = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(token)


def request_id_of_caller() -> str:
    """The id that a surrounding `same_request` names, or ""."""
    return _request_id.get()
