"""The settings' `kafka` (librdkafka's TLS and SASL keys) for Faust's client, which is another one.

Keys that concern neither are librdkafka's own tuning and mean nothing here. A way to
authenticate or to verify that Faust's client lacks is an error, never left out: the read side
would otherwise be the one process that connects otherwise than all others, or not at all.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faust

from odradek.exceptions import ConfigurationError

_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")
_SASL_KEYS = frozenset({"sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password"})
_SSL_KEYS = frozenset(
    {
        "ssl.ca.location",
        "ssl.ca.pem",
        "ssl.certificate.location",
        "ssl.certificate.pem",
        "ssl.key.location",
        "ssl.key.pem",
        "ssl.key.password",
        "ssl.keystore.location",
        "ssl.keystore.password",
        "ssl.crl.location",
        "ssl.cipher.suites",
        "ssl.endpoint.identification.algorithm",
    }
)


def broker_credentials(
    kafka: Mapping[str, Any],
) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """Credentials for `faust.App(broker_credentials=...)`; None for a plain connection.
    ConfigurationError names the key at fault.
    """
    protocol = str(kafka.get("security.protocol", "plaintext")).lower()
    if protocol not in _PROTOCOLS:
        raise ConfigurationError(
            f"`kafka.security.protocol` is {protocol!r}; it is one of {', '.join(_PROTOCOLS)}",
            key="kafka.security.protocol",
        )
    context = _context(kafka) if protocol.endswith("ssl") else None
    if not protocol.startswith("sasl"):
        return faust.SSLCredentials(context) if context is not None else None
    mechanism = str(kafka.get("sasl.mechanism", kafka.get("sasl.mechanisms", "PLAIN"))).upper()
    if mechanism not in _MECHANISMS:
        problem = (
            f"the read side cannot use `kafka.sasl.mechanism` {mechanism}: its Kafka client knows"
            f" {', '.join(_MECHANISMS)}"
        )
        raise ConfigurationError(problem, key="kafka.sasl.mechanism")
    _refuse_others(kafka, "sasl.", _SASL_KEYS)
    return faust.SASLCredentials(
        username=kafka.get("sasl.username"),
        password=kafka.get("sasl.password"),
        ssl_context=context,
        mechanism=mechanism,
    )


def _refuse_others(kafka: Mapping[str, Any], prefix: str, known: frozenset[str]) -> None:
    for key in kafka:
        if key.startswith(prefix) and key not in known:
            problem = (
                f"the read side cannot use `kafka.{key}`: its Kafka client is another one, and"
                f" takes {', '.join(sorted(known))}"
            )
            raise ConfigurationError(
                f"{problem}. Leave it out for `odradek server`", key=f"kafka.{key}"
            )


def _context(kafka: Mapping[str, Any]) -> ssl.SSLContext:
    _refuse_others(kafka, "ssl.", _SSL_KEYS)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _trust(context, kafka)
    _identify(context, kafka)
    if ciphers := _text(kafka, "ssl.cipher.suites"):
        with _using("ssl.cipher.suites", f"names no cipher that OpenSSL has here ({ciphers})"):
            context.set_ciphers(ciphers)
    if str(kafka.get("ssl.endpoint.identification.algorithm", "https")).lower() == "none":
        context.check_hostname = False
    if str(kafka.get("enable.ssl.certificate.verification", "true")).lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _trust(context: ssl.SSLContext, kafka: Mapping[str, Any]) -> None:
    """Whose certificates brokers may have; the system's authorities where none are named."""
    location, text = _text(kafka, "ssl.ca.location"), _text(kafka, "ssl.ca.pem")
    if location == "probe":  # librdkafka's word for the system's
        location = ""
    if location:
        with _using("ssl.ca.location"):
            folder = os.path.isdir(location)
            context.load_verify_locations(
                capath=location if folder else None, cafile=None if folder else location
            )
    if text:
        with _using(
            "ssl.ca.pem"
        ):  # comments between certificates may be in any language; Python wants ASCII
            context.load_verify_locations(cadata=text.encode("ascii", "ignore").decode())
    if not location and not text:
        context.load_default_certs()
    if revoked := _text(kafka, "ssl.crl.location"):
        with _using("ssl.crl.location"):
            context.load_verify_locations(cafile=revoked)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


# --- the client's own certificate


def _identify(context: ssl.SSLContext, kafka: Mapping[str, Any]) -> None:
    """Of a keystore, a text, a file librdkafka takes the first that is given."""
    if _text(kafka, "ssl.keystore.location"):
        _load_keystore(context, kafka)
        return
    certificate, key = _given(kafka, "ssl.certificate"), _given(kafka, "ssl.key")
    if not certificate:
        if key:
            problem = (
                f"`kafka.{key}` is given without `ssl.certificate.pem` or"
                " `ssl.certificate.location`"
            )
            raise ConfigurationError(problem, key=f"kafka.{key}")
        return
    others = " and ".join(
        f"`kafka.{one}`" for one in (key, "ssl.key.password") if _text(kafka, one)
    )
    with (
        _files() as folder,
        _using(certificate, f"cannot be read with {others}" if others else "cannot be read"),
    ):
        chain = _path(kafka, certificate, folder)
        context.load_cert_chain(
            chain, _path(kafka, key, folder) if key else None, _key_password(kafka)
        )


def _given(kafka: Mapping[str, Any], name: str) -> str:
    """The key under which it is given, as text or file; "" where it is not."""
    return next((key for key in (f"{name}.pem", f"{name}.location") if _text(kafka, key)), "")


def _path(kafka: Mapping[str, Any], key: str, folder: Path) -> Path:
    if key.endswith(".location"):
        return Path(_text(kafka, key))
    return _written(folder / key, _text(kafka, key).encode())


def _key_password(kafka: Mapping[str, Any]) -> Any:
    """What OpenSSL asks for where a key is encrypted. Without an answer of ours it would ask at
    the terminal, and wait.
    """
    if password := _text(kafka, "ssl.key.password"):
        return password

    def refuse() -> str:
        raise ConfigurationError(
            "`kafka.ssl.key.password` is missing: the client's private key is encrypted",
            key="kafka.ssl.key.password",
        )

    return refuse


def _load_keystore(context: ssl.SSLContext, kafka: Mapping[str, Any]) -> None:
    key = "ssl.keystore.location"
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import (
            BestAvailableEncryption,
            Encoding,
            PrivateFormat,
            pkcs12,
        )
    except ImportError:
        problem = (
            f"the read side cannot use `kafka.{key}`: that takes the package `cryptography`, which"
            " is not installed"
        )
        cure = (
            "pip install cryptography, or give the same as `ssl.certificate.pem` and `ssl.key.pem`"
        )
        raise ConfigurationError(f"{problem}: {cure}", key=f"kafka.{key}") from None
    password = _text(kafka, "ssl.keystore.password").encode() or None
    with _using(key, "cannot be read with `ssl.keystore.password`"):
        content = Path(_text(kafka, key)).read_bytes()
        try:
            private, own, others = pkcs12.load_key_and_certificates(content, password)
        except UnsupportedAlgorithm as error:
            raise ValueError(str(error)) from error
        if private is None or own is None:
            raise ValueError("it holds no private key with its certificate")
        lock = os.urandom(16).hex()  # the key lies in a file for a moment
        pem = private.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(lock.encode())
        )
        chain = b"".join(one.public_bytes(Encoding.PEM) for one in [own, *others])
        with _files() as folder:
            context.load_cert_chain(
                _written(folder / "chain", chain), _written(folder / "key", pem), lock
            )


@contextmanager
def _files() -> Iterator[Path]:
    """A folder for this user alone, gone with what is in it: OpenSSL takes a client's key from a
    file only.
    """
    with tempfile.TemporaryDirectory(prefix="odradek-") as folder:
        yield Path(folder)


def _written(path: Path, content: bytes) -> Path:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return path


# --- words


def _text(kafka: Mapping[str, Any], key: str) -> str:
    value = kafka.get(key)
    return "" if value is None else str(value)


@contextmanager
def _using(key: str, problem: str = "cannot be read") -> Iterator[None]:
    """What a library says of the value of a key, as an error that names it."""
    try:
        yield
    except (OSError, ValueError) as error:  # `ssl.SSLError` is an OSError
        raise ConfigurationError(f"`kafka.{key}` {problem}: {error}", key=f"kafka.{key}") from error
