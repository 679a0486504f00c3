"""Handlers set while the workflow runs. Those that decorators made are found by the same names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from odradek.activation.info import current

__all__ = [
    "all_handlers_finished",
    "get_dynamic_query_handler",
    "get_dynamic_signal_handler",
    "get_dynamic_update_handler",
    "get_query_handler",
    "get_signal_handler",
    "get_update_handler",
    "set_dynamic_query_handler",
    "set_dynamic_signal_handler",
    "set_dynamic_update_handler",
    "set_query_handler",
    "set_signal_handler",
    "set_update_handler",
]


def get_signal_handler(name: str) -> Callable[..., Any] | None:
    """Handler of exactly this signal, None when there is none (the dynamic one is another)."""
    handlers = current().handlers
    return handlers.get(handlers.signals, name)


def set_signal_handler(name: str, handler: Callable[..., Any] | None) -> None:
    """Set a signal's handler, or remove it with None. Signals that waited for one are delivered
    at once.
    """
    current().handlers.set_signal(name, handler)


def get_dynamic_signal_handler() -> Callable[..., Any] | None:
    """Handler of all signals without one of their own, if any."""
    handlers = current().handlers
    return handlers.get(handlers.signals, None)


def set_dynamic_signal_handler(handler: Callable[..., Any] | None) -> None:
    """Set the handler of all signals without one of their own. All signals that waited are
    delivered at once.
    """
    current().handlers.set_signal(None, handler)


def get_query_handler(name: str) -> Callable[..., Any] | None:
    """Handler of exactly this query, None when there is none (the dynamic one is another)."""
    handlers = current().handlers
    return handlers.get(handlers.queries, name)


def set_query_handler(name: str, handler: Callable[..., Any] | None) -> None:
    """Set a query's handler, or remove it with None."""
    current().handlers.set_query(name, handler)


def get_dynamic_query_handler() -> Callable[..., Any] | None:
    """Handler of all queries without one of their own, if any."""
    handlers = current().handlers
    return handlers.get(handlers.queries, None)


def set_dynamic_query_handler(handler: Callable[..., Any] | None) -> None:
    """Set the handler of all queries without one of their own."""
    current().handlers.set_query(None, handler)


def get_update_handler(name: str) -> Callable[..., Any] | None:
    """Handler of exactly this update, None when there is none (the dynamic one is another)."""
    handlers = current().handlers
    return handlers.get(handlers.updates, name)


def set_update_handler(
    name: str, handler: Callable[..., Any] | None, *, validator: Callable[..., Any] | None = None
) -> None:
    """Set an update's handler and validator, or remove them with None."""
    current().handlers.set_update(name, handler, validator)


def get_dynamic_update_handler() -> Callable[..., Any] | None:
    """Handler of all updates without one of their own, if any."""
    handlers = current().handlers
    return handlers.get(handlers.updates, None)


def set_dynamic_update_handler(
    handler: Callable[..., Any] | None, *, validator: Callable[..., Any] | None = None
) -> None:
    """Set the handler, and validator, of all updates without one of their own."""
    current().handlers.set_update(None, handler, validator)


def all_handlers_finished() -> bool:
    """Whether no signal or update handler is running. `await
    workflow.wait_condition(workflow.all_handlers_finished)` before returning.
    """
    return current().handlers.all_finished()
