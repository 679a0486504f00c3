"""`kafka` settings that librdkafka does not take are refused at start, in one line."""

from __future__ import annotations

from typing import Any

import pytest

from odradek.config import Settings
from odradek.exceptions import ConfigurationError
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import check_kafka_settings

ADDRESS = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("kafka", "said"),
    [
        ({"foo.bar": "1"}, 'No such configuration property: "foo.bar"'),
        ({"security.protocol": "nope"}, 'Invalid value "nope"'),
        ({"fetch.min.bytes": "-1"}, "outside allowed range"),  # a consumer's
        ({"retries": "0"}, "enable.idempotence"),  # a transactional producer's
        ({"group.id": "mine"}, "wire contract"),
        ({"acks": "1"}, "not durable"),
    ],
)
@pytest.mark.promise("preflight")
def test_refused_in_one_line(kafka: dict[str, Any], said: str) -> None:
    settings = Settings(address=ADDRESS, kafka=kafka)
    with pytest.raises(ConfigurationError) as caught:
        ClusterAdmin(settings)
    assert caught.value.key.startswith("kafka") and said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_client_can_be_made_with_what_passes() -> None:
    kafka = {"max.poll.interval.ms": "6000", "fetch.max.bytes": "9000000", "retries": "3"}
    check_kafka_settings(Settings(address=ADDRESS, kafka=kafka))
