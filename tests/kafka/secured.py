"""A broker with an authorizer, users with SASL, and the ACLs of docs/operate.md, read from its
table.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from odradek.broker import LocalBroker
from odradek.broker.local import QUICK_START
from odradek.broker.ports import HOST, free_ports

PAGE = Path(__file__).parents[2] / "docs" / "operate.md"
ROLES = ("processor", "activities", "client", "server", "operator")
_TYPES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional id": ResourceType.TRANSACTIONAL_ID,
}


@dataclass(frozen=True)
class Acl:
    """One cell of the page's table: `topic` `odradek.n.q.events`, `Read`. A name that ends with
    `*` is a prefix.
    """

    role: str
    resource: str
    name: str
    operation: str

    def binding(self) -> AclBinding:
        prefixed = self.name.endswith("*")
        return AclBinding(
            _TYPES[self.resource],
            self.name.removesuffix("*"),
            ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL,
            f"User:{self.role}",
            "*",
            AclOperation[re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.operation).upper()],
            AclPermissionType.ALLOW,
        )

    def __str__(self) -> str:
        return f"{self.role}-{self.operation}-{self.resource.replace(' ', '')}-{self.name}"


def listed(prefix: str, queues: Mapping[str, Iterable[str]]) -> list[Acl]:
    """The table's rows for a namespace. `queues`: what stands for Q, A and W, by
    `{role}.{letter}`.
    """
    table = PAGE.read_text(encoding="utf-8").partition("## ACLs")[2].partition("\n## ")[0]
    found = []
    row = r"^\| ([a-z]+) \| (topic|group|transactional id) `([^`]+)` \| ([^|]+) \|"
    for role, resource, text, operations in re.findall(row, table, re.M):
        name = text.replace("{p}", prefix)
        letter = re.search(r"\b([QAW])\b", name)
        names = (
            [
                name.replace(f"{prefix}{letter[1]}", f"{prefix}{q}")
                for q in queues[f"{role}.{letter[1]}"]
            ]
            if letter
            else [name]
        )
        roles = ROLES[:-1] if role == "every" else (role,)
        found += [
            Acl(who, resource, each, op)
            for who in roles
            for each in names
            for op in operations.strip().split(", ")
        ]
    assert {acl.role for acl in found} == set(ROLES), (
        "the table of docs/operate.md has changed its form"
    )
    return list(dict.fromkeys(found))


class SecuredBroker:
    """`bootstrap` takes SASL/PLAIN; `admin` comes by another listener as a super user."""

    def __init__(self, plain: str, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.plain = plain
        self.admin = AdminClient(
            {"bootstrap.servers": plain, "log_level": 0}
        )  # fixtures keep it for longer than the broker lives

    def kafka(self, role: str, password: str = "") -> dict[str, str]:
        """The setting `kafka` of a role."""
        return {
            "security.protocol": "sasl_plaintext",
            "sasl.mechanism": "PLAIN",
            "sasl.username": role,
            "sasl.password": password or f"{role}-secret",
        }

    def grant(self, acls: Iterable[Acl]) -> None:
        bindings = [acl.binding() for acl in acls]
        for future in self.admin.create_acls(bindings).values():
            future.result(20)
        deadline = time.monotonic() + 60
        while missing := [
            one for one in bindings if not self.admin.describe_acls(_where(one)).result(20)
        ]:  # as below
            assert time.monotonic() < deadline, f"{missing} are not there"
            time.sleep(0.02)

    def revoke(self, acl: Acl) -> None:
        where = _where(acl.binding())
        for future in self.admin.delete_acls([where]).values():
            assert future.result(20), f"{acl} was not there"
        deadline = time.monotonic() + 60
        while self.admin.describe_acls(where).result(
            20
        ):  # asked of the broker's authorizer: the controller's answer comes before it
            assert time.monotonic() < deadline, f"{acl} is still there"
            time.sleep(0.02)


def _where(b: AclBinding) -> AclBindingFilter:
    return AclBindingFilter(
        b.restype,
        b.name,
        b.resource_pattern_type,
        b.principal,
        b.host,
        b.operation,
        b.permission_type,
    )


@contextmanager
def secured_broker() -> Iterator[SecuredBroker]:
    plain, secure, controller = free_ports(3)
    users = " ".join(f'user_{role}="{role}-secret"' for role in ROLES)
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    config = {
        "listeners": (
            f"PLAINTEXT://{HOST}:{plain},SECURE://{HOST}:{secure},CONTROLLER://{HOST}:{controller}"
        ),
        "advertised.listeners": f"PLAINTEXT://{HOST}:{plain},SECURE://{HOST}:{secure}",
        "listener.security.protocol.map": (
            "PLAINTEXT:PLAINTEXT,SECURE:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT"
        ),
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "inter.broker.listener.name": "PLAINTEXT",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",  # the broker itself, and the test's own hand
        "listener.name.secure.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.secure.plain.sasl.jaas.config": f"{login} {users};",
    }
    with LocalBroker(port=plain, config=config, jvm_options=QUICK_START):
        yield SecuredBroker(f"{HOST}:{plain}", f"{HOST}:{secure}")
