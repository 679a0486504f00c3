"""Who may, in Chromium: logins, forms of other sites, scripts that are not ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from odradek.web.security.authentication import TokenAuthenticator
from odradek.web.security.oidc import OidcAuthenticator
from odradek.wire.events import SignalWorkflow
from tests.unit.identity_provider import SECRET, IdentityProvider
from tests.unit.web_server import summary
from tests.web.conftest import Site, keep
from tests.web.scenes import TROUBLED, TROUBLED_RUN, troubled_order

pytestmark = pytest.mark.timeout(120)
RUN = f"/workflows/{TROUBLED}/{TROUBLED_RUN}"
TOKEN = "correct horse battery staple"
NewPage = Callable[..., Any]
NewSite = Callable[..., Site]


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    made = IdentityProvider()
    yield made
    made.close()


def test_login_with_a_token(new_site: NewSite, new_page: NewPage) -> None:
    site = new_site(
        authenticator=TokenAuthenticator(TOKEN, read_token="only for looking at things")
    )
    troubled_order(site.server)
    page = new_page(color_scheme="light")
    page.goto(site.url + RUN)
    page.wait_for_selector("h1:text-is('Log in')")
    keep(page, "login")
    page.fill("input[name=token]", "guessed")
    page.get_by_role("button", name="Log in").click()
    page.wait_for_selector("[role=alert]:has-text('not known here')")
    page.fill("input[name=token]", TOKEN)
    page.keyboard.press("Enter")
    page.wait_for_selector(f"h1:text-is('{TROUBLED}')")  # where it was going
    assert page.get_by_role("link", name="Signal…").is_visible()
    text_of = (
        "(one) => { const range = document.createRange(); range.selectNodeContents(one); return"
        " range.getBoundingClientRect(); }"
    )
    bottoms = (
        f"[...document.querySelectorAll('.foot > a, .foot button')].map({text_of}).map(box =>"
        " Math.round(box.bottom))"
    )
    assert len(set(page.evaluate(bottoms))) == 1  # on the line of its neighbours
    page.get_by_role("button", name="Log out").click()
    page.wait_for_selector("h1:text-is('Log in')")
    page.fill("input[name=token]", "only for looking at things")
    page.keyboard.press("Enter")
    page.wait_for_selector("nav.nav")
    page.goto(site.url + RUN)
    assert (
        page.locator(".tag:has-text('read-only')").is_visible()
        and page.get_by_text("Signal…").count() == 0
    )


def test_login_at_an_identity_provider(
    new_site: NewSite, new_page: NewPage, provider: IdentityProvider
) -> None:
    authenticator = OidcAuthenticator(
        provider.issuer,
        "odradek",
        client_id="odradek",
        client_secret=SECRET,
        public_url="http://localhost",
    )
    site = new_site(authenticator=authenticator)
    authenticator.public_url = site.url
    page = new_page()
    page.goto(f"{site.url}/queues")
    page.wait_for_selector("h1:text-is('Task queues')")  # by way of the provider, who knows ann
    assert "ann@example.com" in page.locator("footer").inner_text()
    assert any(path.startswith("/realm/authorization_endpoint") for path in provider.asked)


def test_a_form_of_another_site_changes_nothing(site: Site, new_page: NewPage) -> None:
    site.server.add(summary("order-1"))
    page = new_page()
    address = f"{site.url}/api/v1/namespaces/default/workflows/order-1/signal/go"
    form = f"<form method=post action='{address}'><button>Win a prize</button></form>"
    page.route(
        "http://evil.example/", lambda route: route.fulfill(body=form, content_type="text/html")
    )
    page.goto("http://evil.example/")
    with page.expect_response(address) as answered:
        page.get_by_role("button").click()
    assert answered.value.status == 403
    assert not [one for one in site.server.owner.seen if isinstance(one, SignalWorkflow)]


def test_scripts_that_are_not_ours_do_not_run(site: Site, chromium: Any) -> None:
    """Whatever found its way into a page: the policy refuses inline scripts, handlers, scripts
    and frames of others.
    """
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{site.url}/runs")
    refused = page.evaluate("""async () => {
            const seen = [];
            document.addEventListener("securitypolicyviolation", (event) => seen.push(event.effectiveDirective));
            const script = document.createElement("script");
            script.textContent = "window.taken = 1";
            document.body.append(script);
            const html = "<img src='/static/icon.svg' onload='window.taken = 2'><b style='color: red'>x</b>";
            document.body.insertAdjacentHTML("beforeend", html);
            const other = document.createElement("script");
            other.src = "http://evil.example/x.js";
            document.body.append(other);
            const frame = document.createElement("iframe");
            frame.src = "http://evil.example/";
            document.body.append(frame);
            await fetch("http://evil.example/").catch(() => null);
            for (let rest = 60; rest && new Set(seen).size < 5; rest--) {  // a busy browser may take longer to say what it refused
                await new Promise((done) => setTimeout(done, 500));
            }
            await new Promise((done) => setTimeout(done, 500));
            return [window.taken ?? null, [...new Set(seen)].sort()];
        }""")
    context.close()
    assert refused[0] is None
    assert set(refused[1]) >= {
        "script-src-elem",
        "script-src-attr",
        "style-src-attr",
        "frame-src",
        "connect-src",
    }
