"""The order saga under load while its processes are killed and stopped: each order ends once,
each effect happens once, nothing is lost.

Two or more processors and the real services, each a process of its own. What is asserted is read
from the services' databases, from committed records of `results`, and from the processors after
a restore; nothing of it from this test's memory but the order numbers.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka import KafkaException

from odradek.client import Client, RPCError, WorkflowHandle
from odradek.config import Settings
from odradek.wire.partitioner import partition_for
from services.orders.models import ORDER_TASK_QUEUE, Item, Order, workflow_id
from services.orders.workflow import OrderSaga
from tests.kafka.bad_input import PATIENT
from tests.services.shop import PARTITIONS, SERVICES, Shop, json_start, shop_on, until

WORKFLOWS = "tests.chaos.hasty_saga:WORKFLOWS"
STOCK = {"tea": 100_000, "engraved-mug": 100_000, "samovar": 3}
IN_FLIGHT = 12


@dataclass
class Plan:
    """How long, and how hard."""

    processors: int
    seconds: float
    orders: int
    pauses: tuple[float, ...] = (0.5, 1.0, 2.0)  # between two faults
    away: tuple[float, ...] = (
        0.0,
        0.0,
        7.0,
    )  # how long a killed processor stays away: none, or longer than a session
    stops: bool = False  # also SIGSTOP past the session: a zombie comes back
    seed: int = field(
        default_factory=lambda: int(os.environ.get("CHAOS_SEED") or random.randrange(1_000_000))
    )


class Chaos:
    """Places orders, breaks processes, and looks at what is left."""

    def __init__(self, shop: Shop, client: Client, plan: Plan) -> None:
        self.shop = shop
        self.client = client
        self.plan = plan
        self.random = random.Random(plan.seed)
        self.processors = [f"processor-{number}" for number in range(plan.processors)]
        self.numbers: list[str] = []
        self.faults: Counter[str] = Counter()
        self._free = asyncio.Semaphore(IN_FLIGHT)

    # ---------------------------------------------------------------- load

    async def place_all(self) -> None:
        """Every order of the plan, spread over its time; some declined, short of stock, flaky,
        slow, cancelled, some raw.
        """
        began, waits = time.monotonic(), []
        for number in range(self.plan.orders):
            await asyncio.sleep(
                max(0.0, began + self.plan.seconds * number / self.plan.orders - time.monotonic())
            )
            await self._free.acquire()
            order_no = str(10_000 + number)
            self.numbers.append(order_no)
            waits.append(asyncio.create_task(self._place(order_no, number % 10)))
        await asyncio.gather(*waits)

    async def _place(self, order_no: str, kind: int) -> None:
        try:
            if kind == 0:
                await asyncio.to_thread(
                    self.shop.produce_raw, workflow_id(order_no), json_start(order_no)
                )
                return
            user = {1: "user-declined", 2: "user-flaky"}.get(kind, "user-1")
            product, quantity = {
                3: ("samovar", 9),
                4: ("engraved-mug", 1),
                5: ("engraved-mug", 1),
            }.get(kind, ("tea", 1))
            order = Order(order_no, user, [Item(product, quantity)], 450)
            handle = await self.client.start_workflow(
                OrderSaga.run, order, id=workflow_id(order_no), task_queue=ORDER_TASK_QUEUE
            )
            if kind == 5:
                await asyncio.sleep(self.random.random())
                await self._cancel(handle)
        finally:
            self._free.release()

    async def _cancel(self, handle: WorkflowHandle[object, object]) -> None:
        try:
            await handle.signal("cancel-order", "changed my mind")
        except RPCError as error:
            assert "already completed" in str(error), error

    # ---------------------------------------------------------------- faults

    async def break_things(self) -> None:
        """kill -9 in a loop, of processors and of services; in the long run SIGSTOP past the
        session as well.
        """
        end = time.monotonic() + self.plan.seconds
        away: list[asyncio.Task[None]] = []
        while time.monotonic() < end:
            await asyncio.sleep(self.random.choice(self.plan.pauses))
            gone = {name for task in away if not task.done() for name in [task.get_name()]}
            names = [name for name in [*self.processors * 2, *SERVICES] if name not in gone]
            # One processor at least is there at any time, or nothing would be under load.
            if len(gone & set(self.processors)) >= len(self.processors) - 1:
                names = [name for name in names if name not in self.processors]
            if not names:
                continue
            name = self.random.choice(names)
            away.append(asyncio.create_task(self._break(name), name=name))
        await asyncio.gather(*away)

    async def _break(self, name: str) -> None:
        is_processor = name in self.processors
        if self.plan.stops and is_processor and self.random.random() < 0.3:
            self.faults["stopped"] += 1
            os.kill(self.shop.fleet.pid(name), signal.SIGSTOP)
            await asyncio.sleep(self.random.choice((2.0, 9.0)))
            os.kill(self.shop.fleet.pid(name), signal.SIGCONT)
            return
        self.faults[name] += 1
        await asyncio.to_thread(self.shop.fleet.kill, name)
        await asyncio.sleep(
            self.random.choice(self.plan.away) if is_processor else self.random.choice((0.0, 1.0))
        )
        self.shop.fleet.restart(name)

    # ---------------------------------------------------------------- what is left

    def open_orders(self) -> list[str]:
        """Orders without a result so far."""
        closed = {result["workflow_id"] for result in self.shop.results()}
        self.shop.fleet.check()
        return [number for number in self.numbers if workflow_id(number) not in closed]

    def check(self) -> None:
        """One result a run and a run an order; one effect a kind and order; what was undone,
        undone; stock adds up.
        """
        until(lambda: not self.open_orders(), 90, "every order has a result")
        until(
            lambda: all(not one.problems for one in self.shop.audit(self.numbers)),
            60,
            "the audit finds nothing missing",
        )
        audits = self.shop.audit(self.numbers)
        assert [one for one in audits if one.duplicated or one.outcome == "lost"] == []
        results = Counter(
            (result["workflow_id"], result["run_id"]) for result in self.shop.results()
        )
        assert set(results.values()) == {1}, "one result a run"
        assert len(results) == len(self.numbers), "one run an order"
        for service in ("orders", "inventory", "payments"):
            doubled = (
                "SELECT kind, order_no, count(*) FROM effects GROUP BY kind, order_no HAVING"
                " count(*) > 1"
            )
            assert self.shop.rows(service, doubled) == [], "each effect once"
        self._check_stock()
        declined = [one for one in audits if int(one.order_no) % 10 in (1, 3)]
        assert not [one for one in declined if one.outcome == "completed"], (
            "an order that must fail fails"
        )
        assert Counter(one.outcome for one in audits)["completed"] > len(audits) // 3, (
            "and most of the others complete"
        )

    def _check_stock(self) -> None:
        taken: Counter[str] = Counter()
        for kind, sign in (("ReserveInventory", 1), ("ReleaseInventory", -1)):
            for order_no, data in self.shop.rows(
                "inventory", "SELECT order_no, data FROM effects WHERE kind = ?", kind
            ):
                if sign > 0 or '"released": true' in data:
                    slow = order_no.isdigit() and int(order_no) % 10 in (4, 5)
                    taken["engraved-mug" if slow else "tea"] += sign
        on_shelves = dict(self.shop.rows("inventory", "SELECT product, available FROM stock"))
        for product in ("tea", "engraved-mug"):
            assert on_shelves[product] == STOCK[product] - taken[product], product

    async def pictures(self, numbers: list[str]) -> dict[str, tuple[object, str]]:
        """Of each run: its description and its history, as its owner tells them."""

        async def picture(number: str) -> tuple[object, str]:
            handle = self.client.get_workflow_handle(
                workflow_id(number), task_queue=ORDER_TASK_QUEUE
            )
            description = await handle.describe(rpc_timeout=PATIENT)
            return (
                description.raw_description,
                (await handle.fetch_history(rpc_timeout=PATIENT)).to_json(),
            )

        async with asyncio.timeout(90):
            return dict(zip(numbers, await asyncio.gather(*map(picture, numbers)), strict=True))


async def run(bootstrap: str, folder: Path, plan: Plan) -> None:
    print(f"CHAOS_SEED={plan.seed}")
    with shop_on(bootstrap, folder) as shop:
        settings = Settings(
            address=bootstrap,
            namespace=shop.namespace,
            partitions=PARTITIONS,
            replication_factor=1,
            state_dir=folder,
        )
        async with await Client.connect(settings=settings) as client:
            chaos = Chaos(shop, client, plan)
            await asyncio.to_thread(start, chaos)
            await asyncio.gather(chaos.place_all(), chaos.break_things())
            await asyncio.to_thread(chaos.check)
            print(f"{len(chaos.numbers)} orders, faults: {dict(chaos.faults)}")
            await restore(chaos)


def start(chaos: Chaos) -> None:
    """All processes; the load begins when the first order is through, so that faults meet work
    and not imports.
    """
    shop = chaos.shop
    shop.start_services(
        *SERVICES, inventory={"stock": STOCK, "slow_products": {"engraved-mug": 1.0}}
    )
    for processor in chaos.processors:
        shop.fleet.start_processor(processor, WORKFLOWS)
    chaos.numbers.append("1000")
    until(lambda: not _first(chaos), 90, "the first order is through")


def _first(chaos: Chaos) -> list[str]:
    try:
        if not chaos.faults["first"]:
            chaos.faults["first"] += 1
            chaos.shop.produce_raw("order-1000", json_start("1000"))
        return chaos.open_orders()
    except (KafkaException, KeyError):  # the topics are being made
        return ["1000"]


async def restore(chaos: Chaos) -> None:
    """Every store wiped: what the processors say of each run afterwards, open or closed, is what
    they said before.
    """
    shop = chaos.shop
    assert await asyncio.to_thread(shop.fleet.stop_one, "payments") == 0
    still_open = [f"open-{number}" for number in range(2 * PARTITIONS)]
    assert (
        len({partition_for(workflow_id(number).encode(), PARTITIONS) for number in still_open}) > 1
    )
    for number in still_open:
        order = Order(number, "user-1", [Item("tea", 1)], 450)
        await chaos.client.start_workflow(
            OrderSaga.run, order, id=workflow_id(number), task_queue=ORDER_TASK_QUEUE
        )

    handles = [
        chaos.client.get_workflow_handle(workflow_id(number), task_queue=ORDER_TASK_QUEUE)
        for number in still_open
    ]

    async def all_wait() -> bool:
        return {await handle.query("status", rpc_timeout=PATIENT) for handle in handles} == {
            "freezing-payment"
        }

    deadline = time.monotonic() + 60
    while not await all_wait():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)

    numbers = [*chaos.numbers, *still_open]
    before = await chaos.pictures(numbers)
    for processor in chaos.processors:
        assert await asyncio.to_thread(shop.fleet.stop_one, processor) == 0, "drained"
    stores = shop.fleet.folder / "state"
    assert list(stores.rglob("*.sst")) or list(stores.rglob("*.log"))
    shutil.rmtree(stores)
    for processor in chaos.processors:
        shop.fleet.start_processor(processor, WORKFLOWS)
    after = await chaos.pictures(numbers)
    assert after.keys() == before.keys()
    for number, picture in before.items():
        assert after[number] == picture, number

    shop.start_services("payments")
    chaos.numbers += still_open
    await asyncio.to_thread(
        until, lambda: not chaos.open_orders(), 60, "the open orders complete after the restore"
    )
    await asyncio.to_thread(
        until,
        lambda: all(one.outcome == "completed" for one in shop.audit(still_open)),
        60,
        "and are complete",
    )


@pytest.mark.promise("order-saga")
@pytest.mark.timeout(240)
async def test_kill_of_processors_and_services_under_load(bootstrap: str, tmp_path: Path) -> None:
    await run(bootstrap, tmp_path, Plan(processors=2, seconds=10, orders=60))


@pytest.mark.promise("order-saga")
@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_kill_and_stop_of_processors_and_services_for_minutes(
    bootstrap: str, tmp_path: Path
) -> None:
    seconds = float(os.environ.get("CHAOS_SECONDS") or 180)
    await run(
        bootstrap,
        tmp_path,
        Plan(processors=3, seconds=seconds, orders=int(5 * seconds), stops=True),
    )
