"""Pages of the UI, through the whole application: what they show, what they refuse, and that
nothing on them runs that should not.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest

from odradek.engine.history_json import to_json
from odradek.web.api.history import EventView
from odradek.web.kafka.facts import Place, Trail
from odradek.web.options import ServerOptions
from odradek.web.api.trail import add_purged
from odradek.web.ui import visit
from odradek.web.ui.histories import HistoryBook
from odradek.web.ui.run_pages import METADATA
from odradek.wire.events import (
    CancelWorkflow,
    QueryWorkflow,
    SignalWorkflow,
    TerminateWorkflow,
    UnparkWorkflow,
)
from odradek.wire.history import ActivityTaskScheduled, ActivityTaskStartedEvent, HistoryEvent
from odradek.wire.outcomes import COMPLETED, FAILED, WorkflowDescription
from odradek.wire.payload import Failure, Payload
from tests.support.transport import reply_to
from tests.unit.web_server import START_MS, busy_description, completed_history, plain, summary
from tests.unit.web_ui import UiServer, long_history, text_of

RUN = "/workflows/order-1/run-of-order-1"
EVIL = "<script>alert(1)</script>"


def filled(server: UiServer) -> UiServer:
    server.add(summary("order-1"))
    server.add(
        summary(
            "order-2", status=COMPLETED, close_time_ms=START_MS + 1_500, start_time_ms=START_MS + 5
        )
    )
    server.add(
        summary(
            "order-3",
            status=FAILED,
            close_time_ms=START_MS + 9,
            workflow_type="Refund",
            task_queue="refunds",
        ),
        owner=False,
    )
    server.member(time_ms=int(time.time() * 1000))
    return server


class Page(HTMLParser):
    """What a page holds that a content security policy would refuse, and its links and fields."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.refused: list[str] = []
        self.links: list[str] = []
        self.fields: list[tuple[str, str]] = []
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        if (
            "style" in given
            or any(name.startswith("on") for name in given)
            or (tag == "script" and not given.get("src"))
            or tag == "style"
        ):
            self.refused.append(f"{tag} {given}")
        if tag == "a":
            self.links.append(given.get("href") or "")
        if tag == "input":
            self.fields.append((given.get("name") or "", given.get("value") or ""))


@asynccontextmanager
async def browser(server: UiServer) -> AsyncIterator[httpx.AsyncClient]:
    async with server.client(
        headers={"accept": "text/html", "sec-fetch-site": "same-origin"}
    ) as client:
        yield client


PAGES = [
    "/runs",
    "/dashboard",
    "/queues",
    "/queues/orders",
    "/services",
    "/dead-letters",
    "/dead-letters/orders/5",
    "/schemas",
    "/import",
    "/batches",
    "/records",
    "/records/odradek.default.orders.events/3/7",
    RUN,
    f"{RUN}/history?view=compact",
    f"{RUN}/history?view=full",
    f"{RUN}/history?view=json",
    f"{RUN}/events/5",
    f"{RUN}/call-stack",
    f"{RUN}/queries?type=state&args=1",
    f"{RUN}/records",
    f"{RUN}/actions/signal",
    f"{RUN}/actions/cancel",
    f"{RUN}/actions/terminate",
    f"{RUN}/actions/unpark",
]


@pytest.mark.parametrize("path", PAGES)
async def test_every_page_keeps_the_content_security_policy(server: UiServer, path: str) -> None:
    async with browser(filled(server)) as client:
        response = await client.get(path)
        assert response.status_code == 200, text_of(response.text)
        assert (
            response.headers["content-type"].startswith("text/html")
            and "script-src 'self'" in response.headers["content-security-policy"]
        )
        page = Page(response.text)
        assert page.refused == [] and "main" in page.tags and "Undefined" not in response.text
        part = await client.get(path, headers={"x-part": "1"})
        assert part.status_code == 200 and Page(part.text).refused == []


async def test_every_page_has_one_heading_and_leaves_no_level_out(server: UiServer) -> None:
    """Those in dialogs begin below the page's own. Links are pressed nowhere (what is chosen is
    current), and columns have names.
    """
    problems = [
        "/nothing/here",
        "/workflows/nobody/r",
        "/records/odradek.default.orders.events/3/700",
    ]
    async with browser(filled(server)) as client:
        imported = await client.post(
            "/import",
            content=to_json(long_history(summary("order-1"), 3)),
            headers={"content-type": "application/json"},
        )
        where = imported.json()["location"]
        for path in [*PAGES, *problems, "/dashboard/table?plot=runs", where, f"{where}/events/5"]:
            html = (await client.get(path)).text
            levels = [
                int(level)
                for level in re.findall(
                    r"<h(\d)", html.partition("<main")[2].partition("</main>")[0]
                )
            ]
            assert levels.count(1) == 1 and levels[0] == 1, (path, levels)
            assert all(after <= before + 1 for before, after in pairwise(levels)), (path, levels)
            assert (
                re.findall(r"<(?:a|summary)[^>]* aria-pressed", html) == []
                and "<th></th>" not in html
            ), path
        for path in [
            f"{RUN}/actions/signal",
            f"{RUN}/events/5",
            "/records/odradek.default.orders.events/3/7",
            "/dashboard/table?plot=runs",
        ]:
            part = (await client.get(path, headers={"x-part": "1"})).text
            assert re.findall(r"<h(\d)", part)[0] == "2" and "<h1" not in part, path


async def test_markup_in_data_is_text(server: UiServer) -> None:
    run = summary(EVIL, "r1", workflow_type=EVIL, memo={EVIL: plain(EVIL)}, parked_reason=EVIL)
    server.add(run, completed_history(run))
    async with browser(server) as client:
        base = "/workflows/%3Cscript%3Ealert(1)%3C%2Fscript%3E/r1"
        for path in (
            "/runs",
            "/runs?query=" + EVIL,
            f"/runs?type={EVIL}",
            base,
            f"{base}/history?view=full&text={EVIL}",
            f"{base}/queries?type={EVIL}",
        ):
            response = await client.get(path)
            assert EVIL not in response.text and Page(response.text).refused == [], path


async def test_text_that_utf8_cannot_carry_is_shown_escaped(server: UiServer) -> None:
    """JSON in a payload may hold a lone surrogate; lists and pages of all runs must not fail
    over one.
    """
    run = summary("w", "r1", memo={"file": Payload({"encoding": b"json/plain"}, b'"bad-\\udcff"')})
    server.add(run, completed_history(run))
    async with browser(server) as client:
        for path in ("/runs", "/workflows/w/r1"):
            assert (await client.get(path)).status_code == 200
        assert "bad-\\udcff" in (await client.get("/workflows/w/r1")).text
        listed = await client.get("/api/v1/namespaces/default/workflows")
        assert listed.status_code == 200 and "bad-\\udcff" in listed.text


TURNED = "gnp\u202etxt.exe\u2066\x1b[2J"


async def test_what_turns_text_around_is_shown_escaped(server: UiServer) -> None:
    """An id with U+202E reads as another one. Fields of forms and what scripts ask by keep it:
    they are sent back.
    """
    run = summary(
        TURNED,
        "r1",
        workflow_type=TURNED,
        memo={TURNED: plain(TURNED)},
        search_attributes={"Note": plain(TURNED)},
    )
    description = busy_description(run)
    description.pending_activities[0].heartbeat_details = [plain({"at": TURNED})]
    server.owner.descriptions[TURNED] = description
    server.add(run, completed_history(run))
    base = f"/workflows/{quote(TURNED, safe='')}/r1"
    async with browser(server) as client:
        for path in (
            "/runs",
            base,
            f"{base}/history?view=full",
            f"{base}/history?view=json",
            f"{base}/actions/signal",
            "/dashboard",
        ):
            html = (await client.get(path)).text
            shown = re.sub(r"<input[^>]*>", "", html)
            assert not re.search("[\u202e\u2066\x1b]", shown), path
            assert path == "/dashboard" or "gnp\\u202etxt.exe\\u2066\\x1b[2J" in shown, path
            assert base in html or path == "/dashboard", "links lead to the run of this id"
        assert f'data-workflow="{quote(TURNED, safe="")}"' in (await client.get(base)).text
        asked = f"WorkflowId = '{TURNED}'"
        assert ("query", asked) in Page(
            (await client.get("/runs", params={"query": asked})).text
        ).fields
        assert '"at": "gnp\\u202etxt.exe\\u2066\\u001b[2J"' in unescape(
            (await client.get(base)).text
        ), "JSON has its own escapes"


def test_fields_keep_what_they_are_given() -> None:
    """Values that are sent back are marked in the templates: all others are escaped for whoever
    reads them.
    """
    for path in (visit.FOLDER / "templates").rglob("*.html"):
        text = path.read_text()
        fields = re.findall(
            r'<(?:input|option|button)[^>]*? value="(\{\{.*?\}\})"', text
        ) + re.findall(r"<textarea[^>]*>(\{\{.*?\}\})", text)
        assert [
            field
            for field in fields
            if not re.fullmatch(
                r"\{\{ (\(.*\)|[\w.\[\]]+)\|kept }}|.*\|tojson\|forceescape }}", field
            )
        ] == [], path


# ---------------------------------------------------------------- the list


async def test_runs_with_counts_and_chips(server: UiServer) -> None:
    async with browser(filled(server)) as client:
        html = (await client.get("/runs")).text
        assert [name for name in ("order-1", "order-2", "order-3") if name in html] == [
            "order-1",
            "order-2",
            "order-3",
        ]
        counts = {
            status: int(count)
            for status, count in re.findall(
                r'data-status="(\w+)".*?class="count">(\d+)<', html, re.DOTALL
            )
        }
        assert counts == {"Running": 1, "Completed": 1, "Failed": 1}
        html = (await client.get("/runs?status=Failed&type=Refund")).text
        assert "order-3" in html and "order-1" not in text_of(html)
        assert (
            counts_of(html)["Failed"] == 1 and counts_of(html)["Running"] == 0
        )  # of the type, whatever its status


def counts_of(html: str) -> dict[str, int]:
    return {
        status: int(count)
        for status, count in re.findall(
            r'data-status="(\w+)".*?class="count">(\d+)<', html, re.DOTALL
        )
    }


async def test_a_wrong_query_says_where(server: UiServer) -> None:
    async with browser(filled(server)) as client:
        response = await client.get("/runs", params={"query": "WorkflowTyp = 'x'"})
        assert response.status_code == 400
        said = text_of(response.text)
        assert "WorkflowType" in said and "^^^" in said and "column 1" in said


async def test_numbers_stand_under_each_other(server: UiServer) -> None:
    """A column of a search attribute is aligned as its values are: numbers to the right, where
    all of a page are.
    """
    for number, (amount, note) in enumerate(((7, "a"), (1_250, 3), (None, True))):
        values = {"Amount": amount, "Note": note, "Flag": True}
        attributes = {name: plain(value) for name, value in values.items() if value is not None}
        server.add(summary(f"w{number}", search_attributes=attributes), owner=False)
    async with browser(server) as client:
        html = (
            await client.get("/runs?column=WorkflowId&column=Amount&column=Note&column=Flag")
        ).text
    assert (
        '<th class="num"><a href="/runs?sort=-Amount">' in html
        and '<td class="num" data-label="Amount">1250</td>' in html
    )
    assert (
        '<th><a href="/runs?sort=-Note">' in html
        and '<td data-label="Note">3</td>' in html
        and '<td data-label="Flag">true</td>' in html
    )


async def test_sort_and_columns(server: UiServer) -> None:
    server = filled(server)
    async with browser(server) as client:
        html = (await client.get("/runs?sort=WorkflowId")).text
        assert (
            html.index("order-1") < html.index("order-2") < html.index("order-3")
            and 'aria-sort="ascending"' in html
        )
        html = (await client.get("/runs?sort=-WorkflowId")).text
        assert html.index("order-3") < html.index("order-1")
        chosen = await client.get("/runs?column=WorkflowId&column=HistoryLength")
        assert "Events" in chosen.text and "odradek_columns" in chosen.headers["set-cookie"]
        remembered = text_of(
            (await client.get("/runs")).text.partition("<thead>")[2].partition("</thead>")[0]
        )
        assert remembered == "Workflow ID Events"


async def test_pages_follow_keys(server: UiServer) -> None:
    for number in range(7):
        server.add(summary(f"run-{number}", start_time_ms=START_MS + number), owner=False)
    seen: list[str] = []
    path: str | None = "/runs?size=3&range=30d&sort=StartTime"
    async with browser(server) as client:
        for number in range(7):  # started long ago: the range takes them all out
            assert f"run-{number}" not in (await client.get("/runs?range=15m")).text
        path, back = "/runs?size=3&sort=StartTime&status=Running", None
        while path:
            html = (await client.get(path)).text
            seen += re.findall(r'data-row="run-of-(run-\d)"', html)
            path, back = turned_to(html, "next"), turned_to(html, "prev")
        assert seen == [f"run-{number}" for number in range(7)]
        assert (
            back is not None
            and "sort=StartTime" in back
            and "status=Running" in back
            and "size=3" in back
        )
        html = (await client.get(back)).text
        assert (
            re.findall(r'data-row="run-of-(run-\d)"', html) == ["run-3", "run-4", "run-5"]
            and "data-live" not in html
        )
        assert "page=" in str(turned_to(html, "next"))
        first = await client.get(
            str(turned_to(html, "prev"))
        )  # it has an address of its own, at which it is live
        assert (
            first.status_code == 303
            and first.headers["location"] == "/runs?sort=StartTime&status=Running&size=3"
        )
        html = (await client.get(first.headers["location"])).text
        assert (
            'data-live="runs"' in html
            and turned_to(html, "prev") is None
            and "First page" not in html
        )


def turned_to(html: str, rel: str) -> str | None:
    """Where the link to the next or previous page leads."""
    found = re.search(rf'rel="{rel}" href="([^"]+)"', html)
    return found and unescape(found[1])


async def test_nothing_yet_and_nothing_fits(server: UiServer) -> None:
    async with browser(server) as client:
        assert "No runs yet" in (await client.get("/runs")).text
        assert "No run fits" in (await client.get("/runs?status=Failed")).text


async def test_no_read_side_is_a_page(server: UiServer) -> None:
    server.context.read_side = None
    async with browser(server) as client:
        response = await client.get("/runs")
        assert response.status_code == 503 and "read side" in text_of(response.text)


async def test_old_lists_say_so(server: UiServer) -> None:
    server.add(summary("order-1"))
    async with browser(server) as client:
        for path in ("/runs", "/dashboard"):
            assert "are old" not in (await client.get(path)).text
        why = (
            "the intake has taken in nothing since 2026-09-21 16:13:20 UTC: OperationalError:"
            " database or disk is <full>"
        )
        server.context.standstill = lambda: why
        for path in ("/runs", "/dashboard"):
            response = await client.get(path)
            assert (
                response.status_code == 200
                and "are old: the intake has taken in nothing since" in text_of(response.text)
            )
            assert "&lt;full&gt;" in response.text


# ---------------------------------------------------------------- a run


async def test_a_run(server: UiServer) -> None:
    run = summary("order-1", parked_reason="stuck for good")
    server.add(run)
    server.owner.descriptions["order-1"] = busy_description(run)
    async with browser(server) as client:
        assert (await client.get("/workflows/order-1")).headers["location"] == RUN
        said = text_of((await client.get(RUN)).text)
        for part in (
            "order-1",
            "OrderSaga",
            "Running",
            "insufficient funds",
            "3 of 5",
            "payments",
            "an order",
            "stuck for good",
            "attempt 4",
            "Pending timers",
        ):
            assert part in said, part
        assert "Unreadable" not in said
        event = (await client.get(f"{RUN}/events/7")).text
        said = text_of(event)
        assert "Unreadable here" in said and "binary/encrypted" in said, said
        assert "/records/odradek.default.orders.events/" in event


async def test_a_parked_run_is_said_to_wait_for_somebody(server: UiServer) -> None:
    """One box, and it says whether the run is tried again by itself, and when."""
    run = summary("order-1", parked_reason="blocked for 60 s")
    server.add(run)
    server.owner.descriptions["order-1"] = WorkflowDescription(
        run, pending_task_attempt=3, pending_task_failure=Failure("stuck", type="Blocked")
    )
    async with browser(server) as client:
        page = (await client.get(RUN)).text
        said = text_of(page)
        assert page.count('class="note bad"') == 1
        assert (
            "is tried again." not in said
            and "not tried again by itself" in said
            and "Blocked" in said
        )
        server.owner.descriptions["order-1"].pending_task_next_attempt_time_ms = (
            (time.time_ns() // 1_000_000) + 10 * 60_000 + 30_000
        )
        page = (await client.get(RUN)).text
        assert page.count(
            'class="note bad"'
        ) == 1 and "It is tried again by itself in 10 m" in text_of(page), text_of(page)


async def test_a_run_that_begins_later(server: UiServer) -> None:
    """With a start delay or a cron schedule it runs from its execution time on, as its duration
    counts in lists.
    """
    now = int(time.time() * 1000)
    server.add(summary("waits", start_time_ms=now - 60_000, execution_time_ms=now + 3_600_000))
    server.add(summary("began", start_time_ms=now - 7_200_000, execution_time_ms=now - 60_000))
    closed = {
        "status": COMPLETED,
        "start_time_ms": now - 7_200_000,
        "execution_time_ms": now - 60_000,
        "close_time_ms": now - 30_000,
    }
    server.add(summary("closed", **closed))
    async with browser(server) as client:
        waits, began, closed_page = [
            text_of((await client.get(f"/workflows/{name}/run-of-{name}")).text)
            for name in ("waits", "began", "closed")
        ]
    assert re.search(r"Begins in (59 m|1 h)", waits) and "Running for" not in waits
    assert re.search(r"Running for 1 m \d\d s", began) and "Began 2" in began
    assert "Took 30 s" in closed_page and "Began 2" in closed_page
    assert "Began" not in waits


async def test_input_and_outcome(server: UiServer) -> None:
    run = summary("order-1", status=COMPLETED, close_time_ms=START_MS + 9)
    server.add(run)
    async with browser(server) as client:
        said = text_of((await client.get(RUN)).text)
        assert "done" in said and "Signal…" not in said
        assert (await client.get("/workflows/nobody/nothing")).status_code == 404


async def test_a_silent_owner_is_named(server: UiServer) -> None:
    server = filled(server)
    server.owner.muted = True
    async with browser(server) as client:
        said = text_of((await client.get(RUN)).text)
        assert "does not answer" in said and "orders" in said and "order-1" in said
        assert re.search(r"History ≥ \d+ events, ≥ \d+", said), (
            "the last summary's, which is behind while the run goes on"
        )
        assert (await client.get(f"{RUN}/history")).status_code in (503, 504)
        assert "does not answer" in text_of((await client.get(f"{RUN}/call-stack")).text)


async def test_history_in_four_views(server: UiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "odradek.web.ui.histories.FRESH_S", 600.0
    )  # whoever scrolls on after a while asks for what is new
    run = summary("order-1")
    server.add(run, long_history(run, 150))
    async with browser(server) as client:
        timeline = (await client.get(f"{RUN}/history")).text
        assert (
            timeline.count('class="chunk') == 2
            and timeline.count("<rect class") >= 100
            and "×2" in timeline
        )
        assert "step_0" in (await client.get(f"{RUN}/history?view=compact")).text
        for view in ("compact", "timeline"):  # the fourth activity succeeded in its second attempt
            html = (await client.get(f"{RUN}/history?view={view}&text=ok-3")).text
            row = re.findall(
                r'<a class="(?:ev flat|tl g-completed)" data-row.*?</a>', html, re.DOTALL
            )[0]
            assert (
                "after 1 failed attempt: CardError: card declined" in row
                and "&#34;ok-3&#34;" in row
            ), row
            assert 'class="bad"' not in row, row
        full = (await client.get(f"{RUN}/history?view=full")).text
        total = int(re.findall(r'data-total="(\d+)"', full)[0])
        sources = re.findall(r'data-source="([^"]*history/rows[^"]*)"', full)
        assert total == server.owner.events["order-1"][-1].event_id + 2 and len(sources) == -(
            -total // 100
        )
        rows = [
            int(row)
            for source in sources
            for row in re.findall(
                r'data-row="(\d+)"', (await client.get(source.replace("&amp;", "&"))).text
            )
        ]
        assert rows == list(range(1, total + 1))
        before = len(server.owner.seen)
        await client.get(sources[-1].replace("&amp;", "&"))
        await client.get(f"{RUN}/events/5", headers={"x-part": "1"})
        assert len(server.owner.seen) == before  # scrolling asks its owner for nothing
        assert '"ActivityTaskScheduled"' in (
            await client.get(f"{RUN}/history?view=json")
        ).text.replace("&#34;", '"')


async def test_history_is_filtered(server: UiServer) -> None:
    run = summary("order-1")
    server.add(run, long_history(run, 30))
    async with browser(server) as client:
        signals = (await client.get(f"{RUN}/history?view=full&category=signal")).text
        assert 'data-total="3"' in signals
        assert 'data-total="1"' in (await client.get(f"{RUN}/history?view=full&text=ok-17")).text
        assert 'data-total="1"' in (await client.get(f"{RUN}/history?view=compact&text=ok-17")).text
        assert "No event fits" in (await client.get(f"{RUN}/history?text=nowhere")).text
        newest = (await client.get(f"{RUN}/history?view=full&order=newest")).text
        last = server.owner.events["order-1"][-1].event_id + 2
        assert re.findall(r'data-row="(\d+)"', newest)[:2] == [str(last), str(last - 1)]


async def test_summaries_of_activities(server: UiServer) -> None:
    """Whoever has five activities of a type reads in each view which one it is."""
    run = summary("order-1")
    events = completed_history(run)[:2]
    scheduled = ActivityTaskScheduled(
        "5", "charge", "payments", [plain("card")], summary=plain("charge the <first> card")
    )
    server.add(run, [*events, HistoryEvent(5, START_MS + 3, scheduled)])
    description = busy_description(run)
    description.pending_activities[0].scheduled_event_id = 5
    server.owner.descriptions["order-1"] = description
    said = "charge the &lt;first&gt; card"
    async with browser(server) as client:
        for view in ("timeline", "compact", "full"):
            assert said in (await client.get(f"{RUN}/history?view={view}")).text, view
        html = (await client.get(RUN)).text
        pending = html.partition("Pending activities")[2].partition("</section>")[0]
        assert said in pending and said in html.partition('id="history"')[2]
        event = (await client.get(f"{RUN}/events/5")).text
        assert re.search(rf"Summary</h3>.*{said}", event.partition("All attributes")[0], re.DOTALL)


async def test_what_a_workflow_says_of_itself_now(server: UiServer) -> None:
    """`workflow.set_current_details`: the metadata query has it, which the tab of queries asks
    anyway.
    """
    run = server.add(summary("order-1"))
    told = {
        "definition": {"queryDefinitions": []},
        "currentDetails": "waits for <b>the bank</b>\nsince noon",
    }
    answer = server.owner.answer
    server.transport.serve(
        "orders",
        lambda queue, record: (
            reply_to(record, payloads=[plain(told)])
            if isinstance(record, QueryWorkflow) and record.query_type == METADATA
            else answer(queue, record)
        ),
    )
    async with browser(server) as client:
        html = (await client.get(f"/workflows/order-1/{run.run_id}/queries")).text
        assert (
            "Current details</h2>" in html
            and "waits for &lt;b&gt;the bank&lt;/b&gt;\nsince noon" in html
        )
        told["currentDetails"] = ""
        assert (
            "Current details"
            not in (await client.get(f"/workflows/order-1/{run.run_id}/queries")).text
        )


async def test_an_open_history_grows(server: UiServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("odradek.web.ui.histories.FRESH_S", 0.0)
    run = summary("order-1")
    events = long_history(run, 10)
    server.add(run, events[:20])
    async with browser(server) as client:
        before = int(
            re.findall(r'data-total="(\d+)"', (await client.get(f"{RUN}/history?view=full")).text)[
                0
            ]
        )
        server.owner.events["order-1"] = events
        after = int(
            re.findall(r'data-total="(\d+)"', (await client.get(f"{RUN}/history?view=full")).text)[
                0
            ]
        )
    assert before < after == events[-1].event_id + 2


async def test_a_history_has_the_event_that_was_told(server: UiServer) -> None:
    """Read a moment ago counts as fresh, but not without an event that its reader has heard of."""
    run = summary("order-1")
    events = long_history(run, 3)
    server.add(run, events[:5])
    last = events[-1].event_id + 2
    async with browser(server) as client:
        before = (await client.get(f"{RUN}/history?view=full")).text
        server.owner.events["order-1"] = events
        assert (
            f'data-total="{last}"'
            in (await client.get(f"{RUN}/history?view=full&least={last}")).text
            != before
        )


async def test_download_and_import(server: UiServer) -> None:
    run = summary("order-1")
    server.add(run, long_history(run, 12))
    async with browser(server) as client:
        file = await client.get(f"{RUN}/history.json")
        assert (
            file.headers["content-disposition"]
            == 'attachment; filename="order-1_run-of-order-1_events.json"'
        )
        history = json.loads(file.text)
        assert history == json.loads(to_json(server.owner.events["order-1"]))
        taken = await client.post(
            "/import", content=file.content, headers={"content-type": "application/json"}
        )
        where = taken.json()["location"]
        said = text_of((await client.get(where)).text)
        assert "offline" in said and "order-1" in said and "step_1" in said
        assert json.loads((await client.get(f"{where}/history.json")).text) == history
        assert "ActivityTaskScheduled" in (await client.get(f"{where}/events/5")).text
        pasted = await client.post("/import", data={"history": file.text})
        assert pasted.status_code == 303 and pasted.headers["location"].startswith("/imported/")
        for wrong in ("{", "[]", '{"events": []}', '{"events": [{"eventId": "x"}]}'):
            refused = await client.post(
                "/import", content=wrong, headers={"content-type": "application/json"}
            )
            assert refused.status_code == 400, wrong
        assert (await client.get("/imported/unknown")).status_code == 404


# ---------------------------------------------------------------- questions and actions


async def test_queries_with_arguments(server: UiServer) -> None:
    async with browser(filled(server)) as client:
        said = text_of(
            (
                await client.get(
                    f"{RUN}/queries", params={"type": "state", "args": '"a" 1\n{"x": [2]}'}
                )
            ).text
        )
        assert "state" in said
        asked = [
            record
            for record in server.owner.seen
            if isinstance(record, QueryWorkflow) and record.query_type == "state"
        ]
        assert [json.loads(payload.data) for payload in asked[0].input] == ["a", 1, {"x": [2]}]
        assert "ValueError" in text_of((await client.get(f"{RUN}/queries?type=broken")).text)
        early = text_of(
            (await client.get(f"{RUN}/queries?type=early")).text
        )  # its workflow task fails: why, and with what
        assert (
            "Its workflow task is in a failed state" in early
            and "ValueError" in early
            and "bug" in early
        )
        wrong = await client.get(f"{RUN}/queries", params={"type": "state", "args": "{"})
        assert wrong.status_code == 400 and "line 1" in text_of(wrong.text)


@pytest.mark.parametrize(
    ("action", "fields", "record", "notice"),
    [
        ("signal", {"signal_name": "approve", "input": "true null"}, SignalWorkflow, "signaled"),
        ("cancel", {"reason": "changed my mind"}, CancelWorkflow, "canceled"),
        ("terminate", {"reason": "enough"}, TerminateWorkflow, "terminated"),
        ("unpark", {}, UnparkWorkflow, "unparked"),
    ],
)
async def test_actions(
    server: UiServer, action: str, fields: dict[str, str], record: type[Any], notice: str
) -> None:
    async with browser(filled(server)) as client:
        form = Page((await client.get(f"{RUN}/actions/{action}")).text)
        request_id = dict(form.fields)["request_id"]
        done = await client.post(
            f"{RUN}/actions/{action}", data={**fields, "request_id": request_id}
        )
        assert done.status_code == 303 and done.headers["location"] == f"{RUN}?notice={notice}"
        sent = [one for one in server.owner.seen if isinstance(one, record)]
        assert (
            len(sent) == 1
            and sent[0].request_id == request_id
            and sent[0].run_id == "run-of-order-1"
            and "anonymous" in sent[0].identity
        )
        if isinstance(sent[0], SignalWorkflow):
            assert sent[0].input == [plain(True), Payload({"encoding": b"binary/null"})]
        assert (await client.get(done.headers["location"])).status_code == 200


async def test_trying_again_a_run_that_is_not_parked_says_so(server: UiServer) -> None:
    filled(server)

    def answer(queue: str, record: Any) -> Any:
        if isinstance(record, UnparkWorkflow):
            return reply_to(
                record,
                "FAILED_PRECONDITION",
                message="workflow 'order-1' is not parked: nothing was done",
            )
        return server.owner.answer(queue, record)

    server.transport.serve("orders", answer)
    async with browser(server) as client:
        refused = await client.post(f"{RUN}/actions/unpark", data={})
        assert refused.status_code == 400 and "is not parked: nothing was done" in text_of(
            refused.text
        )


async def test_an_action_that_fails_keeps_what_was_typed(server: UiServer) -> None:
    async with browser(filled(server)) as client:
        refused = await client.post(
            f"{RUN}/actions/signal", data={"signal_name": "approve", "input": "{no json"}
        )
        assert (
            refused.status_code == 400
            and "{no json" in refused.text
            and "approve" in refused.text
            and "line 1" in refused.text
        )
        assert (
            await client.post(f"{RUN}/actions/signal", data={"signal_name": " "})
        ).status_code == 400
        assert (await client.get(f"{RUN}/actions/explode")).status_code == 404
        server.owner.muted = True
        pending = await client.post(f"{RUN}/actions/cancel", data={})
        assert pending.headers["location"] == f"{RUN}?notice=pending"


async def test_read_only_hides_and_refuses(tmp_path: Path) -> None:
    server = filled(UiServer(tmp_path, ServerOptions(read_only=True, request_timeout_s=0.6)))
    async with browser(server) as client:
        for path in ("/runs", RUN, "/dead-letters/orders/5"):
            html = (await client.get(path)).text
            assert (
                "read-only" in html
                and "actions/" not in html
                and "redrive" not in html
                and 'name="run"' not in html
            )
        for path in (
            f"{RUN}/actions/cancel",
            "/batches/preview",
            "/batches",
            "/dead-letters/orders/5/redrive",
        ):
            assert (await client.post(path, data={"action": "cancel"})).status_code == 403
        for action in ("signal", "terminate"):  # no form that would only be refused
            shown = await client.get(f"{RUN}/actions/{action}")
            assert (
                shown.status_code == 403
                and "this server is read-only" in text_of(shown.text)
                and 'method="post"' not in shown.text
            )
        assert (
            await client.get(f"{RUN}/queries?type=state")
        ).status_code == 200  # looking is not changing
        assert [one for one in server.owner.seen if isinstance(one, CancelWorkflow)] == []
    server.store.close()


async def test_another_site_is_refused(server: UiServer) -> None:
    async with browser(filled(server)) as client:
        response = await client.post(
            f"{RUN}/actions/terminate", data={}, headers={"sec-fetch-site": "cross-site"}
        )
        assert response.status_code == 403


# ---------------------------------------------------------------- batches


async def test_batch_over_a_query(server: UiServer) -> None:
    for number in range(25):
        server.add(summary(f"order-{number:02}", start_time_ms=START_MS + number))
    server.add(summary("closed", status=COMPLETED, close_time_ms=START_MS + 1))
    server.add(summary("other", workflow_type="Refund"))
    async with browser(server) as client:
        preview = await client.post(
            "/batches/preview", data={"action": "cancel", "scope": "query", "type": "OrderSaga"}
        )
        said = text_of(preview.text)
        assert (
            "Cancel 25 open runs?" in said
            and "The first 20" in said
            and [one for one in server.owner.seen if isinstance(one, CancelWorkflow)] == []
        )
        fields = dict(Page(preview.text).fields) | {"reason": "spring cleaning"}
        for word in (
            {},
            {"confirm": "24"},
            {"confirm": "terminate"},
        ):  # a click alone ends nobody's runs
            refused = await client.post("/batches", data=fields | word)
            assert refused.status_code == 400 and "type 25 or cancel to confirm" in text_of(
                refused.text
            ), refused.text
            assert (
                'value="spring cleaning"' in refused.text and server.context.batches.latest() == []
            )
        begun = await client.post("/batches", data=fields | {"confirm": " 25 "})
        job = server.context.batches.latest()[0]
        assert begun.headers["location"] == f"/batches/{job.id}" and job.task is not None
        await job.task
        sent = [one for one in server.owner.seen if isinstance(one, CancelWorkflow)]
        assert {one.workflow_id for one in sent} == {f"order-{number:02}" for number in range(25)}
        assert all(one.reason == "spring cleaning" and one.request_id for one in sent)
        assert len({one.request_id for one in sent}) == 25
        said = text_of((await client.get(f"/batches/{job.id}")).text)
        assert "finished" in said and (job.done, job.failed, job.pending) == (25, 0, 0)
        assert job.id in (await client.get("/batches")).text


async def test_batch_over_picked_runs(server: UiServer) -> None:
    server = filled(server)
    picked = [
        json.dumps([f"order-{number}", f"run-of-order-{number}", "orders"]) for number in (1, 2)
    ]
    async with browser(server) as client:
        preview = await client.post(
            "/batches/preview", data={"action": "signal", "scope": "picked", "run": picked}
        )
        assert "Signal 1 open run?" in text_of(
            preview.text
        ) and "1 of the picked runs has closed" in text_of(preview.text)
        fields = dict(Page(preview.text).fields) | {"signal_name": "approve", "input": "7"}
        await client.post("/batches", data=fields)
        job = server.context.batches.latest()[0]
        assert job.task is not None
        await job.task
        assert [
            one.workflow_id for one in server.owner.seen if isinstance(one, SignalWorkflow)
        ] == ["order-1"]


async def test_a_batch_form_that_is_sent_twice_is_one_batch(server: UiServer) -> None:
    """By the way back in a browser, or a request that is sent again. With something else in it,
    it is another one.
    """
    server = filled(server)
    async with browser(server) as client:
        preview = await client.post(
            "/batches/preview", data={"action": "signal", "scope": "query", "type": "OrderSaga"}
        )
        fields = dict(Page(preview.text).fields) | {"signal_name": "approve", "input": "7"}
        first, again, changed = [
            await client.post("/batches", data=fields | more) for more in ({}, {}, {"input": "8"})
        ]
        assert first.headers["location"] == again.headers["location"] != changed.headers["location"]
        jobs = server.context.batches.latest()
        for job in jobs:
            assert job.task is not None
            await job.task
        assert len(jobs) == 2 and first.headers["location"] == f"/batches/{jobs[1].id}"
        inputs = [one.input for one in server.owner.seen if isinstance(one, SignalWorkflow)]
        assert len(inputs) == 2 * jobs[1].done > 0
        refused = await client.post(
            "/batches", data=fields | {"action": "cancel", "confirm": "no", "expected": "9"}
        )
        assert (
            refused.status_code == 400
            and dict(Page(refused.text).fields)["job_id"] == fields["job_id"]
        )
        odd = await client.post("/batches", data=fields | {"job_id": "../x"})
        assert odd.status_code == 303 and ".." not in odd.headers["location"]


async def test_batch_tells_what_failed_and_refuses_what_no_preview_showed(server: UiServer) -> None:
    server.add(summary("refused"))
    server.add(summary("gone", task_queue="other"))
    server.transport.serve(
        "orders",
        lambda name, record: reply_to(record, "RESOURCE_EXHAUSTED", message="too much at once"),
    )
    server.transport.serve(
        "other",
        lambda name, record: reply_to(
            record, "NOT_FOUND", message="workflow execution already completed"
        ),
    )
    async with browser(server) as client:
        for wrong in (
            {"action": "delete", "frozen": "ExecutionStatus = 'Running'"},
            {"action": "explode"},
            {"action": "cancel"},
            {"action": "cancel", "scope": "picked"},
            {"action": "cancel", "scope": "picked", "run": "x"},
        ):
            assert (await client.post("/batches", data=wrong)).status_code == 400, wrong
        await client.post(
            "/batches",
            data={
                "action": "terminate",
                "frozen": "ExecutionStatus = 'Running'",
                "expected": "2",
                "confirm": "Terminate",
            },
        )
        job = server.context.batches.latest()[0]
        assert job.task is not None
        await job.task
        assert (job.done, job.gone, job.failed) == (0, 1, 1)
        said = text_of((await client.get(f"/batches/{job.id}")).text)
        assert (
            "too much at once" in said
            and "Closed or gone by then 1" in said
            and "already completed" not in said
        )
        unknown = await client.get("/batches/unknown")
        assert (
            unknown.status_code == 404
            and "it is another server&#39;s, or the server was started anew since" in unknown.text
        )


# ---------------------------------------------------------------- Kafka beside it


async def test_lag_of_a_share_group_is_unknown_and_said_so(server: UiServer) -> None:
    """No figure that nobody can tell: in lists, on the queue's page, beside its services."""
    server.member(kind="ACTIVITIES", time_ms=int(time.time() * 1000))
    for shared in (False, True):
        server.kafka.shared = {"orders"} if shared else set()
        async with browser(server) as client:
            listed, one, services = [
                text_of((await client.get(path)).text)
                for path in ("/queues", "/queues/orders", "/services")
            ]
        assert ("share group: unknown" in listed) == shared
        assert ("Activity lag unknown" in one) == shared and ("Activity lag 3" in one) == (
            not shared
        )
        assert ("--group odradek.default.orders.activities-share" in one) == shared
        assert ("activities share group" in services and "services of orders" in services) == shared


async def test_queues_services_and_records(server: UiServer) -> None:
    server = filled(server)
    async with browser(server) as client:
        said = text_of((await client.get("/queues/orders")).text)
        for part in ("no owner", "running", "worker-a", "host-7", "5 of 20", "Acknowledged"):
            assert part in said, part
        assert "charge" in text_of((await client.get("/services")).text)
        assert (
            "SignalWorkflow"
            in (await client.get("/records/odradek.default.orders.events/3/7")).text
        )
        assert (await client.get("/records/odradek.default.orders.events/3/700")).status_code == 404
        assert (await client.get("/records/odradek.default.orders.events/x/7")).status_code == 404
        opened = await client.get(
            "/records?topic=odradek.default.orders.events&partition=3&offset=7"
        )
        assert opened.headers["location"] == "/records/odradek.default.orders.events/3/7"
        trail = (await client.get(f"{RUN}/records")).text
        assert (
            "results/0 from offset 4" in trail
            and "/records/odradek.default.orders.events/3/7" in trail
            and "unknown schema &lt;x&gt;" in trail
        )


async def test_a_deleted_record_says_what_is_known_of_it(server: UiServer) -> None:
    """The place, why it is gone, and the event that knows of it; to try again would not help."""
    run = summary("order-1")
    events = completed_history(run)
    events[3] = HistoryEvent(
        6, START_MS + 4, ActivityTaskStartedEvent(5, 2, "service", None, 1, 31)
    )
    server.add(run, events)
    server.kafka.starts = {("odradek.default.orders.commands", 1): 40}
    async with browser(server) as client:
        event = Page((await client.get(f"{RUN}/events/7")).text)
        (link,) = [link for link in event.links if ".commands/" in link]
        gone = await client.get(link)
        said = text_of(gone.text)
        for part in (
            "odradek.default.orders.commands / 1 / 31",
            "begins at 40",
            "acknowledged",
            "ActivityTaskScheduled",
            "charge",
            "card",
        ):
            assert part in said, part
        assert gone.status_code == 404 and "Try again" not in said
        trail = Page((await client.get(f"{RUN}/records")).text)
        assert link.replace("event_id=7", "event_id=5") in trail.links
        bare = await client.get("/records/odradek.default.orders.commands/1/31")
        assert bare.status_code == 404 and "begins at 40" in text_of(bare.text)
        server.owner.muted = True
        server.state.histories = HistoryBook()
        assert "cannot be read" in text_of((await client.get(link)).text)


async def test_records_lead_on_from_the_first_one_too(server: UiServer) -> None:
    async with browser(server) as client:
        for offset, before in ((0, False), (7, True)):
            page = Page(
                (await client.get(f"/records/odradek.default.orders.events/3/{offset}")).text
            )
            assert f"/records/odradek.default.orders.events/3/{offset + 1}" in page.links
            assert any(link.endswith(f"/3/{offset - 1}") for link in page.links) == before


async def test_one_is_no_many(server: UiServer) -> None:
    run = summary("order-1")
    server.add(run, completed_history(run)[:1])
    trail = server.kafka.trail
    server.kafka.trail = lambda *given, **options: msgspec.structs.replace(
        trail(*given, **options), reads_left_out=1
    )
    async with browser(server) as client:
        said = text_of((await client.get(RUN)).text)
        assert "1 group " in said and "1 event," in said and "1 events" not in said
        assert "1 event " in text_of((await client.get(f"{RUN}/history?view=full")).text)
        assert "1 request that only looked is left out" in text_of(
            (await client.get(f"{RUN}/records")).text
        )


async def test_opening_a_record_by_hand(server: UiServer) -> None:
    async with browser(server) as client:
        for path in ("/records", "/records?topic=odradek.default.orders.events"):
            asked = await client.get(path)
            assert asked.status_code == 200 and "Open a record" in text_of(asked.text)


def test_counts_of_what_is_deleted_are_written_as_elsewhere() -> None:
    place = Place("odradek.default.orders.events", 1, 0)
    events = [
        EventView(
            number,
            START_MS,
            "WorkflowExecutionSignaled",
            {},
            msgspec.structs.replace(place, offset=number),
        )
        for number in range(3_400)
    ]
    trail = Trail("w", [], True, [])
    add_purged(trail, events, {(place.topic, 1): (9_000, 9_001)}, "r")
    assert trail.missing[0].startswith("3,400 events known from the history")


async def test_requests_that_only_looked_are_counted(server: UiServer) -> None:
    async with browser(filled(server)) as client:
        assert "12 requests that only looked are left out" in text_of(
            (await client.get(f"{RUN}/records")).text
        )
        assert "left out" not in text_of((await client.get(f"{RUN}/records?all=1")).text)


async def test_a_queue_that_is_served_in_part(server: UiServer) -> None:
    """One partition of four has no owner: that is not nobody."""
    async with browser(server) as client:
        assert "in part" in text_of((await client.get("/queues")).text)
        server.kafka.queues = lambda: [
            msgspec.structs.replace(server.kafka.queue("orders"), processors=0)
        ]
        assert "nobody" in text_of((await client.get("/queues")).text)


async def test_a_run_that_its_owner_has_forgotten(server: UiServer) -> None:
    """After its retention the read side may know it a little longer: nobody is silent, and
    nothing comes back.
    """
    run = server.add(summary("old", status=COMPLETED, close_time_ms=START_MS + 5), owner=False)
    async with browser(server) as client:
        said = text_of((await client.get(f"/workflows/old/{run.run_id}")).text)
    assert "The run itself is gone" in said and "went with the run" in said
    assert "does not answer" not in said and "Download history" not in said


async def test_dead_letters(server: UiServer) -> None:
    async with browser(filled(server)) as client:
        assert "UNDECODABLE" in (await client.get("/dead-letters")).text
        unknown = await client.get("/dead-letters?task_queue=empty")
        assert unknown.status_code == 404 and "Task queue “empty” was never used" in text_of(
            unknown.text
        )
        assert "Every record could be read" not in unknown.text
        said = text_of((await client.get("/dead-letters/orders/5")).text)
        assert (
            "to partition 1 of odradek.default.orders.events , the one of its key: not to partition"
            " 3, where it stood" in said
        )
        done = await client.post("/dead-letters/orders/5/redrive")
        assert done.status_code == 303 and server.kafka.redriven == [5]
        assert "put back" in text_of((await client.get(done.headers["location"])).text)
        assert (await client.post("/dead-letters/orders/13/redrive")).status_code == 400
        assert (await client.get("/dead-letters/orders/404")).status_code == 404


async def test_dashboard(server: UiServer) -> None:
    now = int(time.time() * 1000)
    for number in range(30):
        status = FAILED if number % 5 == 0 else COMPLETED
        at = now - number * 90_000
        server.add(
            summary(f"r{number}", status=status, start_time_ms=at - 500, close_time_ms=at),
            owner=False,
        )
    server.add(summary("open", start_time_ms=now - 1000), owner=False)
    async with browser(server) as client:
        html = (await client.get("/dashboard")).text
        said = text_of(html)
        assert (
            html.count("<figure") == 4 and "Backlog" in said and "since" not in said
        )  # nothing was sampled yet
        head = text_of(html.partition("By workflow type")[2].partition("</thead>")[0])
        assert (
            "Failed or timed out Of closed" in head and 'data-label="Failed or timed out"' in html
        )
        assert "OrderSaga" in said and "20.0 %" in said and 'class="stroke tone-good" d="M' in html
        assert (await client.get("/dashboard?range=30d&type=OrderSaga")).status_code == 200
        server.context.backlog.note(server.kafka.queues())
        html = (await client.get("/dashboard")).text
        assert html.count(
            "<figure"
        ) == 6 and "As this server has seen it, every 15 s since" in text_of(html)
        for key, texts in (
            ("runs", ("started", "completed")),
            ("latency", ("p99", "512 ms")),
            ("backlog", ("orders", "6")),
        ):
            shown = text_of((await client.get(f"/dashboard/table?range=1h&plot={key}")).text)
            assert all(text in shown for text in texts), shown
        assert (await client.get("/dashboard/table?plot=nonsense")).status_code == 404
        html = (await client.get("/dashboard?type=Nobody")).text
        assert (
            "Nothing to plot yet" in html and "OrderSaga" in html
        )  # a type that never ran, and those that did
        server.store.caught_up()
        ranges = {
            name: "Whole since" in (await client.get(f"/dashboard?range={name}")).text
            for name in ("24h", "7d")
        }
        assert ranges == {"24h": False, "7d": True}
        for number in range(80):  # of many types those with the most are shown, and said so
            for run in range(1 + number % 2):
                server.add(
                    summary(
                        f"of-{number}-{run}",
                        workflow_type=f"Type{number:02}",
                        start_time_ms=now - 1000,
                    ),
                    owner=False,
                )
        html = (await client.get("/dashboard")).text
        assert (
            html.count("data-row=") - html.count('data-row="orders"') == 30
            and "The 30 of 81 with the most starts" in html
        )
        assert (
            'data-row="OrderSaga"' in html and 'data-row="Type57"' in html and "Type00" not in html
        )
        html = (await client.get("/dashboard?type=Type00")).text
        assert 'data-row="Type00"' in html and "Nothing to plot yet" not in html
        server.context.queues = None
        assert (await client.get("/dashboard")).status_code == 200


async def test_the_cache_of_histories_is_in_statistics_and_metrics(
    server: UiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("odradek.web.ui.histories.FRESH_S", 600.0)
    server.add(summary("order-1"))
    async with browser(server) as client:
        for _ in range(2):
            assert (
                await client.get(f"{RUN}/history?view=full", headers={"X-Part": "1"})
            ).status_code == 200
        kept = (await client.get("/api/odradek/v1/server-statistics")).json()["parts"]["histories"]
        assert (kept["histories"], kept["hits"], kept["misses"], kept["dropped"]) == (
            1,
            1,
            1,
            0,
        ) and 0 < kept["bytes"] < kept["bytes_max"]
        assert (
            f"odradek_http_histories {float(kept['histories'])}"
            in (await client.get("/metrics")).text
        )


async def test_a_menu_of_many_types_says_that_there_are_more(server: UiServer) -> None:
    for number in range(60):
        server.add(summary(f"of-{number}", workflow_type=f"Type{number:02}"), owner=False)
    async with browser(server) as client:
        assert "have the most runs" not in (await client.get("/runs")).text
        for run in range(2):
            server.add(summary(f"zoo-{run}", workflow_type="Zoo"), owner=False)
        html = (await client.get("/runs")).text
    assert (
        "These 60 have the most runs" in html
        and ">Zoo</a>" in html
        and "type=Type58" in html
        and "type=Type59" not in html
    )


async def test_templates_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade beneath a running server changes none of its pages."""
    folder = tmp_path / "ui"
    shutil.copytree(visit.FOLDER / "templates", folder / "templates")
    monkeypatch.setattr(visit, "FOLDER", folder)
    server = UiServer(tmp_path)
    shutil.rmtree(folder)
    async with browser(filled(server)) as client:
        assert (await client.get("/queues")).status_code == 200
    server.store.close()


def test_colours_can_be_read() -> None:
    """Text on its ground: 4.5 to 1 at least (WCAG AA), light and dark."""
    css = (visit.FOLDER / "static" / "base.css").read_text()
    colours = {
        name: (light, dark)
        for name, light, dark in re.findall(r"--([\w-]+): light-dark\(#(\w+), #(\w+)\)", css)
    }

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (0, 2, 4)]
        red, green, blue = (
            part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    pairs = [
        (tone, ground)
        for tone in ("good", "bad", "warn", "run")
        for ground in (f"{tone}-soft", "paper", "raised", "sunken")
    ]
    for ink, ground in [
        *pairs,
        *(
            (ink, ground)
            for ink in ("ink", "ink-2", "ink-3")
            for ground in ("paper", "raised", "sunken")
        ),
    ]:
        for one, other in zip(colours[ink], colours[ground], strict=True):
            low, high = sorted((luminance(one), luminance(other)))
            ratio = (high + 0.05) / (low + 0.05)
            assert ratio >= 4.5, f"--{ink} #{one} on --{ground} #{other}: {ratio:.2f}"


async def test_static_files_and_theme(server: UiServer) -> None:
    async with browser(server) as client:
        for name, media in (
            ("app.js", "text/javascript"),
            ("base.css", "text/css"),
            ("icon.svg", "image/svg+xml"),
        ):
            response = await client.get(f"/static/{name}")
            assert response.status_code == 200 and response.headers["content-type"].startswith(
                media
            )
            assert (
                await client.get(
                    f"/static/{name}", headers={"if-none-match": response.headers["etag"]}
                )
            ).status_code == 304
        assert (await client.get("/static/..%2fvisit.py")).status_code == 404
        assert (
            'data-theme="dark"'
            in (await client.get("/import", headers={"cookie": "odradek_theme=dark"})).text
        )
        assert (
            "data-theme="
            not in (await client.get("/import", headers={"cookie": "odradek_theme=evil"})).text
        )
        assert "evil" not in (await client.get("/runs?notice=evil")).text


async def test_read_only_servers_look_at_files(tmp_path: Path) -> None:
    server = UiServer(tmp_path, ServerOptions(read_only=True, request_timeout_s=0.6))
    text = to_json(long_history(summary("order-1"), 3))
    async with browser(server) as client:
        taken = await client.post(
            "/import", content=text, headers={"content-type": "application/json"}
        )
        assert (
            taken.status_code == 200
            and (await client.get(taken.json()["location"])).status_code == 200
        )
    server.store.close()


async def test_heartbeat_details_outlive_their_attempt(server: UiServer) -> None:
    """Between attempts there is no heartbeat, but what the next attempt is given."""
    run = server.add(summary("order-1"))
    description = busy_description(run)
    (waits,) = description.pending_activities
    waits.last_heartbeat_time_ms, waits.heartbeat_details = 0, [plain("row 41")]
    server.owner.descriptions["order-1"] = description
    async with browser(server) as client:
        assert "row 41" in text_of((await client.get(RUN)).text)
