"""Replies to clients: plain produces after the commit, at most once. A client asks again under the same request id."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import msgspec

from odradek.kafka.producer import PlainProducer
from odradek.processor.outlet import OVERHEAD_BYTES, TopicOutlet
from odradek.wire.codec import Codec
from odradek.wire.headers import headers_for
from odradek.wire.outcomes import RESOURCE_EXHAUSTED, Reply

logger = logging.getLogger(__name__)


class Replies:
    """Sends replies. From any thread; never blocks, never raises for a reply's sake."""

    def __init__(self, producer: PlainProducer, outlet: TopicOutlet, codec: Codec, topic: str) -> None:
        self._producer = producer
        self._outlet = outlet
        self._codec = codec
        self._topic = topic
        self.sent = 0
        self.failed = 0

    def send(self, replies: Iterable[Reply]) -> None:
        """Hand over; a reply that its topic would not take is answered RESOURCE_EXHAUSTED instead."""
        limit = self._outlet.limit(self._topic) - OVERHEAD_BYTES
        for each in replies:
            reply = each
            value = self._codec.encode(reply)
            if len(value) > limit > 0:
                text = f"the answer has {len(value)} bytes, {self._topic} takes {limit} (`max.message.bytes`): ask for less, or raise it"
                reply = msgspec.structs.replace(
                    reply, status=RESOURCE_EXHAUSTED, message=text, payloads=[], failure=None, result=None, description=None, history=[]
                )
                value = self._codec.encode(reply)
            try:
                self._producer.produce(self._topic, reply.client_id.encode(), value, headers_for(reply))
                self.sent += 1
            except Exception as error:  # at most once: the client's own timeout speaks
                self.failed += 1
                logger.warning("a reply to %s was not sent: %s", reply.client_id, error)
