"""Settings: every default of a deployment in one place.

Four sources, the later wins: the defaults here, a YAML file, the environment (`ODRADEK_...`),
arguments. An unknown key, wherever it stands, is an error that names it and the nearest known
one. Immutable once made. Knows no Kafka client: `kafka` passes through as it is, and
`odradek.kafka` makes client configurations from it.

`python -m odradek.config` prints the page of all settings.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from odradek.exceptions import ConfigurationError
from odradek.home import home
from odradek.yaml_text import load_yaml

__all__ = [
    "FILE_VARIABLE",
    "Settings",
    "default_state_dir",
    "format_duration",
    "parse_duration",
    "settings_page",
    "settings_table",
]

ENV_PREFIX = "ODRADEK_"
FILE_VARIABLE = "ODRADEK_SETTINGS"
"""Names the YAML file where the caller names none."""

# Variables that begin like settings and are none: of the local broker, of tests, of
# `odradek.envconfig`.
_OTHER_VARIABLES = re.compile(
    r"ODRADEK_(SETTINGS|FAULT|CACHE_DIR|KAFKA_VERSION|PROFILE|CONFIG_FILE|API_KEY|AUTH_\w+|TLS|TLS_\w+|GRPC_META_\w+|(TEST|BENCH|DEMO)_\w+)"
    # Kubernetes puts such variables into every container beside a Service named odradek or
    # odradek-something.
    r"|ODRADEK_(\w+_)?(SERVICE_HOST|SERVICE_PORT\w*|PORT(_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?)"
)

_DURATION_UNITS = {"": 1, "ms": 0.001, "s": 1, "min": 60, "m": 60, "h": 3_600, "d": 86_400}
_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min|m|h|d|)\s*")


def parse_duration(value: Any) -> Any:
    """`500 ms`, `10s`, `5 min`, `1h`, `3 d` as a timedelta; a bare number is seconds, as text too.

    Anything else, such as ISO 8601, is left to pydantic. OverflowError for what a timedelta does
    not hold.
    """
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    return timedelta(seconds=float(match[1]) * _DURATION_UNITS[match[2]]) if match else value


def _bounded_duration(value: Any) -> Any:
    try:
        return parse_duration(value)
    except OverflowError:
        raise ValueError(f"a duration is {timedelta.max.days} days at most") from None


def format_duration(value: timedelta) -> str:
    """The shortest form that `parse_duration` reads."""
    milliseconds = value // timedelta(milliseconds=1)
    for unit in ("d", "h", "min", "s"):
        size = _DURATION_UNITS[unit] * 1000
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // int(size)} {unit}"
    return f"{milliseconds} ms"


Duration = Annotated[timedelta, BeforeValidator(_bounded_duration), Field(ge=timedelta(0))]
PositiveDuration = Annotated[timedelta, BeforeValidator(_bounded_duration), Field(gt=timedelta(0))]
Count = Annotated[int, Field(ge=1)]


def default_state_dir() -> Path:
    """Where the platform keeps an application's state: XDG on Linux, Application Support on
    macOS, LOCALAPPDATA on Windows.
    """
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_STATE_HOME") or home() / ".local" / "state")
    return base / "odradek"


def _default_identity() -> str:
    return f"{os.getpid()}@{socket.gethostname()}"


#: What passwords and tokens may stand in: no error shows their values.
_SECRET = ("kafka", "server_token", "server_address", "schema_registry_url")


class Settings(BaseSettings):
    """The settings of a client, worker or service. `Settings(address=...)` or
    `Settings.load("service.yaml", address=...)`.

    `ConfigurationError` for an unknown key or a value that does not fit; it names the key and
    where it stands.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX,
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    # --- where
    address: str = Field(
        "localhost:9092",
        min_length=1,
        description="Kafka bootstrap servers, `host:port`, several with commas.",
    )
    namespace: str = Field(
        "default", min_length=1, description="Namespace: part of every topic name."
    )
    task_queue: str | None = Field(
        None, min_length=1, description="Task queue of a worker or service that names none itself."
    )
    topic_prefix: str = Field(
        "odradek.",
        pattern=r"^[A-Za-z0-9._-]*$",
        description="Begins every topic name, group id and transactional id.",
    )
    kafka: dict[str, str] = Field(
        {},
        repr=False,  # holds passwords
        description=(
            "Any librdkafka setting, for every client (`security.protocol`, `sasl.mechanism`, ...)."
            " Environment: see below."
        ),
    )
    schema_registry_url: str | None = Field(
        None,
        repr=False,  # may hold a password, as the next one
        description="Schema registry. Without one, records carry Avro single-object framing.",
    )
    server_address: str | None = Field(
        None,
        min_length=1,
        repr=False,
        description=(
            "`host:port` or URL of `odradek server`, which answers a client's lists and counts."
        ),
    )
    server_token: str | None = Field(
        None, min_length=1, repr=False, description="Token for that server, if it asks for one."
    )

    # --- who
    identity: str = Field(
        default_factory=_default_identity,
        min_length=1,
        description=(
            "Name of this process in histories and errors: a label, which several may share."
        ),
        json_schema_extra={"shown": "`<pid>@<host>`"},
    )
    client_id: str = Field(
        "odradek",
        min_length=1,
        description="Kafka's `client.id`: how brokers name this process in logs and quotas.",
    )

    # --- topics
    create_topics: bool = Field(
        True, description="Create topics that do not exist. Off: a missing topic is an error."
    )
    partitions: Count = Field(
        8,
        description="Partitions of the topics of a task queue, when created. Fixed for their life.",
    )
    replication_factor: int = Field(
        -1,
        ge=-1,
        description=(
            "Replicas of topics, when created. -1: the broker's `default.replication.factor`."
        ),
    )
    results_retention: PositiveDuration = Field(
        timedelta(days=30), description="How long `results` keeps outcomes."
    )
    audit_window: Duration = Field(
        timedelta(hours=1), description="How long records of `events` stay after they were applied."
    )

    # --- runs
    retention: PositiveDuration = Field(
        timedelta(days=3),
        description="How long a closed run can be queried, described and protects its id.",
    )
    history_max_events: Count = Field(51_200, description="Events after which a run is terminated.")
    history_suggest_continue_as_new_events: Count = Field(
        10_240, description="Events after which continue-as-new is suggested to a run."
    )
    history_max_bytes: Count = Field(
        50 * 1024 * 1024,
        description="Size of a history, in bytes, after which a run is terminated.",
    )
    history_suggest_continue_as_new_bytes: Count = Field(
        4 * 1024 * 1024,
        description=(
            "Size of a history, in bytes, after which continue-as-new is suggested to a run."
        ),
    )
    pending_activities_max: Count = Field(2_000, description="Open activities that a run may have.")

    # --- processor
    state_dir: Path = Field(
        default_factory=default_state_dir,
        description="Local state stores. A copy of the `state` topics: may be lost.",
        json_schema_extra={"shown": "the platform's, e.g. `~/.local/state/odradek`"},
    )
    max_cached_workflows: Count = Field(
        1_000,
        description=(
            "Live workflows kept in memory, each partition. Others are replayed when needed."
        ),
    )
    deadlock_timeout: PositiveDuration = Field(
        timedelta(seconds=2),
        description="Time in which workflow code must yield; replay does not count.",
    )
    session_timeout: Duration = Field(
        timedelta(seconds=6),
        ge=timedelta(seconds=1),
        le=timedelta(minutes=5),
        description=(
            "Silence after which a group member counts as dead. Brokers take 6 s and more where"
            " nobody lowered it."
        ),
    )
    transaction_timeout: Duration = Field(
        timedelta(seconds=10),
        ge=timedelta(seconds=1),
        le=timedelta(minutes=15),
        description=(
            "Age at which the broker ends an open transaction. Readers of shared topics may wait"
            " that long."
        ),
    )

    # --- activities
    max_concurrent_activities: Count = Field(
        100, description="Activities that a worker runs at a time."
    )
    activity_group: Literal["classic", "share"] = Field(
        "classic",
        description=(
            "How services share the commands of a queue: `classic` group, or `share` group (Kafka"
            " 4.2, a preview in the client). The same for all services of a queue;"
            " docs/guarantees.md compares them."
        ),
    )
    graceful_shutdown_timeout: Duration = Field(
        timedelta(seconds=10), description="Time that running activities get at a shutdown."
    )

    # --- telemetry
    telemetry_port: int | None = Field(
        None,
        ge=0,
        le=65_535,
        description=(
            "Port at which a worker serves `/metrics`, `/health/live`, `/health/ready` (0: any)."
            " `--processes N` takes N of them."
        ),
    )
    telemetry_host: str = Field(
        "127.0.0.1",
        min_length=1,
        description=(
            "Address it listens on; `0.0.0.0` in a container. Nobody is asked for a password."
        ),
    )
    liveness_timeout: PositiveDuration = Field(
        timedelta(seconds=60),
        description="Silence of a lane's or service's thread after which `/health/live` fails.",
    )
    log_format: Literal["text", "json"] = Field(
        "text",
        description=(
            "Log lines of `odradek worker` and `odradek server`: `text`, or `json` with ids."
        ),
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "warning", description="What they log; `--log-level` wins."
    )

    # --- client
    rpc_timeout: PositiveDuration = Field(
        timedelta(seconds=10),
        description="How long a request waits for the answer of the run's owner.",
    )

    def __init__(self, **arguments: Any) -> None:
        _refuse_unknown("argument", arguments)
        if isinstance(
            arguments.get("kafka"), Mapping
        ):  # flat before it is merged with the other sources
            arguments["kafka"] = _flat(arguments["kafka"], "argument")
        try:
            super().__init__(**arguments)
        except ValidationError as err:
            raise _configuration_error(err, arguments) from err
        except SettingsError as err:  # JSON in a variable
            raise ConfigurationError(
                f"environment: {err}: {err.__cause__}", source="environment"
            ) from err

    @classmethod
    def load(cls, file: str | Path | None = None, /, **arguments: Any) -> Self:
        """Settings with a YAML file, which `ODRADEK_SETTINGS` names where `file` does not.

        If the file has a mapping under `odradek`, that is what is read, and the rest of the file
        is its owner's.
        """
        token = _file.set(None if file is None else Path(file))
        try:
            return cls(**arguments)
        finally:
            _file.reset(token)

    def replace(self, **changes: Any) -> Self:
        """A changed copy, validated. Neither file nor environment are asked again."""
        token = _arguments_only.set(True)
        try:
            return type(self)(
                **{name: getattr(self, name) for name in type(self).model_fields} | changes
            )
        finally:
            _arguments_only.reset(token)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Python takes True for 1, YAML `yes` for True."""
        if (
            isinstance(value, bool)
            and info.field_name
            and cls.model_fields[info.field_name].annotation is not bool
        ):
            raise ValueError("true and false are no value of it")
        return value

    @field_validator("state_dir")
    @classmethod
    def _expand_home(cls, value: Path) -> Path:
        try:
            return value.expanduser()
        except RuntimeError:
            name = value.parts[0].removeprefix("~")
            why = (
                f"there is no user {name!r} with a home directory"
                if name
                else "this user has no home directory"
            )
            raise ValueError(
                f"{value} begins with `~{name}`, and {why}: write the whole path"
            ) from None

    @field_validator("schema_registry_url")
    @classmethod
    def _is_url(cls, value: str | None) -> str | None:
        """Confluent's client takes several, with commas, each with its scheme in small letters."""
        urls = []
        for url in value.split(",") if value else ():
            scheme, colon, rest = url.partition(":")
            if not _is_registry(scheme.strip().lower(), url.strip()):
                raise ValueError("write a URL, such as http://registry:8081")
            urls.append(scheme.lower() + colon + rest)
        return ",".join(urls) if value else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, environment, file: pydantic-settings wants the strongest first, and merges
        `kafka` key by key.
        """
        if _arguments_only.get():
            return (init_settings,)
        return (
            init_settings,
            _Environment(settings_cls),
            InitSettingsSource(settings_cls, _read_file()),
        )


def _is_registry(scheme: str, url: str) -> bool:
    try:
        parts = urlsplit(url)
        return scheme == "mock" or (
            scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        )
    except ValueError:
        return False


class _Environment(EnvSettingsSource):
    """The environment, where `ODRADEK_KAFKA__SECURITY_PROTOCOL` means `kafka:
    {security.protocol: ...}`.
    """

    def __call__(self) -> dict[str, Any]:
        names = {name.upper(): name for name in os.environ if name.upper().startswith(ENV_PREFIX)}
        keys = {
            upper.removeprefix(ENV_PREFIX).lower(): name
            for upper, name in names.items()
            if not _OTHER_VARIABLES.fullmatch(upper)
        }
        for key in keys:
            if not key.startswith("kafka__") and key not in Settings.model_fields:
                raise _unknown(f"environment variable {keys[key]}", key)
        values = super().__call__()
        kafka = values.get("kafka")
        if isinstance(kafka, dict):
            nested = {
                key.removeprefix("kafka__"): name
                for key, name in keys.items()
                if key.startswith("kafka__")
            }
            variables = {
                key: name for key, name in nested.items() if key in kafka
            }  # of others it is empty, or has made a mapping
            flat = _flat(
                {key: value for key, value in kafka.items() if key not in variables},
                "environment variable ODRADEK_KAFKA",
            )
            for key, name in variables.items():
                if (dotted := key.replace("_", ".")) in flat:
                    raise _twice(dotted, "environment", "ODRADEK_KAFKA", name)
                flat[dotted] = kafka[key]
            values["kafka"] = flat
        return values


# What `load` and `replace` tell the sources, for the time of one construction. None: the file that
# the environment names.
_file: ContextVar[Path | None] = ContextVar("odradek_settings_file", default=None)
_arguments_only: ContextVar[bool] = ContextVar("odradek_settings_arguments_only", default=False)


def _current_file() -> Path | None:
    named = _file.get() or os.environ.get(FILE_VARIABLE)
    return Path(named) if named else None


def _read_file() -> dict[str, Any]:
    path = _current_file()
    if path is None:
        return {}
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except OSError as err:
        reason = err.strerror or str(err)
        raise ConfigurationError(
            f"settings file {path} cannot be read: {reason}. Correct its path", source=str(path)
        ) from err
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise ConfigurationError(
            f"settings file {path} is not valid YAML: {err}", source=str(path)
        ) from err
    if isinstance(content, dict) and "odradek" in content:
        content = content["odradek"]
    if content is None:  # an empty file or section
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(
            f"settings file {path} must hold a mapping, not a {type(content).__name__}",
            source=str(path),
        )
    _refuse_unknown(str(path), content)
    if isinstance(content.get("kafka"), dict):
        content["kafka"] = _flat(content["kafka"], str(path))
    return content


def _flat(kafka: Mapping[Any, Any], source: str) -> dict[str, Any]:
    """Dotted keys of nested mappings. ConfigurationError for a key that is there in two ways:
    one of them would win in silence.
    """
    found: dict[str, Any] = {}
    paths: dict[str, tuple[str, ...]] = {}
    for path, value in _flatten(kafka):
        key = ".".join(path)
        if key in found:
            raise _twice(key, source, _spelled(paths[key]), _spelled(path))
        found[key], paths[key] = value, path
    return found


def _flatten(
    values: Mapping[Any, Any], before: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Paths of nested mappings; numbers and truth values as librdkafka writes them."""
    for key, value in values.items():
        path = (*before, str(key))
        if isinstance(value, Mapping):
            yield from _flatten(value, path)
        elif isinstance(value, bool):
            yield path, str(value).lower()
        else:
            yield path, str(value) if isinstance(value, int | float) else value


def _spelled(path: tuple[str, ...]) -> str:
    """`a.b: …`, or `a: {b: …}`."""
    return ": {".join(path) + ": …" + "}" * (len(path) - 1)


def _twice(key: str, source: str, one: str, other: str) -> ConfigurationError:
    text = (
        f"setting `kafka.{key}` ({source}) is given twice, as `{one}` and as `{other}`: remove one"
    )
    return ConfigurationError(text, key=f"kafka.{key}", source=source)


def _unknown(source: str, key: str) -> ConfigurationError:
    near = difflib.get_close_matches(
        key.lower().replace("-", "_"), Settings.model_fields, n=1, cutoff=0.6
    )
    hint = (
        f"Did you mean `{near[0]}`?"
        if near
        else "Librdkafka settings belong under `kafka`; `python -m odradek.config` lists the rest"
    )
    return ConfigurationError(f"unknown setting `{key}` ({source}). {hint}", key=key, source=source)


def _refuse_unknown(source: str, values: Mapping[str, Any]) -> None:
    for key in values:
        if key not in Settings.model_fields:
            raise _unknown(source, str(key))


def _configuration_error(
    error: ValidationError, arguments: Mapping[str, Any]
) -> ConfigurationError:
    problems = []
    for problem in error.errors(include_url=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        if name in arguments:
            source = "argument"
        elif any(
            variable.upper().startswith(f"{ENV_PREFIX}{name.upper()}") for variable in os.environ
        ):
            source = f"environment variable {ENV_PREFIX}{name.upper()}"
        else:
            source = str(_current_file() or "default")
        key = ".".join(map(str, problem["loc"]))
        given = _shown(name, problem["input"])
        problems.append(
            (key, source, f"setting `{key}` ({source}) has a bad value {given}: {problem['msg']}")
        )
    key, source, _ = problems[0]
    return ConfigurationError("; ".join(text for _, _, text in problems), key=key, source=source)


def _shown(name: str, value: Any) -> str:
    """A bad value, as an error may have it: without passwords."""
    if name == "schema_registry_url" and isinstance(value, str):
        return repr(value.rpartition("@")[2])
    return "of the wrong kind" if name in _SECRET else repr(value)


# ---------------------------------------------------------------------------------------------------------------------
# the page of all settings


def _shown_default(field: FieldInfo) -> str:
    if isinstance(field.json_schema_extra, dict):
        return str(field.json_schema_extra["shown"])
    value = field.default
    if value is None:
        return "none"
    if isinstance(value, timedelta):
        return f"`{format_duration(value)}`"
    return f"`{json.dumps(value) if not isinstance(value, str) else value}`"


def settings_table() -> str:
    """All settings with default, environment variable and meaning, as a Markdown table."""
    rows = ["| setting | default | environment | meaning |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        variable = f"{ENV_PREFIX}{name.upper()}" + ("__…" if name == "kafka" else "")
        rows.append(f"| `{name}` | {_shown_default(field)} | `{variable}` | {field.description} |")
    return "\n".join(rows) + "\n"


def settings_page() -> str:
    """The page as Markdown."""
    return _PAGE.format(table=settings_table())


_PAGE = """\
<!-- Written by `make docs` from streams/odradek/config.py. -->
# Settings

From the weakest to the strongest source: the defaults below, a YAML file, environment variables, arguments in code. A key that does not
exist is an error that names it, wherever it stands.

```yaml
# service.yaml: Settings.load("service.yaml"), or ODRADEK_SETTINGS=service.yaml
odradek:                 # with this section the rest of the file is yours; without it the whole file is settings
  address: kafka-1:9093,kafka-2:9093
  task_queue: order-task-queue
  retention: 7 d         # 500 ms, 10 s, 5 min, 1 h, 3 d; a number is seconds; ISO 8601 works too
  kafka:
    security.protocol: SASL_SSL
    sasl.mechanism: SCRAM-SHA-512
database: orders.sqlite  # yours
```

{table}
## librdkafka settings

`kafka` takes [every librdkafka setting](https://github.com/confluentinc/librdkafka/blob/master/CONFIGURATION.md) and gives it to every
client that Odradek makes, but for the few that would break a guarantee (`isolation.level`, `transactional.id`, `partitioner`, ...): those
are errors that say why. In a file and in code the keys are librdkafka's own, dotted. In the environment write `ODRADEK_KAFKA__`, then the
key in capitals with `_` for each dot:

```sh
export ODRADEK_ADDRESS=kafka-1:9093
export ODRADEK_KAFKA__SECURITY_PROTOCOL=SASL_SSL
export ODRADEK_KAFKA__SASL_MECHANISM=SCRAM-SHA-512
export ODRADEK_KAFKA__SASL_USERNAME=shop ODRADEK_KAFKA__SASL_PASSWORD=...
# or all at once, which also does for keys that have a `_` of their own
export ODRADEK_KAFKA='{{"security.protocol": "SSL", "ssl.ca.location": "/etc/ca.pem"}}'
```

`Client.connect` also takes Temporal's own configuration files and variables through `odradek.envconfig`.
"""


if __name__ == "__main__":
    print(settings_page(), end="")
