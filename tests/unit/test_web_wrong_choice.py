"""Choices of runs that are none: errors count in the text that somebody wrote, and a value that
nobody knows is no "all runs".
"""

from __future__ import annotations

from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest

from odradek.visibility.errors import QueryError
from odradek.web.ui.run_filter import RunFilter
from tests.unit.web_server import COMPLETED, START_MS, summary
from tests.unit.web_ui import UiServer

OURS = "/api/odradek/v1"
NOW = START_MS + 60_000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[UiServer]:
    made = UiServer(tmp_path)
    made.add(summary("order-1"))
    made.add(summary("order-2", status=COMPLETED, close_time_ms=START_MS + 5))
    yield made
    made.store.close()


async def shown(server: UiServer, **parameters: str) -> str:
    """The list's note about what is wrong, with status 400."""
    async with server.client() as client:
        page = await client.get("/runs", params=parameters)
    assert page.status_code == 400, page.text
    note = page.text.split('role="alert">', 1)[1].split("</div>", 1)[0]
    return unescape(
        note.replace("<span>", "")
        .replace("</span>", "\n")
        .replace("<pre>", "")
        .replace("</pre>", "")
    )


@pytest.mark.parametrize(
    "chips",
    [{}, {"status": "Running"}, {"type": "OrderSaga", "range": "30d", "sort": "-StartTime"}],
)
async def test_places_are_those_of_the_box(server: UiServer, chips: dict[str, str]) -> None:
    """Whatever is put around it."""
    said, *pointed = (
        await shown(server, query="WorkflowId = 'a' AND Nope = 1", **chips)
    ).splitlines()
    assert said.startswith("column 22: ") and "Nope" in said
    assert pointed == ["WorkflowId = 'a' AND Nope = 1", " " * 21 + "^^^^"]
    said, *pointed = (
        await shown(server, query="WorkflowId = 'a' ORDER BY Nope", **chips)
    ).splitlines()
    assert said.startswith("column 27: ") and pointed == [
        "WorkflowId = 'a' ORDER BY Nope",
        " " * 26 + "^^^^",
    ]


async def test_a_sort_by_nothing(server: UiServer) -> None:
    said = await shown(server, sort="-Nope", query="WorkflowId = 'a'")
    assert (
        said.startswith("sort: ")
        and "Nope" in said
        and "column 1" not in said
        and "column 2" not in said
        and "^" not in said
    )


@pytest.mark.parametrize(("name", "value"), [("status", "Nope"), ("range", "1w"), ("closed", "x")])
async def test_values_that_nobody_knows(server: UiServer, name: str, value: str) -> None:
    """The list says so, and a batch over it is none."""
    said = await shown(server, **{name: value})
    assert said.startswith(f"{name}: '{value}' is none of ") and "^" not in said
    async with server.client() as client:
        form = {"action": "terminate", name: value}
        preview = await client.post("/batches/preview", data=form)
        assert preview.status_code == 400 and value in preview.text
    with pytest.raises(QueryError):
        RunFilter.of([(name, value)], NOW).filter()


async def test_known_values_beside_one_that_is_not(server: UiServer) -> None:
    async with server.client() as client:
        page = await client.get("/runs?status=Running&status=Nope")
    assert page.status_code == 400


@pytest.mark.parametrize("query", ["", "WorkflowId = 'a'"])
async def test_sort_and_group_of_the_api(server: UiServer, query: str) -> None:
    async with server.client() as client:
        for path, name, value in (
            ("workflows", "sort", "Nope"),
            ("workflows", "sort", "-StartTime,Nope"),
            ("workflow-count", "group", "Nope"),
        ):
            answer = await client.get(f"{OURS}/{path}", params={"query": query, name: value})
            message = answer.json()["message"]
            assert (
                answer.status_code == 400
                and message.startswith(f"{name}: ")
                and "Nope" in message
                and "column 1" not in message
            ), message
        wrong = (
            await client.get(f"{OURS}/workflows", params={"query": "Nope = 1", "sort": "StartTime"})
        ).json()["message"]
        assert wrong.startswith("column 1: ")
        twice = (
            await client.get(
                f"{OURS}/workflows", params={"query": "ORDER BY StartTime", "sort": "StartTime"}
            )
        ).json()["message"]
        assert twice.startswith("sort: ")


async def test_the_first_page_keeps_its_question(server: UiServer) -> None:
    async with server.client() as client:
        assert (await client.get("/")).headers["location"] == "/runs"
        assert (await client.get("/?query=WorkflowId%20%3D%20%27a%27&status=Running")).headers[
            "location"
        ] == ("/runs?query=WorkflowId%20%3D%20%27a%27&status=Running")
