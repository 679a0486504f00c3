"""Batches of the command line (`odradek workflow … --query`): what may pass is asked again as
one request, what does not is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from odradek.cli import batch
from odradek.client import Client, RPCError, RPCStatusCode
from odradek.web.retries import Retries
from tests.support.transport import FakeTransport, connect, reply_to

QUICK = Retries(attempts=4, pause_first_s=0.001, pause_most_s=0.002)
Script = dict[str, list[str]]


def run_batch(
    script: Script,
    act: Callable[[Any], Any],
    *,
    lists: list[Any] | None = None,
    rps: float | None = None,
) -> tuple[list[tuple[str, str]], batch.Outcome]:
    """A batch over the runs of the script: the requests that their owner saw, as (workflow id,
    request id), and how far the batch came.

    script: how the calls of a workflow id end, one after the other, though the owner got them;
    then they succeed.  lists: what the server answers for each page: an error, or workflow ids.
    """
    asked: list[tuple[str, str]] = []
    outcome, transport = batch.Outcome(len(script)), FakeTransport()
    pages = iter(lists if lists is not None else [list(script)])

    def owner(_: str, record: Any) -> Any:
        asked.append((record.workflow_id, record.request_id))
        return reply_to(record)

    async def scripted(handle: Any) -> None:
        await act(handle)
        if left := script.get(handle.id):
            raise RPCError("not now", RPCStatusCode[left.pop(0)], b"")

    class Listing:
        def __init__(self) -> None:
            self.left: list[str] = []

        async def __anext__(self) -> Any:
            while not self.left:
                page = next(pages, None)
                if page is None:
                    raise StopAsyncIteration
                if isinstance(page, BaseException):
                    raise page
                self.left = list(page)
            name = self.left.pop(0)
            return SimpleNamespace(id=name, run_id=f"run-of-{name}", task_queue="q")

    async def run() -> None:
        transport.serve("q", owner)
        with mock.patch.object(Client, "list_workflows", lambda *_, **__: Listing()):
            await batch._run(connect(transport), "a query", rps, scripted, outcome, QUICK)

    asyncio.run(run())
    return asked, outcome


ACTS: dict[str, Callable[[Any], Any]] = {
    "signal": lambda handle: handle.signal("go"),
    "cancel": lambda handle: handle.cancel(),
    "terminate": lambda handle: handle.terminate(),
    "delete": lambda handle: handle.delete(),
    "unpark": lambda handle: handle.unpark(),
}


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
@pytest.mark.parametrize("status", ["UNAVAILABLE", "DEADLINE_EXCEEDED"])
def test_what_may_pass_is_asked_again_under_its_request_id(
    act: Callable[[Any], Any], status: str
) -> None:
    asked, outcome = run_batch({"a": [status, status], "b": []}, act)
    assert (outcome.done, outcome.failed, outcome.retried) == (2, 0, 2), outcome.failures
    ids = {name: [request for one, request in asked if one == name] for name in ("a", "b")}
    assert len(ids["a"]) == 3 and len(set(ids["a"])) == 1 and ids["a"][0], (
        "a signal that is sent again must not be a second one"
    )
    assert len(ids["b"]) == 1 and ids["b"] != ids["a"][:1]


def test_what_does_not_pass_is_given_up_and_says_how_often_it_was_tried() -> None:
    asked, outcome = run_batch(
        {"a": ["UNAVAILABLE"] * 9, "b": ["RESOURCE_EXHAUSTED"], "c": []}, ACTS["terminate"]
    )
    assert (outcome.done, outcome.failed, outcome.retried) == (1, 2, 3)
    assert sorted((name, message) for name, _, message in outcome.failures) == [
        ("a", "not now (UNAVAILABLE, 4 attempts)"),
        ("b", "not now (RESOURCE_EXHAUSTED)"),
    ]
    assert [name for name, _ in asked].count("b") == 1


@pytest.mark.parametrize("status", ["NOT_FOUND", "FAILED_PRECONDITION"])
def test_what_has_nothing_left_to_do_is_skipped(status: str) -> None:
    asked, outcome = run_batch({"a": [status]}, ACTS["unpark"])
    assert (outcome.done, outcome.skipped, outcome.failed, len(asked)) == (0, 1, 0, 1)
