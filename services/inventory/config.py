"""What the file of the inventory service says."""

from __future__ import annotations

from pydantic import Field

from services.service_config import ServiceConfig


class InventoryConfig(ServiceConfig):
    """`stock`: what is on the shelves at the first start. `slow_products`: seconds that picking
    one takes.
    """

    stock: dict[str, int] = Field(default_factory=dict)
    slow_products: dict[str, float] = Field(default_factory=dict)
