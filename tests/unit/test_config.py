"""Settings: four sources in rising order, unknown keys named wherever they stand, librdkafka
settings passed through, docs up to date.
"""

from __future__ import annotations

import json
import os
import pickle
import pwd
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odradek import config
from odradek.broker.jars import cache_root
from odradek.config import Settings, format_duration, parse_duration
from odradek.envconfig import ClientConfig
from odradek.exceptions import ConfigurationError

Write = Callable[[str], Path]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("ODRADEK_"):
            monkeypatch.delenv(name)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "service.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_defaults() -> None:
    settings = Settings()
    assert (settings.address, settings.namespace, settings.task_queue, settings.topic_prefix) == (
        "localhost:9092",
        "default",
        None,
        "odradek.",
    )
    assert (settings.partitions, settings.create_topics, settings.kafka) == (8, True, {})
    assert (settings.retention, settings.audit_window) == (timedelta(days=3), timedelta(hours=1))
    assert (settings.history_max_events, settings.history_suggest_continue_as_new_events) == (
        51_200,
        10_240,
    )
    assert (settings.rpc_timeout, settings.transaction_timeout) == (
        timedelta(seconds=10),
        timedelta(seconds=10),
    )
    assert (settings.deadlock_timeout, settings.session_timeout) == (
        timedelta(seconds=2),
        timedelta(seconds=6),
    )
    assert str(os.getpid()) in settings.identity


def test_later_sources_win(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(
        "address: from-file:1\nnamespace: from-file\ntask_queue: from-file\nretention: 7 d\n"
    )
    monkeypatch.setenv("ODRADEK_NAMESPACE", "from-environment")
    monkeypatch.setenv("ODRADEK_TASK_QUEUE", "from-environment")
    monkeypatch.setenv("ODRADEK_PARTITIONS", "3")
    settings = Settings.load(file, task_queue="from-argument")
    assert (settings.address, settings.namespace, settings.task_queue) == (
        "from-file:1",
        "from-environment",
        "from-argument",
    )
    assert (settings.partitions, settings.retention, settings.client_id) == (
        3,
        timedelta(days=7),
        "odradek",
    )


def test_the_environment_can_name_the_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODRADEK_SETTINGS", str(write("namespace: from-file")))
    assert Settings().namespace == Settings.load().namespace == "from-file"


def test_a_section_leaves_the_rest_to_its_owner(write: Write) -> None:
    assert (
        Settings.load(write("odradek:\n  namespace: shop\ndatabase: orders.sqlite\n")).namespace
        == "shop"
    )
    assert Settings.load(write("odradek:\ndatabase: orders.sqlite\n")).namespace == "default"
    assert Settings.load(write("")).namespace == "default"


def test_librdkafka_settings_pass_through_and_merge(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(
        "kafka:\n  security.protocol: PLAINTEXT\n  socket:\n    keepalive.enable: true\n "
        " linger.ms: 5\n"
    )
    monkeypatch.setenv("ODRADEK_KAFKA__SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("ODRADEK_KAFKA__SASL_MECHANISM", "PLAIN")
    settings = Settings.load(file, kafka={"sasl": {"username": "me"}, "queued.min.messages": 10})
    assert settings.kafka == {
        "security.protocol": "SASL_SSL",
        "socket.keepalive.enable": "true",
        "linger.ms": "5",
        "sasl.mechanism": "PLAIN",
        "sasl.username": "me",
        "queued.min.messages": "10",
    }


def test_librdkafka_settings_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODRADEK_KAFKA", '{"ssl_key": "x", "security.protocol": "ssl"}')
    monkeypatch.setenv("ODRADEK_KAFKA__SASL_MECHANISM", "PLAIN")
    assert Settings().kafka == {
        "ssl_key": "x",
        "security.protocol": "ssl",
        "sasl.mechanism": "PLAIN",
    }
    monkeypatch.setenv("ODRADEK_KAFKA", "{")
    with pytest.raises(ConfigurationError, match="kafka"):
        Settings()


def test_unknown_keys_are_named_wherever_they_stand(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"unknown setting `adress` \(argument\)\. Did you mean `address`\?",
    ) as caught:
        Settings(adress="x")
    assert (caught.value.key, caught.value.source) == ("adress", "argument")
    file = write("odradek:\n  taskqueue: x\n")
    with pytest.raises(
        ConfigurationError, match=r"`taskqueue` .*service.yaml.* Did you mean `task_queue`"
    ):
        Settings.load(file)
    with pytest.raises(ConfigurationError, match=r"`security\.protocol` .*belong under `kafka`"):
        Settings.load(write("security.protocol: SSL"))
    monkeypatch.setenv("ODRADEK_NAMESPCE", "x")
    with pytest.raises(
        ConfigurationError,
        match=r"`namespce` .environment variable ODRADEK_NAMESPCE.. Did you mean `namespace`",
    ):
        Settings()


@pytest.mark.parametrize(
    "name",
    [
        "ODRADEK_TEST_BOOTSTRAP", "ODRADEK_FAULT", "ODRADEK_CACHE_DIR", "ODRADEK_KAFKA_VERSION", "ODRADEK_PROFILE", "ODRADEK_TLS_DISABLED",
        "ODRADEK_SERVICE_HOST", "ODRADEK_PORT", "ODRADEK_PORT_9092_TCP_ADDR", "ODRADEK_KAFKA_SERVICE_PORT_HTTP", "ODRADEK_UI_PORT_80_TCP",
    ],
)  # fmt: skip
def test_variables_that_are_no_settings_are_left_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "tcp://10.0.0.1:80")
    assert Settings().kafka == {}


def test_bad_values_are_named(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"`partitions` \(argument\) has a bad value 0"):
        Settings(partitions=0)
    with pytest.raises(ConfigurationError, match=r"`retention` .*service.yaml.* 'soon'"):
        Settings.load(write("retention: soon"))
    monkeypatch.setenv("ODRADEK_RPC_TIMEOUT", "-1")
    with pytest.raises(
        ConfigurationError, match="environment variable ODRADEK_RPC_TIMEOUT"
    ) as caught:
        Settings()
    assert caught.value.key == "rpc_timeout"


@pytest.mark.parametrize(
    "url",
    [
        "registry:8080",
        "registry",
        "//registry",
        "ftp://registry",
        "http://",
        "http://r:port",
        "http://[r",
        "http://a,b",
    ],
)
def test_a_registry_without_a_url_is_a_bad_value(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"`schema_registry_url` \(argument\) has a bad value .* such as http://registry:8081",
    ):
        Settings(schema_registry_url=url)
    monkeypatch.setenv("ODRADEK_SCHEMA_REGISTRY_URL", f"user:hidden@{url}")
    with pytest.raises(
        ConfigurationError, match="environment variable ODRADEK_SCHEMA_REGISTRY_URL"
    ) as caught:
        Settings()
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://r",
        "https://me:secret@r:8081/apis/ccompat/v7",
        "http://[::1]:8081",
        "http://a, http://b",
    ],
)
def test_registries(url: str) -> None:
    assert Settings(schema_registry_url=url).schema_registry_url == url


def test_the_scheme_of_a_registry_is_in_small_letters() -> None:
    """Confluent's client takes no other."""
    given, wanted = (
        "HTTP://Me:Secret@R:8081/V7, Https://b,MOCK://",
        "http://Me:Secret@R:8081/V7, https://b,mock://",
    )
    assert Settings(schema_registry_url=given).schema_registry_url == wanted


@pytest.mark.parametrize("url", ["ht\ttp://r", "\x00http://r"])
def test_a_registry_with_a_control_character_in_its_scheme_is_a_bad_value(url: str) -> None:
    """`urlsplit` drops such characters, Confluent's client does not and would raise ValueError."""
    with pytest.raises(ConfigurationError, match="such as http://registry:8081"):
        Settings(schema_registry_url=url)


@pytest.mark.parametrize("duration", ["999999999999 d", f"{'9' * 400} s", f"{'9' * 400}", 1e300])
def test_a_duration_without_bound_is_a_bad_value(duration: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"`retention` \(argument\) has a bad value"):
        Settings(retention=duration)


@pytest.mark.parametrize(
    "name",
    [
        "retention",
        "session_timeout",
        "partitions",
        "replication_factor",
        "telemetry_port",
        "namespace",
    ],
)
@pytest.mark.parametrize("word", ["true", "no"])
def test_a_truth_value_is_no_number(write: Write, name: str, word: str) -> None:
    """YAML's `yes` and `off` are such too; as numbers they would be 1 and 0."""
    with pytest.raises(
        ConfigurationError, match=rf"`{name}` .*service\.yaml.* has a bad value (True|False)"
    ):
        Settings.load(write(f"{name}: {word}"))


def test_a_lower_case_variable_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("odradek_address", "lower:1")
    monkeypatch.setenv("odradek_kafka__security_protocol", "SSL")
    assert (Settings().address, Settings().kafka) == ("lower:1", {"security.protocol": "SSL"})
    monkeypatch.setenv("ODRADEK_KAFKA__EMPTY", "")
    assert Settings().kafka == {"security.protocol": "SSL"}
    monkeypatch.setenv("odradek_adress", "lower:1")
    with pytest.raises(
        ConfigurationError,
        match=r"`adress` .environment variable odradek_adress.. Did you mean `address`",
    ):
        Settings()


def test_a_librdkafka_setting_given_twice_names_both(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = {"security": {"protocol": "SSL"}, "security.protocol": "PLAINTEXT"}
    told = (
        r"`kafka\.security\.protocol` .*twice, as `security: \{protocol: …\}` and as"
        r" `security\.protocol: …`"
    )
    with pytest.raises(ConfigurationError, match=told) as caught:
        Settings(kafka=twice)
    assert (caught.value.key, caught.value.source) == ("kafka.security.protocol", "argument")
    with pytest.raises(ConfigurationError, match=told):
        Settings.load(write("kafka: {security: {protocol: SSL}, security.protocol: PLAINTEXT}"))
    # In two places the stronger one wins, however it is written.
    nested = write("kafka: {security: {protocol: SSL}}")
    assert Settings.load(nested, kafka={"security.protocol": "PLAINTEXT"}).kafka == {
        "security.protocol": "PLAINTEXT"
    }
    flat = write("kafka: {security.protocol: SSL}")
    assert Settings.load(flat, kafka={"security": {"protocol": "PLAINTEXT"}}).kafka == {
        "security.protocol": "PLAINTEXT"
    }
    monkeypatch.setenv("ODRADEK_KAFKA", json.dumps({"security": {"protocol": "SSL"}}))
    assert Settings.load(write("kafka: {security.protocol: x}")).kafka == {
        "security.protocol": "SSL"
    }
    monkeypatch.setenv("ODRADEK_KAFKA__SECURITY_PROTOCOL", "PLAINTEXT")
    with pytest.raises(
        ConfigurationError,
        match=(
            r"`kafka\.security\.protocol` .*`ODRADEK_KAFKA` and as"
            r" `ODRADEK_KAFKA__SECURITY_PROTOCOL`"
        ),
    ):
        Settings()


def test_bad_files_are_named(write: Write, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nowhere\.yaml cannot be read"):
        Settings.load(tmp_path / "nowhere.yaml")
    for text, message in [
        ("a: [", "not valid YAML"),
        ("- a", "must hold a mapping, not a list"),
        ("odradek: 5", "not a int"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            Settings.load(write(text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "task_queue: a\npartitions: 2\ntask_queue: b\n",
            "`task_queue` stands twice in one mapping, in lines 1 and 3",
        ),
        (
            "odradek:\n  kafka:\n    acks: 1\n    acks: all\n",
            "`acks` stands twice in one mapping, in lines 3 and 4",
        ),
        (
            "{task_queue: a, task_queue: b}",
            "`task_queue` stands twice in one mapping, in lines 1 and 1",
        ),
        ("odradek: {}\nodradek: {}\n", "`odradek` stands twice"),
    ],
)
def test_a_key_that_stands_twice_is_named(write: Write, text: str, told: str) -> None:
    """YAML forbids it; PyYAML would take the last."""
    with pytest.raises(ConfigurationError, match=rf"service\.yaml is not valid YAML: {told}"):
        Settings.load(write(text))


def test_merged_keys_are_no_repetition(write: Write) -> None:
    text = """
base: &base {partitions: 2, task_queue: a}
odradek:
  <<: *base
  task_queue: b
other: &other
  <<: *base
  partitions: 3
"""
    settings = Settings.load(write(text))
    assert (settings.partitions, settings.task_queue) == (2, "b")


def test_passwords_are_not_shown() -> None:
    settings = Settings(
        address="k:1",
        kafka={"sasl.password": "secret"},
        schema_registry_url="http://me:secret@r",
        server_address="https://me:secret@s",
        server_token="secret",
    )
    for shown in (repr(settings), str(settings)):
        assert "secret" not in shown and "address='k:1'" in shown
    with pytest.raises(ConfigurationError) as caught:
        Settings(kafka={"sasl.password": ["secret"]})
    assert "secret" not in str(caught.value)
    assert "kafka.sasl.password" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "server_token: [hunter2]",
        "server_token: {a: hunter2}",
        "server_address: [http://me:hunter2@x]",
        "schema_registry_url: [http://me:hunter2@x]",
    ],
)
def test_secrets_of_the_wrong_kind_are_not_shown(write: Write, text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Settings.load(write(text))
    assert text.partition(":")[0] in str(caught.value) and "of the wrong kind" in str(caught.value)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "text",
    [
        "server_token: @hunter2",
        'server_token: "hunter2',
        "kafka: {sasl.password: *hunter2}",
        "a: b\nhunter2",
    ],
)
def test_what_is_no_yaml_is_told_by_its_place_alone(write: Write, text: str) -> None:
    with pytest.raises(
        ConfigurationError, match=r"service\.yaml is not valid YAML: .* \(line \d, column \d+\)$"
    ) as caught:
        Settings.load(write(text))
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_replace(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(kafka={"a.b": "1"}, identity="me")
    monkeypatch.setenv("ODRADEK_NAMESPACE", "later")
    monkeypatch.setenv("ODRADEK_KAFKA__C_D", "later")
    changed = settings.replace(partitions=3, kafka={})
    assert (changed.partitions, changed.namespace, changed.kafka, changed.identity) == (
        3,
        "default",
        {},
        "me",
    )
    assert settings.partitions == 8
    with pytest.raises(ConfigurationError, match="partitions"):
        settings.replace(partitions=0)
    with pytest.raises(ConfigurationError, match="unknown setting `partition`"):
        settings.replace(partition=1)
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_settings_do_not_change() -> None:
    with pytest.raises(Exception, match="frozen"):
        Settings().partitions = 3  # type: ignore[misc]


def test_a_user_without_a_home_has_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object) -> NoReturn:
        raise KeyError("uid not found: 12345")

    for name in (
        "HOME",
        "XDG_STATE_HOME",
        "XDG_CONFIG_HOME",
        "XDG_CACHE_HOME",
        "ODRADEK_CACHE_DIR",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert Settings().state_dir == Path("/.local/state/odradek")
    assert cache_root() == Path("/.cache/odradek")
    assert ClientConfig.load_client_connect_config() is not None
    for path in ("~/x", "~"):
        with pytest.raises(
            ConfigurationError,
            match=(
                r"`state_dir`.* begins with `~`, and this user has no home.* write the whole path"
            ),
        ):
            Settings.load(state_dir=path)


def test_a_home_of_a_user_that_does_not_exist_names_him() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"`state_dir`.* ~no-such-user/x.*no user 'no-such-user'.* write the whole path",
    ) as caught:
        Settings.load(state_dir="~no-such-user/x")
    assert "this user" not in str(caught.value)


def test_state_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert Settings(state_dir="~/x").state_dir == Path.home() / "x"
    for platform, variable in [("linux", "XDG_STATE_HOME"), ("win32", "LOCALAPPDATA")]:
        monkeypatch.setattr("sys.platform", platform)
        monkeypatch.setenv(variable, str(tmp_path))
        assert config.default_state_dir() == tmp_path / "odradek"


@given(st.integers(0, 10**10))
def test_durations_round_trip(milliseconds: int) -> None:
    value = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(value)) == value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("500ms", 0.5),
        ("10s", 10),
        ("1.5 min", 90),
        ("2h", 7200),
        ("3 d", 259200),
        ("PT5S", 5),
        (7, 7),
    ],
)
def test_durations_are_read(text: str | int, expected: float) -> None:
    assert Settings(retention=text).retention == timedelta(seconds=expected)


def test_the_page_has_every_setting() -> None:
    for name in Settings.model_fields:
        assert f"| `{name}` |" in config.settings_table()


def test_a_number_in_the_environment_is_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ODRADEK_RPC_TIMEOUT", "2")
    assert Settings.load(address="h:1").rpc_timeout == timedelta(seconds=2)
    monkeypatch.setenv("ODRADEK_RPC_TIMEOUT", "2.5")
    assert Settings.load(address="h:1").rpc_timeout == timedelta(seconds=2.5)
