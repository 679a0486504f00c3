"""Names and origins as people write them in `allowed_hosts` and `trusted_origins`, as browsers
send them: lower case, no default port.

What could never match is an error of the start: a browser would be refused instead, without a word.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, urlsplit

from odradek.exceptions import ConfigurationError

ANY = "*"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]")


def host_name(text: str) -> str:
    """A name of `allowed_hosts`, or `*`. A port does not count. Raises ConfigurationError."""
    if text.strip() == ANY:
        return ANY
    name = _ascii(text.strip().rstrip("/").lower())
    if "://" in name:
        raise _bad("allowed_hosts", text, f"write the name alone{_instead(name)}")
    if "*" in name:
        raise _bad("allowed_hosts", text, "there are no patterns: give each name, or * for any")
    host, colon, port = name.rpartition(":") if not name.endswith("]") else (name, "", "")
    if colon and port.isdecimal() and (":" not in host or host.endswith("]")):
        name = host
    if not _NAME.fullmatch(name):
        raise _bad("allowed_hosts", text, "it is no host name, such as ops.example.com")
    return name


def origin(text: str) -> str:
    """An origin of `trusted_origins`. Raises ConfigurationError."""
    shape = "an origin is scheme, host and port alone, such as https://ops.example.com"
    try:
        parts = urlsplit(_ascii(text.strip().lower()))
        port = parts.port
    except ValueError:
        raise _bad("trusted_origins", text, shape) from None
    if not parts.scheme.endswith("-extension") and parts.scheme not in _DEFAULT_PORTS:
        raise _bad("trusted_origins", text, shape)
    if (
        not parts.hostname
        or not _NAME.fullmatch(_host(parts))
        or parts.path.strip("/")
        or parts.query
        or parts.fragment
        or "@" in parts.netloc
    ):
        raise _bad("trusted_origins", text, shape)
    suffix = "" if port is None or port == _DEFAULT_PORTS.get(parts.scheme) else f":{port}"
    return f"{parts.scheme}://{_host(parts)}{suffix}"


def _host(parts: SplitResult) -> str:
    name = parts.hostname or ""
    return f"[{name}]" if ":" in name else name


def _ascii(text: str) -> str:
    """Browsers send the labels of other letters in ASCII (`xn--…`)."""
    return re.sub(r"[^/:@\[\]?#]+", _label, text)


def _label(found: re.Match[str]) -> str:
    part = found[0]
    try:
        return part if part.isascii() else part.encode("idna").decode()
    except UnicodeError:
        return part


def _instead(url: str) -> str:
    name = url.partition("://")[2].partition("/")[0]
    return f": {name}" if _NAME.fullmatch(name) else ""


def _bad(key: str, text: str, why: str) -> ConfigurationError:
    option = {"allowed_hosts": "--allowed-host", "trusted_origins": "--trusted-origin"}[key]
    return ConfigurationError(f"{option} {text!r} (`{key}`): {why}", key=key)
