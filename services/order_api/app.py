"""HTTP in the shop's words. Placing the same order number twice gives the first order.

`POST /orders` (body: order_no, user_id, items, amount; `?wait=SECONDS` waits for the outcome),
`GET /orders/{order_no}`, `POST /orders/{order_no}/cancel`. Every answer is `{order_no, status,
...}`: 200 for an order that is over, 202 for what was taken and is not done yet. An order that
is not there is 404, one that makes no sense 422 (`shapes.py` has the limits; bodies are JSON,
whatever their content type), one of too many bytes 413. While nobody processes orders, one can
be placed (it is durable: `accepted`, with the reason why no more is known), and asking for one
is 503. So is placing one while Kafka does not answer; asked again, the same number places it
once.

An order is over when it is `completed`, `compensated` (a step failed, all was undone),
`cancelled` (as asked, all was undone) or `stopped` (an operator ended it as it stood). It is
known for as long as its run is kept (Odradek's setting `retention`); so is its number. One whose
own code fails is `held`, with the reason: it stands where it stood and goes on, a cancel request
included, once an operator has mended it.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from odradek.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowQueryRejectedError,
)
from odradek.client.responses import noting_pending
from odradek.common import QueryRejectCondition, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from odradek.exceptions import (
    ApplicationError,
    BrokerUnreachableError,
    CancelledError,
    RecordTooLargeError,
    TerminatedError,
    TopicError,
    WorkflowAlreadyStartedError,
)
from odradek.service import RPCError, RPCStatusCode
from services.order_api.bodies import JsonRoute
from services.order_api.shapes import CancelIn, OrderIn, OrderOut, too_large
from services.orders.models import ORDER_TASK_QUEUE, OrderResult, workflow_id
from services.orders.workflow import OrderSaga

logger = logging.getLogger(__name__)

OVER = ("completed", "compensated", "cancelled", "stopped")
OVER_IS_200: dict[int | str, dict[str, Any]] = {
    200: {"model": OrderOut, "description": "The order is over"}
}

NOT_PROCESSED = "orders are not being processed right now"
PLACED_OR_NOT = (
    "it is not known whether this one was placed: ask again under the same number, it is placed"
    " once"
)
CANCELLED_OR_NOT = "it is not known whether the cancellation was taken: ask again"
# What the engine says, as Temporal does, of a query to a workflow whose own code fails.
TASK_FAILED = "Workflow Task in failed state"
CANCEL_ASKED_FOR = (
    "it is asked for: an order that is there and not finished will be cancelled once orders are"
    " processed again"
)


def create_app(client: Client) -> FastAPI:
    """The ASGI app, for the loop that the client is connected on."""
    task_queue = client.settings.task_queue or ORDER_TASK_QUEUE

    app = FastAPI(title="Orders")

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/health/live", include_in_schema=False)
    @app.get("/health/ready", include_in_schema=False)
    async def health() -> dict[str, str]:
        return {
            "status": "ready"
            # it answers once it has connected to Kafka; whether orders are processed, each answer
            # says
        }

    app.add_exception_handler(RequestValidationError, _refusal)
    app.router.route_class = JsonRoute

    def handle_of(order_no: str) -> WorkflowHandle[Any, Any]:
        return client.get_workflow_handle_for(
            OrderSaga.run, workflow_id(order_no), task_queue=task_queue
        )

    @app.post("/orders", status_code=202, responses=OVER_IS_200)
    async def place(
        order: OrderIn,
        response: Response,
        wait: float = Query(0.0, ge=0.0, le=60.0, description="seconds to wait for the outcome"),
    ) -> OrderOut:
        with _shop_words(order.order_no, in_doubt=PLACED_OR_NOT):
            try:
                handle = await client.start_workflow(
                    OrderSaga.run,
                    order.order(),
                    id=workflow_id(order.order_no),
                    task_queue=task_queue,
                    id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                )
            except WorkflowAlreadyStartedError:
                handle = handle_of(order.order_no)  # it has closed: the first order is the answer
        with _shop_words(order.order_no):
            # The order lies in Kafka and will be processed as soon as somebody does: placed it is.
            return _coded(
                response,
                await _outcome_or(
                    OrderOut(order_no=order.order_no, status="accepted"), handle, wait
                ),
            )

    @app.get("/orders/{order_no}")
    async def get(order_no: str, wait: float = Query(0.0, ge=0.0, le=60.0)) -> OrderOut:
        with _shop_words(order_no):
            return await _outcome(handle_of(order_no), order_no, wait)

    @app.post("/orders/{order_no}/cancel", status_code=202, responses=OVER_IS_200)
    async def cancel(
        order_no: str, response: Response, request: CancelIn | None = None
    ) -> OrderOut:
        with _shop_words(order_no, in_doubt=CANCELLED_OR_NOT):
            handle = handle_of(order_no)
            try:
                with noting_pending() as pending:
                    await handle.signal("cancel-order", (request or CancelIn()).reason)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
                return _coded(
                    response, await _outcome(handle, order_no, 0.0)
                )  # closed already, or never there: it tells which
        with _shop_words(order_no):
            # Without a verdict nobody has looked yet whether there is such an order.
            asked = OrderOut(
                order_no=order_no,
                status="accepted",
                reason=CANCEL_ASKED_FOR if pending else "it will be cancelled",
            )
            return _coded(response, await _outcome_or(asked, handle, 0.0))

    return app


async def _refusal(_: Request, error: Exception) -> JSONResponse:
    """422 as FastAPI's, without the input: it may be a megabyte, or text that no answer can have
    (half of a surrogate pair).
    """
    assert isinstance(error, RequestValidationError)
    return JSONResponse(
        {"detail": [{key: each[key] for key in ("type", "loc", "msg")} for each in error.errors()]},
        422,
    )


def _coded(response: Response, order: OrderOut) -> OrderOut:
    """200 instead of 202 once nothing is left to be done."""
    if order.status in OVER:
        response.status_code = 200
    return order


async def _outcome(
    handle: WorkflowHandle[Any, Any], order_no: str, wait_seconds: float
) -> OrderOut:
    under_way = await _under_way(handle, order_no)
    if under_way is not None and wait_seconds > 0:
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds):
                return await _end(handle, order_no)
        under_way = await _under_way(handle, order_no)
    return under_way or await _end(handle, order_no)


async def _outcome_or(
    known: OrderOut, handle: WorkflowHandle[Any, Any], wait_seconds: float
) -> OrderOut:
    """As `_outcome`; when nobody tells it in time, what is known already, with the reason why it
    is no more.
    """
    try:
        return await _outcome(handle, known.order_no, wait_seconds)
    except (RPCError, BrokerUnreachableError, TopicError) as error:
        if isinstance(error, RPCError) and error.status not in (
            RPCStatusCode.UNAVAILABLE,
            RPCStatusCode.DEADLINE_EXCEEDED,
        ):
            raise
        logger.warning(
            "order %r is %s, and nobody tells how far it is: %s",
            known.order_no,
            known.status,
            error,
        )
        return known.model_copy(update={"reason": known.reason or NOT_PROCESSED})


async def _under_way(handle: WorkflowHandle[Any, Any], order_no: str) -> OrderOut | None:
    """How far it is; None once it is over, however it ended: the last status of a run that was
    terminated says nothing.
    """
    try:
        status = await handle.query(
            OrderSaga.status, reject_condition=QueryRejectCondition.NOT_OPEN
        )
    except WorkflowQueryRejectedError:
        return None
    except WorkflowQueryFailedError as error:
        return _held(order_no, error)
    except RPCError as error:
        if error.status is not RPCStatusCode.FAILED_PRECONDITION:
            raise
        if TASK_FAILED not in error.message:
            return OrderOut(order_no=order_no, status="accepted", reason="it has not begun yet")
        return _held(order_no, error)
    return OrderOut(order_no=order_no, status=status)


def _held(order_no: str, error: Exception) -> OrderOut:
    logger.warning("order %r is held: %s", order_no, error)
    return OrderOut(order_no=order_no, status="held", reason="it waits for an operator")


async def _end(handle: WorkflowHandle[Any, Any], order_no: str) -> OrderOut:
    try:
        return _completed(order_no, await handle.result())
    except WorkflowFailureError as error:
        return _failed(order_no, error)


def _completed(order_no: str, result: OrderResult) -> OrderOut:
    return OrderOut(order_no=order_no, status="completed", **asdict(result))


def _failed(order_no: str, error: WorkflowFailureError) -> OrderOut:
    cause = error.cause
    if isinstance(cause, ApplicationError):
        return OrderOut(
            order_no=order_no,
            status="cancelled" if cause.type == "OrderCancelled" else "compensated",
            reason=cause.message,
        )
    logger.warning("order %r did not end by itself: %s", order_no, cause)
    if isinstance(cause, CancelledError):
        return OrderOut(order_no=order_no, status="cancelled", reason="cancelled by an operator")
    reason = (
        "an operator ended it as it stood"
        if isinstance(cause, TerminatedError)
        else "it was ended as it stood"
    )
    return OrderOut(order_no=order_no, status="stopped", reason=reason)


class _shop_words:
    """Turns the engine's errors into the shop's: 404 no such order, 413 too large, 503 the order
    system does not answer. What the engine says, with its addresses, names and commands, is for
    the log.

    in_doubt: what a 503 leaves open.
    """

    def __init__(self, order_no: str, *, in_doubt: str = "") -> None:
        self._order_no = order_no
        self._in_doubt = in_doubt

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, RecordTooLargeError):  # topics that take less than Kafka's default
            raise too_large(self._order_no, error.size, error.limit) from error
        if isinstance(error, BrokerUnreachableError | TopicError):
            raise self._silent(error) from error
        if not isinstance(error, RPCError):
            return
        if error.status is RPCStatusCode.NOT_FOUND:
            raise HTTPException(404, f"no order {self._order_no}") from error
        if error.status in (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED):
            raise self._silent(error) from error
        logger.error("order %r: %s", self._order_no, error)
        raise HTTPException(
            500,
            f"order {self._order_no}: something is wrong here, which the log of this service has",
        ) from error

    def _silent(self, error: Exception) -> HTTPException:
        logger.warning("order %r: %s", self._order_no, error)
        return HTTPException(
            503, f"{NOT_PROCESSED}; {self._in_doubt}" if self._in_doubt else NOT_PROCESSED
        )
