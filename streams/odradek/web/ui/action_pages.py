"""Signal, cancel, terminate, release one run: a form, then the owner's verdict.

Forms are pages of their own, which a script shows in a dialog; what went wrong is shown in the
form again, with what was typed.
"""

from __future__ import annotations

import uuid

from starlette.responses import Response

from odradek.service import RPCStatusCode
from odradek.web.batch import CANCEL, SIGNAL, TERMINATE, Order, Target
from odradek.web.context import identity_of
from odradek.web.errors import ApiError, api_error, invalid, not_found
from odradek.web.runs import check_reply
from odradek.web.ui.arguments import payloads_of
from odradek.web.ui.run_pages import RunFacts, facts_of, signal_names
from odradek.web.ui.visit import Form, Visit
from odradek.wire.events import Request, UnparkWorkflow

RELEASE = "release"
_NOTICES = {SIGNAL: "signaled", CANCEL: "canceled", TERMINATE: "terminated", RELEASE: "released"}


async def ask(visit: Visit) -> Response:
    """The form of an action; none for whoever may not do it."""
    if not visit.may_write:
        who = (
            "this server is read-only"
            if visit.server.options.read_only
            else "you may look, but not change anything"
        )
        raise ApiError(RPCStatusCode.PERMISSION_DENIED, who)
    facts = await facts_of(visit)
    return await _form(visit, facts, _action(visit), Form([]), None)


async def act(visit: Visit) -> Response:
    """Do it, and say what the owner said."""
    facts = await facts_of(visit)
    action, form = _action(visit), await visit.form()
    try:
        request = _request(visit, facts, action, form)
        owners, timeout_s = visit.server.need_owners(), visit.server.options.request_timeout_s
        reply = await owners.change(request, task_queue=facts.run.task_queue, timeout_s=timeout_s)
        if reply is not None:
            check_reply(reply)
    except Exception as error:
        return await _form(visit, facts, action, form, api_error(error))
    return visit.go(facts.base, notice=_NOTICES[action] if reply is not None else "pending")


def _action(visit: Visit) -> str:
    action = visit.path("action")
    if action not in _NOTICES:
        raise not_found(f"there is no action {action!r}")
    return action


def _request(visit: Visit, facts: RunFacts, action: str, form: Form) -> Request:
    run, identity = facts.run, identity_of(visit.request)
    # Made with the form: a form that is sent twice is one request.
    request_id = form.text("request_id") or uuid.uuid4().hex
    if action == RELEASE:
        return UnparkWorkflow(run.workflow_id, run.run_id, request_id=request_id, identity=identity)
    name = form.text("signal_name").strip()
    if action == SIGNAL and not name:
        raise invalid("a signal has a name")
    payloads = (
        tuple(payloads_of(form.text("input"), "the signal's input")) if action == SIGNAL else ()
    )
    order = Order(action, identity, form.text("reason").strip(), name, payloads)
    return order.request(Target(run.workflow_id, run.run_id), request_id)


async def _form(
    visit: Visit, facts: RunFacts, action: str, form: Form, problem: ApiError | None
) -> Response:
    names = await signal_names(visit, facts) if action == SIGNAL else []
    return visit.render(
        "action.html",
        part="parts/action.html",
        status=200 if problem is None else problem.http_status,
        facts=facts,
        action=action,
        form=form,
        names=names,
        problem=problem,
        request_id=form.text("request_id") or uuid.uuid4().hex,
    )
