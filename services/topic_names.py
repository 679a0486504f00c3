"""Topic names of the wire contract, as `docs/wire.md` gives them. Nothing here imports odradek."""

from __future__ import annotations

PREFIX = "odradek."


def escape(name: str) -> str:
    """Everything but ASCII letters, digits and `-` as `_` and two hex digits a byte."""
    return "".join(
        c
        if c.isascii() and (c.isalnum() or c == "-")
        else "".join(f"_{byte:02x}" for byte in c.encode())
        for c in name
    )


def topic_of_namespace(namespace: str, kind: str) -> str:
    """Which a namespace has one of: `results`, `members`, `schemas`, …"""
    return f"{PREFIX}{escape(namespace)}.{kind}"


def topic_of_queue(namespace: str, task_queue: str, kind: str) -> str:
    """Which each task queue has: `events`, `commands`, …"""
    return f"{PREFIX}{escape(namespace)}.{escape(task_queue)}.{kind}"
