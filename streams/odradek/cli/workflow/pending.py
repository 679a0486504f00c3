"""How commands tell of a request that was accepted without a verdict: it is durable, and nobody
has applied or refused it yet.
"""

from __future__ import annotations

NOTE = """When no processor answers in time the request is accepted, not done: `accepted: …`, in JSON "verdict": "pending", status 0. It is
applied, or refused, once a processor is up."""


def pending_text(queues: list[str]) -> str:
    """For people. queues: as `noting_pending` notes them; "" for none."""
    if not queues:
        return ""
    return (
        f"accepted: no processor of task queue {queues[0]!r} has answered yet; it is applied (or"
        " refused) once one is up"
    )


def pending_fields(queues: list[str]) -> dict[str, str]:
    """For programs."""
    return {"verdict": "pending", "message": pending_text(queues)}
