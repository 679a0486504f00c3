"""A service's YAML file: the section `odradek` and what the service itself needs. Nothing here
imports odradek.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any, TypeVar

import yaml
from prometheus_client import start_http_server
from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError


class ServiceConfig(BaseModel):
    """Of every service. `odradek`: for services on Odradek's client, any of its settings."""

    model_config = ConfigDict(extra="forbid")

    odradek: Any
    _file: Path = PrivateAttr(default=Path())

    @property
    def file(self) -> Path:
        """Where it was read."""
        return self._file


class WireSection(BaseModel):
    """All that a service without Odradek's client knows of Odradek. The environment wins:
    `ODRADEK_SCHEMA_REGISTRY_URL`.
    """

    model_config = ConfigDict(extra="forbid")

    address: str
    namespace: str = "default"
    task_queue: str = ""
    schema_registry_url: str | None = None


class ForeignConfig(ServiceConfig):
    """Of a service that does not import odradek. `telemetry`: `host:port` of its metrics, which
    also serves as its probe; "" for none.
    """

    odradek: WireSection
    database: Path
    telemetry: str = ""


C = TypeVar("C", bound=ServiceConfig)


def load(model: type[C], description: str) -> C:
    """Read `--config FILE` into `model`. A wrong key or value ends the process with one line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", type=Path, required=True, help="YAML file of this service")
    path: Path = parser.parse_args().config
    try:
        config = model.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SystemExit(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SystemExit(f"{path}: {where}: {first['msg']}") from None
    config._file = path
    if isinstance(config.odradek, WireSection):
        url = os.environ.get("ODRADEK_SCHEMA_REGISTRY_URL")
        config.odradek.schema_registry_url = url or config.odradek.schema_registry_url
    return config


def serve_metrics(address: str) -> None:
    """Prometheus metrics at `host:port`, on every path; "" for none."""
    if address:
        host, _, port = address.rpartition(":")
        start_http_server(int(port), host)
