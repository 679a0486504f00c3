"""Answers that are errors, and the connection options that code written for Temporal passes.

`RPCError` is what a request gets that the owner of a workflow refuses or that nobody answers.
The option classes keep Temporal's names and defaults; there is no gRPC below, so what concerns
HTTP/2 alone has no effect. TLS does: `tls_kafka_settings` turns it into librdkafka's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from odradek.exceptions import ConfigurationError, TemporalError

__all__ = [
    "DnsLoadBalancingConfig",
    "GrpcCompression",
    "HttpConnectProxyConfig",
    "KeepAliveConfig",
    "PayloadLimitsConfig",
    "RPCError",
    "RPCStatusCode",
    "RetryConfig",
    "TLSConfig",
    "tls_kafka_settings",
]


class RPCStatusCode(IntEnum):
    """Why a request failed: gRPC's status codes."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RPCError(TemporalError):
    """A request failed. NOT_FOUND: no such workflow, or it is closed; UNAVAILABLE: nobody serves
    its task queue at the moment.
    """

    def __init__(self, message: str, status: RPCStatusCode, raw_grpc_status: bytes = b"") -> None:
        super().__init__(message)
        self._message = message
        self._status = status
        self._raw_grpc_status = raw_grpc_status

    @property
    def message(self) -> str:
        """What went wrong."""
        return self._message

    @property
    def status(self) -> RPCStatusCode:
        """Why."""
        return self._status

    @property
    def raw_grpc_status(self) -> bytes:
        """Empty: the answer came over Kafka."""
        return self._raw_grpc_status


@dataclass
class TLSConfig:
    """TLS to the brokers. Certificates and keys are PEM bytes; client certificate and key go
    together.
    """

    server_root_ca_cert: bytes | None = None
    """Trusted root certificates; `None`: the system's."""

    domain: str | None = None
    """Another name to verify the server as. Kafka clients cannot: it is refused, see
    `tls_kafka_settings`.
    """

    client_cert: bytes | None = None
    """Client certificate."""

    client_private_key: bytes | None = None
    """Key of the client certificate."""

    verification_server_name: str | None = None
    """As `domain`."""


def tls_kafka_settings(tls: bool | TLSConfig | None, *, sasl: bool = False) -> dict[str, str]:
    """The librdkafka settings of a `tls` argument: none for `None`, plain text for `False`, TLS
    otherwise. `sasl`: with credentials.
    """
    if tls is None:
        return {}
    if tls is False:
        return {"security.protocol": "sasl_plaintext" if sasl else "plaintext"}
    settings = {"security.protocol": "sasl_ssl" if sasl else "ssl"}
    if tls is True:
        return settings
    for name in ("domain", "verification_server_name"):
        if getattr(tls, name):
            raise ConfigurationError(
                f"`tls.{name}` cannot be used: Kafka clients verify each broker under the name that"
                " it advertises. Let the brokers advertise the names of their certificates, or set"
                " `ssl.endpoint.identification.algorithm` to `none` under `kafka`",
                key=f"tls.{name}",
            )
    if (tls.client_cert is None) != (tls.client_private_key is None):
        raise ConfigurationError(
            "`tls.client_cert` and `tls.client_private_key` go together: give both or none",
            key="tls.client_cert",
        )
    pem = {
        "ssl.ca.pem": tls.server_root_ca_cert,
        "ssl.certificate.pem": tls.client_cert,
        "ssl.key.pem": tls.client_private_key,
    }
    return settings | {key: value.decode() for key, value in pem.items() if value is not None}


@dataclass
class RetryConfig:
    """How requests are repeated. Times in milliseconds. Without effect: librdkafka retries on
    its own.
    """

    initial_interval_millis: int = 100
    randomization_factor: float = 0.2
    multiplier: float = 1.5
    max_interval_millis: int = 5_000
    max_elapsed_time_millis: int | None = 10_000
    max_retries: int = 10


@dataclass(frozen=True)
class KeepAliveConfig:
    """HTTP/2 keep-alive, in milliseconds. Without effect: Odradek's Kafka clients keep their
    sockets alive.
    """

    interval_millis: int = 30_000
    timeout_millis: int = 15_000

    default: ClassVar[KeepAliveConfig]


KeepAliveConfig.default = KeepAliveConfig()


@dataclass(frozen=True)
class HttpConnectProxyConfig:
    """An HTTP proxy. Kafka's protocol does not pass one: `Client.connect` refuses it."""

    target_host: str
    basic_auth: tuple[str, str] | None = None


@dataclass(frozen=True)
class DnsLoadBalancingConfig:
    """Repeated look-up of the address, in milliseconds. Without effect: Kafka clients learn the
    brokers from one another.
    """

    resolution_interval_millis: int = 30_000

    default: ClassVar[DnsLoadBalancingConfig]


DnsLoadBalancingConfig.default = DnsLoadBalancingConfig()


class GrpcCompression:
    """Compression of gRPC. Without effect: the Kafka setting `compression.type` is its
    counterpart.
    """

    NONE: ClassVar[GrpcCompression]
    GZIP: ClassVar[GrpcCompression]


GrpcCompression.NONE = GrpcCompression()
GrpcCompression.GZIP = GrpcCompression()


@dataclass(frozen=True)
class PayloadLimitsConfig:
    """Sizes, in bytes, above which a warning is logged; 0: never."""

    payloads_warn_size: int = 512 * 1024
    memo_warn_size: int = 2 * 1024
