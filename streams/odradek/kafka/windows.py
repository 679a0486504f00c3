"""What a batch of a producer holds at most. Topics take at least as much (`max.message.bytes`)."""

from collections.abc import Mapping
from typing import Any

#: librdkafka's own `batch.size`.
BATCH_BYTES = 1_000_000


def batch_bytes(config: Mapping[str, Any]) -> int:
    """The largest batch that a producer with this configuration makes of several records. One
    record may be larger.
    """
    batch = int(config.get("batch.size", BATCH_BYTES))
    return min(batch, int(config.get("message.max.bytes", batch)))
