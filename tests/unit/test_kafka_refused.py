"""`kafka` settings that librdkafka does not take: one line that names the key, where it came
from and the cure.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
from confluent_kafka import Consumer

from odradek import cli
from odradek.client import Client
from odradek.config import Settings
from odradek.exceptions import ConfigurationError
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import reader_config
from odradek.kafka.refused import check_kafka_settings

ADDRESS = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("kafka", "key", "said"),
    [
        ({"foo.bar": "1"}, "kafka.foo.bar", "knows no such setting"),
        ({"security.protocol": "nope"}, "kafka.security.protocol", 'Invalid value "nope"'),
        (
            {"linger.ms": "x"},
            "kafka.linger.ms",
            "does not take its value",
        ),  # a producer's, and librdkafka names its alias
        (
            {"fetch.min.bytes": "-1"},
            "kafka.fetch.min.bytes",
            "outside allowed range",
        ),  # a consumer's
        (
            {"socket.timeout.ms": "100", "fetch.nonsense": "1"},
            "kafka.fetch.nonsense",
            "knows no such setting",
        ),
        (
            {"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN"},
            "kafka",
            "sasl.username and sasl.password must be set",
        ),
        ({"group.id": "mine"}, "kafka.group.id", "wire contract"),
        (
            {"partition.assignment.strategy": "range"},
            "kafka.partition.assignment.strategy",
            "cooperative-sticky",
        ),
        # Only one kind of client refuses these, and only together with what is ours.
        ({"retries": "0"}, "kafka.retries", "enable.idempotence"),
        (
            {"message.send.max.retries": "0", "linger.ms": "5"},
            "kafka.message.send.max.retries",
            "enable.idempotence",
        ),
        ({"queuing.strategy": "lifo"}, "kafka.queuing.strategy", "enable.idempotence"),
        (
            {"receive.message.max.bytes": "1000"},
            "kafka.receive.message.max.bytes",
            "fetch.max.bytes",
        ),
        ({"max.poll.interval.ms": "5000"}, "kafka.max.poll.interval.ms", "session.timeout.ms"),
        ({"linger.ms": "60000"}, "kafka.linger.ms", "does not take its value"),
        ({"default.topic.config": "x"}, "kafka.default.topic.config", "does not take its value"),
        ({"logger": "x"}, "kafka.logger", "odradek.kafka"),
        (
            {
                "fetch.max.bytes": "2000000",
                "message.max.bytes": "1500000",
                "receive.message.max.bytes": "1000",
            },
            "kafka.receive.message.max.bytes",
            "fetch.max.bytes",
        ),
    ],
)
def test_the_key_is_named(kafka: dict[str, Any], key: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ClusterAdmin(Settings(address=ADDRESS, kafka=kafka))
    assert caught.value.key == key and said in str(caught.value) and "\n" not in str(caught.value)
    assert key.removeprefix("kafka.") in str(caught.value)


def test_every_client_can_be_made_with_what_passes() -> None:
    settings = Settings(
        address=ADDRESS,
        kafka={"max.poll.interval.ms": "6000", "fetch.max.bytes": "9000000", "retries": "3"},
    )
    check_kafka_settings(settings)
    Consumer(
        reader_config(settings)
    ).close()  # nobody's session, and yet compared with the interval


def test_good_ones_pass_quickly(caplog: pytest.LogCaptureFixture) -> None:
    took_s = []
    for _ in range(
        5
        # this machine may stand still for a second in some of them; waiting for a broker takes that
        # long in each
    ):
        began = time.monotonic()
        kafka = {"security.protocol": "plaintext", "linger.ms": "5", "fetch.min.bytes": "1"}
        check_kafka_settings(Settings(address=ADDRESS, kafka=kafka))
        check_kafka_settings(Settings(address=ADDRESS))
        took_s.append(time.monotonic() - began)
    assert min(took_s) < 1 and not [one for one in caplog.records if one.name.startswith("odradek")]


async def test_a_client_says_so() -> None:
    with pytest.raises(ConfigurationError, match=r"kafka\.foo\.bar"):
        await Client.connect(ADDRESS, settings=Settings(kafka={"foo.bar": "1"}))


@pytest.mark.parametrize(
    "command",
    [
        ["worker", "tests.kafka.client_workflows:WORKFLOWS", "-t", "q"],
        ["worker", "tests.kafka.client_workflows:WORKFLOWS", "-t", "q", "--processes", "2"],
        ["server", "--port", "0"],
        ["workflow", "describe", "-w", "w"],
        ["task-queue", "list"],
    ],
    ids=lambda command: " ".join(command[::3]),
)
def test_the_command_line_says_where_it_stands(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ODRADEK_KAFKA__FOO_BAR", "1")
    assert cli.main([*command, "--address", ADDRESS]) == cli.Status.USAGE
    err = capsys.readouterr().err
    assert (
        err.count("\n") == 1
        and "`kafka.foo.bar` (environment variable ODRADEK_KAFKA__FOO_BAR)" in err
    )
