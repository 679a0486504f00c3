"""An identity provider of its own for tests: discovery, keys and tokens over HTTP, as OpenID
Connect has them.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

SECRET = "the secret of the client"


class IdentityProvider:
    """Serves until `close`. `asked`: paths that were asked for. `codes`: what a login's code is
    good for.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.codes: dict[str, dict[str, str]] = {}
        self.private: dict[str, Any] = {}
        self.down = False
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked.append(self.path)
                if self.path.startswith("/realm/authorization_endpoint?"):
                    self._send_back(
                        {
                            name: values[0]
                            for name, values in parse_qs(self.path.partition("?")[2]).items()
                        }
                    )
                else:
                    self._answer(*provider._get(self.path))

            def _send_back(self, asked: dict[str, str]) -> None:
                """Everybody is ann, without being asked."""
                provider.codes["42"] = asked
                self.send_response(302)
                self.send_header(
                    "location",
                    f"{asked['redirect_uri']}?{urlencode({'code': '42', 'state': asked['state']})}",
                )
                self.send_header("content-length", "0")
                self.end_headers()

            def do_POST(self) -> None:
                provider.asked.append(self.path)
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                self._answer(
                    *provider._token(
                        {name: values[0] for name, values in parse_qs(body).items()},
                        self.headers["authorization"],
                    )
                )

            def _answer(self, status: int, value: Any) -> None:
                raw = json.dumps(value).encode()
                self.send_response(503 if provider.down else status)
                self.send_header("content-length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self._server.server_port}/realm"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.new_key("first")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def new_key(self, key_id: str) -> None:
        self.private[key_id] = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def token(
        self,
        key_id: str = "first",
        *,
        key: Any = None,
        algorithm: str = "RS256",
        without: str = "",
        **claims: Any,
    ) -> str:
        """A token of ann for this server, unless `claims` say otherwise."""
        given = {
            "iss": self.issuer,
            "aud": "odradek",
            "exp": time.time() + 300,
            "sub": "1",
            "email": "ann@example.com",
            **claims,
        }
        given.pop(without, None)
        return jwt.encode(given, key or self.private[key_id], algorithm, headers={"kid": key_id})

    def _get(self, path: str) -> tuple[int, Any]:
        if path == "/realm/.well-known/openid-configuration":
            names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
            return 200, {"issuer": self.issuer, **{name: f"{self.issuer}/{name}" for name in names}}
        if path == "/realm/jwks_uri":
            keys = [
                {
                    **jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True),
                    "kid": key_id,
                    "use": "sig",
                    "alg": "RS256",
                }
                for key_id, key in self.private.items()
            ]
            return 200, {"keys": [*keys, {"kty": "of-another-time", "kid": "x"}]}
        return 404, {}

    def _token(self, form: dict[str, str], authorization: str) -> tuple[int, Any]:
        known = self.codes.pop(form["code"], None)
        challenge = (
            base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest())
            .rstrip(b"=")
            .decode()
        )
        basic = base64.b64encode(f"odradek:{SECRET.replace(' ', '%20')}".encode()).decode()
        if (
            known is None
            or known["code_challenge"] != challenge
            or known["redirect_uri"] != form["redirect_uri"]
        ):
            return 400, {"error": "invalid_grant"}
        if authorization != f"Basic {basic}":
            return 401, {"error": "invalid_client"}
        return 200, {
            "id_token": self.token(nonce=known["nonce"]),
            "access_token": "opaque",
            "token_type": "Bearer",
        }
