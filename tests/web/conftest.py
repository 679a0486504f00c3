"""The UI in a real browser: Debian's Chromium or Playwright's own, headless. Skips, with what to
install, where neither is there.

`site` is the whole application over scripted owners in a thread of this process: what a test
changes, pages must show. A page that breaks the content security policy, or whose script fails,
fails its test.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from odradek.web.options import ServerOptions
from tests.unit.web_ui import UiServer

#: Where distributions have it; `ODRADEK_TEST_CHROMIUM` wins, and Playwright's own (`playwright
#: install chromium`) is the last resort.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NO_BROWSER = (
    "no browser for tests of the UI: `apt-get install chromium` or `playwright install chromium`,"
    " and `pip install playwright`"
)
#: Set it, and tests write what they see there: `docs/screenshots` is made this way.
SCREENSHOTS = os.environ.get("ODRADEK_TEST_SCREENSHOTS", "")
#: Set it to a number, and pages compute so many times slower and come in pieces: what a test does
#: not wait for is not there yet.
SLOWER = int(os.environ.get("ODRADEK_TEST_SLOWER_BROWSER", "0"))
PIECE = 4_000  # bytes of a page that come at a time
#: For `add_init_script`: the page's clocks run ten times as fast, so what it asks again every few
#: seconds, it asks at once.
HURRIED = """for (const name of ["setTimeout", "setInterval"]) {
    const real = window[name];
    window[name] = (work, ms, ...more) => real(work, (ms || 0) / 10, ...more);
}"""


def how_to_launch(playwright: Any) -> dict[str, Any]:
    """Arguments of `chromium.launch`, of either face of Playwright; skips the test where there
    is no browser.
    """
    named = os.environ.get("ODRADEK_TEST_CHROMIUM", "")
    found = named or next((path for name in NAMES if (path := shutil.which(name))), "")
    if not found and not Path(playwright.chromium.executable_path).exists():
        pytest.skip(NO_BROWSER)
    return {"executable_path": found or None, "args": ["--no-sandbox", "--disable-gpu"]}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser for the tests of a file: Playwright's synchronous face keeps this thread's
    event loop, asynchronous tests need it.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason=NO_BROWSER)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(**how_to_launch(playwright))
        yield browser
        browser.close()


@pytest.fixture
def new_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Makes pages of a fresh profile. What their consoles complain of fails the test."""
    contexts: list[Any] = []
    complaints: list[str] = []

    def heard(message: Any) -> None:
        # A refused form is the page's business; a refused script is not.
        if message.type == "error" and "Failed to load resource" not in message.text:
            complaints.append(message.text)

    def make(**options: Any) -> Any:
        context = chromium.new_context(
            **{"viewport": {"width": 1280, "height": 820}, "timezone_id": "UTC", **options}
        )
        context.set_default_timeout(30_000 * (1 + SLOWER))
        contexts.append(context)
        page = context.new_page()
        page.on("console", heard)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if SLOWER:
            context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
        return page

    yield make
    for context in contexts:
        context.close()
    assert complaints == []


class InPieces:
    """An ASGI application whose pages come bit by bit: the first of it is shown long before the
    last of it is there.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_pieces(message: Any) -> None:
            body = message.get("body", b"")
            if body.startswith(b"<!doctype"):
                for at in range(0, len(body), PIECE):
                    await send(
                        {
                            "type": "http.response.body",
                            "body": body[at : at + PIECE],
                            "more_body": True,
                        }
                    )
                    await asyncio.sleep(0.05)
                message = {**message, "body": b""}
            await send(message)

        await self._app(scope, receive, send_pieces)


class Site:
    """A server in a thread: `url`, and the parts that tests change."""

    def __init__(self, server: UiServer) -> None:
        self.server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        app = InPieces(server.app) if SLOWER else server.app
        self._uvicorn = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", lifespan="on", timeout_graceful_shutdown=2)
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.run(self._uvicorn.serve(sockets=[self._listener]))

    def close(self) -> None:
        self._uvicorn.should_exit = True
        self._thread.join(20)
        self._listener.close()
        self.server.store.close()


@pytest.fixture
def new_site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Makes sites with options of their own."""
    sites: list[Site] = []

    def make(**options: Any) -> Site:
        given = {"request_timeout_s": 5.0, "keep_alive_s": 2.0, **options}
        sites.append(Site(UiServer(tmp_path, ServerOptions(**given), rpc_timeout=5.0)))
        return sites[-1]

    yield make
    for site in sites:
        site.close()


@pytest.fixture
def site(new_site: Callable[..., Site]) -> Site:
    """A site that lets everybody in."""
    return new_site()


def keep(page: Any, name: str) -> None:
    """A screenshot, if they are wanted."""
    if SCREENSHOTS:
        page.mouse.move(0, 0)
        page.screenshot(path=str(Path(SCREENSHOTS) / f"{name}.png"))


async def keep_async(page: Any, name: str) -> None:
    """The same for Playwright's other face."""
    if SCREENSHOTS:
        await page.mouse.move(0, 0)
        await page.screenshot(path=str(Path(SCREENSHOTS) / f"{name}.png"))
