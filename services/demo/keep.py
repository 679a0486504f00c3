"""`make demo KEEP=1`: what stays up, and what to try next."""

from __future__ import annotations

import time

from odradek.broker.ports import free_ports, is_free
from services.demo.fleet import Fleet
from services.orders.models import ORDER_TASK_QUEUE

SERVER_PORT, ORDER_API_PORT = 8088, 8000

NEXT = """
Left running, with the orders above in it. Look:
  {ui}/
  {ui}/workflows/order-1002
Ask, in another shell:
  export ODRADEK_ADDRESS={address} ODRADEK_SERVER_ADDRESS={server}
  .venv/bin/odradek workflow list --query "ExecutionStatus = 'Failed'"
  .venv/bin/odradek workflow count --query "GROUP BY ExecutionStatus"
  .venv/bin/odradek workflow show -w order-1001 -t {queue}
  .venv/bin/odradek workflow query -w order-1001 --type status -t {queue}
Place an order and wait for it, as a shop would; the same number twice is the first order:
  curl -s '{order_api}/orders?wait=10' -H 'content-type: application/json' \\
    -d '{{"order_no": "2001", "user_id": "you", "items": [{{"product": "tea", "quantity": 1}}], "amount": 450}}'
Lists over HTTP, in Temporal's shapes:
  curl -s '{ui}/api/v1/namespaces/default/workflow-count?query=GROUP%20BY%20ExecutionStatus'
Kill a processor, and see who has its partitions a few seconds later ({ui}/queues/{queue}):
  kill -9 {processor}
Logs and databases: {folder}
Ctrl-C ends all of it, and removes these."""


def start(fleet: Fleet) -> str:
    """Start the order API and the server; once both answer, what to try next."""
    order_api = fleet.start_order_api(_port(ORDER_API_PORT))
    ui = fleet.start_server(_port(SERVER_PORT))
    return NEXT.format(
        ui=ui,
        server=ui.removeprefix("http://"),
        order_api=order_api,
        address=fleet.address,
        queue=ORDER_TASK_QUEUE,
        folder=fleet.folder,
        processor=fleet.pid("processor-1"),
    )


def wait_for_end(fleet: Fleet) -> None:
    """Until Ctrl-C or SIGTERM. Raises ProcessFailed when a process ends by itself."""
    try:
        while True:
            fleet.check()
            time.sleep(1)
    except KeyboardInterrupt:
        return


def _port(wanted: int) -> int:
    return wanted if is_free(wanted) else free_ports(1)[0]
