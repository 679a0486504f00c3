"""The order services over real Kafka, all as processes of their own, asked over HTTP and by
producers that have none of our code.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from odradek.client import Client
from services.demo.audit import audit, summary
from services.demo.plan import PlannedOrder
from services.demo.raw_client import RawProducer
from services.ledger import Ledger
from services.wire import Schemas
from tests.services.shop import SERVICES, Shop, json_start, shop_on, until

pytestmark = pytest.mark.timeout(180)

JSON = {"content-type": "application/json"}
MUG = {"product": "engraved-mug"}  # picking one takes time: what happens "midway" happens then
CLOSED = ("completed", "compensated", "cancelled", "stopped")


@pytest.fixture(scope="module")
def shop(bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with shop_on(bootstrap, tmp_path_factory.mktemp("shop")) as shop:
        shop.start_services(*SERVICES, inventory={"slow_products": {"engraved-mug": 4.0}})
        shop.fleet.start_processor("processor")
        shop.start_api()
        # Before its queue has topics nobody is asked, and the answer is the same.
        until(
            lambda: shop.http.get("/orders/none").status_code == 404 and requests_of(shop),
            what="the processor has come",
        )
        yield shop


def test_the_api_shows_metrics_and_probes(shop: Shop, number: str) -> None:
    assert shop.http.get("/health/ready").json() == {"status": "ready"}
    before = requests_of(shop)
    shop.http.get(f"/orders/{number}")
    assert requests_of(shop) > before


def requests_of(shop: Shop) -> float:
    [line] = [
        line
        for line in shop.http.get("/metrics").text.splitlines()
        if line.startswith("odradek_client_requests_total")
    ]
    return float(line.rpartition(" ")[2])


@pytest.fixture
def number() -> str:
    """An order number of this test's own."""
    return secrets.token_hex(4)


def place(shop: Shop, order_no: str, wait: float = 30, **changes: Any) -> dict[str, Any]:
    answer = shop.http.post("/orders", params={"wait": wait}, json=shop.order(order_no, **changes))
    body: dict[str, Any] = answer.json()
    assert answer.status_code == (200 if body["status"] in CLOSED else 202), answer.text
    return body


def status(shop: Shop, order_no: str, wait: float = 0) -> dict[str, Any]:
    answer = shop.http.get(f"/orders/{order_no}", params={"wait": wait})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def terminate(shop: Shop, order_no: str) -> None:
    """As an operator does."""

    async def work() -> None:
        async with await Client.connect(shop.address, namespace=shop.namespace) as client:
            await client.get_workflow_handle(
                f"order-{order_no}", task_queue="order-task-queue"
            ).terminate("stuck since Monday")

    asyncio.run(work())


def test_place_and_wait(shop: Shop, number: str) -> None:
    assert place(shop, number) == {
        "order_no": number,
        "status": "completed",
        "order_id": f"O-{number}",
        "reservation_id": f"R-{number}",
        "freeze_id": f"F-{number}",
        "reason": None,
    }
    assert shop.effects(number) == {"CreateOrder": 1, "ReserveInventory": 1, "FreezePayment": 1}


@pytest.mark.promise("unique-id")
def test_place_twice_gives_the_first_order(shop: Shop, number: str) -> None:
    """While it runs, and after it has closed; also with another content, and at the same time."""
    first = place(shop, number, wait=0, **MUG)
    assert first["status"] not in CLOSED
    assert place(shop, number, wait=0, product="samovar", quantity=99)["status"] not in CLOSED
    assert status(shop, number, wait=30)["status"] == "completed"
    again = place(shop, number, product="samovar", quantity=99)
    assert (again["status"], again["order_id"]) == ("completed", f"O-{number}")
    assert shop.effects(number) == {"CreateOrder": 1, "ReserveInventory": 1, "FreezePayment": 1}
    assert [result["workflow_id"] for result in shop.results()].count(f"order-{number}") == 1


def test_poll(shop: Shop, number: str) -> None:
    assert place(shop, number, wait=0, **MUG)["status"] in (
        "accepted",
        "creating-order",
        "reserving-inventory",
    )
    until(lambda: status(shop, number)["status"] == "reserving-inventory")
    until(lambda: status(shop, number)["status"] == "completed")


def test_wait_shorter_than_the_order_says_how_far_it_is(shop: Shop, number: str) -> None:
    assert place(shop, number, wait=0.3, **MUG)["status"] in (
        "creating-order",
        "reserving-inventory",
    )
    assert status(shop, number, wait=30)["status"] == "completed"


def test_compensated_order_says_why(shop: Shop, number: str) -> None:
    short = place(shop, number, product="samovar", quantity=50)
    assert (
        short["status"] == "compensated"
        and short["reason"] == "StockShort: not enough samovar in stock for 50"
    )
    assert shop.effects(number) == {"CreateOrder": 1, "CancelOrder": 1}
    declined = place(shop, f"{number}-b", user_id="user-declined")
    assert declined["status"] == "compensated" and declined["reason"].startswith("CardDeclined: ")
    effects = {"CreateOrder": 1, "ReserveInventory": 1, "ReleaseInventory": 1, "CancelOrder": 1}
    assert shop.effects(f"{number}-b") == effects
    assert status(shop, number) == short, "asked later, the same"


def test_flaky_payment_is_retried(shop: Shop, number: str) -> None:
    assert place(shop, number, user_id="user-flaky")["status"] == "completed"
    assert shop.effects(number) == {"CreateOrder": 1, "ReserveInventory": 1, "FreezePayment": 1}


def test_cancel_midway_undoes_what_was_done(shop: Shop, number: str) -> None:
    place(shop, number, wait=0, **MUG)
    until(lambda: status(shop, number)["status"] == "reserving-inventory")
    answer = shop.http.post(f"/orders/{number}/cancel", json={"reason": "changed my mind"})
    assert answer.status_code == 202 and answer.json()["order_no"] == number
    end = status(shop, number, wait=40)
    assert (end["status"], end["reason"]) == ("cancelled", "changed my mind")
    effects = shop.effects(number)
    assert (
        effects["CancelOrder"] == 1
        and effects["ReleaseInventory"] == 1
        and "FreezePayment" not in effects
    )
    cancelled_again = shop.http.post(f"/orders/{number}/cancel", json={})
    assert cancelled_again.json()["status"] == "cancelled", (
        "cancelling it once more changes nothing"
    )


def test_cancel_after_the_end_leaves_the_order_as_it_is(shop: Shop, number: str) -> None:
    place(shop, number)
    answer = shop.http.post(f"/orders/{number}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "completed"), "nothing was taken"
    assert shop.effects(number) == {"CreateOrder": 1, "ReserveInventory": 1, "FreezePayment": 1}


def test_order_that_an_operator_terminated_is_over_and_says_so(shop: Shop, number: str) -> None:
    """Its last status would say for ever that it is under way. Nothing was undone: neither
    compensated nor cancelled.
    """
    place(shop, number, wait=0, **MUG)
    until(lambda: status(shop, number)["status"] == "reserving-inventory")
    terminate(shop, number)
    stopped = until(lambda: (found := status(shop, number))["status"] == "stopped" and found)
    assert stopped["reason"] == "an operator ended it as it stood"
    assert status(shop, number, wait=5) == stopped == place(shop, number), (
        "asked again, waited for, placed again: the same"
    )


def test_unknown_order_is_404(shop: Shop, number: str) -> None:
    for answer in (shop.http.get(f"/orders/{number}"), shop.http.post(f"/orders/{number}/cancel")):
        assert answer.status_code == 404 and answer.json()["detail"] == f"no order {number}"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", -1),
        ("order_no", ""),
        ("user_id", ""),
        ("items", []),
        ("items", [{"product": "", "quantity": 1}]),
        ("items", [{"product": "tea", "quantity": 0}]),
        ("items", "tea"),
        ("items", [{"product": "tea", "quantity": 1}] * 1001),
        ("order_no", "no/path"),
        ("order_no", "."),
        ("order_no", ".."),
        ("order_no", "-1"),
        ("order_no", "no?query"),
        ("order_no", "no#fragment"),
        ("order_no", "100%"),
        ("order_no", " 7"),
        ("order_no", "7 "),
        ("order_no", "7\n"),
        ("order_no", "7\x00"),
        ("order_no", "żółć"),
        ("order_no", "half \ud800"),
        ("user_id", "half \ud800"),
        ("items", [{"product": "half \ud800", "quantity": 1}]),
        ("items", [{"product": "tea", "quantity": 10**30}]),
        ("amount", 10**30),
        ("order_no", "x" * 101),
        ("user_id", "x" * 201),
        ("amount", "450"),
        ("amount", True),
        ("amount", 450.0),
        ("items", [{"product": "tea", "quantity": "1"}]),
        ("items", [{"product": "tea", "quantity": 1, "colour": "green"}]),
        ("coupon", "TEN"),
    ],
)
def test_order_that_makes_no_sense_is_refused(
    shop: Shop, number: str, field: str, value: Any
) -> None:
    answer = shop.http.post(
        "/orders", content=json.dumps({**shop.order(number), field: value}), headers=JSON
    )
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"][0]["loc"][:2] == ["body", field]
    assert shop.http.get(f"/orders/{number}").status_code == 404


@pytest.mark.parametrize("order_no", ["1", "A-7.b_c~d", "x" * 100])
def test_order_number_of_the_stated_alphabet(shop: Shop, number: str, order_no: str) -> None:
    order_no = (order_no + number)[-100:]
    assert place(shop, order_no)["status"] == status(shop, order_no)["status"] == "completed"


@pytest.mark.parametrize("reason", ["x" * 1_000_000, "half \ud800"])
def test_cancel_with_a_reason_that_makes_no_sense_is_refused(
    shop: Shop, number: str, reason: str
) -> None:
    answer = shop.http.post(
        f"/orders/{number}/cancel", content=json.dumps({"reason": reason}), headers=JSON
    )
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["body", "reason"]


def test_cancel_with_a_field_that_does_not_exist_is_refused(shop: Shop, number: str) -> None:
    answer = shop.http.post(f"/orders/{number}/cancel", json={"why": "changed my mind"})
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["body", "why"]


def test_order_of_more_bytes_than_are_taken_is_refused(shop: Shop, number: str) -> None:
    """Within the limits of each field, and two megabytes all the same."""
    answer = shop.http.post(
        "/orders",
        json={**shop.order(number), "items": [{"product": "💥" * 200, "quantity": 1}] * 1000},
    )
    assert answer.status_code == 413, answer.text
    detail = answer.json()["detail"]
    assert number in detail and "2432" in detail and "900000" in detail and "bytes" in detail
    assert shop.http.get(f"/orders/{number}").status_code == 404
    largest = {**shop.order(number), "items": [{"product": "y" * 200, "quantity": 1}] * 1000}
    answer = shop.http.post("/orders", params={"wait": 30}, json=largest)
    assert (answer.status_code, answer.json()["status"]) == (200, "compensated"), answer.text


@pytest.mark.promise("order-saga")
def test_order_whose_task_keeps_failing_is_held(shop: Shop, number: str) -> None:
    """Written by a hand that forgot the order itself. It says so wherever it is asked, and waits
    for an operator.
    """
    shop.produce_raw(f"order-{number}", json_start(number, input=[]))
    held = until(
        lambda: (answer := shop.http.get(f"/orders/{number}")).status_code != 404 and answer
    )
    assert held.status_code == 200, held.text
    assert held.json()["status"] == "held" and "operator" in held.json()["reason"]
    cancelled = shop.http.post(f"/orders/{number}/cancel", json={})
    assert (cancelled.status_code, cancelled.json()["status"]) == (202, "held"), cancelled.text
    assert place(shop, number, wait=1)["status"] == status(shop, number, wait=1)["status"] == "held"
    terminate(shop, number)
    assert until(lambda: (found := status(shop, number))["status"] == "stopped" and found)


def test_cancel_of_another_shape_by_a_raw_producer(shop: Shop, number: str) -> None:
    place(shop, number, wait=0, **MUG)
    until(lambda: status(shop, number)["status"] == "reserving-inventory")
    signal = {
        "kind": "SignalWorkflow",
        "workflow_id": f"order-{number}",
        "signal_name": "cancel-order",
        "input": ["a", {"b": 1}],
    }
    shop.produce_raw(f"order-{number}", json.dumps(signal).encode())
    end = status(shop, number, wait=40)
    assert (end["status"], end["reason"]) == ("cancelled", "a")


@pytest.mark.promise("any-producer")
def test_raw_producer_with_avro(shop: Shop, number: str) -> None:
    """Knows `docs/wire.md` and the `.avsc` files alone."""
    raw = RawProducer(shop.address, Schemas(), shop.namespace)
    order = PlannedOrder(number, "user-1", "tea", 2, 900)
    raw.place(order)
    raw.place(order)  # its producer was not sure: a second start of a running or closed order
    until(lambda: any(result["workflow_id"] == f"order-{number}" for result in shop.results()))
    (result,) = [result for result in shop.results() if result["workflow_id"] == f"order-{number}"]
    assert json.loads(result["result"][0]["data"])["order_id"] == f"O-{number}"
    assert status(shop, number)["status"] == "completed"


@pytest.mark.parametrize(
    ("quantity", "amount", "field"), [(-5, 900, "quantity"), (1, -3, "amount")]
)
def test_raw_producer_of_an_order_that_makes_no_sense(
    shop: Shop, number: str, quantity: int, amount: int, field: str
) -> None:
    """Past the API, and no further than the first step."""
    RawProducer(shop.address, Schemas(), shop.namespace).place(
        PlannedOrder(number, "user-1", "tea", quantity, amount)
    )
    until(lambda: any(result["workflow_id"] == f"order-{number}" for result in shop.results()))
    end = status(shop, number)
    assert (
        end["status"] == "compensated"
        and "InvalidOrder" in end["reason"]
        and field in end["reason"]
    )
    assert shop.effects(number) == {}


@pytest.mark.promise("any-producer")
def test_raw_producer_with_plain_json(shop: Shop, number: str) -> None:
    """What a shell writes. A signal in JSON as well: the order is cancelled before it began."""
    shop.produce_raw(f"order-{number}", json_start(number))
    shop.produce_raw(
        f"order-{number}-b",
        json_start(f"{number}-b", signal_name="cancel-order", signal_input=["by hand"]),
    )
    until(
        lambda: (
            {f"order-{number}", f"order-{number}-b"}
            <= {result["workflow_id"] for result in shop.results()}
        )
    )
    assert status(shop, number)["status"] == "completed"
    cancelled = status(shop, f"{number}-b")
    assert (cancelled["status"], cancelled["reason"]) == ("cancelled", "by hand")
    assert shop.effects(f"{number}-b") == {}


@pytest.mark.promise("order-saga")
def test_one_notification_an_order_also_after_a_crash(shop: Shop, number: str) -> None:
    place(shop, number)
    place(shop, f"{number}-b", user_id="user-declined")
    query = "SELECT status, reason_type, result FROM notifications WHERE workflow_id = ?"
    until(
        lambda: all(
            shop.rows("notifications", query, f"order-{each}") for each in (number, f"{number}-b")
        )
    )
    (told,) = shop.rows("notifications", query, f"order-{number}")
    assert told[:2] == ("COMPLETED", "") and json.loads(told[2])["order_id"] == f"O-{number}"
    assert shop.rows("notifications", query, f"order-{number}-b")[0][:2] == (
        "FAILED",
        "OrderFailed",
    )
    shop.fleet.kill("notifications")
    place(shop, f"{number}-c")
    shop.fleet.restart("notifications")
    until(lambda: shop.rows("notifications", query, f"order-{number}-c"))
    counts = shop.rows(
        "notifications",
        "SELECT workflow_id, count(*) FROM notifications GROUP BY workflow_id HAVING count(*) > 1",
    )
    assert counts == []


def test_audit_of_all_of_it(shop: Shop, number: str) -> None:
    """Over every order that the tests of this module placed and over a few more; counted as the
    demo counts.
    """
    place(shop, number)
    place(shop, f"{number}-b", product="samovar", quantity=50)
    terminated = {
        result["workflow_id"] for result in shop.results() if result["status"] == "TERMINATED"
    }  # lost, as its test wants it
    rows = shop.rows("orders", "SELECT DISTINCT order_no FROM effects WHERE kind = 'CreateOrder'")
    numbers = [row[0] for row in rows if f"order-{row[0]}" not in terminated]
    assert {number, f"{number}-b"} <= set(numbers)
    until(
        lambda: all(not one.problems for one in shop.audit(numbers)),
        what=str([one for one in shop.audit(numbers) if one.problems]),
    )
    audits = shop.audit([*numbers, "never-placed"])
    assert summary(audits).endswith("lost: 1  duplicated: 0")
    assert [one.order_no for one in audits if one.outcome == "lost"] == ["never-placed"], (
        "an audit that finds nothing missing proves nothing"
    )


def test_audit_sees_a_doubled_effect_and_a_doubled_result(
    shop: Shop, number: str, tmp_path: Path
) -> None:
    place(shop, number)
    until(lambda: not shop.audit([number])[0].problems)
    databases = {service: tmp_path / f"{service}.sqlite" for service in SERVICES}
    for service, copy in databases.items():
        for file in shop.fleet.folder.glob(f"{service}.sqlite*"):
            shutil.copy(file, tmp_path / file.name)
        assert copy.exists()
    results = shop.results()
    assert not audit([number], databases, results)[0].duplicated
    mine = next(result for result in results if result["workflow_id"] == f"order-{number}")
    assert audit([number], databases, [*results, mine])[0].duplicated
    ledger = Ledger(databases["payments"])
    ledger.once("another key", "FreezePayment", number, lambda _: {})
    ledger.close()
    assert audit([number], databases, results)[0].duplicated


@pytest.mark.promise("reads")
def test_nobody_processes_orders(bootstrap: str, tmp_path: Path) -> None:
    """Placing is durable all the same; asking says 503; a cancel promises nothing; once a
    processor comes, the order is done.
    """
    with shop_on(bootstrap, tmp_path, ODRADEK_RPC_TIMEOUT="2 s") as shop:
        shop.start_services("orders", "inventory")
        shop.start_api()
        placed = place(shop, "1", wait=0, product="samovar", quantity=50)
        assert placed["status"] == "accepted"
        answer = shop.http.get("/orders/1")
        assert (answer.status_code, answer.json()["detail"]) == (
            503,
            "orders are not being processed right now",
        )
        assert "order-task-queue" in shop.fleet.log("order_api").read_text(), (
            "what the engine says is in the log"
        )
        cancelled = shop.http.post("/orders/never/cancel")
        assert (cancelled.status_code, cancelled.json()["status"]) == (202, "accepted")
        assert "an order that is there and not finished" in cancelled.json()["reason"]
        shop.fleet.start_processor("processor")
        until(lambda: shop.http.get("/orders/1").status_code == 200)
        assert (
            status(shop, "1", wait=30)["reason"] == "StockShort: not enough samovar in stock for 50"
        )
        assert shop.rows("orders", "SELECT kind FROM effects ORDER BY at_ms") == [
            ("CreateOrder",),
            ("CancelOrder",),
        ]
