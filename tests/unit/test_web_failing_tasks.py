"""Runs whose workflow task keeps failing, as the HTTP APIs and the UI show them:
`TemporalReportedProblems`, marks, chip, batch.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape

import httpx

from odradek.web.ui.run_filter import RunFilter
from odradek.wire.events import TerminateWorkflow
from odradek.wire.payload import Payload
from tests.unit.web_server import START_MS, ok, summary
from tests.unit.web_ui import UiServer, text_of

API = "/api/v1/namespaces/default"
NOW = START_MS + 100_000


@asynccontextmanager
async def browser(server: UiServer) -> AsyncIterator[httpx.AsyncClient]:
    async with server.client(
        headers={"accept": "text/html", "sec-fetch-site": "same-origin"}
    ) as client:
        yield client


def links_of(html: str) -> list[str]:
    return [unescape(link) for link in re.findall(r'<a [^>]*href="([^"]*)"', html)]


def fields_of(html: str) -> dict[str, str]:
    """Hidden and other inputs of a page, by name."""
    found = {}
    for tag in re.findall(r"<input [^>]*>", html):
        given = {name: unescape(value) for name, value in re.findall(r'(\w+)="([^"]*)"', tag)}
        found[given.get("name", "")] = given.get("value", "")
    return found


async def test_a_run_whose_task_keeps_failing_in_lists_and_describe(server: UiServer) -> None:
    """As Temporal's server encodes it: a KeywordList among the search attributes, in the long
    form since it carries its type.
    """
    problems = ["category=WorkflowTaskFailed", "cause=WorkflowTaskFailedCauseNonDeterministicError"]
    keyword = Payload({"encoding": b"json/plain", "type": b"Keyword"}, b'"blue"')
    server.add(
        summary("order-1", reported_problems=problems, search_attributes={"Colour": keyword})
    )
    server.add(summary("order-2"))
    encoded = {"encoding": "anNvbi9wbGFpbg==", "type": base64.b64encode(b"KeywordList").decode()}
    async with server.client() as client:
        for query in (
            (
                "TemporalReportedProblems IN ('category=WorkflowTaskFailed',"
                " 'category=WorkflowTaskTimedOut')"
            ),
            (
                '`ExecutionStatus`="Running" AND `TemporalReportedProblems` ='
                ' "cause=WorkflowTaskFailedCauseNonDeterministicError"'
            ),
        ):
            (one,) = ok(await client.get(f"{API}/workflows", params={"query": query}))["executions"]
            fields = one["searchAttributes"]["indexedFields"]
            assert one["execution"]["workflowId"] == "order-1" and set(fields) == {
                "Colour",
                "TemporalReportedProblems",
            }
            found = fields["TemporalReportedProblems"]
            assert (
                found["metadata"] == encoded
                and json.loads(base64.b64decode(found["data"])) == problems
            )
        described = ok(await client.get(f"{API}/workflows/order-1"))["workflowExecutionInfo"]
        assert described["searchAttributes"]["indexedFields"] == fields
        assert (
            "searchAttributes"
            not in ok(await client.get(f"{API}/workflows/order-2"))["workflowExecutionInfo"]
        )
        known = ok(await client.get(f"{API}/search-attributes"))
        assert (
            known["systemAttributes"]["TemporalReportedProblems"]
            == "INDEXED_VALUE_TYPE_KEYWORD_LIST"
        )


def test_failing_tasks_are_a_chip_of_their_own() -> None:
    choice = RunFilter.of([("failing", "1"), ("type", "A"), ("failing", "")], NOW)
    assert choice.query() == "WorkflowType IN ('A') AND TemporalReportedProblems IS NOT NULL"
    assert (
        choice.link() == "/runs?failing=1&type=A" and choice.link(failing=False) == "/runs?type=A"
    )
    assert (
        not RunFilter.of([("failing", "0")], NOW).failing
        and not RunFilter().chosen
        and RunFilter(failing=True).chosen
    )


async def test_failing_tasks_are_marked_counted_and_found(server: UiServer) -> None:
    async with browser(server) as client:
        assert 'id="failing"' not in (await client.get("/runs")).text, (
            "nothing fails: no chip beside the counts"
        )
        server.add(
            summary(
                "stuck",
                reported_problems=[
                    "category=WorkflowTaskFailed",
                    "cause=WorkflowTaskFailedCauseNonDeterministicError",
                ],
            )
        )
        server.add(
            summary(
                "held",
                reported_problems=["category=WorkflowTaskFailed", "category=Parked"],
                quarantine_reason="spins",
            )
        )
        html = (await client.get("/runs")).text
        assert "/runs?failing=1" in links_of(html), (
            "a view of its own, whether something fails or not"
        )
        row = html.partition('data-row="run-of-stuck"')[2].partition("</tr>")[0]
        assert "task failing" in row and "WorkflowTaskFailedCauseNonDeterministicError" in row
        assert (
            "task failing" not in html.partition('data-row="run-of-held"')[2].partition("</tr>")[0]
        ), "parked says it"
        assert failing_of(html) == ("false", 2)
        html = (await client.get("/runs?failing=1")).text
        assert set(re.findall(r'data-row="([\w-]+)"', html)) == {
            "run-of-stuck",
            "run-of-held",
        } and failing_of(html) == ("true", 2)
        assert failing_of((await client.get("/runs?type=Refund&failing=1")).text) == ("true", 0)
        columns = (
            await client.get("/runs?failing=1&column=WorkflowId&column=TemporalReportedProblems")
        ).text
        assert "category=WorkflowTaskFailed, category=Parked" in text_of(columns)


def failing_of(html: str) -> tuple[str, int]:
    """Whether the chip is on, and its count."""
    (found,) = re.findall(r'id="failing"([^>]*)>.*?class="count">(\d+)<', html, re.DOTALL)
    return str('aria-current="true"' in found[0]).lower(), int(found[1])


async def test_batch_over_the_failing_hits_nobody_else(server: UiServer) -> None:
    """What narrows the list narrows the batch: the form takes every parameter of it along."""
    server.add(summary("fine"))
    server.add(summary("stuck", reported_problems=["category=WorkflowTaskFailed"]))
    async with browser(server) as client:
        form = fields_of((await client.get("/runs?failing=1")).text)
        preview = await client.post(
            "/batches/preview", data=form | {"action": "terminate", "scope": "query"}
        )
        assert "Terminate 1 open run?" in text_of(preview.text)
        await client.post("/batches", data=fields_of(preview.text) | {"confirm": "1"})
        (job,) = server.context.batches.latest()
        assert job.task is not None
        await job.task
    assert [one.workflow_id for one in server.owner.seen if isinstance(one, TerminateWorkflow)] == [
        "stuck"
    ]
