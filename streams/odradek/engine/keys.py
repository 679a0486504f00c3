"""Row keys of the tables and the ids that are derived, never drawn. Pure functions.

The key shapes are fixed by `odradek.wire.state`. Ids that nobody gave come from UUIDv5 over a
stable text (a record's topic id, partition and offset; a run id and event id), so that a retried
batch makes the same ones.
"""

from __future__ import annotations

import hashlib
import uuid

# Namespace of all derived ids; a constant of the wire contract.
NAMESPACE = uuid.UUID("6f6472d3-6164-5b6b-9f00-6b61666b6121")


def event_key(run_id: str, event_id: int) -> str:
    """Key in `history`, `activity` and `user_timer`: run id and (first, scheduled or started)
    event id.
    """
    return f"{run_id}/{event_id:010d}"


def timer_key(due_ms: int, run_id: str, kind: str, id: int = 0) -> str:
    """Key in `timer`, ordered by due time."""
    return f"{due_ms:015d}/{run_id}/{kind}/{id}"


def request_key(workflow_id: str, slot: int) -> str:
    """Key in `request`: a slot of the workflow's deduplication window."""
    return f"{request_prefix(workflow_id)}{slot:04d}"


def request_prefix(workflow_id: str) -> str:
    """What the keys of a workflow's deduplication window begin with. Derived: a workflow id may hold anything,
    another one's key too.
    """
    return f"{uuid.uuid5(NAMESPACE, workflow_id)}/"


def deletion_key(workflow_id: str, run_id: str) -> str:
    """Key in `request`: the verdict on the deletion of a run, which outlives the window."""
    return f"deleted/{workflow_id}/{run_id}"


def derived_run_id(origin: str) -> str:
    """Run id from a text that is stable over retries."""
    return str(uuid.uuid5(NAMESPACE, origin))


def random_seed(run_id: str) -> int:
    """Seed of a run's random stream: 63 bits from its run id (an Avro long is signed), never 0."""
    return int.from_bytes(hashlib.blake2b(run_id.encode(), digest_size=8).digest()) >> 1 or 1
