"""What clients share: the settings and, for each namespace, one request channel over one
transport. Takes the place of Temporal's service client.

`Client(**client.config())` makes a second client on the same connection; closing it closes both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from odradek.client.channel import RequestChannel
from odradek.client.kafka_transport import CONNECT_TIMEOUT_S, KafkaTransport
from odradek.client.server_api import ServerApi
from odradek.client.transport import Transport
from odradek.config import Settings
from odradek.exceptions import ConfigurationError
from odradek.service import HttpConnectProxyConfig, TLSConfig, tls_kafka_settings

TransportFactory = Callable[[Settings], Transport]


class Connection:
    """Settings and channels. make_transport: another transport than Kafka's, for a namespace's
    settings.

    `lazy`: it connects with its first call; such a client cannot be given to a worker.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        lazy: bool = False,
        make_transport: TransportFactory | None = None,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        api_key: str | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        runtime: Any = None,
    ) -> None:
        self.settings = settings
        self.lazy = lazy
        self.api_key = api_key
        self.rpc_metadata = rpc_metadata
        self.runtime = runtime
        self.connect_timeout_s = connect_timeout_s
        self.server = ServerApi(settings.server_address)
        self._make_transport: TransportFactory = make_transport or partial(
            KafkaTransport, connect_timeout_s=connect_timeout_s
        )
        self._channels: dict[str, RequestChannel] = {}
        self._closed = False

    @staticmethod
    def settings_for(
        target_host: str | None,
        *,
        settings: Settings | None,
        namespace: str | None,
        identity: str | None,
        tls: bool | TLSConfig | None,
        create_topics: bool | None,
        http_connect_proxy_config: HttpConnectProxyConfig | None,
    ) -> Settings:
        """The settings of a `Client.connect` call: what it names wins over `settings`, or over
        file and environment.
        """
        if http_connect_proxy_config is not None:
            raise ConfigurationError(
                "`http_connect_proxy_config` cannot be used: Kafka's protocol does not pass an HTTP"
                " proxy. Give addresses that can be reached directly",
                key="http_connect_proxy_config",
            )
        given: dict[str, Any] = {
            "address": target_host,
            "namespace": namespace,
            "identity": identity,
            "create_topics": create_topics,
        }
        changes = {name: value for name, value in given.items() if value is not None}
        made = settings.replace(**changes) if settings is not None else Settings.load(**changes)
        secured = tls_kafka_settings(
            tls, sasl="sasl.mechanism" in made.kafka or "sasl.mechanisms" in made.kafka
        )
        return made.replace(kafka={**made.kafka, **secured}) if secured else made

    @property
    def identity(self) -> str:
        """Who asks, in histories."""
        return self.settings.identity

    @property
    def rpc_timeout_s(self) -> float:
        """How long a request waits for its verdict by default."""
        return self.settings.rpc_timeout / timedelta(seconds=1)

    def channel(self, namespace: str) -> RequestChannel:
        """The request channel of a namespace. Opens nothing yet."""
        channel = self._channels.get(namespace)
        if channel is None:
            settings = (
                self.settings
                if namespace == self.settings.namespace
                else self.settings.replace(namespace=namespace)
            )
            channel = self._channels[namespace] = RequestChannel(
                self._make_transport(settings), identity=self.identity
            )
            if self._closed:
                channel.close()
        return channel

    async def open(self, namespace: str) -> None:
        """Connect, on the running loop. Raises `BrokerUnreachableError`, `TopicMissingError`."""
        await self.channel(namespace).ready()

    def close(self) -> None:
        """Close every channel; idempotent. May wait some tenths of a second for what is on its
        way.
        """
        self._closed = True
        for channel in self._channels.values():
            channel.close()
