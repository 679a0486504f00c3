"""The demo itself: thirty orders on a real broker, what happens to them, and the audit."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from odradek.broker import LocalBroker
from odradek.client import Client, WorkflowHandle
from odradek.common import WorkflowIDReusePolicy
from odradek.service import RPCError
from odradek.wire.partitioner import partition_for
from services.demo import keep as keep_up
from services.demo.audit import OrderAudit, audit, summary
from services.demo.board import Board
from services.demo.fleet import Fleet, ProcessFailed
from services.demo.interruption import Interruption
from services.demo.plan import RAW, PlannedOrder, plan
from services.demo.raw_client import QUEUE, RawProducer, TopicReader
from services.orders.models import ORDER_TASK_QUEUE, Item, Order, workflow_id
from services.orders.workflow import OrderSaga
from services.wire import Schemas, topic

SERVICES = ("orders", "inventory", "payments", "notifications")
PROCESSORS = ("processor-1", "processor-2")
CLOSED = ("completed", "compensated", "cancelled")
MIDWAY = "reserving-inventory"
ALL_CLOSED_WITHIN_SECONDS = 90.0
SETTLED_WITHIN_SECONDS = 8.0
QUIET_SECONDS = 2.0

Handle = WorkflowHandle[Any, Any]


class Demo:
    """One run of the demo in `folder`."""

    def __init__(
        self, address: str, folder: Path, orders: list[PlannedOrder], board: Board
    ) -> None:
        self._address = address
        self._orders = orders
        self._board = board
        self._schemas = Schemas()
        self.fleet = Fleet(folder, address)

    async def run(self) -> list[OrderAudit]:
        """Start everything, place the orders, break things, wait, audit."""
        for service in SERVICES:
            self.fleet.start_service(service)
        for processor in PROCESSORS:
            self.fleet.start_processor(processor)
        async with await Client.connect(self._address) as client:
            self._board.say(f"placing {len(self._orders)} orders; logs in {self.fleet.folder}")
            await self._all(await self._place_all(client))
        return await self._audit_when_settled()

    async def _place_all(self, client: Client) -> list[asyncio.Task[None]]:
        """Place them in turn; what shall happen to an order midway begins to wait for its moment
        as soon as it is placed.
        """
        raw = RawProducer(self._address, self._schemas)
        stories: dict[str, Callable[[Handle], Awaitable[None]]] = {
            "1001": self._kill_owner,
            "1002": self._cancel,
        }
        tasks: list[asyncio.Task[None]] = []
        for order in self._orders:
            identifier = workflow_id(order.order_no)
            if order.via == RAW:
                await asyncio.to_thread(raw.place, order)
                handle = client.get_workflow_handle_for(
                    OrderSaga.run, identifier, task_queue=ORDER_TASK_QUEUE
                )
            else:
                handle = await client.start_workflow(
                    OrderSaga.run,
                    Order(
                        order.order_no,
                        order.user_id,
                        [Item(order.product, order.quantity)],
                        order.amount,
                    ),
                    id=identifier,
                    task_queue=ORDER_TASK_QUEUE,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                )
            tasks.append(asyncio.create_task(self._watch(order.order_no, handle)))
            if order.order_no in stories:
                tasks.append(
                    asyncio.create_task(self._when_midway(handle, stories[order.order_no]))
                )
        return tasks

    async def _watch(self, order_no: str, handle: Handle) -> None:
        status = ""
        while status not in CLOSED:
            status = await _status(handle) or status
            self._board.set(order_no, status)
            await asyncio.sleep(0.3)

    async def _when_midway(self, handle: Handle, act: Callable[[Handle], Awaitable[None]]) -> None:
        while (status := await _status(handle)) != MIDWAY:
            if status in CLOSED:
                self._board.say(
                    f"{handle.id}: was {status} before anything could happen to it midway"
                )
                return
            await asyncio.sleep(0.05)
        await act(handle)

    async def _cancel(self, handle: Handle) -> None:
        await handle.signal("cancel-order", "the customer changed their mind")
        self._board.say(f"{handle.id}: signal cancel-order sent midway")

    async def _kill_owner(self, handle: Handle) -> None:
        name = await asyncio.to_thread(self._owner_of, handle.id)
        self.fleet.kill(name)
        self._board.say(f"{handle.id}: its processor {name} killed with kill -9 midway")
        self.fleet.restart(name)

    def _owner_of(self, identifier: str) -> str:
        """Which of our processors owns the workflow's partition, from the members topic."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            owner = self._announced_owner(identifier)
            if owner is not None:
                return owner
            time.sleep(0.2)
        raise ProcessFailed(
            f"no processor announced the partition of {identifier} in the members topic within 10 s"
        )

    def _announced_owner(self, identifier: str) -> str | None:
        reader = TopicReader(self._address, topic("members", "default"), self._schemas)
        try:
            members = [
                fields
                for name, fields in reader.read()
                if name == "MemberStatus" and fields["task_queue"] == ORDER_TASK_QUEUE
            ]
        finally:
            reader.close()
        for member in sorted(members, key=lambda fields: -int(fields["time_ms"])):
            for lane in member["lanes"]:
                if (
                    lane["partition"] == partition_for(identifier.encode(), self._partitions())
                    and lane["state"] == "RUNNING"
                ):
                    return self.fleet.name_of(member["pid"])
        return None

    def _partitions(self) -> int:
        from confluent_kafka.admin import AdminClient

        events = topic("events", "default", QUEUE)
        admin = AdminClient({"bootstrap.servers": self._address, "allow.auto.create.topics": False})
        return len(admin.list_topics(events, timeout=10).topics[events].partitions)

    async def _all(self, tasks: list[asyncio.Task[None]]) -> None:
        """Wait for all; a process that ended by itself, or too much time, ends the demo."""
        deadline = time.monotonic() + ALL_CLOSED_WITHIN_SECONDS
        pending = set(tasks)
        while pending:
            done, pending = await asyncio.wait(pending, timeout=0.5)
            for task in done:
                task.result()
            self.fleet.check()
            if time.monotonic() > deadline:
                self._board.say(
                    f"[red]not closed within {ALL_CLOSED_WITHIN_SECONDS:.0f} s; auditing what is"
                    " there[/]"
                )
                for task in pending:
                    task.cancel()
                return

    async def _audit_when_settled(self) -> list[OrderAudit]:
        """Notifications trail the results by a moment, and what is done twice comes later still:
        audit until nothing is missing and nothing has changed for QUIET_SECONDS, or for so long
        at most.
        """
        began = changed_at = time.monotonic()
        before: list[OrderAudit] = []
        while True:
            audits = await asyncio.to_thread(self._audit)
            now = time.monotonic()
            if audits != before:
                before, changed_at = audits, now
            complete = all(not one.problems for one in audits)
            if (
                complete and now - changed_at >= QUIET_SECONDS
            ) or now - began > SETTLED_WITHIN_SECONDS:
                return audits
            await asyncio.sleep(0.2)

    def _audit(self) -> list[OrderAudit]:
        reader = TopicReader(self._address, topic("results", "default"), self._schemas)
        try:
            results = [fields for name, fields in reader.read() if name == "WorkflowResult"]
        finally:
            reader.close()
        databases = {service: self.fleet.database(service) for service in SERVICES}
        return audit([order.order_no for order in self._orders], databases, results)


async def _status(handle: Handle) -> str | None:
    """The saga's own status, or None while nobody can say."""
    try:
        answer: str = await handle.query(OrderSaga.status)
        return answer
    except RPCError:
        return None


def run(interruption: Interruption, *, keep: bool) -> int:
    """Run it to its end; the exit status. `keep`: leave everything running until a signal comes.

    Its folder goes with it, unless there is something to look into. Raises KeyboardInterrupt,
    when all has ended.
    """
    folder = Path(tempfile.mkdtemp(prefix="odradek-demo-"))
    good = False
    try:
        good = _run_in(folder, interruption, keep=keep)
    except (ProcessFailed, TimeoutError) as error:
        print(f"demo: {error}", file=sys.stderr)
    finally:
        if good or interruption.came:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"demo: what it left behind is in {folder}", file=sys.stderr)
    return 0 if good else 1


def _run_in(folder: Path, interruption: Interruption, *, keep: bool) -> bool:
    """Whether nothing was lost and nothing doubled."""
    orders = plan()
    began = time.monotonic()
    broker = LocalBroker(data_dir=folder / "kafka")
    fleet: Fleet | None = None
    try:
        broker.start()
        with Board(orders) as board:
            board.say(f"broker: {broker.bootstrap}")
            demo = Demo(broker.bootstrap, folder, orders, board)
            fleet = demo.fleet
            audits = interruption.run(demo.run())
            board.final(audits)
            print(f"took {time.monotonic() - began:.0f} s")
            print(summary(audits), flush=True)
            if keep:
                print(keep_up.start(fleet), flush=True)  # not through the board, which folds lines
                keep_up.wait_for_end(fleet)
    except BaseException as error:
        if not interruption.came:
            raise
        logging.disable()  # clients that were interrupted complain about a broker that ends
        raise KeyboardInterrupt from error  # whatever it broke on its way
    finally:
        interruption.ignore()  # what has begun to end ends
        if fleet is not None:
            fleet.stop()
        broker.stop()
    return all(one.outcome != "lost" and not one.duplicated for one in audits)
