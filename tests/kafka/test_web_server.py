"""The server against real Kafka: real workflows, run by a real worker, seen and steered over
HTTP; the Kafka beneath them.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
from confluent_kafka import Producer
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from odradek import activity, workflow
from odradek.client import Client, RPCError, RPCStatusCode
from odradek.config import Settings
from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.client_config import producer_config
from odradek.web.kafka.reading import Search, Stretch
from odradek.wire.codec import encode
from odradek.wire.dead_letters import NOT_APPLIED, dead_letter_headers
from odradek.wire.events import SignalWorkflow
from odradek.wire.headers import headers_for
from odradek.wire.partitioner import partition_for
from odradek.wire.topics import Topics
from odradek.worker import Worker
from tests.support.until import until_async

pytestmark = pytest.mark.timeout(180)
QUEUE = "orders"


@activity.defn
async def charge(amount: int) -> str:
    return f"charged {amount}"


@workflow.defn
class Order:
    def __init__(self) -> None:
        self.approved = False

    @workflow.run
    async def run(self, amount: int) -> str:
        charged: str = await workflow.execute_activity(
            charge, amount, start_to_close_timeout=timedelta(seconds=20)
        )
        await workflow.wait_condition(lambda: self.approved)
        return charged

    @workflow.signal
    def approve(self) -> None:
        self.approved = True

    @workflow.query
    def state(self, label: str) -> str:
        return f"{label}: {self.approved}"


@workflow.defn
class Counter:
    """Lives until it is ended, counts signals."""

    def __init__(self) -> None:
        self.added = 0

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_condition(lambda: False)

    @workflow.signal
    def add(self, number: int) -> None:
        self.added += number

    @workflow.query
    def total(self) -> int:
        return self.added


class Server:
    """A server process, its address, what it wrote."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, log: Path) -> None:
        self.process, self.url, self.log = process, url, log

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=40.0)


async def ready(serving: Server) -> None:
    """Wait until it answers lists too."""
    async with serving.client() as http:

        async def asked() -> bool:
            return (await http.get("/health/ready")).status_code == 200

        await until_async(asked)


@asynccontextmanager
async def server(settings: Settings, folder: Path) -> AsyncIterator[Server]:
    log = folder / "server.log"
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.kafka.web_process", settings.address, settings.namespace, str(folder / "server"), "0",
            stdout=asyncio.subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 60)).decode()
        assert line.startswith("ui: http://"), f"{line!r}; {log.read_text()[-2000:]}"
        serving = Server(process, line.removeprefix("ui: ").strip(), log)
        await ready(serving)
        yield serving
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
def settings(bootstrap: str, namespace: str, tmp_path: Path) -> Settings:
    return Settings(
        address=bootstrap,
        namespace=namespace,
        state_dir=tmp_path / "worker",
        partitions=2,
        replication_factor=1,
        identity="tester",
    )


def answer(response: httpx.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


async def test_runs_over_http(settings: Settings, tmp_path: Path) -> None:
    """Start, watch, query, signal, read back: all over HTTP; then what the Kafka beneath says;
    then SIGTERM.
    """
    api, ours = f"/api/v1/namespaces/{settings.namespace}", "/api/odradek/v1"
    async with server(settings, tmp_path) as serving, serving.client() as http:
        client = await Client.connect(settings=settings)
        async with Worker(client, task_queue=QUEUE, workflows=[Order], activities=[charge]):
            told = asyncio.create_task(_told(serving, f"{ours}/changes?topics=runs"))
            body = {
                "workflowType": {"name": "Order"},
                "taskQueue": {"name": QUEUE},
                "input": [42],
                "memo": {"fields": {"note": "fragile"}},
            }
            started = answer(await http.post(f"{api}/workflows/order-1", json=body))
            assert started["started"] is True

            # Its events as they come: from the start, and over its end.
            follower = asyncio.create_task(_follow(serving, f"{ours}/workflows/order-1/events"))

            async def charged() -> bool:
                events = answer(await http.get(f"{api}/workflows/order-1/history"))["history"][
                    "events"
                ]
                return any(
                    event["eventType"] == "EVENT_TYPE_ACTIVITY_TASK_COMPLETED" for event in events
                )

            await until_async(charged)
            asked = answer(
                await http.post(
                    f"{api}/workflows/order-1/query/state",
                    json={"query": {"queryArgs": ["approved"]}},
                )
            )
            assert asked["queryResult"] == ["approved: False"]

            async def owned() -> Any:  # members say what they own every few seconds
                described = answer(await http.get(f"{ours}/workflows/order-1"))
                return described if described["owner"] else None

            described = await until_async(owned)
            assert described["run"]["status"] == "RUNNING" and described["place"]["partition"] in (
                0,
                1,
            )

            waiting = asyncio.create_task(
                http.get(
                    f"{api}/workflows/order-1/history",
                    params={
                        "waitNewEvent": "true",
                        "historyEventFilterType": "HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT",
                    },
                )
            )
            assert answer(await http.post(f"{api}/workflows/order-1/signal/approve")) == {}
            (closed,) = answer(await waiting)["history"]["events"]
            assert closed["workflowExecutionCompletedEventAttributes"]["result"] == ["charged 42"]
            followed = await asyncio.wait_for(follower, 60)
            ids = [event["event_id"] for message in followed for event in message.get("events", [])]
            assert ids == list(range(1, len(ids) + 1)) and ids[-1] == int(closed["eventId"])

            async def listed() -> Any:
                query = {"query": "WorkflowType = 'Order' AND ExecutionStatus = 'Completed'"}
                return answer(await http.get(f"{api}/workflows", params=query)).get("executions")

            (execution,) = await until_async(listed)
            assert f"order-1/{started['runId']}" in (await asyncio.wait_for(told, 60))["keys"]
            assert execution["execution"]["runId"] == started["runId"] and execution["memo"] == {
                "fields": {"note": "fragile"}
            }
            assert answer(await http.get(f"{api}/workflow-count")) == {"count": "1"}

            await _kafka_beneath(http, ours, started["runId"])
            pollers = answer(
                await http.get(
                    f"{api}/task-queues/{QUEUE}",
                    params={"taskQueueType": "TASK_QUEUE_TYPE_ACTIVITY"},
                )
            )["pollers"]
            assert pollers
        client.close()
        serving.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(serving.process.wait(), 60) == 0, serving.log.read_text()[
            -3000:
        ]
    assert "Traceback" not in serving.log.read_text()


async def _told(serving: Server, path: str) -> dict[str, Any]:
    """The first message of a stream of changes."""
    async with serving.client() as http, http.stream("GET", path) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data: "):
                message: dict[str, Any] = json.loads(line.removeprefix("data: "))
                return message
    raise AssertionError("the stream ended")


async def _follow(serving: Server, path: str) -> list[dict[str, Any]]:
    messages = []
    async with serving.client() as http, http.stream("GET", path) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        event = ""
        async for line in stream.aiter_lines():
            if line.startswith("event: "):
                event = line.removeprefix("event: ")
            elif line.startswith("data: "):
                messages.append(json.loads(line.removeprefix("data: ")))
                if event == "closed":
                    return messages
    raise AssertionError(f"the stream ended without `closed`: {messages}")


async def _kafka_beneath(http: httpx.AsyncClient, ours: str, run_id: str) -> None:
    async def quiet() -> Any:
        queue = answer(await http.get(f"{ours}/task-queues/{QUEUE}"))
        return (
            queue
            if queue["served"] and queue["activity_lag"] == 0 and len(queue["members"]) == 2
            else None
        )

    queue = await until_async(quiet)
    assert queue["partition_count"] == 2 and {
        partition["state"] for partition in queue["partitions"]
    } == {"RUNNING"}
    assert {member["kind"] for member in queue["members"]} == {"PROCESSOR", "ACTIVITIES"}
    assert [
        one["name"] for one in answer(await http.get(f"{ours}/task-queues"))["task_queues"]
    ] == [QUEUE]

    history = answer(await http.get(f"{ours}/workflows/order-1/history", params={"run_id": run_id}))
    placed = [event for event in history["events"] if event["place"]]
    assert placed[0]["event_type"] == "WorkflowExecutionStarted"
    for event in placed:  # each opens the record that caused it
        place = event["place"]
        record = answer(
            await http.get(
                f"{ours}/records/{place['topic']}/{place['partition']}/{place['offset']}"
            )
        )
        assert record["key"] == "order-1" and record["kind"], event
    start = placed[0]["place"]
    first = answer(
        await http.get(f"{ours}/records/{start['topic']}/{start['partition']}/{start['offset']}")
    )
    assert first["kind"] == "StartWorkflow" and first["value"]["input"][0]["value"] == 42

    trail = answer(await http.get(f"{ours}/workflows/order-1/trail"))
    kinds = [
        record["kind"] for record in trail["records"] + trail["purged"]
    ]  # the command is deleted within seconds
    assert trail["complete"] is not bool(trail["purged"]) and "DescribeWorkflow" not in kinds
    assert {
        "StartWorkflow",
        "ActivityTask",
        "ActivityTaskCompleted",
        "SignalWorkflow",
        "WorkflowResult",
        "ExecutionSummary",
    } <= set(kinds)
    assert kinds[0] == "StartWorkflow"

    schemas = answer(await http.get(f"{ours}/schemas"))
    assert {"StartWorkflow", "ActivityTask"} <= {schema["name"] for schema in schemas["schemas"]}
    windows = answer(await http.get(f"{ours}/statistics", params={"workflow_type": "Order"}))[
        "windows"
    ]
    assert sum(window["completed"] for window in windows) == 1
    missing = await http.get(f"{ours}/records/{start['topic']}/{start['partition']}/999999")
    assert missing.status_code == 404


async def test_processor_down(settings: Settings, tmp_path: Path) -> None:
    """Lists go on, changes are accepted, what only an owner knows is 503 with the queue's name,
    soon.
    """
    api = f"/api/v1/namespaces/{settings.namespace}"
    client = await Client.connect(settings=settings)
    async with Worker(client, task_queue=QUEUE, workflows=[Order], activities=[charge]):
        handle = await client.start_workflow(Order.run, 1, id="order-1", task_queue=QUEUE)
    async with server(settings, tmp_path) as serving, serving.client() as http:

        async def listed() -> Any:
            return answer(await http.get(f"{api}/workflows")).get("executions")

        assert len(await until_async(listed)) == 1
        began_s = time.monotonic()
        waiting = [
            http.get(f"{api}/workflows/order-1{path}")
            for path in ("", "/history", "/history?waitNewEvent=true")
        ]
        for response in await asyncio.gather(*waiting):
            assert response.status_code == 503 and repr(QUEUE) in response.json()["message"], (
                response.text
            )
        assert time.monotonic() - began_s < 35

        async def unowned() -> Any:
            queue = answer(await http.get(f"/api/odradek/v1/task-queues/{QUEUE}"))
            return (
                queue if not any(partition["owner"] for partition in queue["partitions"]) else None
            )

        queue = await until_async(unowned)  # nobody knows: that is no zero
        unknown = ("open_runs", "timer_backlog", "restore_remaining")
        assert [queue[name] for name in unknown] == [None] * 3 and queue["partitions"][0][
            "cached_runs"
        ] is None
        signalled = await http.post(f"{api}/workflows/order-1/signal/approve")
        assert signalled.status_code == 200 and signalled.headers["odradek-verdict"] == "pending"
        async with Worker(client, task_queue=QUEUE, workflows=[Order], activities=[charge]):
            assert await handle.result() == "charged 1"  # the signal lay in the log
            assert answer(await http.get(f"{api}/workflows/order-1"))["workflowExecutionInfo"][
                "status"
            ].endswith("COMPLETED")
    client.close()


async def test_batches(settings: Settings, tmp_path: Path) -> None:
    """Over runs of a query and over named ones, on two servers: the same job on both reaches
    each run once. Then they are deleted.
    """
    api = f"/api/v1/namespaces/{settings.namespace}"
    (tmp_path / "other").mkdir()
    client = await Client.connect(settings=settings)
    async with Worker(client, task_queue=QUEUE, workflows=[Counter]):
        handles = [
            await client.start_workflow(Counter.run, id=f"counter-{number}", task_queue=QUEUE)
            for number in range(3)
        ]
        async with (
            server(settings, tmp_path) as one,
            server(settings, tmp_path / "other") as other,
            one.client() as http,
            other.client() as there,
        ):

            async def counted(server: httpx.AsyncClient, wanted: int) -> bool:
                query = {"query": "WorkflowType = 'Counter' AND ExecutionStatus = 'Running'"}
                return (
                    int(
                        answer(await server.get(f"{api}/workflow-count", params=query)).get(
                            "count", "0"
                        )
                    )
                    == wanted
                )

            async def run(
                server: httpx.AsyncClient, job: str, body: dict[str, Any]
            ) -> dict[str, Any]:
                assert (
                    answer(
                        await server.post(
                            f"{api}/batch-operations/{job}", json={"reason": "test", **body}
                        )
                    )
                    == {}
                )

                async def finished() -> Any:
                    found = answer(await server.get(f"{api}/batch-operations/{job}"))
                    return found if found["state"] != "BATCH_OPERATION_STATE_RUNNING" else None

                described: dict[str, Any] = await until_async(finished)
                assert (
                    described["state"] == "BATCH_OPERATION_STATE_COMPLETED"
                    and "failureOperationCount" not in described
                )
                return described

            signal_all = {
                "visibilityQuery": "WorkflowType = 'Counter'",
                "signalOperation": {"signal": "add", "input": [5]},
            }
            for server_ in (http, there):
                await until_async(lambda server=server_: counted(server, 3))  # type: ignore[misc]
                assert (await run(server_, "job-1", signal_all))["completeOperationCount"] == "3"
            assert [await handle.query(Counter.total) for handle in handles] == [5, 5, 5]
            named = [
                {"workflowId": "counter-0"},
                {"workflowId": "counter-1", "runId": handles[1].first_execution_run_id},
            ]
            await run(
                http,
                "job-2",
                {"executions": named, "terminationOperation": {"details": ["enough"]}},
            )
            assert [(await handle.describe()).status.name for handle in handles] == [
                "TERMINATED",
                "TERMINATED",
                "RUNNING",
            ]  # type: ignore[union-attr]
            await until_async(lambda: counted(http, 1))
            assert (
                await run(
                    http,
                    "job-3",
                    {"visibilityQuery": "WorkflowType = 'Counter'", "deletionOperation": {}},
                )
            )["totalOperationCount"] == "3"
            for handle in handles:
                with pytest.raises(RPCError) as gone:
                    await handle.describe()
                assert gone.value.status is RPCStatusCode.NOT_FOUND
    client.close()


def test_records_that_are_purged_while_they_are_read(settings: Settings) -> None:
    """What is gone is said, and the rest is read."""
    admin = ClusterAdmin(settings)
    topic = admin.topics.events(QUEUE)
    admin.ensure_queue(QUEUE)
    producer = Producer(producer_config(settings))
    for number in range(20):
        producer.produce(
            topic, encode(SignalWorkflow("order-1", f"s{number}")), b"order-1", partition=number % 2
        )
    assert producer.flush(20) == 0
    admin.delete_records({(topic, 0): 5})
    search = Search(settings, time.monotonic() + 20)
    read = [
        message.offset()
        for message in search.records([Stretch(topic, 0, 0, 10), Stretch(topic, 1, 0, 10)])
        if message.partition() == 1
    ]
    assert read == list(range(10))
    assert [(stretch.partition, stretch.start) for stretch in search.purged] == [
        (0, 0)
    ] and search.unfinished == []


async def test_document_against_the_real_server(settings: Settings, tmp_path: Path) -> None:
    """Every operation of our API, whatever its document allows, against real owners, offsets and
    records.
    """
    client = await Client.connect(settings=settings)
    async with Worker(client, task_queue=QUEUE, workflows=[Order], activities=[charge]):
        handle = await client.start_workflow(Order.run, 1, id="order-1", task_queue=QUEUE)
        await handle.signal(Order.approve)
        await handle.result()
        async with server(settings, tmp_path) as serving:
            await asyncio.to_thread(_try_everything, serving.url)
        assert "Traceback" not in serving.log.read_text(), serving.log.read_text()[-4000:]
    client.close()


def _try_everything(url: str) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/api/odradek/v1/openapi.json").exclude(
        path_regex="/(changes|events)$"
    )
    booleans = hypothesis.strategies.sampled_from(
        [True, False]
    )  # the first is what Hypothesis begins with: no operation goes without it
    names = hypothesis.strategies.sampled_from(["order-1", QUEUE, "0", "1"])
    answered: dict[str, set[int]] = {}
    for found in schema.get_all_operations():
        operation = found.ok()
        statuses = answered.setdefault(operation.path.rpartition("/v1")[2], set())

        @hypothesis.settings(
            max_examples=8,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy(), picked=names, real=booleans)
        def every(case: schemathesis.Case, picked: str, real: bool) -> None:
            if (
                real
            ):  # half of the tries name something that is there, and leave the rest to its defaults
                case.query = {}
                for name in case.path_parameters:
                    case.path_parameters[name] = {
                        "workflow_id": "order-1",
                        "task_queue": QUEUE,
                    }.get(name, picked)
            checks = [
                content_type_conformance,
                response_schema_conformance,
                status_code_conformance,
            ]
            statuses.add(case.call_and_validate(timeout=60, checks=checks).status_code)  # noqa: B023 (called in this round)

        every()
    found_something = {path for path, statuses in answered.items() if 200 in statuses}
    run, queue = "/workflows/{workflow_id}", "/task-queues/{task_queue}"
    assert found_something >= {
        "/workflows",
        run,
        f"{run}/history",
        f"{run}/trail",
        queue,
        f"{queue}/dead-letters",
        "/statistics",
    }, answered


async def test_dead_letters(settings: Settings, tmp_path: Path) -> None:
    """Listed with reason and record, shown, put back: the run gets its signal."""
    ours, topics = "/api/odradek/v1", Topics(settings.namespace)
    client = await Client.connect(settings=settings)
    async with Worker(client, task_queue=QUEUE, workflows=[Order], activities=[charge]):
        handle = await client.start_workflow(Order.run, 1, id="order-1", task_queue=QUEUE)
        lost = SignalWorkflow("order-1", "approve", request_id="lost-1")
        _dead_letter(settings, topics, lost)
        async with server(settings, tmp_path) as serving, serving.client() as http:
            path = f"{ours}/task-queues/{QUEUE}/dead-letters"

            async def listed() -> Any:
                return answer(await http.get(path))["dead_letters"]

            (letter,) = await until_async(listed)
            assert (
                letter["reason"] == NOT_APPLIED
                and letter["message"] == "a defect"
                and letter["workflow_id"] == "order-1"
            )
            assert letter["record"]["kind"] == "SignalWorkflow" and letter["origin"][
                "topic"
            ] == topics.events(QUEUE)
            offset = letter["place"]["offset"]
            assert (
                answer(await http.get(f"{path}/{offset}"))["record"]["value"]["signal_name"]
                == "approve"
            )
            assert (
                answer(await http.get(f"{path}/{offset}"))["redriven"] == letter["redriven"] == []
            )
            put = answer(await http.post(f"{path}/{offset}/redrive"))["place"]
            assert put["topic"] == topics.events(QUEUE) and put["offset"] >= 0
            record = answer(
                await http.get(f"{ours}/records/{put['topic']}/{put['partition']}/{put['offset']}")
            )
            assert record["kind"] == "SignalWorkflow"
            assert (
                record["headers"]["odradek-redriven-from"]
                == f"{topics.dead_letters(QUEUE)}/0/{offset}"
            )
            assert answer(await http.get(f"{path}/{offset}"))["redriven"] == [put]
            assert answer(await http.get(path))["dead_letters"][0]["redriven"] == [put]
            assert await asyncio.wait_for(handle.result(), 30) == "charged 1"
            assert (await http.get(f"{path}/{offset + 50}")).status_code == 404
            assert (await http.post(f"{path}/{offset + 50}/redrive")).status_code == 404
            assert answer(await http.get(f"{ours}/task-queues/{QUEUE}"))["dead_letters"] == 1
            # Keys that are no text, or none: it is put back, and found there, by the key as it
            # came; without one where it stood.
            keys = (bytes([0xFF, number]) for number in range(64))
            raw = next(key for key in keys if partition_for(key, 2) != partition_for(shown(key), 2))
            for key, partition in ((raw, partition_for(raw, 2)), (None, 1)):
                at = _dead_letter(settings, topics, lost, key, partition)

                async def letter_at(offset: int = at) -> Any:
                    found = await http.get(f"{path}/{offset}")
                    return found.json() if found.status_code == 200 else None

                letter = await until_async(letter_at)
                assert letter["target"] == {
                    "topic": topics.events(QUEUE),
                    "partition": partition,
                    "offset": -1,
                }
                put = answer(await http.post(f"{path}/{at}/redrive"))["place"]
                assert put["partition"] == partition and put["offset"] >= 0
                assert answer(await http.get(f"{path}/{at}"))["redriven"] == [put]
    client.close()


def shown(key: bytes) -> bytes:
    """A key as its shown text would be."""
    return key.decode("utf-8", "replace").encode()


def _dead_letter(
    settings: Settings,
    topics: Topics,
    record: SignalWorkflow,
    key: bytes | None = b"order-1",
    partition: int = 0,
) -> int:
    """A dead letter that stood in a partition; its offset."""
    headers = dead_letter_headers(
        NOT_APPLIED,
        topic=topics.events(QUEUE),
        partition=partition,
        offset=5,
        time_ms=1,
        message="a defect",
        original=headers_for(record),
    )
    producer, offsets = Producer(producer_config(settings)), list[int]()
    delivered = lambda error, message: offsets.append(message.offset())  # noqa: E731
    producer.produce(
        topics.dead_letters(QUEUE),
        encode(record),
        key,
        headers=list(headers),
        on_delivery=delivered,
    )
    assert producer.flush(20) == 0
    return offsets[0]
