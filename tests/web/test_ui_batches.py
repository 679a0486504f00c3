"""A batch's page while owners do not answer: what is tried again is counted as it goes, and what
was refused stands there in the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from odradek.service import RPCError, RPCStatusCode
from odradek.web.batch import BatchJobs
from odradek.web.retries import Retries
from odradek.wire.outcomes import Reply
from tests.unit.web_server import summary
from tests.web.conftest import Site, keep
from tests.web.scenes import now_ms

pytestmark = pytest.mark.timeout(120)
NewPage = Callable[..., Any]
REFUSED = "PERMISSION_DENIED"


class Shaky:
    """Owners that answer at the third request, one that refuses, and one that never does."""

    def __init__(self) -> None:
        self.asked: dict[str, int] = {}
        self.down = True

    async def change(
        self, record: Any, *, task_queue: str = "", create: bool = False, timeout_s: float
    ) -> Reply | None:
        name = record.workflow_id
        self.asked[name] = self.asked.get(name, 0) + 1
        if name == "order-7":
            return Reply(
                "client",
                record.request_id,
                type(record).__name__,
                REFUSED,
                message="this run is somebody else's",
            )
        if name == "order-8" or (self.down and self.asked[name] < 3):
            raise RPCError(
                f"no processor of task queue {task_queue!r} answers", RPCStatusCode.UNAVAILABLE, b""
            )
        return Reply("client", record.request_id, type(record).__name__, "OK")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "dark")])
def test_what_is_tried_again_and_what_is_refused(
    site: Site, new_page: NewPage, width: int, scheme: str
) -> None:
    context = site.server.context
    context.owners = Shaky()  # type: ignore[assignment]  # what a batch needs of them
    context.batches = BatchJobs(retries=Retries(pause_first_s=0.4, pause_most_s=0.8))
    for number in range(12):
        site.server.add(
            summary(f"order-{number}", start_time_ms=now_ms() - 60_000 - number), owner=False
        )
    page = new_page(viewport={"width": width, "height": 820}, color_scheme=scheme)
    page.goto(f"{site.url}/runs?type=OrderSaga")
    page.click("text=All open of this list")
    page.click("button[value=cancel]")
    page.fill("input[name=confirm]", "12")
    page.click("main button.primary")
    again = page.locator("#batch-live dl div:has-text('Tried again') dd")
    again.filter(has_text=re.compile("[1-9]")).wait_for()
    page.wait_for_selector("#batch-live [data-finished]", state="attached")
    assert again.inner_text() == "24"  # ten runs twice, one four times
    text = page.locator("#batch-live").inner_text()
    assert "this run is somebody else's" in text and "answers (5 attempts)" in text
    assert page.locator("#batch-live dl div:has-text('Refused') dd").inner_text() == "2"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    if scheme == "light":
        keep(page, "batch-progress")
    elif width < 500:
        keep(page, "phone-batch")
