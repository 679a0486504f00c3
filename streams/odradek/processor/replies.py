"""Replies to clients: plain produces after the commit, at most once. A client asks again under
the same request id.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import msgspec

from odradek.engine.failures import application
from odradek.kafka.producer import PlainProducer
from odradek.processor.topic_limits import OVERHEAD_BYTES, TopicLimits, header_bytes
from odradek.wire.codec import Codec
from odradek.wire.headers import headers_for
from odradek.wire.outcomes import QUERY_FAILED, RESOURCE_EXHAUSTED, Reply
from odradek.wire.topics import Topics

logger = logging.getLogger(__name__)


class Replies:
    """Sends replies. From any thread; never blocks, never raises for a reply's sake."""

    def __init__(
        self, producer: PlainProducer, limits: TopicLimits, codec: Codec, topics: Topics
    ) -> None:
        self._producer = producer
        self._limits = limits
        self._codec = codec
        self._topic = topics.replies
        self._results = topics.results
        self.sent = 0
        self.failed = 0

    def send(self, replies: Iterable[Reply]) -> None:
        """Hand over; instead of a reply that its topic would not take, one that says so:
        RESOURCE_EXHAUSTED, for a query QUERY_FAILED.
        """
        limit = self._limits.limit(self._topic) - OVERHEAD_BYTES
        for each in replies:
            reply = each
            try:
                value, headers = self._codec.encode(reply), headers_for(reply)
                if (size := len(value) + len(reply.client_id) + header_bytes(headers)) > limit > 0:
                    value = self._codec.encode(reply := self._too_large(reply, size, limit))
                    headers = headers_for(reply)
                self._producer.produce(self._topic, reply.client_id.encode(), value, headers)
                self.sent += 1
            except Exception as error:  # at most once: the client's own timeout speaks
                self.failed += 1
                logger.warning("a reply to %s was not sent: %s", reply.client_id, error)

    def _too_large(self, reply: Reply, size: int, limit: int) -> Reply:
        cures = {
            "QueryWorkflow": "return less, or in pages",
            "FetchHistory": "ask for fewer events at a time",
            "AwaitResult": f"the result itself is in {self._results}",
        }
        text = (
            f"The answer takes {size} bytes, topic {self._topic} at most {limit} (raise its"
            " `max.message.bytes`)"
        )
        text += f"; {cures[reply.kind]}" if reply.kind in cures else ""
        query = reply.kind == "QueryWorkflow"
        return msgspec.structs.replace(
            reply,
            status=QUERY_FAILED if query else RESOURCE_EXHAUSTED,
            message=text,
            payloads=[],
            failure=application(text, "QueryResultTooLarge", non_retryable=True) if query else None,
            result=None,
            description=None,
            history=[],
            next_event_id=0,
        )
