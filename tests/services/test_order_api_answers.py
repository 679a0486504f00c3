"""The order API's answers without a broker: their codes, their words, and the bodies that it
takes.
"""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from odradek.client import (
    WorkflowFailureError,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from odradek.client.errors import Unanswered
from odradek.client.responses import accept
from odradek.client.transport import Owner
from odradek.exceptions import ApplicationError, BrokerUnreachableError, TerminatedError, TopicError
from odradek.service import RPCError, RPCStatusCode
from services.order_api.app import create_app
from services.orders.models import OrderResult

ORDER = {
    "order_no": "7",
    "user_id": "user-1",
    "items": [{"product": "tea", "quantity": 1}],
    "amount": 450,
}
ENGINE_SAYS = (
    "query 'status' of workflow 'order-7': no processor of task queue 'order-task-queue' answers at"
    " broker:9092"
)
SILENT = [
    RPCError(ENGINE_SAYS, RPCStatusCode.UNAVAILABLE),
    RPCError(ENGINE_SAYS, RPCStatusCode.DEADLINE_EXCEEDED),
    BrokerUnreachableError("broker:9092"),
    TopicError("there is no topic odradek.default.order-task-queue.events"),
]
CLOSED = WorkflowQueryRejectedError(None)
RESULT = OrderResult("O-7", "R-7", "F-7")
NOT_FOUND = RPCError("workflow not found for ID: order-7", RPCStatusCode.NOT_FOUND)

silent = pytest.mark.parametrize("error", SILENT, ids=lambda error: type(error).__name__)


class Engine:
    """A client, and the handle of its one order. An exception is raised, anything else given;
    `verdict` "none": nobody looked.
    """

    def __init__(
        self,
        *,
        start: Any = None,
        verdict: Any = None,
        status: Any = "creating-order",
        result: Any = RESULT,
    ) -> None:
        self.settings = SimpleNamespace(namespace="default", task_queue="")
        self.started: list[Any] = []
        self._start, self._verdict, self._status, self._result = start, verdict, status, result

    def get_workflow_handle_for(self, *_: Any, **__: Any) -> Any:
        return self

    async def start_workflow(self, _: Any, order: Any, **__: Any) -> Any:
        given(self._start)
        self.started.append(order)
        return self

    async def signal(self, *_: Any) -> None:
        if self._verdict == "none":
            unanswered = Unanswered(delivered=True, owner=Owner.NONE, last=None, waited_s=2.0)
            accept(
                unanswered,
                what="signal",
                workflow_id="order-7",
                task_queue="order-task-queue",
                address="broker:9092",
                explicit=False,
            )
        else:
            given(self._verdict)

    async def query(self, *_: Any, **__: Any) -> Any:
        return given(self._status)

    async def result(self) -> Any:
        return given(self._result)


def given(value: Any) -> Any:
    if isinstance(value, BaseException):
        raise value
    return value


async def ask(engine: Engine, method: str, path: str, **more: Any) -> tuple[int, Any]:
    """Code and JSON. Whatever it is, nothing in it is of the engine."""
    client: Any = engine
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(create_app(client)), base_url="http://shop"
    ) as http:
        answer = await http.request(method, path, **more)
    for word in ("workflow", "task queue", "task-queue", "broker", "odradek", "order-7", "Start a"):
        assert word.lower() not in answer.text.lower()
    return answer.status_code, answer.json()


@silent
async def test_a_placed_order_is_accepted_whatever_keeps_its_status(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    code, placed = await ask(Engine(status=error), "POST", "/orders", json=ORDER)
    assert (code, placed["status"], placed["reason"]) == (
        202,
        "accepted",
        "orders are not being processed right now",
    )
    assert any("'7'" in line and str(error) in line for line in caplog.messages), (
        "what the engine says is in the log"
    )


@silent
async def test_whether_it_was_placed_is_not_known_while_kafka_is_silent(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    code, refused = await ask(Engine(start=error), "POST", "/orders", json=ORDER)
    assert code == 503
    assert (
        "not known whether this one was placed" in refused["detail"]
        and "ask again under the same number" in refused["detail"]
    )
    assert any("'7'" in line and str(error) in line for line in caplog.messages)


@silent
async def test_asking_while_nobody_answers(error: Exception) -> None:
    assert await ask(Engine(status=error), "GET", "/orders/7") == (
        503,
        {"detail": "orders are not being processed right now"},
    )
    code, refused = await ask(Engine(verdict=error), "POST", "/orders/7/cancel")
    assert code == 503 and "not known whether the cancellation was taken" in refused["detail"]


@silent
async def test_cancel_that_nobody_has_looked_at_promises_nothing(error: Exception) -> None:
    """The order may be completed, or may never have been."""
    code, asked = await ask(Engine(verdict="none", status=error), "POST", "/orders/7/cancel")
    assert (code, asked["status"]) == (202, "accepted")
    assert asked["reason"].startswith(
        "it is asked for: an order that is there and not finished will be cancelled once"
    )
    code, asked = await ask(Engine(status=error), "POST", "/orders/7/cancel")
    assert (code, asked["status"], asked["reason"]) == (
        202,
        "accepted",
        "it will be cancelled",
    ), "an owner has taken it"


async def test_cancel_without_a_verdict_that_is_answered_after_all() -> None:
    code, _ = await ask(Engine(verdict="none", status=NOT_FOUND), "POST", "/orders/7/cancel")
    assert code == 404
    code, order = await ask(Engine(verdict="none", status=CLOSED), "POST", "/orders/7/cancel")
    assert (code, order["status"]) == (200, "completed")


async def test_what_is_over_is_200() -> None:
    assert (await ask(Engine(), "POST", "/orders", json=ORDER))[0] == 202
    assert (await ask(Engine(status=CLOSED), "POST", "/orders?wait=1", json=ORDER))[0] == 200
    code, order = await ask(Engine(verdict=NOT_FOUND, status=CLOSED), "POST", "/orders/7/cancel")
    assert (code, order["status"]) == (200, "completed")
    assert (await ask(Engine(), "POST", "/orders/7/cancel"))[0] == 202


TASK_FAILED = "Unable to query workflow due to Workflow Task in failed state. TypeError: nothing"


@pytest.mark.parametrize(
    ("status", "result", "expected"),
    [
        (
            WorkflowQueryFailedError("workflow task failed: TypeError in OrderSaga.run"),
            None,
            ("held", "it waits for an operator"),
        ),
        (
            RPCError(TASK_FAILED, RPCStatusCode.FAILED_PRECONDITION),
            None,
            ("held", "it waits for an operator"),
        ),
        (
            RPCError("workflow 'order-7' has no task yet", RPCStatusCode.FAILED_PRECONDITION),
            None,
            ("accepted", "it has not begun yet"),
        ),
        (
            CLOSED,
            TerminatedError("Workflow terminated"),
            ("stopped", "an operator ended it as it stood"),
        ),
        (
            CLOSED,
            ApplicationError("StockShort: no tea", type="OrderFailed"),
            ("compensated", "StockShort: no tea"),
        ),
    ],
)
async def test_how_an_order_stands_in_the_shops_words(
    status: Any, result: Any, expected: tuple[str, str]
) -> None:
    code, order = await ask(
        Engine(status=status, result=result and WorkflowFailureError(cause=result)),
        "GET",
        "/orders/7",
    )
    assert (code, order["status"], order["reason"]) == (200, *expected)


async def test_a_defect_is_500_and_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    code, refused = await ask(
        Engine(status=RPCError("boom at broker:9092", RPCStatusCode.INTERNAL)),
        "POST",
        "/orders",
        json=ORDER,
    )
    assert code == 500 and "boom" not in refused["detail"]
    assert [record.levelno for record in caplog.records if "boom" in record.getMessage()] == [
        logging.ERROR
    ]


@pytest.mark.parametrize(
    "kind", ["application/json", "text/plain", "application/x-www-form-urlencoded", "no type", None]
)
async def test_a_body_is_json_whatever_its_content_type(kind: str | None) -> None:
    engine = Engine()
    headers = {} if kind is None else {"content-type": kind}
    code, order = await ask(engine, "POST", "/orders", content=json.dumps(ORDER), headers=headers)
    assert (code, order["order_no"], len(engine.started)) == (202, "7", 1)
    code, _ = await ask(
        engine,
        "POST",
        "/orders/7/cancel",
        content=b'{"reason": "changed my mind"}',
        headers=headers,
    )
    assert code == 202


@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
@pytest.mark.parametrize(
    ("body", "where", "says"),
    [
        (
            b'{"order_no": "w1", "order_no": "w2"' + json.dumps(ORDER).encode()[16:],
            "order_no",
            "more than once",
        ),
        (
            json.dumps(ORDER).encode().replace(b'"quantity": 1', b'"quantity": 1, "quantity": 2'),
            "quantity",
            "more than once",
        ),
        (b"order_no=7&amount=450", 0, "no JSON"),
        (b'{"order_no": "7"', 16, "no JSON"),
        (b"\xff\xfe\xfd", 0, "no JSON"),
        (b"[" * 100_000, 0, "no JSON"),
        (b'{"amount": ' + b"9" * 5_000 + b"}", 0, "no JSON"),
    ],
)
async def test_a_body_that_says_two_things_or_nothing_is_refused(
    kind: str, body: bytes, where: Any, says: str
) -> None:
    engine = Engine()
    code, refused = await ask(
        engine, "POST", "/orders", content=body, headers={"content-type": kind}
    )
    assert code == 422 and not engine.started
    assert refused["detail"][0]["loc"] == ["body", where] and says in refused["detail"][0]["msg"]
