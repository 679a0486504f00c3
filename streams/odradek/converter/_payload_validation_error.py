"""The error that a converter raises for data that it understands and does not accept."""

from __future__ import annotations

from typing import Any

from odradek.exceptions import ApplicationError


def create_payload_validation_error(details: Any) -> ApplicationError:
    """A non-retryable `ApplicationError` of the type `PayloadValidationError`. `details`, unless
    `None`, say what is wrong.
    """
    attached = () if details is None else (details,)
    return ApplicationError(
        "Payload validation failed", *attached, type="PayloadValidationError", non_retryable=True
    )
