"""Client configuration from TOML and environment: Temporal's names and rules, Odradek's names
over them, mistakes named.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from odradek.envconfig import ClientConfig, ClientConfigProfile, ClientConfigTLS
from odradek.exceptions import ConfigurationError
from odradek.service import TLSConfig

FILE = """
[profile.default]
address = "a:9092"
namespace = "n"

[profile.default.tls]
disabled = false
server_ca_cert_data = "root"

[profile.default.grpc_meta]
foo-bar = "1"
"Sw_X" = "2"

[profile.cloud]
address = "b:9093"
api_key = "k"
"""


def load(
    profile: str | None = None,
    source: Any = FILE,
    env: dict[str, str] | None = None,
    **options: Any,
) -> ClientConfigProfile:
    return ClientConfigProfile.load(
        profile, config_source=source, override_env_vars=env or {}, **options
    )


def test_a_profile() -> None:
    profile = load()
    assert (profile.address, profile.namespace, profile.api_key) == ("a:9092", "n", None)
    assert profile.tls == ClientConfigTLS(disabled=False, server_root_ca_cert=b"root")
    assert profile.grpc_meta == {"foo-bar": "1", "sw-x": "2"}
    assert profile.to_client_connect_config() == {
        "target_host": "a:9092",
        "namespace": "n",
        "tls": TLSConfig(server_root_ca_cert=b"root"),
        "rpc_metadata": {"foo-bar": "1", "sw-x": "2"},
    }


def test_an_api_key_turns_tls_on_unless_disabled() -> None:
    assert load("cloud").to_client_connect_config() == {
        "target_host": "b:9093",
        "api_key": "k",
        "tls": True,
    }
    assert load("cloud", env={"TEMPORAL_TLS": "false"}).to_client_connect_config()["tls"] is False


def test_profiles_are_chosen_by_argument_then_environment() -> None:
    assert load(env={"TEMPORAL_PROFILE": "cloud"}).address == "b:9093"
    assert load(env={"TEMPORAL_PROFILE": "none", "ODRADEK_PROFILE": "cloud"}).address == "b:9093"
    assert load("default", env={"ODRADEK_PROFILE": "cloud"}).address == "a:9092"
    with pytest.raises(
        ConfigurationError, match="profile `none` not found; the file has cloud, default"
    ):
        load("none")
    assert load(source="") == ClientConfigProfile()


def test_variables_override() -> None:
    env = {
        "TEMPORAL_ADDRESS": "t:1",
        "TEMPORAL_NAMESPACE": "tn",
        "ODRADEK_NAMESPACE": "on",
        "TEMPORAL_API_KEY": "",
        "TEMPORAL_GRPC_META_FOO_BAR": "t",
        "ODRADEK_GRPC_META_FOO_BAR": "o",
        "TEMPORAL_GRPC_META_SW_X": "",
        "TEMPORAL_TLS_SERVER_NAME": "s",
        "TEMPORAL_TLS_CLIENT_CERT_PATH": "/cert",
        "TEMPORAL_TLS_CLIENT_KEY_DATA": "key",
    }
    profile = load(env=env)
    assert (profile.address, profile.namespace, profile.api_key, profile.grpc_meta) == (
        "t:1",
        "on",
        None,
        {"foo-bar": "o"},
    )
    assert profile.tls == ClientConfigTLS(False, "s", b"root", Path("/cert"), b"key")
    assert load(env=env, disable_env=True) == load()


def test_the_process_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("TEMPORAL_", "ODRADEK_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ODRADEK_ADDRESS", "here:1")
    assert ClientConfig.load_client_connect_config(disable_file=True) == {"target_host": "here:1"}


def test_files_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert load(source=None) == ClientConfigProfile()
    assert caplog.records == []
    for folder, name in [
        ("temporalio", "temporal.toml"),
        ("odradek", "odradek.toml"),
    ]:  # the second wins
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(
            f'[profile.default]\naddress = "{folder}"', encoding="utf-8"
        )
        assert load(source=None).address == folder
    named = tmp_path / "named.toml"
    named.write_text(FILE, encoding="utf-8")
    assert load(source=None, env={"TEMPORAL_CONFIG_FILE": str(named)}).address == "a:9092"
    assert (
        ClientConfig.load_client_connect_config(
            "cloud", config_file=str(named), override_env_vars={}
        )["target_host"]
        == "b:9093"
    )
    assert load(source=None, disable_file=True).address is None
    assert load(source=tmp_path / "gone.toml") == ClientConfigProfile()
    assert "gone.toml does not exist" in caplog.text


def test_all_profiles_and_dicts() -> None:
    config = ClientConfig.load(
        config_source=FILE.encode(), override_env_vars={"TEMPORAL_ADDRESS": "ignored"}
    )
    assert {name: profile.address for name, profile in config.profiles.items()} == {
        "default": "a:9092",
        "cloud": "b:9093",
    }
    assert config.to_dict()["default"] == {
        "address": "a:9092",
        "namespace": "n",
        "tls": {"disabled": False, "server_ca_cert": {"data": "root"}},
        "grpc_meta": {"foo-bar": "1", "sw-x": "2"},
    }
    assert ClientConfig.from_dict(config.to_dict()) == config
    tls = ClientConfigTLS(client_cert=Path("/c"), client_private_key="key")
    assert tls.to_dict() == {"client_cert": {"path": "/c"}, "client_key": {"data": "key"}}
    assert ClientConfigTLS.from_dict({}) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("foo = 1", "unknown key `foo` in given text. Known are: profile"),
        ("[profile.default]\nadress = 1", r"`profile\.default\.adress`.* Did you mean `address`"),
        (
            "[profile.x.tls]\nclient_crt_path = 'a'",
            r"`profile\.x\.tls\.client_crt_path`.* Did you mean `client_cert_path`",
        ),
    ],
)
def test_strict_files(text: str, message: str) -> None:
    assert load(source=text) == ClientConfigProfile()
    with pytest.raises(ConfigurationError, match=message):
        load(source=text, config_file_strict=True)


@pytest.mark.parametrize(
    ("text", "env", "message"),
    [
        ("a =", {}, "not valid TOML"),
        ("profile = 5", {}, "`profile` in given text must be a table"),
        ("[profile]\ndefault = 5", {}, r"`profile\.default` in given text must be a table"),
        (
            "[profile.default]\ntls = true",
            {},
            r"`profile\.default\.tls` in given text must be a table",
        ),
        (
            "[profile.default.tls]\nclient_cert_path = 'a'\nclient_cert_data = 'b'",
            {},
            "both `client_cert_path` and `client_cert_data`",
        ),
        (
            "",
            {"ODRADEK_TLS_CLIENT_KEY_PATH": "a", "TEMPORAL_TLS_CLIENT_KEY_DATA": "b"},
            "both `client_key_path`",
        ),
        ("", {"TEMPORAL_TLS": "maybe"}, "must be true or false, not 'maybe'"),
    ],
)
def test_mistakes_are_named(text: str, env: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load(source=text, env=env)


def test_more_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot disable both"):
        load(disable_file=True, disable_env=True)
    with pytest.raises(ConfigurationError, match=r"cert\.pem cannot be read"):
        ClientConfigTLS(client_cert=tmp_path / "cert.pem").to_connect_tls_config()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(source=tmp_path)
    (tmp_path / "cert.pem").write_bytes(b"PEM")
    assert ClientConfigTLS(client_cert=tmp_path / "cert.pem").to_connect_tls_config() == TLSConfig(
        client_cert=b"PEM"
    )
    assert (
        ClientConfigTLS(disabled=True, client_cert=tmp_path / "gone").to_connect_tls_config()
        is False
    )
