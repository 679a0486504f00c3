"""Clients on a real broker, closed when the test ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest_asyncio

from odradek.client import Client
from odradek.config import Settings


@asynccontextmanager
async def connected(settings: Settings, **options: Any) -> AsyncIterator[Client]:
    """A client until the end of the block."""
    client = await Client.connect(settings=settings, **options)
    try:
        yield client
    finally:
        client.close()


@pytest_asyncio.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    """A client with the settings of the test."""
    async with connected(settings) as made:
        yield made
