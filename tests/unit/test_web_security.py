"""Who may do what: host names, tokens, headers of proxies, cross-site requests, read-only mode,
response headers, probes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import httpx
import pytest
from starlette.requests import HTTPConnection

from odradek.exceptions import ConfigurationError
from odradek.web.options import ServerOptions
from odradek.web.security.authentication import (
    SESSION_COOKIE,
    Anonymous,
    HeaderAuthenticator,
    Principal,
    TokenAuthenticator,
    load_authenticator,
)
from odradek.web.security.cross_site import is_cross_site
from odradek.web.security.hosts import is_allowed_host
from odradek.web.security.targets import safe_target
from odradek.wire.events import SignalWorkflow, StartWorkflow
from tests.unit.web_server import WebServer, ok, summary

TOKEN = "correct horse battery staple"
SIGNAL = "/api/v1/namespaces/default/workflows/order-1/signal/go"


def web(tmp_path: Path, **options: Any) -> WebServer:
    server = WebServer(tmp_path, ServerOptions(request_timeout_s=0.6, **options))
    server.add(summary("order-1"))
    return server


# ---------------------------------------------------------------- response headers


async def test_headers_of_every_answer(tmp_path: Path) -> None:
    server = web(tmp_path)
    async with server.client() as client:
        nonces = set()
        for path in (
            "/",
            "/api/v1/system-info",
            "/api/odradek/v1/info",
            "/health/live",
            "/nothing",
        ):
            response = await client.get(path)
            policy = response.headers["content-security-policy"]
            assert (
                "default-src 'none'" in policy
                and "frame-ancestors 'none'" in policy
                and "unsafe" not in policy
                and "http" not in policy
            )
            assert (
                response.headers["x-content-type-options"] == "nosniff"
                and response.headers["referrer-policy"] == "same-origin"
            )
            assert response.headers["cache-control"] == "no-store"
            nonces.add(policy.split("'nonce-")[1].split("'")[0])
        assert len(nonces) == 5, "a nonce is good for one answer"


# ---------------------------------------------------------------- host names


@pytest.mark.parametrize(
    ("listens", "allowed", "host", "answered"),
    [
        ("127.0.0.1", [], "localhost:8088", True),
        ("127.0.0.1", [], "127.0.0.1", True),
        ("::1", [], "[::1]:8088", True),
        ("127.0.0.1", [], "evil.example", False),
        ("127.0.0.1", [], "localhost.evil.example:8088", False),
        ("127.0.0.1", [], "", False),
        ("0.0.0.0", [], "anything", False),
        ("0.0.0.0", [], "evil.example:8088", False),
        ("0.0.0.0", [], "localhost:8088", True),
        ("0.0.0.0", [], "192.168.1.5:8088", True),  # a site has no name that is an address
        ("0.0.0.0", [], "[2001:db8::5]:8088", True),
        ("0.0.0.0", [], "[evil.example]", False),
        ("0.0.0.0", [], "192.168.1.5.evil.example", False),
        ("0.0.0.0", [], "2130706433", False),  # browsers write addresses in four parts
        ("0.0.0.0", [], "", False),
        ("", [], "", False),
        ("0.0.0.0", [], "Machine-7:8088", True),  # its own
        ("127.0.0.1", [], "machine-7", False),
        ("ops.internal", [], "ops.internal:8088", True),
        ("0.0.0.0", ["ops.example"], "OPS.example:443", True),
        ("0.0.0.0", ["ops.example"], "other.example", False),
        ("0.0.0.0", ["ops.example"], "10.0.0.7:8088", True),  # a platform's probe
        ("127.0.0.1", ["ops.example"], "ops.example", True),
        ("127.0.0.1", ["*"], "evil.example", True),
        ("0.0.0.0", ["*"], "", True),
    ],
)
def test_hosts(
    listens: str, allowed: list[str], host: str, answered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "machine-7")
    assert is_allowed_host(host, ServerOptions(host=listens, allowed_hosts=allowed)) is answered


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("a.example.com", "a.example.com"),
        ("A.Example.com/", "a.example.com"),
        ("c.example.com:8443", "c.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("[2001:DB8::5]:8088", "[2001:db8::5]"),
        ("*", "*"),
        ("https://a.example.com", "write the name alone: a.example.com"),
        ("*.d.example.com", "there are no patterns"),
        ("a b", "it is no host name"),
        ("", "it is no host name"),
        ("http://[", "write the name alone"),
    ],
)
def test_names_as_they_are_written(given: str, meant: str) -> None:
    if " " in meant:
        with pytest.raises(ConfigurationError, match=f"^--allowed-host .*{meant}"):
            ServerOptions(allowed_hosts=[given])
    else:
        assert ServerOptions(allowed_hosts=[given]).allowed_hosts == (meant,)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("https://ops.example.com/", "https://ops.example.com"),
        ("HTTPS://Ops.Example.com", "https://ops.example.com"),
        ("https://ops.example.com:443", "https://ops.example.com"),
        ("http://ops.example.com:80/", "http://ops.example.com"),
        ("https://ops.example.com:8443", "https://ops.example.com:8443"),
        ("https://[2001:DB8::5]:8088", "https://[2001:db8::5]:8088"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("moz-extension://ab-cd", "moz-extension://ab-cd"),
        *[
            (bad, "")
            for bad in (
                "foo",
                "*",
                "null",
                "",
                "ops.example.com",
                "https://a/b",
                "https://u@a",
                "https://a?b",
                "https://a:99999",
            )
        ],
        *[
            (bad, "")
            for bad in ("https://*.a.com", "htps://a", "https://", "http://[", "https://a b")
        ],
    ],
)
def test_origins_as_they_are_written(given: str, meant: str) -> None:
    if meant:
        assert ServerOptions(trusted_origins=[given]).trusted_origins == (meant,)
    else:
        with pytest.raises(
            ConfigurationError, match=r"^--trusted-origin .*scheme, host and port alone"
        ):
            ServerOptions(trusted_origins=[given])


async def test_a_refused_origin_names_the_setting(tmp_path: Path) -> None:
    async with web(tmp_path).client() as client:
        for sent, said in (
            ("https://ops.example", "--trusted-origin https://ops.example (`trusted_origins`)"),
            ("null", "names no origin"),
        ):
            response = await client.post(
                "/login", headers={"origin": sent, "sec-fetch-site": "cross-site"}
            )
            assert response.status_code == 403 and said in response.json()["message"]


@pytest.mark.parametrize("listens", ["127.0.0.1", "0.0.0.0"])
async def test_rebound_name_is_refused(tmp_path: Path, listens: str) -> None:
    async with web(tmp_path, host=listens).client() as client:
        for path in ("/api/v1/system-info", "/health/ready"):
            response = await client.get(path, headers={"host": "evil.example:8088"})
            assert response.status_code == 403 and response.json()["code"] == 7
            assert (
                "'evil.example'" in response.json()["message"]
                and "--allowed-host" in response.json()["message"]
            )
        page = await client.get("/runs", headers={"host": "<b>.example", "accept": "text/html"})
        assert page.status_code == 403 and "<b>" not in page.text


# ---------------------------------------------------------------- cross-site requests


@pytest.mark.parametrize(
    ("method", "headers", "refused"),
    [
        ("POST", {}, False),  # curl
        ("GET", {"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, False),
        ("POST", {"sec-fetch-site": "same-origin"}, False),
        ("POST", {"sec-fetch-site": "none"}, False),
        ("POST", {"sec-fetch-site": "same-site"}, True),  # a neighbour under the same domain
        ("POST", {"sec-fetch-site": "cross-site"}, True),
        ("POST", {"origin": "http://localhost:8088"}, False),
        ("POST", {"origin": "http://localhost:9999"}, True),
        ("POST", {"origin": "null"}, True),
        ("POST", {"origin": "https://evil.example"}, True),
        ("DELETE", {"origin": "https://evil.example"}, True),
        (
            "POST",
            {"origin": "https://ops.example", "sec-fetch-site": "cross-site"},
            False,
        ),  # trusted
    ],
)
def test_cross_site(method: str, headers: dict[str, str], refused: bool) -> None:
    assert (
        is_cross_site(method, {"host": "localhost:8088", **headers}, ["https://ops.example"])
        is refused
    )


async def test_cross_site_signal_does_not_arrive(tmp_path: Path) -> None:
    server = web(tmp_path)
    async with server.client() as client:
        refused = await client.post(
            SIGNAL, headers={"origin": "https://evil.example"}, content=b"{}"
        )
        assert refused.status_code == 403 and refused.json()["code"] == 7
        assert server.transport.records(SignalWorkflow) == []
        assert (
            ok(
                await client.post(
                    SIGNAL,
                    headers={"origin": "http://localhost:8088", "sec-fetch-site": "same-origin"},
                )
            )
            == {}
        )


# ---------------------------------------------------------------- read-only


async def test_read_only(tmp_path: Path) -> None:
    server = web(tmp_path, read_only=True)
    async with server.client() as client:
        for path in (
            SIGNAL,
            "/api/v1/namespaces/default/workflows/new",
            "/api/odradek/v1/workflows/order-1/unpark",
        ):
            response = await client.post(path, json={})
            assert response.status_code == 403 and "read-only" in response.json()["message"]
        query = await client.post("/api/v1/namespaces/default/workflows/order-1/query/state")
        assert ok(query)["queryResult"][0]["type"] == "state"
        assert ok(await client.get("/api/odradek/v1/info"))["may_write"] is False


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/default/workflows/a%2Fquery%2Fb",  # a start of the workflow `a/query/b`
        "/api/v1/namespaces/default/workflows/login",
        "/api/v1/namespaces/default/workflows/preview",
        "/api/v1/namespaces/default/workflows/a/query/b/signal/c",
    ],
)
async def test_read_only_is_not_talked_round(tmp_path: Path, path: str) -> None:
    server = web(tmp_path, read_only=True)
    async with server.client() as client:
        response = await client.post(
            path, json={"workflowType": {"name": "W"}, "taskQueue": {"name": "orders"}}
        )
    assert response.status_code == 403
    assert (
        server.transport.records(StartWorkflow) == []
        and server.transport.records(SignalWorkflow) == []
    )


# ---------------------------------------------------------------- tokens


async def test_token(tmp_path: Path) -> None:
    server = web(
        tmp_path, authenticator=TokenAuthenticator(TOKEN, read_token="only for looking at things")
    )
    async with server.client() as client:
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": f"Basic {TOKEN}"},
            {"cookie": f"{SESSION_COOKIE}=1.x"},
        ):
            response = await client.get("/api/v1/system-info", headers=headers)
            assert (
                response.status_code == 401
                and response.json()["code"] == 16
                and response.headers["www-authenticate"] == "Bearer"
            )
        assert (
            ok(
                await client.get(
                    "/api/odradek/v1/info", headers={"authorization": f"Bearer {TOKEN}"}
                )
            )["may_write"]
            is True
        )
        reader = {"authorization": "Bearer only for looking at things"}
        assert ok(await client.get("/api/odradek/v1/info", headers=reader))["may_write"] is False
        refused = await client.post(SIGNAL, headers=reader)
        assert refused.status_code == 403 and "read-token" in refused.json()["message"]
        for path in ("/health/live", "/health/ready"):
            assert (await client.get(path)).status_code == 200


async def test_login_makes_a_session(tmp_path: Path) -> None:
    server = web(tmp_path, authenticator=TokenAuthenticator(TOKEN))
    async with server.client() as client:
        sent = await client.get("/runs?query=a", headers={"accept": "text/html"})
        assert (
            sent.status_code == 303
            and sent.headers["location"] == "/login?next=%2Fruns%3Fquery%3Da"
        )
        page = await client.get(sent.headers["location"])
        assert 'value="/runs?query=a"' in page.text
        wrong = await client.post("/login", data={"token": "wrong", "next": "/"})
        assert wrong.status_code == 401 and "set-cookie" not in wrong.headers
        right = await client.post("/login", data={"token": TOKEN, "next": "/runs"})
        assert right.status_code == 303 and right.headers["location"] == "/runs"
        cookie = right.headers["set-cookie"]
        assert "HttpOnly" in cookie and "samesite=strict" in cookie.lower() and TOKEN not in cookie
        assert (
            ok(await client.get("/api/odradek/v1/info"))["user"] == "token"
        )  # by the cookie that the client keeps
        out = await client.post("/logout")
        assert (
            out.status_code == 303 and (await client.get("/api/odradek/v1/info")).status_code == 401
        )


@pytest.mark.parametrize("workflow_id", ["a/b", "50%", "what?", "a#b", "a b", "ä/%2F"])
async def test_login_leads_back_to_any_id(tmp_path: Path, workflow_id: str) -> None:
    server = web(tmp_path, authenticator=TokenAuthenticator(TOKEN))
    path = f"/workflows/{quote(workflow_id, safe='')}/run?x=%2F"
    async with server.client() as client:
        sent = await client.get(path, headers={"accept": "text/html"})
        target = parse_qs(urlsplit(sent.headers["location"]).query)["next"][0]
        assert target == path
        right = await client.post("/login", data={"token": TOKEN, "next": target})
        assert right.headers["location"] == path


@pytest.mark.parametrize(
    ("setting", "headers", "secure"),
    [
        ("auto", {}, False),
        ("auto", {"origin": "http://localhost:8088"}, False),
        (
            "auto",
            {"origin": "https://localhost:8088", "sec-fetch-site": "same-origin"},
            True,
        ),  # TLS ends at a proxy
        ("auto", {"x-forwarded-proto": "https"}, False),  # anybody may have written that
        ("always", {}, True),
        ("never", {"origin": "https://localhost:8088", "sec-fetch-site": "same-origin"}, False),
    ],
)
async def test_the_session_cookie_is_for_https_where_the_browser_came_by_it(
    tmp_path: Path, setting: str, headers: dict[str, str], secure: bool
) -> None:
    server = web(tmp_path, authenticator=TokenAuthenticator(TOKEN), cookie_secure=setting)
    async with server.client() as client:
        done = await client.post("/login", data={"token": TOKEN}, headers=headers)
    assert done.status_code == 303 and ("secure" in done.headers["set-cookie"].lower()) is secure, (
        done.headers["set-cookie"]
    )


def connection(headers: dict[str, str], client: str = "10.0.0.1") -> HTTPConnection:
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return HTTPConnection({"type": "http", "headers": pairs, "client": (client, 1)})


async def test_sessions_end_and_are_not_forged() -> None:
    authenticator, other = (
        TokenAuthenticator(TOKEN),
        TokenAuthenticator("another token, just as long"),
    )
    session = authenticator.new_session(TOKEN)
    assert session is not None and authenticator.new_session("wrong") is None
    assert await authenticator.authenticate(
        connection({"cookie": f"{SESSION_COOKIE}={session}"})
    ) == Principal("token")
    assert await other.authenticate(connection({"cookie": f"{SESSION_COOKIE}={session}"})) is None
    old = authenticator.new_session(TOKEN, now_s=0)
    assert (
        await authenticator.authenticate(connection({"cookie": f"{SESSION_COOKIE}={old}"})) is None
    )
    end, _, signature = session.partition(".")
    longer = f"{int(end) + 1}.{signature}"
    assert (
        await authenticator.authenticate(connection({"cookie": f"{SESSION_COOKIE}={longer}"}))
        is None
    )


#: Cookies that other applications under the same host name set: browsers send them all, in any
#: order.
ODD_COOKIES = [
    "name=a b",
    'q="half',
    'json={"a": 1}',
    "who=a@b",
    "nom=caf\u00e9",
    "bare",
    "=nameless",
    "a[0]=1",
    "x=(y)",
]


@pytest.mark.parametrize("odd", ODD_COOKIES)
async def test_a_session_beside_another_applications_cookie(odd: str) -> None:
    authenticator = TokenAuthenticator(TOKEN)
    session = f"{SESSION_COOKIE}={authenticator.new_session(TOKEN)}"
    for cookie in (f"{odd}; {session}", f"{session}; {odd}"):
        headers = [(b"cookie", cookie.encode())]
        assert await authenticator.authenticate(
            HTTPConnection({"type": "http", "headers": headers})
        ) == Principal("token"), cookie


def test_short_tokens_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="16 characters"):
        TokenAuthenticator("secret")


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "",
        "/a\r\nb",
    ],
)
def test_login_sends_nobody_elsewhere(target: str) -> None:
    assert safe_target(target) == "/"


# ---------------------------------------------------------------- proxies and hooks


async def test_headers_of_a_proxy() -> None:
    authenticator = HeaderAuthenticator(proxies=["10.0.0.0/8"], write_groups=["ops"])
    ann = {"X-Forwarded-User": "ann", "X-Forwarded-Groups": "dev, ops"}
    assert await authenticator.authenticate(connection(ann)) == Principal("ann", may_write=True)
    assert await authenticator.authenticate(connection({"X-Forwarded-User": "bob"})) == Principal(
        "bob", may_write=False
    )
    assert await authenticator.authenticate(connection(ann, client="192.168.0.1")) is None, (
        "not from the proxy"
    )
    assert await authenticator.authenticate(connection({})) is None
    with pytest.raises(ConfigurationError):
        HeaderAuthenticator(proxies=[])


@pytest.mark.parametrize("name", ["x-forwarded-user", "x-forwarded-groups"])
async def test_a_header_of_a_proxy_that_stands_twice_is_refused(tmp_path: Path, name: str) -> None:
    """One of the two is the client's own, which a proxy that only adds lets through."""
    server = web(
        tmp_path, authenticator=HeaderAuthenticator(proxies=["127.0.0.1"], write_groups=["ops"])
    )
    headers = [("x-forwarded-user", "ann"), ("x-forwarded-groups", "ops")]
    async with server.client() as client:
        assert (await client.get("/api/v1/system-info", headers=headers)).status_code == 200
        assert (
            await client.get("/api/v1/system-info", headers=[*headers, (name.title(), "root")])
        ).status_code == 401


class Failing:
    """A hook with a defect."""

    login = False

    async def authenticate(self, connection: HTTPConnection) -> Principal | None:
        raise RuntimeError("identity provider down")


async def test_a_hook_that_fails_lets_nobody_in(tmp_path: Path) -> None:
    async with web(tmp_path, authenticator=Failing()).client() as client:
        assert (await client.get("/api/v1/system-info")).status_code == 401


def test_hooks_by_import_path() -> None:
    assert isinstance(
        load_authenticator("odradek.web.security.authentication:Anonymous"), Anonymous
    )
    assert isinstance(load_authenticator(f"{__name__}:Failing"), Failing)
    for path in ("nowhere:x", "json", "json:loads", "odradek.web.security.authentication:nothing"):
        with pytest.raises(ConfigurationError):
            load_authenticator(path)


# ---------------------------------------------------------------- probes


async def test_readiness_names_what_is_missing(tmp_path: Path) -> None:
    server = web(tmp_path)
    server.context.readiness["read side"] = lambda: "the topic `executions` is being read"
    async with server.client() as client:
        response: httpx.Response = await client.get("/health/ready")
        assert response.status_code == 503 and json.loads(response.text)["missing"] == {
            "read side": "the topic `executions` is being read"
        }
        assert (await client.get("/health/live")).status_code == 200
        server.context.readiness.clear()
        assert (await client.get("/health/ready")).status_code == 200


# ---------------------------------------------------------------- errors for people and for
# programs


@pytest.mark.parametrize(
    ("path", "status"), [("/nothing", 404), ("/login", 404), ("/workflows/a/b/c/d", 404)]
)
async def test_errors_are_pages_for_people_and_json_for_programs(
    tmp_path: Path, path: str, status: int
) -> None:
    async with web(tmp_path).client() as client:
        page = await client.get(path, headers={"accept": "text/html,*/*"})
        assert (
            page.status_code == status
            and page.headers["content-type"].startswith("text/html")
            and "<h1>Not found</h1>" in page.text
        )
        plain = await client.get(path)
        assert plain.status_code == status and plain.json()["code"] == 5
        for api in ("/api/v1/nothing", "/api/odradek/v1/nothing"):
            assert (await client.get(api, headers={"accept": "text/html"})).json()["code"] == 5


async def test_pages_for_strangers_say_nothing_of_the_cluster(tmp_path: Path) -> None:
    strangers: list[dict[str, Any]] = [
        {"authenticator": Failing()},
        {"authenticator": TokenAuthenticator(TOKEN)},
        {"allowed_hosts": ["ops.example"]},
    ]
    for number, options in enumerate(strangers):
        folder = tmp_path / str(number)
        folder.mkdir()
        server = web(folder, **options)
        async with server.client() as client:
            for path in ("/runs", "/login"):
                page = await client.get(
                    path, headers={"accept": "text/html"}, follow_redirects=True
                )
                assert page.headers["content-type"].startswith("text/html"), page.text
                assert server.settings.address not in page.text and "<nav" not in page.text
