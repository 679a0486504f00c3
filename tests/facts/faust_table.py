"""A Faust worker with an agent and a GlobalTable that the agent fills: `faust_table.py BOOTSTRAP
TOPIC APP_ID DATADIR`.

Run by test_faust_instances.py, several with one app id. Says how many partitions it has when a
rebalance is over (`ready N`), what its agent read (`read KEY`) and, as often as it changes,
which keys its table has (`keys JSON`).
"""

from __future__ import annotations

import json
import sys
from typing import Any

import faust


def main() -> None:
    bootstrap, topic_name, app_id, datadir = sys.argv[1:]
    app = faust.App(
        app_id,
        broker=f"kafka://{bootstrap}",
        datadir=datadir,
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_replication_factor=1,
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.0,
        broker_commit_interval=0.2,
    )
    topic = app.topic(topic_name, value_serializer="raw", key_serializer="raw")
    table = app.GlobalTable("rows", partitions=4, key_type=str, value_type=str)
    said: list[list[str]] = []
    count, ready = [0], [0]

    @app.agent(topic)
    async def reader(stream: Any) -> None:
        async for key, value in stream.items():
            table[key.decode()] = value.decode()
            print(f"read {key.decode()}", flush=True)

    @app.timer(0.2)
    async def tell() -> None:
        if not app.rebalancing and ready != count:
            ready[0] = count[0]
            print(f"ready {ready[0]}", flush=True)
        keys = sorted(table.keys())
        if said[-1:] != [keys]:
            said.append(keys)
            print(f"keys {json.dumps(keys)}", flush=True)

    async def count_assigned(app: faust.App, assigned: set[Any], **_: Any) -> None:
        count[0] = sum(place.topic == topic_name for place in assigned)

    app.on_partitions_assigned.connect(count_assigned)
    faust.Worker(
        app, loglevel="ERROR", logging_config=None, redirect_stdouts=False, quiet=True
    ).execute_from_commandline()


if __name__ == "__main__":
    main()
