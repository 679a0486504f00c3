"""Of the registries that a URL, or several with commas, name: no error tells user or password."""

from __future__ import annotations

import pytest

from odradek.kafka.registry import SchemaRegistryUnreachableError


@pytest.mark.parametrize(
    ("urls", "shown"),
    [
        ("http://me:hidden@a:8081", "http://a:8081"),
        ("http://a:8081,http://b:8081", "http://a:8081,http://b:8081"),
        ("http://me:hidden1@a:8081,http://me:hidden2@b:8081", "http://a:8081,http://b:8081"),
        ("http://a:8081, https://me:hidden@b:8081/v7/", "http://a:8081,https://b:8081/v7/"),
        ("http://[hidden", "at `schema_registry_url`"),
    ],
)
def test_nobody_is_told_the_password_of_any(urls: str, shown: str) -> None:
    last = urls.split(",")[-1].strip().rstrip("/")  # the client tries each in turn and tells of one
    error = SchemaRegistryUnreachableError(urls, f"{urls} and {last}/schemas are away")
    assert error.address == shown and f"schema registry {shown} does not answer" in str(error)
    assert (
        "hidden" not in str(error)
        and "hidden" not in error.reason
        and "/schemas are away" in error.reason
    )
