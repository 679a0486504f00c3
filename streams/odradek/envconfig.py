"""Client configuration from a TOML file and the environment, as Temporal's SDKs read it: what
`Client.connect(**config)` takes.

File: the one given, else what `ODRADEK_CONFIG_FILE` or `TEMPORAL_CONFIG_FILE` names, else
`odradek/odradek.toml`, else `temporalio/temporal.toml` in the user's configuration directory. A
file that is not there counts as empty. Variables override the profile; each is read as
`ODRADEK_<NAME>` and, where that is not set, as `TEMPORAL_<NAME>`: PROFILE, ADDRESS, NAMESPACE,
API_KEY, TLS, TLS_SERVER_NAME, TLS_SERVER_CA_CERT_PATH or _DATA, TLS_CLIENT_CERT_PATH or _DATA,
TLS_CLIENT_KEY_PATH or _DATA, GRPC_META_<HEADER>. Empty means not set (for a header: removed).

`target_host` is read as Kafka bootstrap servers. For everything else about Odradek see
`odradek.config`.
"""

from __future__ import annotations

import difflib
import logging
import os
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeAlias, TypedDict, cast

from odradek.exceptions import ConfigurationError
from odradek.home import home
from odradek.service import TLSConfig

__all__ = [
    "ClientConfig",
    "ClientConfigProfile",
    "ClientConfigProfileDict",
    "ClientConfigTLS",
    "ClientConfigTLSDict",
    "ClientConnectConfig",
    "DataSource",
]

logger = logging.getLogger("odradek.envconfig")

DataSource: TypeAlias = Path | str | bytes
"""A path to read, or the content itself as text or bytes."""

_PREFIXES = ("ODRADEK_", "TEMPORAL_")
_DEFAULT_PROFILE = "default"
_PROFILE_KEYS = ("address", "namespace", "api_key", "tls", "codec", "grpc_meta")
_CERTIFICATES = {
    "server_ca_cert": "server_root_ca_cert",
    "client_cert": "client_cert",
    "client_key": "client_private_key",
}
"""Names of certificates and keys in files and variables, and those of the fields they go to."""
_TLS_KEYS = ("disabled", "server_name", "disable_host_verification", *_CERTIFICATES)
_TLS_FILE_KEYS = (
    *_TLS_KEYS,
    *(f"{name}_{form}" for name in _CERTIFICATES for form in ("path", "data")),
)


class ClientConfigTLSDict(TypedDict, total=False):
    """TLS section of a profile as a dict. A certificate or key is `{"path": ...}` or `{"data":
    ...}`.
    """

    disabled: bool | None
    server_name: str
    server_ca_cert: Mapping[str, str]
    client_cert: Mapping[str, str]
    client_key: Mapping[str, str]


class ClientConfigProfileDict(TypedDict, total=False):
    """A profile as a dict."""

    address: str
    namespace: str
    api_key: str
    tls: ClientConfigTLSDict
    grpc_meta: Mapping[str, str]


class ClientConnectConfig(TypedDict, total=False):
    """Keyword arguments of `Client.connect`. Only what was configured is there."""

    target_host: str
    namespace: str
    api_key: str
    tls: bool | TLSConfig
    rpc_metadata: Mapping[str, str]


@dataclass(frozen=True)
class ClientConfigTLS:
    """TLS options of a profile."""

    disabled: bool | None = None
    """True: no TLS. False: TLS. None: not said."""
    server_name: str | None = None
    server_root_ca_cert: DataSource | None = None
    client_cert: DataSource | None = None
    client_private_key: DataSource | None = None

    def to_dict(self) -> ClientConfigTLSDict:
        """As a dict; what is not set is left out."""
        result: dict[str, Any] = {"disabled": self.disabled, "server_name": self.server_name}
        for name, attribute in _CERTIFICATES.items():
            result[name] = _source_to_dict(getattr(self, attribute))
        return cast(
            ClientConfigTLSDict,
            {name: value for name, value in result.items() if value is not None},
        )

    def to_connect_tls_config(self) -> bool | TLSConfig:
        """The `tls` argument of `Client.connect`. Reads the files; `ConfigurationError` for one
        that cannot be read.
        """
        if self.disabled:
            return False
        return TLSConfig(
            domain=self.server_name,
            server_root_ca_cert=_read(self.server_root_ca_cert),
            client_cert=_read(self.client_cert),
            client_private_key=_read(self.client_private_key),
        )

    @classmethod
    def from_dict(cls, d: Mapping[str, Any] | None) -> Self | None:
        """From a dict, or from a file's section (`client_cert_path`, `client_cert_data`). `None`
        for an empty one.
        """
        if not d:
            return None
        certificates = {attribute: _source_of(d, name) for name, attribute in _CERTIFICATES.items()}
        return cls(disabled=d.get("disabled"), server_name=d.get("server_name"), **certificates)


@dataclass(frozen=True)
class ClientConfigProfile:
    """One profile."""

    address: str | None = None
    """Kafka bootstrap servers."""
    namespace: str | None = None
    api_key: str | None = None
    tls: ClientConfigTLS | None = None
    grpc_meta: Mapping[str, str] = field(default_factory=dict)
    """Metadata of requests; names in lower case with dashes."""

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Self:
        """From a dict or a file's section."""
        return cls(
            address=d.get("address"),
            namespace=d.get("namespace"),
            api_key=d.get("api_key"),
            tls=ClientConfigTLS.from_dict(d.get("tls")),
            grpc_meta={_header(name): value for name, value in (d.get("grpc_meta") or {}).items()},
        )

    def to_dict(self) -> ClientConfigProfileDict:
        """As a dict; what is not set is left out."""
        result: dict[str, Any] = {
            "address": self.address,
            "namespace": self.namespace,
            "api_key": self.api_key,
        }
        result["tls"] = (self.tls.to_dict() or None) if self.tls else None
        result["grpc_meta"] = self.grpc_meta or None
        return cast(
            ClientConfigProfileDict,
            {name: value for name, value in result.items() if value is not None},
        )

    def to_client_connect_config(self) -> ClientConnectConfig:
        """Keyword arguments of `Client.connect`. An API key alone turns TLS on."""
        config = ClientConnectConfig()
        if self.address:
            config["target_host"] = self.address
        if self.namespace is not None:
            config["namespace"] = self.namespace
        if self.api_key is not None:
            config["api_key"] = self.api_key
            config["tls"] = True
        if self.tls is not None:
            config["tls"] = self.tls.to_connect_tls_config()
        if self.grpc_meta:
            config["rpc_metadata"] = self.grpc_meta
        return config

    @staticmethod
    def load(
        profile: str | None = None,
        *,
        config_source: DataSource | None = None,
        disable_file: bool = False,
        disable_env: bool = False,
        config_file_strict: bool = False,
        override_env_vars: Mapping[str, str] | None = None,
    ) -> ClientConfigProfile:
        """One profile, overridden by variables.

        profile: its name; else what the PROFILE variable says; else `default`, which need not
        exist.  config_source: instead of the default file.  disable_env: read no variables,
        `override_env_vars` neither.  config_file_strict: unknown keys are errors.
        override_env_vars: read instead of the process's environment.
        """
        if disable_file and disable_env:
            raise ConfigurationError(
                "cannot disable both the file and the environment: nothing is left to load a"
                " profile from"
            )
        environment = {} if disable_env else _environment(override_env_vars)
        profiles = (
            {} if disable_file else _load_profiles(config_source, environment, config_file_strict)
        )
        name = profile or _variable(environment, "PROFILE")
        if name is not None and name not in profiles and not disable_file:
            raise ConfigurationError(
                f"profile `{name}` not found; the file has {', '.join(sorted(profiles)) or 'none'}",
                key=f"profile.{name}",
            )
        found = ClientConfigProfile.from_dict(profiles.get(name or _DEFAULT_PROFILE, {}))
        return _overridden(found, environment)


@dataclass
class ClientConfig:
    """All profiles of a file."""

    profiles: Mapping[str, ClientConfigProfile]

    def to_dict(self) -> Mapping[str, ClientConfigProfileDict]:
        """Profiles as dicts, by name."""
        return {name: profile.to_dict() for name, profile in self.profiles.items()}

    @classmethod
    def from_dict(cls, d: Mapping[str, Mapping[str, Any]]) -> Self:
        """From profiles as dicts, by name."""
        return cls({name: ClientConfigProfile.from_dict(profile) for name, profile in d.items()})

    @staticmethod
    def load(
        *,
        config_source: DataSource | None = None,
        config_file_strict: bool = False,
        override_env_vars: Mapping[str, str] | None = None,
    ) -> ClientConfig:
        """All profiles of the file, not overridden: of the environment only the name of the file
        is read.
        """
        return ClientConfig.from_dict(
            _load_profiles(config_source, _environment(override_env_vars), config_file_strict)
        )

    @staticmethod
    def load_client_connect_config(
        profile: str | None = None,
        *,
        config_file: str | None = None,
        disable_file: bool = False,
        disable_env: bool = False,
        config_file_strict: bool = False,
        override_env_vars: Mapping[str, str] | None = None,
    ) -> ClientConnectConfig:
        """`ClientConfigProfile.load` and `to_client_connect_config` in one:
        `Client.connect(**config)`.
        """
        return ClientConfigProfile.load(
            profile,
            config_source=Path(config_file) if config_file and not disable_file else None,
            disable_file=disable_file,
            disable_env=disable_env,
            config_file_strict=config_file_strict,
            override_env_vars=override_env_vars,
        ).to_client_connect_config()


# ---------------------------------------------------------------------------------------------------------------------
# The file


def _user_config_dir() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA") or home() / "AppData" / "Roaming")
    if sys.platform == "darwin":
        return home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_CONFIG_HOME") or home() / ".config")


def _config_text(source: DataSource | None, environment: Mapping[str, str]) -> tuple[str, str]:
    """Content of the file and its name for errors; empty content when there is none."""
    if isinstance(source, str | bytes):
        return source if isinstance(source, str) else source.decode(), "given text"
    path = source or (Path(named) if (named := _variable(environment, "CONFIG_FILE")) else None)
    if path is None:
        candidates = [
            _user_config_dir() / name
            for name in ("odradek/odradek.toml", "temporalio/temporal.toml")
        ]
        path = next((candidate for candidate in candidates if candidate.is_file()), candidates[0])
    elif not path.exists():
        logger.warning("Configuration file %s does not exist, nothing is read from it", path)
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except FileNotFoundError:
        return "", str(path)
    except OSError as err:
        raise ConfigurationError(
            f"configuration file {path} cannot be read: {err.strerror or err}", source=str(path)
        ) from err


def _load_profiles(
    source: DataSource | None, environment: Mapping[str, str], strict: bool
) -> dict[str, dict[str, Any]]:
    text, where = _config_text(source, environment)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        raise ConfigurationError(
            f"configuration file {where} is not valid TOML: {err}", source=where
        ) from err
    profiles = content.get("profile", {})
    for key, section in [
        ("profile", profiles),
        *((f"profile.{name}", profile) for name, profile in _items(profiles)),
    ]:
        _must_be_table(section, key, where)
    for name, profile in profiles.items():
        for key in ("tls", "grpc_meta", "codec"):
            _must_be_table(profile.get(key, {}), f"profile.{name}.{key}", where)
        if strict:
            _refuse_unknown(profile, _PROFILE_KEYS, f"profile.{name}.", where)
            _refuse_unknown(profile.get("tls", {}), _TLS_FILE_KEYS, f"profile.{name}.tls.", where)
    if strict:
        _refuse_unknown(content, ("profile",), "", where)
    return dict(profiles)


def _items(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, dict) else ()


def _must_be_table(value: Any, key: str, where: str) -> None:
    if not isinstance(value, dict):
        raise ConfigurationError(
            f"`{key}` in {where} must be a table ([{key}]), not {value!r}", key=key, source=where
        )


def _refuse_unknown(
    values: Mapping[str, Any], known: Iterable[str], prefix: str, where: str
) -> None:
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"Did you mean `{near[0]}`?" if near else f"Known are: {', '.join(known)}"
            raise ConfigurationError(
                f"unknown key `{prefix}{key}` in {where}. {hint}",
                key=f"{prefix}{key}",
                source=where,
            )


# ---------------------------------------------------------------------------------------------------------------------
# The environment


def _environment(override: Mapping[str, str] | None) -> Mapping[str, str]:
    return os.environ if override is None else override


def _variable(environment: Mapping[str, str], name: str) -> str | None:
    return next((value for prefix in _PREFIXES if (value := environment.get(prefix + name))), None)


def _overridden(
    profile: ClientConfigProfile, environment: Mapping[str, str]
) -> ClientConfigProfile:
    metadata = dict(profile.grpc_meta)
    for prefix in reversed(_PREFIXES):  # the stronger one last
        start = f"{prefix}GRPC_META_"
        for name, value in environment.items():
            if name.startswith(start):
                metadata[_header(name.removeprefix(start))] = value
    return ClientConfigProfile(
        address=_variable(environment, "ADDRESS") or profile.address,
        namespace=_variable(environment, "NAMESPACE") or profile.namespace,
        api_key=_variable(environment, "API_KEY") or profile.api_key,
        tls=_tls_overridden(profile.tls, environment),
        grpc_meta={name: value for name, value in metadata.items() if value},
    )


def _tls_overridden(
    tls: ClientConfigTLS | None, environment: Mapping[str, str]
) -> ClientConfigTLS | None:
    changes: dict[str, Any] = {}
    enabled = _variable(environment, "TLS")
    if enabled is not None:
        if enabled.lower() not in ("true", "false", "1", "0"):
            raise ConfigurationError(
                f"the variable TLS must be true or false, not {enabled!r}",
                key="tls",
                source="environment",
            )
        changes["disabled"] = enabled.lower() in ("false", "0")
    if name := _variable(environment, "TLS_SERVER_NAME"):
        changes["server_name"] = name
    for name, attribute in _CERTIFICATES.items():
        forms = {
            f"{name}_{form}": _variable(environment, f"TLS_{name}_{form}".upper())
            for form in ("path", "data")
        }
        source = _source_of({key: value for key, value in forms.items() if value is not None}, name)
        if source is not None:
            changes[attribute] = source
    return replace(tls or ClientConfigTLS(), **changes) if changes else tls


# ---------------------------------------------------------------------------------------------------------------------
# Values


def _header(name: str) -> str:
    return name.lower().replace("_", "-")


def _source_of(section: Mapping[str, Any], name: str) -> DataSource | None:
    """A certificate or key of a section: `{name: {"path": ...}}`, `name_path` or `name_data`."""
    forms = dict(section.get(name) or {})
    forms |= {
        form: section[f"{name}_{form}"]
        for form in ("path", "data")
        if section.get(f"{name}_{form}") is not None
    }
    if len(forms) > 1:
        raise ConfigurationError(
            f"both `{name}_path` and `{name}_data` are set: give one of them", key=name
        )
    if "data" in forms:
        return forms["data"].encode() if isinstance(forms["data"], str) else bytes(forms["data"])
    return Path(forms["path"]) if "path" in forms else None


def _source_to_dict(source: DataSource | None) -> dict[str, str] | None:
    if source is None:
        return None
    if isinstance(source, Path):
        return {"path": str(source)}
    return {"data": source if isinstance(source, str) else source.decode()}


def _read(source: DataSource | None) -> bytes | None:
    if isinstance(source, Path):
        try:
            return source.read_bytes()
        except OSError as err:
            raise ConfigurationError(
                f"certificate or key {source} cannot be read: {err.strerror or err}",
                source=str(source),
            ) from err
    return source.encode() if isinstance(source, str) else source
