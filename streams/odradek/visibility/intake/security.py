"""The settings' `kafka` (librdkafka's TLS and SASL keys) for Faust's client, which is another one.

Keys that concern neither are librdkafka's own tuning and mean nothing here. A way to authenticate that Faust lacks is an error.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import faust

from odradek.exceptions import ConfigurationError

_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_PROTOCOLS = ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl")


def broker_credentials(kafka: Mapping[str, Any]) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """Credentials for `faust.App(broker_credentials=...)`; None for a plain connection."""
    protocol = str(kafka.get("security.protocol", "plaintext")).lower()
    if protocol not in _PROTOCOLS:
        raise ConfigurationError(
            f"`kafka.security.protocol` is {protocol!r}; it is one of {', '.join(_PROTOCOLS)}", key="kafka.security.protocol"
        )
    context = _context(kafka) if protocol.endswith("ssl") else None
    if not protocol.startswith("sasl"):
        return faust.SSLCredentials(context) if context is not None else None
    mechanism = str(kafka.get("sasl.mechanism", kafka.get("sasl.mechanisms", "PLAIN"))).upper()
    if mechanism not in _MECHANISMS:
        problem = f"the read side cannot use `kafka.sasl.mechanism` {mechanism}: its Kafka client knows {', '.join(_MECHANISMS)}"
        raise ConfigurationError(problem, key="kafka.sasl.mechanism")
    return faust.SASLCredentials(
        username=kafka.get("sasl.username"), password=kafka.get("sasl.password"), ssl_context=context, mechanism=mechanism
    )


def _context(kafka: Mapping[str, Any]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=kafka.get("ssl.ca.location"), cadata=kafka.get("ssl.ca.pem"))
        certificate = kafka.get("ssl.certificate.location")
        if certificate:
            context.load_cert_chain(certificate, kafka.get("ssl.key.location"), kafka.get("ssl.key.password"))
    except OSError as error:
        raise ConfigurationError(f"`kafka.ssl.*`: a certificate or key cannot be read: {error}", key="kafka.ssl.ca.location") from error
    if str(kafka.get("ssl.endpoint.identification.algorithm", "https")).lower() == "none":
        context.check_hostname = False
    if str(kafka.get("enable.ssl.certificate.verification", "true")).lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
