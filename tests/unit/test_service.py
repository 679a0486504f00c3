"""RPC errors and connection options; TLS options become librdkafka settings that it accepts."""

from __future__ import annotations

import pickle

import pytest
from confluent_kafka import Producer

from odradek.exceptions import ConfigurationError, FailureError, TemporalError
from odradek.service import (
    KeepAliveConfig,
    PayloadLimitsConfig,
    RPCError,
    RPCStatusCode,
    TLSConfig,
    tls_kafka_settings,
)


def test_rpc_error() -> None:
    error = RPCError("workflow not found", RPCStatusCode.NOT_FOUND, b"")
    assert (str(error), error.message, error.status, error.raw_grpc_status) == (
        "workflow not found",
    ) * 2 + (RPCStatusCode.NOT_FOUND, b"")
    assert isinstance(error, TemporalError) and not isinstance(error, FailureError)
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.status) == (str(error), error.status)


def test_status_codes_are_grpcs() -> None:
    assert [code.value for code in RPCStatusCode] == list(range(17))
    assert (
        RPCStatusCode.NOT_FOUND,
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
    ) == (5, 14, 4)


def test_defaults_are_temporals() -> None:
    assert KeepAliveConfig.default == KeepAliveConfig(30_000, 15_000)
    assert PayloadLimitsConfig() == PayloadLimitsConfig(524_288, 2_048)


def test_tls_becomes_librdkafka_settings() -> None:
    assert tls_kafka_settings(None) == {}
    assert tls_kafka_settings(False) == {"security.protocol": "plaintext"}
    assert tls_kafka_settings(True) == {"security.protocol": "ssl"}
    assert tls_kafka_settings(True, sasl=True) == {"security.protocol": "sasl_ssl"}
    tls = TLSConfig(server_root_ca_cert=b"CA", client_cert=b"CERT", client_private_key=b"KEY")
    assert tls_kafka_settings(tls) == {
        "security.protocol": "ssl",
        "ssl.ca.pem": "CA",
        "ssl.certificate.pem": "CERT",
        "ssl.key.pem": "KEY",
    }
    Producer(tls_kafka_settings(True))  # librdkafka knows the names; it connects only when asked to


@pytest.mark.parametrize(
    ("tls", "key"),
    [
        (TLSConfig(domain="x"), "tls.domain"),
        (TLSConfig(verification_server_name="x"), "tls.verification_server_name"),
        (TLSConfig(client_cert=b""), "tls.client_cert"),
    ],
)
def test_tls_that_kafka_cannot_have(tls: TLSConfig, key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        tls_kafka_settings(tls)
    assert caught.value.key == key
