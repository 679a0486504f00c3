"""HTTP in the shop's words. Placing the same order number twice gives the first order.

`POST /orders` (body: order_no, user_id, items, amount; `?wait=SECONDS` waits for the outcome), `GET /orders/{order_no}`,
`POST /orders/{order_no}/cancel`. Every answer is `{order_no, status, ...}`; an order that is not there is 404, one that makes no sense 422
(`shapes.py` has the limits), one of too many bytes 413. While nobody processes orders, one can be placed (it is durable: `accepted`, with
the reason why no more is known), and asking for one is 503.

An order is over when it is `completed`, `compensated` (a step failed, all was undone), `cancelled` (as asked, all was undone) or `stopped`
(an operator ended it as it stood). It is known for as long as its run is kept (Odradek's setting `retention`); so is its number. One whose
own code fails is `held`, with the reason: it stands where it stood and goes on, a cancel request included, once an operator has mended it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import asdict
from datetime import timedelta
from typing import Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from odradek.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowQueryFailedError, WorkflowQueryRejectedError
from odradek.common import QueryRejectCondition, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from odradek.exceptions import (
    ApplicationError,
    BrokerUnreachableError,
    CancelledError,
    RecordTooLargeError,
    TopicError,
    WorkflowAlreadyStartedError,
)
from odradek.service import RPCError, RPCStatusCode
from odradek.telemetry.endpoint import renderer
from odradek.telemetry.sources import Sample, client_samples
from services.order_api.shapes import CancelIn, OrderIn, OrderOut, too_large
from services.orders.models import ORDER_TASK_QUEUE, OrderResult, workflow_id
from services.orders.workflow import OrderSaga

ANSWER_WITHIN = timedelta(seconds=10)


def create_app(client: Client) -> FastAPI:
    """The ASGI app, for the loop that the client is connected on."""
    namespace, task_queue = client.settings.namespace, client.settings.task_queue or ORDER_TASK_QUEUE

    app = FastAPI(title="Orders")

    def samples() -> list[Sample]:
        return list(client_samples(namespace, asdict(client.statistics())))

    render = renderer([samples])

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        status, kind, body = render()
        return Response(body, status, media_type=kind)

    @app.get("/health/live", include_in_schema=False)
    @app.get("/health/ready", include_in_schema=False)
    async def health() -> dict[str, str]:
        return {"status": "ready"}  # it answers once it has connected to Kafka; whether orders are processed, each answer says

    app.add_exception_handler(RequestValidationError, _refusal)

    def handle_of(order_no: str) -> WorkflowHandle[Any, Any]:
        return client.get_workflow_handle_for(OrderSaga.run, workflow_id(order_no), task_queue=task_queue)

    @app.post("/orders", status_code=202)
    async def place(order: OrderIn, wait: float = Query(0.0, ge=0.0, le=60.0, description="seconds to wait for the outcome")) -> OrderOut:
        with _shop_words(order.order_no):
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
            # The order lies in Kafka and will be processed as soon as somebody does: placed it is.
            return await _outcome_or(OrderOut(order_no=order.order_no, status="accepted"), handle, wait)

    @app.get("/orders/{order_no}")
    async def get(order_no: str, wait: float = Query(0.0, ge=0.0, le=60.0)) -> OrderOut:
        with _shop_words(order_no):
            return await _outcome(handle_of(order_no), order_no, wait)

    @app.post("/orders/{order_no}/cancel", status_code=202)
    async def cancel(order_no: str, request: CancelIn | None = None) -> OrderOut:
        with _shop_words(order_no):
            handle = handle_of(order_no)
            try:
                await handle.signal("cancel-order", (request or CancelIn()).reason)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
                return await _outcome(handle, order_no, 0.0)  # closed already, or never there: it tells which
            return await _outcome_or(OrderOut(order_no=order_no, status="accepted", reason="it will be cancelled"), handle, 0.0)

    return app


async def _refusal(_: Request, error: Exception) -> JSONResponse:
    """422 as FastAPI's, without the input: it may be a megabyte, or text that no answer can have (half of a surrogate pair)."""
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": [{key: each[key] for key in ("type", "loc", "msg")} for each in error.errors()]}, 422)


async def _outcome(handle: WorkflowHandle[Any, Any], order_no: str, wait_seconds: float) -> OrderOut:
    under_way = await _under_way(handle, order_no)
    if under_way is not None and wait_seconds > 0:
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds):
                return await _end(handle, order_no)
        under_way = await _under_way(handle, order_no)
    return under_way or await _end(handle, order_no)


async def _outcome_or(known: OrderOut, handle: WorkflowHandle[Any, Any], wait_seconds: float) -> OrderOut:
    """As `_outcome`; when nobody tells it in time, what is known already, with the reason why it is no more."""
    try:
        return await _outcome(handle, known.order_no, wait_seconds)
    except (RPCError, BrokerUnreachableError, TopicError) as error:
        if isinstance(error, RPCError) and error.status not in (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED):
            raise
        return known.model_copy(update={"reason": f"{known.reason}: {error}" if known.reason else str(error)})


async def _under_way(handle: WorkflowHandle[Any, Any], order_no: str) -> OrderOut | None:
    """How far it is; None once it is over, however it ended: the last status of a run that was terminated says nothing."""
    try:
        status = await handle.query(OrderSaga.status, reject_condition=QueryRejectCondition.NOT_OPEN, rpc_timeout=ANSWER_WITHIN)
    except WorkflowQueryRejectedError:
        return None
    except WorkflowQueryFailedError as error:
        return OrderOut(order_no=order_no, status="held", reason=f"it waits for an operator: {error}")
    except RPCError as error:
        if error.status is not RPCStatusCode.FAILED_PRECONDITION:
            raise
        return OrderOut(order_no=order_no, status="accepted", reason=str(error))  # its code has not run yet
    return OrderOut(order_no=order_no, status=status)


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
        return OrderOut(order_no=order_no, status="cancelled" if cause.type == "OrderCancelled" else "compensated", reason=cause.message)
    return OrderOut(order_no=order_no, status="cancelled" if isinstance(cause, CancelledError) else "stopped", reason=str(cause))


class _shop_words:
    """Turns the engine's errors into the shop's: 404 no such order, 413 too large, 503 the order system does not answer."""

    def __init__(self, order_no: str) -> None:
        self._order_no = order_no

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, RecordTooLargeError):  # topics that take less than Kafka's default
            raise too_large(self._order_no, error.size, error.limit) from error
        if isinstance(error, BrokerUnreachableError | TopicError):
            raise HTTPException(503, f"orders are not being processed right now: {error}") from error
        if not isinstance(error, RPCError):
            return
        if error.status is RPCStatusCode.NOT_FOUND:
            raise HTTPException(404, f"no order {self._order_no}") from error
        if error.status in (RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED):
            raise HTTPException(503, f"orders are not being processed right now: {error}") from error
        raise HTTPException(500, f"order {self._order_no}: {error}") from error
