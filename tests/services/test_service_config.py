"""Each service is configured by one YAML file; what is wrong in it ends the process with one
line that names it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.inventory.config import InventoryConfig
from services.service_config import load
from services.worker_process import settings_of

REPOSITORY = Path(__file__).resolve().parents[2]
QUEUES = {
    "orders": "order-task-queue",
    "inventory": "inventory-task-queue",
    "payments": "payments-task-queue",
    "order_api": "order-task-queue",
    "notifications": None,
}


def config_of(service: str, name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((REPOSITORY / "services" / service / name).read_text())
    return content


@pytest.mark.parametrize("name", ["config.yaml", "compose.yaml"])
@pytest.mark.parametrize("service", QUEUES)
def test_each_has_a_file_that_says_where_and_which_queue(service: str, name: str) -> None:
    section = config_of(service, name)["odradek"]
    assert section["address"] and section["namespace"] == "default"
    assert section.get("task_queue") == QUEUES[service]


def started_with(service: str, config: dict[str, Any] | str, folder: Path) -> tuple[int, str]:
    file = folder / "service.yaml"
    file.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    command = [sys.executable, "-m", f"services.{service}", "--config", str(file)]
    paths = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "streams")])
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        check=False,
    )
    return done.returncode, done.stderr.strip()


@pytest.mark.parametrize("service", QUEUES)
@pytest.mark.parametrize("place", ["odradek", "file"])
def test_an_unknown_key_is_an_error_that_names_it(service: str, place: str, tmp_path: Path) -> None:
    config = config_of(service, "config.yaml")
    (config["odradek"] if place == "odradek" else config)["tsk_queue"] = "x"
    status, said = started_with(service, config, tmp_path)
    assert status == 1 and "tsk_queue" in said and len(said.splitlines()) == 1, said
    assert not list(tmp_path.glob("data/*")), "before it makes anything"


@pytest.mark.parametrize("service", QUEUES)
def test_a_key_that_stands_twice_is_an_error_that_names_it(service: str, tmp_path: Path) -> None:
    text = (
        yaml.safe_dump(config_of(service, "config.yaml")) + "odradek: {address: 'elsewhere:9092'}\n"
    )
    status, said = started_with(service, text, tmp_path)
    assert status == 1 and "`odradek` stands twice" in said and len(said.splitlines()) == 1, said


@pytest.mark.parametrize("service", QUEUES)
def test_a_missing_address_is_an_error_that_names_it(service: str, tmp_path: Path) -> None:
    status, said = started_with(
        service, config_of(service, "config.yaml") | {"odradek": {"namespace": "default"}}, tmp_path
    )
    assert status == 1 and "address" in said and len(said.splitlines()) == 1, said


@pytest.mark.parametrize("service", QUEUES)
def test_a_misspelt_key_is_named_as_it_stands(service: str, tmp_path: Path) -> None:
    section = config_of(service, "config.yaml")["odradek"]
    section["addres"] = section.pop("address")
    status, said = started_with(
        service, config_of(service, "config.yaml") | {"odradek": section}, tmp_path
    )
    assert status == 1 and len(said.splitlines()) == 1, said
    assert said.endswith(
        (
            "odradek.addres: no such key; did you mean `address`?",
            "odradek.address: Field required; is `addres` meant for it?",
        )
    )


@pytest.mark.parametrize("service", QUEUES)
@pytest.mark.parametrize("place", ["file", "environment"])
def test_a_registry_without_a_url_is_an_error_that_names_it(
    service: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(service, "config.yaml")
    url = "user:hidden@registry:8080"
    if place == "environment":
        monkeypatch.setenv("ODRADEK_SCHEMA_REGISTRY_URL", url)
    else:
        config["odradek"]["schema_registry_url"] = url
    status, said = started_with(service, config, tmp_path)
    assert (
        status == 1
        and "schema_registry_url" in said.lower()
        and len(said.splitlines()) == 1
        and "hidden" not in said
    ), said


def inventory_with(registry: str, folder: Path) -> Path:
    file = folder / "inventory.yaml"
    section = {"address": "k:1", "task_queue": "q", "schema_registry_url": registry}
    file.write_text(yaml.safe_dump({"odradek": section, "database": "x"}))
    return file


@pytest.mark.parametrize("place", ["file", "environment"])
def test_a_service_on_odradek_takes_the_registries_that_odradek_takes(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = "http://a:8081,http://b:8081"
    if place == "environment":
        monkeypatch.setenv("ODRADEK_SCHEMA_REGISTRY_URL", two)
    file = inventory_with(two if place == "file" else "http://c", tmp_path)
    config = load(InventoryConfig, "", ["--config", str(file)])
    assert settings_of(config.file).schema_registry_url == two


@pytest.mark.parametrize("service", ["payments", "notifications"])
def test_a_service_without_odradek_asks_one_registry(service: str, tmp_path: Path) -> None:
    config = config_of(service, "config.yaml")
    config["odradek"]["schema_registry_url"] = "http://me:hidden@a:8081,http://b:8081"
    status, said = started_with(service, config, tmp_path)
    assert status == 1 and said.endswith(
        "odradek.schema_registry_url: write one URL, such as http://registry:8081"
    ), said


@pytest.mark.parametrize("service", ["orders", "payments"])
def test_text_that_is_no_yaml_is_not_shown(service: str, tmp_path: Path) -> None:
    status, said = started_with(
        service, "odradek:\n  address: a:1\n  server_token: @hidden\n", tmp_path
    )
    assert status == 1 and len(said.splitlines()) == 1 and "hidden" not in said, said
    assert "found character '@' that cannot start any token (line 3, column 17)" in said


@pytest.mark.parametrize("service", ["orders", "inventory", "payments"])
def test_a_missing_queue_is_an_error_that_names_it(service: str, tmp_path: Path) -> None:
    status, said = started_with(
        service,
        config_of(service, "config.yaml") | {"odradek": {"address": "localhost:1"}},
        tmp_path,
    )
    assert status == 1 and "odradek.task_queue" in said and len(said.splitlines()) == 1, said


def test_services_on_a_worker_take_every_setting_of_odradek(tmp_path: Path) -> None:
    """TLS and limits too: what stands there and is not read would be worse than refused."""
    file = tmp_path / "orders.yaml"
    kafka = {"security.protocol": "ssl", "ssl.ca.location": "/etc/ca.pem"}
    file.write_text(
        yaml.safe_dump(
            {
                "odradek": {"address": "k:1", "max_concurrent_activities": 3, "kafka": kafka},
                "database": "x",
            }
        )
    )
    settings = settings_of(file)
    assert (settings.address, settings.max_concurrent_activities, settings.kafka) == (
        "k:1",
        3,
        kafka,
    )


@pytest.mark.parametrize("text", ["", "- a\n", "just text"])
@pytest.mark.parametrize("service", ["orders", "payments"])
def test_a_file_without_keys_is_told_which_it_needs(
    service: str, text: str, tmp_path: Path
) -> None:
    status, said = started_with(service, text, tmp_path)
    assert status == 1 and len(said.splitlines()) == 1, said
    assert "service.yaml: holds no keys" in said and "`odradek`" in said and "`database`" in said


def test_text_that_is_no_yaml_is_one_line(tmp_path: Path) -> None:
    status, said = started_with("orders", "odradek: [\n  a: b: c\n", tmp_path)
    assert (
        status == 1
        and len(said.splitlines()) == 1
        and "service.yaml: cannot be read" in said
        and "line 2" in said
    ), said


UNUSABLE = {"text": "not a database", "directory": "is a directory", "below a file": "is a file"}


@pytest.mark.parametrize("service", ["orders", "inventory", "payments", "notifications"])
@pytest.mark.parametrize("what", UNUSABLE)
def test_a_database_that_cannot_be_used_is_named(service: str, what: str, tmp_path: Path) -> None:
    database = tmp_path / "effects.sqlite"
    if what == "text":
        database.write_text("no database " * 1000)
    elif what == "directory":
        database.mkdir()
    else:
        database.write_text("a file")
        database = database / "effects.sqlite"
    status, said = started_with(
        service, config_of(service, "config.yaml") | {"database": str(database)}, tmp_path
    )
    assert status == 1 and len(said.splitlines()) == 1, said
    assert f"database {database}" in said and UNUSABLE[what] in said and "`database`" in said, said


_AS_NOBODY = """
import os, sys
from pathlib import Path
from services.database import open_database
if os.geteuid() == 0:
    os.setuid(65534)
open_database(Path(sys.argv[1]), "")
"""


@pytest.mark.parametrize("below", ["x.sqlite", "inner/x.sqlite", "inner/new/x.sqlite"])
def test_a_database_in_a_directory_that_this_user_may_not_search_is_named(
    below: str, tmp_path: Path
) -> None:
    locked = tmp_path / "locked"
    (locked / "inner").mkdir(parents=True)
    locked.chmod(0)
    try:
        command = [sys.executable, "-c", _AS_NOBODY, str(locked / below)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, cwd=REPOSITORY, check=False
        )
    finally:
        locked.chmod(0o700)
    said = done.stderr.strip()
    assert done.returncode == 1 and len(said.splitlines()) == 1, said
    assert (
        f"database {locked / below}" in said
        and ("writable" in said or "Permission denied" in said)
        and "`database`" in said
    ), said
