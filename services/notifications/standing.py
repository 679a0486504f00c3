"""Whether a broker answers and the consumer goes on, from what librdkafka tells of itself: no
request of our own.
"""

from __future__ import annotations

from typing import Any

from confluent_kafka import Consumer, KafkaException

from services.foreign_telemetry import Telemetry


class Standing:
    """Takes librdkafka's statistics, which `poll` hands over every `statistics.interval.ms`, and
    tells the probes.
    """

    def __init__(self, telemetry: Telemetry, consumer: Consumer, topic: str) -> None:
        self._telemetry = telemetry
        self._consumer = consumer
        self._topic = topic
        self._answers = 0

    def update(self, statistics: dict[str, Any]) -> None:
        """One object of statistics. A consumer fetches all the time, and a member without
        partitions sends heartbeats: answers grow.
        """
        answers = sum(broker["rx"] for broker in statistics["brokers"].values())
        if answers > self._answers:
            self._answers = answers
            self._telemetry.contact()
        partitions = statistics["topics"].get(self._topic, {}).get("partitions", {})
        ends = {int(number): facts["ls_offset"] for number, facts in partitions.items()}
        try:
            places = self._consumer.position(self._consumer.assignment())
        except KafkaException:  # closed meanwhile
            return
        # The position steps over a transaction's marker, which a count of records does not. Below
        # 0: nothing was read, nothing is known.
        positions = {place.partition: place.offset for place in places if place.offset >= 0}
        waiting = sum(
            max(0, ends.get(partition, 0) - position) for partition, position in positions.items()
        )
        self._telemetry.stands(positions, waiting)
