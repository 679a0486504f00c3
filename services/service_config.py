"""A service's YAML file: `odradek: {address, namespace, task_queue}` and what the service itself
needs. Nothing here imports odradek.
"""

from __future__ import annotations

import argparse
import difflib
import os
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from services.yaml_text import load_yaml


class OdradekSection(BaseModel):
    """Where Kafka is, which queue this service serves, the schema registry if there is one: all
    that a foreign service knows of Odradek.

    The environment wins: `ODRADEK_SCHEMA_REGISTRY_URL`.
    """

    model_config = ConfigDict(extra="forbid")

    address: str
    namespace: str = "default"
    task_queue: str = ""
    schema_registry_url: str | None = None


class QueueSection(OdradekSection):
    """Of a service that serves a queue."""

    task_queue: str = Field(min_length=1)


class AnySetting(OdradekSection):
    """Of a service on Odradek's client: any of its settings may stand there
    (`worker_process.load_all` checks them).
    """

    model_config = ConfigDict(extra="allow")


class WorkerSection(QueueSection):
    """Of a service on Odradek's `Worker`: any of its settings."""

    model_config = ConfigDict(extra="allow")


class ProcessConfig(BaseModel):
    """What every process has. `file`: where it was read."""

    model_config = ConfigDict(extra="forbid")

    odradek: OdradekSection
    _file: Path = PrivateAttr(default=Path())

    @property
    def file(self) -> Path:
        return self._file


class ForeignConfig(ProcessConfig):
    """Of a service that does not import odradek. `telemetry`: `host:port` where it shows metrics
    and probes; "" for nowhere.
    """

    database: Path
    telemetry: str = ""


class ServiceConfig(ProcessConfig):
    """Of a service on Odradek's `Worker`, which has settings for telemetry (`telemetry_host`,
    `telemetry_port`).
    """

    odradek: WorkerSection
    database: Path


C = TypeVar("C", bound=ProcessConfig)


def load(model: type[C], description: str, argv: list[str] | None = None) -> C:
    """Read `--config FILE` into `model`; a wrong key or value ends the process with one line
    that names it.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", type=Path, required=True, help="YAML file of this service")
    path: Path = parser.parse_args(argv).config
    try:
        content: Any = load_yaml(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            keys = ", ".join(
                f"`{name}`" for name, field in model.model_fields.items() if field.is_required()
            )
            raise SystemExit(f"{path}: holds no keys; this service needs {keys}")
        config = model.model_validate(content)
        config._file = path
        if isinstance(
            config, ForeignConfig
        ):  # of the others, Odradek's settings look at it: they take several
            config.odradek.schema_registry_url = _registry_url(
                path, config.odradek.schema_registry_url
            )
        return config
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SystemExit(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise SystemExit(f"{path}: {_said(error, content)}") from None


def _said(error: ValidationError, content: dict[Any, Any]) -> str:
    """The first thing that is wrong. A key that is misspelt is two: an unknown one, and one that
    is missing; it is named as it stands.
    """
    problems = error.errors()
    first = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    *above, key = map(str, first["loc"])
    where = ".".join([*above, key])
    if first["type"] == "extra_forbidden":
        missing = [
            str(one["loc"][-1])
            for one in problems
            if one["type"] == "missing" and list(map(str, one["loc"][:-1])) == above
        ]
        near = difflib.get_close_matches(key, missing, n=1)
        return f"{where}: no such key" + (f"; did you mean `{near[0]}`?" if near else "")
    if first["type"] == "missing":
        beside: Any = content
        for part in above:
            beside = beside[part]
        near = difflib.get_close_matches(key, map(str, beside), n=1)
        return f"{where}: {first['msg']}" + (f"; is `{near[0]}` meant for it?" if near else "")
    return f"{where}: {first['msg']}"


def _registry_url(path: Path, from_file: str | None) -> str | None:
    from_environment = os.environ.get("ODRADEK_SCHEMA_REGISTRY_URL")
    url = from_environment or from_file
    try:
        parts = urlsplit(url or "http://none")
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:  # it may hold a password, and is not shown
        where = (
            "ODRADEK_SCHEMA_REGISTRY_URL"
            if from_environment
            else f"{path}: odradek.schema_registry_url"
        )
        raise SystemExit(f"{where}: write one URL, such as http://registry:8081")
    return url
