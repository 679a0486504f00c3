"""A service's YAML file: `odradek: {address, namespace, task_queue}` and what the service itself needs. Nothing here imports odradek."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError


class OdradekSection(BaseModel):
    """Where Kafka is and which queue this service serves."""

    model_config = ConfigDict(extra="allow")

    address: str
    namespace: str = "default"
    task_queue: str = ""


class ProcessConfig(BaseModel):
    """What every process has."""

    model_config = ConfigDict(extra="forbid")

    odradek: OdradekSection


class ServiceConfig(ProcessConfig):
    """A service with a database of its own. `telemetry`: `host:port` where a foreign service shows metrics and probes; "" for nowhere.

    Services on Odradek's `Worker` have the settings `telemetry_host` and `telemetry_port` instead.
    """

    database: Path
    telemetry: str = ""


C = TypeVar("C", bound=ProcessConfig)


def load(model: type[C], description: str, argv: list[str] | None = None) -> C:
    """Read `--config FILE` into `model`; a wrong key or value ends the process with one line that names it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", type=Path, required=True, help="YAML file of this service")
    path: Path = parser.parse_args(argv).config
    try:
        content: Any = yaml.safe_load(path.read_text())
        return model.model_validate(content)
    except (OSError, yaml.YAMLError) as error:
        raise SystemExit(f"{path}: cannot be read: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SystemExit(f"{path}: {where}: {first['msg']}") from None
