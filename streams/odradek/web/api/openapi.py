"""The OpenAPI document of `/api/odradek/v1`, made of the operations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from odradek.web.api.operation import PREFIX, Operation
from odradek.web.context import server_version

_REF = "#/components/schemas/{name}"
#: What every operation may answer besides, by HTTP status.
_ERRORS = {
    "400": "The request is wrong (INVALID_ARGUMENT, FAILED_PRECONDITION).",
    "401": "Nobody known asks (UNAUTHENTICATED).",
    "403": (
        "Not allowed: read-only, a cross-site request, no right to change things"
        " (PERMISSION_DENIED)."
    ),
    "404": "There is no such thing (NOT_FOUND).",
    "429": "Too much at once (RESOURCE_EXHAUSTED).",
    "500": "A defect; the server's log has more (INTERNAL).",
    "501": "This server cannot do that (UNIMPLEMENTED).",
    "503": "Who would have to answer does not: the message names the task queue (UNAVAILABLE).",
    "504": "No answer in time (DEADLINE_EXCEEDED).",
}


class Status(msgspec.Struct):
    """An error, in gRPC's form. `code` is gRPC's number."""

    code: int
    message: str
    details: list[dict[str, Any]]


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The document, as JSON values."""
    types = [
        Status,
        *(o.answer for o in operations if not o.streams),
        *(o.body for o in operations if o.body is not None),
    ]
    schemas, components = msgspec.json.schema_components(types, ref_template=_REF)
    by_type = dict(zip(map(id, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(PREFIX + operation.path, {})[operation.method.lower()] = _operation(
            operation, by_type, components
        )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Odradek",
            "version": server_version(),
            "description": (
                "What only Odradek has: runs and the Kafka beneath them. Workflows are started and"
                " steered by Temporal's HTTP API under `/api/v1`. Times are epoch milliseconds. Ids"
                " in paths are percent-encoded; the ids `.` and `..` are written `~.` and `~..`"
                " there, `~.` is `~~.`."
            ),
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(
    operation: Operation, by_type: dict[int, Any], components: dict[str, Any]
) -> dict[str, Any]:
    if operation.streams:
        content: dict[str, Any] = {"text/event-stream": {"schema": {"type": "string"}}}
    else:
        content = {"application/json": {"schema": by_type[id(operation.answer)]}}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": _parameters(operation),
        "responses": {
            "200": {"description": "Done.", "content": content},
            **{
                status: {
                    "description": text,
                    "content": {"application/json": {"schema": _REF_STATUS}},
                }
                for status, text in _ERRORS.items()
            },
        },
    }
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": by_type[id(operation.body)]}},
        }
    return described


_REF_STATUS = {"$ref": _REF.format(name="Status")}


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    in_path = set(re.findall(r"{(\w+)}", operation.path))
    (schema,), components = msgspec.json.schema_components(
        [operation.parameters], ref_template="{name}"
    )
    properties = components[schema["$ref"]]["properties"]
    required = set(components[schema["$ref"]].get("required", []))
    parameters = []
    for name, property in properties.items():
        described = dict(property)
        text = described.pop("description", "")
        parameters.append(
            {
                "name": name,
                "in": "path" if name in in_path else "query",
                "required": name in in_path or name in required,
                "description": text,
                "schema": described,
            }
        )
    return parameters
