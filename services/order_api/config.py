"""What the order API reads from its file."""

from __future__ import annotations

from services.service_config import AnySetting, ProcessConfig


class ApiConfig(ProcessConfig):
    """Where the API listens."""

    odradek: AnySetting
    host: str = "127.0.0.1"
    port: int = 8000
