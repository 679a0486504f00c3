"""Lines of logs as JSON: whatever is given with one, it is one object of JSON, and says whom it
is about.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from odradek.activation.logs import logger as workflow_logger
from odradek.activities.log import logger as activity_logger
from odradek.cli.logs import JsonFormatter, configure_logging, log_as_set
from odradek.client.errors import Unanswered
from odradek.client.responses import accept
from odradek.client.transport import Owner
from odradek.config import Settings
from odradek.log_fields import set_log_fields
from tests.unit.web_server import WebServer

API = "/api/odradek/v1"


class Sulky:
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


ROUND: dict[str, Any] = {"name": "round"}
ROUND["self"] = ROUND
DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        ({"rates": [1.0, float("inf")]}, "{'rates': [1.0, inf]}"),
        ({("a", 1): 2}, "{('a', 1): 2}"),
        (ROUND, "{'name': 'round', 'self': {...}}"),
        (DEEP, "a list that cannot be shown"),
        (Sulky(), "a Sulky that cannot be shown"),
        ({"of": [Sulky()]}, "a dict that cannot be shown"),
        ({"a": [1, None, True, "x"]}, {"a": [1, None, True, "x"]}),
    ],
)
def test_what_json_has_no_form_for_is_text(value: Any, written: Any) -> None:
    """No line is lost over what somebody gives with it, and none is what only Python takes for
    JSON.
    """
    record = logging.makeLogRecord(
        {"name": "x", "msg": "measured", "what": value, "order": 7, "levelname": "INFO"}
    )

    def no_json(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    line = json.loads(JsonFormatter().format(record), parse_constant=no_json)
    assert (line["message"], line["what"], line["order"]) == ("measured", written, 7)


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Handlers and level of the root logger come back, and what JSON lines change of our own."""
    monkeypatch.setattr(workflow_logger, "workflow_info_on_message", True)
    monkeypatch.setattr(activity_logger, "activity_info_on_message", True)
    logger, kafka = logging.getLogger(), logging.getLogger("odradek.kafka")
    levels, handlers = (logger.level, kafka.level), list(logger.handlers)
    yield
    logger.handlers[:] = handlers
    logger.setLevel(levels[0])
    kafka.setLevel(levels[1])


@pytest.mark.usefixtures("root")
def test_lines_of_a_process_that_stays_have_its_namespace(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log_as_set(Settings(namespace="shop", log_format="json"), None)
    logging.getLogger("x").warning("one")
    set_log_fields(namespace="another")
    try:
        logging.getLogger("x").warning("two")
    finally:
        set_log_fields()
    found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["namespace"] for line in found] == ["shop", "another"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    web = WebServer(tmp_path)
    yield web
    web.store.close()


@pytest.mark.usefixtures("root")
async def test_a_line_of_a_request_names_it(server: WebServer) -> None:
    def broken() -> Any:
        raise RuntimeError("a defect")

    stream = io.StringIO()
    configure_logging("json", "warning", stream)
    server.context.read_side = broken
    async with server.client() as client:
        assert (await client.get(f"{API}/workflows?query=secret")).status_code == 500
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert line["request"] == f"GET {API}/workflows" and line["message"].endswith(
        f": GET {API}/workflows"
    )


def test_a_line_about_one_workflow_has_its_id(caplog: pytest.LogCaptureFixture) -> None:
    for trouble in ("", "its owner is frozen"):
        unanswered = Unanswered(True, Owner.NONE, None, 0.1)
        unanswered.trouble = trouble
        accept(
            unanswered,
            what="cancel of workflow 'w'",
            workflow_id="w",
            task_queue="q",
            address="a:1",
            explicit=False,
        )
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    assert [(line["workflow_id"], line["task_queue"]) for line in lines] == [("w", "q")] * 2
