"""A Faust worker that prints each value it reads: `faust_reader.py BOOTSTRAP TOPIC SCHEME APP_ID
DATADIR`.

Run by test_faust.py in a process of its own. SCHEME `kafka` is Faust as it comes;
`kafka-committed` is its own transport with the consumer's isolation level set, which no setting
of Faust's does.
"""

from __future__ import annotations

import sys
from typing import Any

import faust
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport


class CommittedThread(AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        return consumer


class CommittedConsumer(Consumer):
    def _new_consumer_thread(self) -> CommittedThread:
        return CommittedThread(self, loop=self.loop, beacon=self.beacon)


class CommittedTransport(Transport):
    Consumer = CommittedConsumer


def main() -> None:
    bootstrap, topic_name, scheme, app_id, datadir = sys.argv[1:]
    TRANSPORTS.aliases["kafka-committed"] = f"{__name__}:CommittedTransport"
    app = faust.App(
        app_id,
        broker=f"{scheme}://{bootstrap}",
        datadir=datadir,
        web_enabled=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
    )
    topic = app.topic(topic_name, value_type=bytes, value_serializer="raw")

    @app.agent(topic)
    async def reader(values: Any) -> None:
        async for value in values:
            print(f"read {value.decode()}", flush=True)

    faust.Worker(
        app, loglevel="ERROR", logging_config=None, redirect_stdouts=False
    ).execute_from_commandline()


if __name__ == "__main__":
    main()
