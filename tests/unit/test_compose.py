"""docker-compose.yml where no Docker runs: against the Compose Specification's models, and
against the rest of the repository.
"""

from __future__ import annotations

import base64
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_pydantic.models import ComposeSpecification

from odradek.config import Settings

REPOSITORY = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
BROKERS = ["kafka-1", "kafka-2", "kafka-3"]
INSIDE = ",".join(f"{name}:9092" for name in BROKERS)
CONFIGURED = ["order-api", "orders", "inventory", "payments", "notifications"]


def folder_of(service: str) -> Path:
    return REPOSITORY / "services" / service.replace("-", "_")


def test_it_keeps_to_the_compose_specification() -> None:
    ComposeSpecification.model_validate(
        {key: value for key, value in COMPOSE.items() if not key.startswith("x-")}
    )


def test_the_check_above_would_notice_a_misspelt_key() -> None:
    broken = {"services": {"kafka-1": {**SERVICES["kafka-1"], "enviroment": {}}}}
    with pytest.raises(ValueError, match="enviroment"):
        ComposeSpecification.model_validate(broken)


def test_everything_that_a_service_refers_to_is_there() -> None:
    mounted = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
    }
    configured = {
        config["source"] for service in SERVICES.values() for config in service.get("configs", [])
    }
    assert mounted == set(COMPOSE["volumes"])
    assert configured == set(COMPOSE["configs"])
    for config in COMPOSE["configs"].values():
        assert (REPOSITORY / config["file"]).is_file()
    for service in SERVICES.values():
        needs = service.get("depends_on", {})
        assert set(needs) <= set(SERVICES)
        for needed, how in needs.items() if isinstance(needs, dict) else ():
            assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[needed]
        if "build" in service:
            assert (REPOSITORY / service["build"]["dockerfile"]).is_file()


def test_no_two_services_want_the_same_port_of_the_machine_and_none_is_open_to_the_network() -> (
    None
):
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


def test_three_brokers_with_three_copies_of_which_two_must_be_in_sync() -> None:
    environments = [SERVICES[name]["environment"] for name in BROKERS]
    assert [environment["KAFKA_NODE_ID"] for environment in environments] == [1, 2, 3]
    assert len({environment["KAFKA_ADVERTISED_LISTENERS"] for environment in environments}) == 3
    for name, environment in zip(BROKERS, environments, strict=True):
        factors = {
            key: value for key, value in environment.items() if key.endswith("REPLICATION_FACTOR")
        }
        in_sync = {
            key: value
            for key, value in environment.items()
            if key.endswith(("MIN_ISR", "MIN_INSYNC_REPLICAS"))
        }
        assert len(factors) == 4 and set(factors.values()) == {3}
        assert len(in_sync) == 3 and set(in_sync.values()) == {2}
        assert (
            environment["KAFKA_CONTROLLER_QUORUM_VOTERS"]
            == "1@kafka-1:9093,2@kafka-2:9093,3@kafka-3:9093"
        )
        [outside] = [int(port.split(":")[1]) for port in SERVICES[name]["ports"]]
        assert (
            environment["KAFKA_ADVERTISED_LISTENERS"]
            == f"INTERNAL://{name}:9092,HOST://localhost:{outside}"
        )
        assert len(base64.urlsafe_b64decode(environment["CLUSTER_ID"] + "==")) == 16


@pytest.mark.parametrize("service", CONFIGURED)
def test_a_services_file_differs_from_its_default_only_in_where_things_are(service: str) -> None:
    default = yaml.safe_load((folder_of(service) / "config.yaml").read_text())
    compose = yaml.safe_load((folder_of(service) / "compose.yaml").read_text())
    assert compose["odradek"].pop("address") == INSIDE
    default["odradek"].pop("address")
    compose.pop("telemetry", None)
    if "database" in default:
        assert compose.pop("database") == "/" + default.pop("database")
    if "host" in default:
        assert (default.pop("host"), compose.pop("host")) == ("127.0.0.1", "0.0.0.0")
    assert compose == default, (
        f"services/{folder_of(service).name}: compose.yaml is behind config.yaml"
    )


@pytest.mark.parametrize("service", CONFIGURED)
def test_a_services_command_names_its_module_and_its_mounted_file(service: str) -> None:
    command = SERVICES[service]["command"]
    assert command[:2] == ["python", "-m"]
    assert importlib.util.find_spec(f"{command[2]}.__main__") is not None
    [config] = SERVICES[service]["configs"]
    assert command[3:] == ["--config", config["target"]]


@pytest.mark.parametrize("service", ["processor-1", "processor-2"])
def test_a_processor_is_configured_with_settings_that_exist(service: str) -> None:
    environment = SERVICES[service]["environment"]
    assert environment["ODRADEK_ADDRESS"] == INSIDE
    assert environment["ODRADEK_LOG_FORMAT"] == "json"
    assert {name.removeprefix("ODRADEK_").lower() for name in environment} <= set(
        Settings.model_fields
    )
    assert environment["ODRADEK_STATE_DIR"].startswith("/data/")
    assert SERVICES[service]["command"][:3] == [
        "odradek",
        "worker",
        "services.orders.workflow:WORKFLOWS",
    ]


def test_one_setting_of_the_shell_gives_the_registry_to_every_process_of_ours() -> None:
    """A process that does not know it cannot read what the others write. A key without a value
    is taken from there, or left out.
    """
    ours = {
        name: service
        for name, service in SERVICES.items()
        if service.get("image") == SERVICES["orders"]["image"]
    }
    assert {*CONFIGURED, "processor-1", "processor-2", "server"} == ours.keys()
    for name, service in ours.items():
        assert service["environment"].get("ODRADEK_SCHEMA_REGISTRY_URL", "missing") is None, name
    dockerfile = (REPOSITORY / "services" / "Dockerfile").read_text()
    assert re.search(r"pip install .*\bregistry\b", dockerfile)


def test_the_images_python_is_one_that_we_support() -> None:
    [version] = re.findall(
        r"^FROM python:(\d+\.\d+)",
        (REPOSITORY / "services" / "Dockerfile").read_text(),
        re.MULTILINE,
    )
    assert tuple(map(int, version.split("."))) >= (3, 11)


def test_what_a_service_keeps_lies_on_its_volume() -> None:
    """In the image nobody has a home: the identity of an activity service would be gone with
    each restart.
    """
    dockerfile = (REPOSITORY / "services" / "Dockerfile").read_text()
    found = re.search(r"^ENV .*\bODRADEK_STATE_DIR=(\S+)", dockerfile, re.MULTILINE)
    assert found is not None and found[1].startswith("/data/") and "VOLUME /data" in dockerfile
    for name, service in SERVICES.items():
        if (
            service.get("image") == SERVICES["orders"]["image"] and name != "order-api"
        ):  # that one keeps nothing
            assert f"{name}:/data" in service["volumes"]
