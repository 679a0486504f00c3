"""OpenID Connect against a provider over HTTP: what a token must be, keys that change, a login
from end to end, variables.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import HTTPConnection

from odradek.exceptions import ConfigurationError
from odradek.web.options import ServerOptions
from odradek.web.security import environment, oidc
from odradek.web.security.authentication import SESSION_COOKIE, Principal, load_authenticator
from odradek.web.security.oidc import OidcAuthenticator, ProviderError
from odradek.web.security.signed import open_signed, sign
from tests.unit.identity_provider import SECRET, IdentityProvider
from tests.unit.web_server import WebServer, ok, summary

SIGNAL = "/api/v1/namespaces/default/workflows/order-1/signal/go"
PAGE = {"accept": "text/html"}


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    made = IdentityProvider()
    yield made
    made.close()


def bearer(token: str) -> HTTPConnection:
    return HTTPConnection(
        {"type": "http", "headers": [(b"authorization", f"Bearer {token}".encode())]}
    )


async def test_a_good_token(provider: IdentityProvider) -> None:
    authenticator = OidcAuthenticator(provider.issuer, "odradek")
    for audience in ("odradek", ["other", "odradek"]):
        assert await authenticator.authenticate(bearer(provider.token(aud=audience))) == Principal(
            "ann@example.com"
        )
    assert await authenticator.authenticate(HTTPConnection({"type": "http", "headers": []})) is None
    assert provider.asked == ["/realm/.well-known/openid-configuration", "/realm/jwks_uri"], (
        "asked once, then known"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"iss": "http://elsewhere"},
        {"aud": "another"},
        {"exp": time.time() - 3_600},
        {"nbf": time.time() + 3_600},
        {"without": "exp"},
        {"without": "iss"},
        {"without": "aud"},
        {"without": "email", "sub": ""},
        {
            "key": rsa.generate_private_key(public_exponent=65537, key_size=2048)
        },  # somebody else's, under a known id
        {"key": "a secret that everybody knows, long enough", "algorithm": "HS256"},
    ],
)
async def test_a_bad_token(provider: IdentityProvider, wrong: dict[str, Any]) -> None:
    assert (
        await OidcAuthenticator(provider.issuer, "odradek").authenticate(
            bearer(provider.token(**wrong))
        )
        is None
    )


async def test_no_token_at_all(provider: IdentityProvider) -> None:
    authenticator = OidcAuthenticator(provider.issuer, "odradek")
    unsigned = jwt.encode(
        {"iss": provider.issuer, "aud": "odradek", "exp": time.time() + 60, "sub": "1"},
        None,
        "none",
    )
    good = provider.token()
    changed = good[: good.rindex(".") + 1] + good[good.rindex(".") + 5 :] + "AAAA"
    for token in ("", "x", "a.b.c", unsigned, changed):
        assert await authenticator.authenticate(bearer(token)) is None


async def test_the_public_key_is_no_secret(provider: IdentityProvider) -> None:
    """The old confusion: a token "signed" with the public key as a shared secret."""
    import hashlib
    import hmac

    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    public = (
        provider.private["first"]
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    head = jwt.utils.base64url_encode(b'{"alg":"HS256","kid":"first"}')
    body = provider.token().split(".")[1].encode()
    signature = jwt.utils.base64url_encode(
        hmac.new(public, head + b"." + body, hashlib.sha256).digest()
    )
    token = b".".join([head, body, signature]).decode()
    assert await OidcAuthenticator(provider.issuer, "odradek").authenticate(bearer(token)) is None


async def test_keys_change_and_are_not_asked_for_by_every_stranger(
    provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    authenticator = OidcAuthenticator(provider.issuer, "odradek")
    assert await authenticator.authenticate(bearer(provider.token())) is not None
    provider.new_key("second")
    second = provider.token("second")
    assert await authenticator.authenticate(bearer(second)) is None, "asked a moment ago"
    assert provider.asked.count("/realm/jwks_uri") == 1
    monkeypatch.setattr(oidc, "_KEYS_AGAIN_S", 0.0)
    assert await authenticator.authenticate(bearer(second)) is not None


async def test_a_provider_that_is_down_lets_nobody_in(
    provider: IdentityProvider, tmp_path: Path
) -> None:
    provider.down = True
    with pytest.raises(ProviderError):
        await OidcAuthenticator(provider.issuer, "odradek").authenticate(bearer(provider.token()))
    server = WebServer(
        tmp_path, ServerOptions(authenticator=OidcAuthenticator(provider.issuer, "odradek"))
    )
    async with server.client() as client:
        assert (
            await client.get(
                "/api/v1/system-info", headers={"authorization": f"Bearer {provider.token()}"}
            )
        ).status_code == 401


async def test_an_issuer_that_is_another(provider: IdentityProvider) -> None:
    with pytest.raises(ProviderError, match="write the issuer as it does"):
        await OidcAuthenticator(f"{provider.issuer}/", "odradek").authenticate(
            bearer(provider.token())
        )


async def test_groups_and_a_proxys_header(provider: IdentityProvider, tmp_path: Path) -> None:
    authenticator = OidcAuthenticator(
        provider.issuer, "odradek", header="x-id-token", user_claim="name", write_groups=["ops"]
    )
    server = WebServer(tmp_path, ServerOptions(authenticator=authenticator, request_timeout_s=60))
    server.add(summary("order-1"))
    async with server.client() as client:
        ops = {"x-id-token": provider.token(name="ann", groups=["dev", "ops"])}
        dev = {"x-id-token": provider.token(name="bob", groups="dev")}
        assert (
            ok(await client.get("/api/odradek/v1/info", headers=ops)).items()
            >= {"user": "ann", "may_write": True}.items()
        )
        assert (
            ok(await client.get("/api/odradek/v1/info", headers=dev)).items()
            >= {"user": "bob", "may_write": False}.items()
        )
        assert (await client.post(SIGNAL, headers=dev)).status_code == 403
        assert (await client.post(SIGNAL, headers=ops)).status_code == 200


# ---------------------------------------------------------------- login


def login_server(provider: IdentityProvider, folder: Path) -> WebServer:
    authenticator = OidcAuthenticator(
        provider.issuer,
        "odradek",
        client_id="odradek",
        client_secret=SECRET,
        public_url="http://localhost:8088",
    )
    return WebServer(folder, ServerOptions(authenticator=authenticator))


async def begin(client: Any, provider: IdentityProvider) -> dict[str, str]:
    """Go to the login; what the provider is asked, and remembers under the code `42`."""
    sent = await client.get("/login?next=%2Fruns%3Fa%3D1")
    assert sent.status_code == 303 and sent.headers["location"].startswith(
        f"{provider.issuer}/authorization_endpoint?"
    )
    asked = {
        name: values[0]
        for name, values in parse_qs(urlsplit(sent.headers["location"]).query).items()
    }
    assert (
        asked["response_type"] == "code"
        and asked["code_challenge_method"] == "S256"
        and "openid" in asked["scope"]
    )
    assert (
        asked["redirect_uri"] == "http://localhost:8088/login/callback"
        and SECRET not in sent.headers["set-cookie"]
    )
    provider.codes["42"] = asked
    return asked


async def test_login(provider: IdentityProvider, tmp_path: Path) -> None:
    async with login_server(provider, tmp_path).client() as client:
        first = await client.get("/runs?a=1", headers=PAGE)
        assert (
            first.status_code == 303 and first.headers["location"] == "/login?next=%2Fruns%3Fa%3D1"
        )
        asked = await begin(client, provider)
        back = await client.get(f"/login/callback?code=42&state={asked['state']}")
        assert back.status_code == 303 and back.headers["location"] == "/runs?a=1"
        cookie = next(
            one for one in back.headers.get_list("set-cookie") if one.startswith(SESSION_COOKIE)
        )
        assert "HttpOnly" in cookie and "samesite=lax" in cookie.lower()
        assert ok(await client.get("/api/odradek/v1/info"))["user"] == "ann@example.com"
        await client.post("/logout")
        assert (await client.get("/api/odradek/v1/info")).status_code == 401


async def test_a_login_beside_another_applications_cookies(
    provider: IdentityProvider, tmp_path: Path
) -> None:
    """Its flow and its session are found among cookies that Python's `SimpleCookie` stops at."""
    async with login_server(provider, tmp_path).client() as client:
        asked = await begin(client, provider)
        odd, kept = (
            'name=a b; json={"a": 1}; nom=café',
            "; ".join(f"{one}={value}" for one, value in client.cookies.items()),
        )
        client.cookies.clear()
        back = await client.get(
            f"/login/callback?code=42&state={asked['state']}",
            headers={"cookie": f"{odd}; {kept}".encode()},
        )
        assert back.status_code == 303 and back.headers["location"] == "/runs?a=1"
        session = client.cookies[SESSION_COOKIE]
        client.cookies.clear()
        headers = {"cookie": f"{odd}; {SESSION_COOKIE}={session}".encode()}
        assert (
            ok(await client.get("/api/odradek/v1/info", headers=headers))["user"]
            == "ann@example.com"
        )


async def test_a_login_that_was_not_begun_here(provider: IdentityProvider, tmp_path: Path) -> None:
    async with login_server(provider, tmp_path).client() as client:
        asked = await begin(client, provider)
        for query in (
            "code=42&state=other",
            f"code=none&state={asked['state']}",
            f"state={asked['state']}&error=access_denied",
            "",
        ):
            refused = await client.get(f"/login/callback?{query}", headers=PAGE)
            assert refused.status_code == 401 and SESSION_COOKIE not in str(
                refused.headers.get_list("set-cookie")
            )
        client.cookies.clear()
        refused = await client.get(f"/login/callback?code=42&state={asked['state']}", headers=PAGE)
        assert refused.status_code == 401 and "not begun here" in refused.text


async def test_a_token_of_another_login(provider: IdentityProvider, tmp_path: Path) -> None:
    async with login_server(provider, tmp_path).client() as client:
        asked = await begin(client, provider)
        provider.codes["42"]["nonce"] = "another"
        refused = await client.get(f"/login/callback?code=42&state={asked['state']}", headers=PAGE)
        assert refused.status_code == 401 and "not to be believed" in refused.text


def test_signed_values() -> None:
    text = sign({"name": "ann"}, SECRET, "session", seconds=60)
    found = open_signed(text, SECRET, "session")
    assert found is not None and found["name"] == "ann"
    body, _, signature = text.partition(".")
    for other in (f"{body}x.{signature}", f"{body}.{signature}x", body, "", "é.é"):
        assert open_signed(other, SECRET, "session") is None
    assert (
        open_signed(text, SECRET, "login") is None
        and open_signed(text, "another", "session") is None
    )
    assert open_signed(sign({}, SECRET, "session", seconds=-2), SECRET, "session") is None


# ---------------------------------------------------------------- how it is given


@pytest.mark.parametrize(
    "wrong",
    [
        {"issuer": "accounts.example.com"},
        {"audience": ""},
        {"audience": []},
        {"algorithms": ["HS256"]},
        {"client_id": "odradek"},
        {"client_id": "odradek", "client_secret": "short", "public_url": "https://ops.example.com"},
    ],
)
def test_what_would_not_be_safe_is_refused(wrong: dict[str, Any]) -> None:
    given: dict[str, Any] = {
        "issuer": "https://accounts.example.com",
        "audience": "odradek",
        **wrong,
    }
    with pytest.raises(ConfigurationError):
        OidcAuthenticator(**given)


async def test_by_environment(provider: IdentityProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODRADEK_AUTH_ISSUER", provider.issuer)
    with pytest.raises(ConfigurationError, match="ODRADEK_AUTH_AUDIENCE"):
        environment.oidc()
    monkeypatch.setenv("ODRADEK_AUTH_AUDIENCE", "odradek")
    monkeypatch.setenv("ODRADEK_AUTH_WRITE_GROUPS", "ops, sre")
    made = load_authenticator("odradek.web.security.environment:oidc")
    assert await made.authenticate(bearer(provider.token(groups=["sre"]))) == Principal(
        "ann@example.com", may_write=True
    )
    assert await made.authenticate(bearer(provider.token())) == Principal(
        "ann@example.com", may_write=False
    )
    monkeypatch.setenv("ODRADEK_AUTH_WRITEGROUPS", "ops")
    with pytest.raises(ConfigurationError, match="WRITEGROUPS means nothing"):
        environment.oidc()


async def test_headers_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODRADEK_AUTH_PROXIES", "10.0.0.0/8, 127.0.0.1")
    monkeypatch.setenv("ODRADEK_AUTH_USER_HEADER", "x-user")
    made = load_authenticator("odradek.web.security.environment:headers")
    scope = {"type": "http", "headers": [(b"x-user", b"ann")], "client": ("127.0.0.1", 1)}
    assert await made.authenticate(HTTPConnection(scope)) == Principal("ann")
    assert await made.authenticate(HTTPConnection({**scope, "client": ("8.8.8.8", 1)})) is None
