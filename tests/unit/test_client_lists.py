"""`list_workflows` and `count_workflows` over HTTP: the whole server application on a port, a
real store, the client's own HTTP.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from odradek.cli.workflow import lists
from odradek.client import (
    Client,
    RPCError,
    RPCStatusCode,
    WorkflowExecution,
    WorkflowExecutionStatus,
)
from odradek.client.connection import Connection
from odradek.client.server_api import url_of
from odradek.client.visibility import summary_of
from odradek.common import SearchAttributeKey
from odradek.config import Settings
from odradek.converter import DataConverter
from odradek.exceptions import ConfigurationError
from odradek.web.options import ServerOptions
from odradek.web.security.authentication import TokenAuthenticator
from odradek.web.temporal.lists import group_value
from odradek.web.temporal.shapes import execution_info
from odradek.wire.outcomes import ExecutionSummary
from odradek.wire.payload import Payload
from tests.support.transport import FakeTransport
from tests.unit.web_server import COMPLETED, START_MS, WebServer, listening, plain, summary

TOKEN = "a-token-of-some-length"


@contextlib.asynccontextmanager
async def serving(web: WebServer) -> AsyncIterator[str]:
    """The application on a free port, in a thread with its own loop."""
    running = listening(web)
    address = running.__enter__()
    try:
        yield address
    finally:
        await asyncio.to_thread(running.__exit__, None, None, None)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServer]:
    server = WebServer(tmp_path)
    yield server
    server.store.close()


def client_of(
    address: str | None, *, transport: FakeTransport | None = None, **settings: Any
) -> Client:
    made = Settings(server_address=address, **{"rpc_timeout": 5.0, "identity": "me", **settings})
    return Client(
        Connection(made, make_transport=lambda _: transport or FakeTransport()),
        namespace=made.namespace,
    )


async def test_lists_page_by_page(web: WebServer) -> None:
    for number in range(7):
        web.add(
            summary(f"order-{number}", start_time_ms=START_MS + number, memo={"n": plain(number)}),
            owner=False,
        )
    web.add(
        summary(
            "other",
            workflow_type="Other",
            status=COMPLETED,
            start_time_ms=START_MS,
            close_time_ms=START_MS + 5,
        ),
        owner=False,
    )
    async with serving(web) as address:
        client = client_of(address)
        found = client.list_workflows("WorkflowType = 'OrderSaga' ORDER BY StartTime", page_size=3)
        assert found.current_page is None
        ids = [execution.id async for execution in found]
        assert ids == [f"order-{number}" for number in range(7)] and found.next_page_token is None
        pages = client.list_workflows("WorkflowType = 'OrderSaga' ORDER BY StartTime", page_size=3)
        await pages.fetch_next_page()
        assert [one.id for one in pages.current_page or []] == ids[
            :3
        ] and pages.current_page_index == 0
        rest = client.list_workflows(
            "WorkflowType = 'OrderSaga' ORDER BY StartTime",
            page_size=100,
            next_page_token=pages.next_page_token,
        )
        assert [one.id async for one in rest] == ids[3:]
        assert [
            one.id
            async for one in client.list_workflows("ORDER BY StartTime DESC", page_size=2, limit=3)
        ] == [
            "order-6",
            "order-5",
            "order-4",
        ]
        (first,) = [one async for one in client.list_workflows("WorkflowId = 'order-0'")]
        assert (await first.memo())["n"] == 0
        (other,) = [one async for one in client.list_workflows("WorkflowType = 'Other'")]
        assert (
            other.status is WorkflowExecutionStatus.COMPLETED
            and other.workflow_type == "Other"
            and other.task_queue == "orders"
        )
        assert other.close_time == datetime.fromtimestamp((START_MS + 5) / 1000, UTC)


async def test_problems_of_a_run_come_through(web: WebServer) -> None:
    problems = [
        "category=WorkflowTaskFailed",
        "cause=WorkflowTaskFailedCauseNonDeterministicError",
        "category=Parked",
    ]
    web.add(summary("order-1", reported_problems=problems, memo={"n": plain(1)}), owner=False)
    async with serving(web) as address:
        (one,) = [
            one
            async for one in client_of(address).list_workflows(
                "TemporalReportedProblems IS NOT NULL"
            )
        ]
    assert one.search_attributes == {"TemporalReportedProblems": problems}
    key = SearchAttributeKey.for_keyword_list("TemporalReportedProblems")
    assert one.typed_search_attributes[key] == problems
    assert one.raw_info.reported_problems == problems and one.raw_info.search_attributes == {}


async def test_a_search_attribute_that_nobody_can_read_is_left_out(web: WebServer) -> None:
    """Of a run that an older processor took: the others, and the list, are there all the same."""
    good = Payload({"encoding": b"json/plain", "type": b"Keyword"}, b'"gold"')
    bad = {
        "None": Payload({}, b"x"),
        "Type": Payload({"encoding": b"json/plain", "type": b"\xff"}, b"1"),
        "Json": Payload(good.metadata, b"{"),
    }
    web.add(summary("order-1", search_attributes={"Tier": good, **bad}), owner=False)
    web.add(summary("order-2"), owner=False)
    async with serving(web) as address:
        found = [one async for one in client_of(address).list_workflows("ORDER BY WorkflowId")]
    assert [(one.id, one.search_attributes) for one in found] == [
        ("order-1", {"Tier": ["gold"], "Type": [1]}),
        ("order-2", {}),
    ]
    assert [pair.key.name for pair in found[0].typed_search_attributes] == ["Tier"]
    assert found[0].raw_info.search_attributes.keys() == {"Tier", *bad}
    assert lists._row(found[0]) and lists.info_json(found[0])


@pytest.mark.parametrize(
    ("problems", "says"),
    [
        ([], "Running"),
        (["category=WorkflowTaskFailed"], "Running (task failing)"),
        (["category=Parked"], "Running (parked)"),
    ],
)
def test_the_command_line_marks_it(problems: list[str], says: str) -> None:
    run = WorkflowExecution._from_summary(
        summary("order-1", reported_problems=problems), DataConverter.default
    )
    assert lists._row(run)[0] == says
    assert ("searchAttributes" in lists.info_json(run)) is bool(problems)


async def test_a_limit_asks_for_no_more_than_it_gives(web: WebServer) -> None:
    for number in range(5):
        web.add(summary(f"order-{number}"), owner=False)
    async with serving(web) as address:
        found = client_of(address).list_workflows(limit=2)
        assert len([one async for one in found]) == 2 and len(found.current_page or []) == 2
        assert [one async for one in client_of(address).list_workflows(limit=0)] == []


async def test_counts_and_groups(web: WebServer) -> None:
    for number in range(3):
        web.add(summary(f"a-{number}"), owner=False)
    web.add(summary("b", status=COMPLETED, close_time_ms=START_MS + 1), owner=False)
    async with serving(web) as address:
        client = client_of(address)
        assert (await client.count_workflows()).count == 4
        counted = await client.count_workflows("GROUP BY ExecutionStatus")
        assert counted.count == 4 and [
            (group.group_values, group.count) for group in counted.groups
        ] == [
            (["Running"], 3),
            (["Completed"], 1),
        ]
        grouped = await client.count_workflows("GROUP BY StartTime, ParentWorkflowId")
        assert grouped.groups[0].group_values == [
            datetime.fromtimestamp(START_MS / 1000, UTC),
            None,
        ]


async def test_groups_of_times_are_as_exact_as_they_are_kept(web: WebServer) -> None:
    times = [
        "2026-01-01T00:00:00.000100Z",
        "2026-01-01T00:00:00.000400Z",
        "2026-01-01T00:00:00.999999Z",
        "0001-01-01T00:00:00Z",
    ]
    for number, time in enumerate([*times, *times[:1]]):
        payload = Payload({"encoding": b"json/plain", "type": b"Datetime"}, f'"{time}"'.encode())
        web.add(summary(f"a-{number}", search_attributes={"When": payload}), owner=False)
    async with serving(web) as address:
        found = {
            group.group_values[0]: group.count
            for group in (await client_of(address).count_workflows("GROUP BY When")).groups
        }
    assert found == {datetime.fromisoformat(time): 2 if time == times[0] else 1 for time in times}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (datetime(2026, 1, 1, 0, 0, 0, 100, UTC), "2026-01-01T00:00:00.0001Z"),
        (datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC), "2026-01-01T00:00:01Z"),
        (datetime.max.replace(tzinfo=UTC), "9999-12-31T23:59:59.999999Z"),
        (datetime.min.replace(tzinfo=UTC), "0001-01-01T00:00:00Z"),
    ],
)
def test_a_time_of_a_group_is_written_as_go_writes_it(value: datetime, text: str) -> None:
    assert json.loads(base64.b64decode(group_value(value)["data"])) == text


async def test_histories_of_a_list(web: WebServer) -> None:
    web.add(summary("order-1"))
    web.add(summary("order-2"))
    async with serving(web) as address:
        client = client_of(address, transport=web.transport)
        histories = [
            history
            async for history in client.list_workflows("ORDER BY WorkflowId").map_histories()
        ]
    assert [history.workflow_id for history in histories] == ["order-1", "order-2"] and all(
        history.events for history in histories
    )


async def test_a_wrong_query_says_where(web: WebServer) -> None:
    async with serving(web) as address:
        for call in (
            client_of(address).count_workflows("WorkflowTipe = 'x'"),
            client_of(address).list_workflows("WorkflowTipe = 'x'").__anext__(),
        ):
            with pytest.raises(RPCError, match=r"column 1: WorkflowTipe.*WorkflowType") as caught:
                await call
            assert caught.value.status is RPCStatusCode.INVALID_ARGUMENT


async def test_a_server_that_wants_a_token(tmp_path: Path) -> None:
    web = WebServer(tmp_path, ServerOptions(authenticator=TokenAuthenticator(TOKEN)))
    async with serving(web) as address:
        with pytest.raises(RPCError, match="server_token") as caught:
            await client_of(address).count_workflows()
        assert caught.value.status is RPCStatusCode.UNAUTHENTICATED
        assert (await client_of(address, server_token=TOKEN).count_workflows()).count == 0
        client = client_of(address, server_token="another-one-which-is-wrong")
        client.api_key = TOKEN
        assert (await client.count_workflows()).count == 0
        assert "another-one-which-is-wrong" not in repr(client.settings)
    web.store.close()


async def test_no_server() -> None:
    with pytest.raises(RPCError, match=r"`server_address` names none.*odradek server") as caught:
        await client_of(None).count_workflows()
    assert caught.value.status is RPCStatusCode.UNAVAILABLE


async def test_a_server_that_is_down() -> None:
    with socket.socket() as closed:  # bound, never listening: refused at once
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(
            RPCError, match=f"http://{address}.*server_address.*refused.*Start it"
        ) as caught:
            await client_of(address).list_workflows().__anext__()
    assert caught.value.status is RPCStatusCode.UNAVAILABLE


async def test_a_server_that_does_not_answer_in_time() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        with pytest.raises(RPCError, match=r"longer than 0.3 s") as caught:
            await client_of(
                f"127.0.0.1:{silent.getsockname()[1]}", rpc_timeout=0.3
            ).count_workflows()
    assert caught.value.status is RPCStatusCode.DEADLINE_EXCEEDED


async def test_something_else_at_that_address(web: WebServer) -> None:
    async with serving(web) as address:
        with pytest.raises(RPCError, match=r"no `odradek server` says|Not Found") as caught:
            await client_of(f"http://{address}/elsewhere").count_workflows()
        assert caught.value.status in (RPCStatusCode.UNAVAILABLE, RPCStatusCode.NOT_FOUND)
        with pytest.raises(RPCError, match="This server serves 'default'"):
            await client_of(address, namespace="another").count_workflows()


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("ops", "http://ops:8088"),
        ("ops:9", "http://ops:9"),
        ("[::1]:9", "http://[::1]:9"),
        ("https://ops.example.com/odradek/", "https://ops.example.com/odradek"),
        ("http://ops:80", "http://ops:80"),
    ],
)
def test_addresses(address: str, url: str) -> None:
    assert url_of(address) == url


@pytest.mark.parametrize(
    "address", ["ftp://x", "http://", "host:port", "x?y", "a:99999", "http://me:secret@x"]
)
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ConfigurationError, match="HOST:PORT"):
        url_of(address)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://me:secret@x:1/api", "http://***@x:1/api"),
        ("me:secret@x:1", "***@x:1"),
        ("http://me:sec@re/t@x", "http://***@x"),
        ("//me:secret@x", "//***@x"),
        ("https://x?token=secret", "https://x?***"),
        ("x#secret", "x#***"),
        ("ftp://x", "ftp://x"),
    ],
)
def test_an_address_that_is_none_is_shown_without_what_may_be_secret(
    address: str, shown: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        url_of(address)
    assert f"is {shown!r}: write" in str(caught.value)


def test_what_the_server_writes_is_read_back() -> None:
    keyword = Payload({"encoding": b"json/plain", "type": b"Keyword"}, b'"blue"')
    run = ExecutionSummary(
        "default", "orders", "w", "r", "T", "TIMED_OUT", 1_001, 2_002, 3_003, 40, 500, "first", "parent", "parent-run", "root", "root-run",
        {"note": plain("x")}, {"Colour": keyword}, "", 7,
    )  # fmt: skip
    assert summary_of(execution_info(run), "default") == run
